"""Benchmarks of simulation and training against named peers run in the same call."""
