"""Tasks, each in one file: what a world asks of its robots."""
