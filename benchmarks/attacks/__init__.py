"""A red team against the rig: who speaks to it from outside, and what of it moves a machine."""
