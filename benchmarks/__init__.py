"""Studies and comparisons, run by ``lunar bench NAME`` from a checkout: not installed, imported by nobody."""
