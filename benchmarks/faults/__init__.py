"""Faults made on purpose: a box in every cable that spoils bytes, a list of what it does, and a judge of the outcome.

``lunar bench faults`` runs them all. Nothing here reaches into the rig's Python objects: faults travel as bytes on the
links, as answers of the stand-in for Unreal, as a clock, or as signals to a process.
"""
