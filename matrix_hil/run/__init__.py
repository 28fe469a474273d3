"""One run of the rig: the cycle, the order of a run, what drives it in simulated and wall time, what it was like."""
