"""Turns the process tables of ``matrix_hil.processes`` into ROS 2 launch descriptions."""
