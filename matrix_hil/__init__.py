"""MATRIX, the Mixed-reality Adaptive Testbed for Robotic Integrated eXploration, and the ``lunar`` command."""
