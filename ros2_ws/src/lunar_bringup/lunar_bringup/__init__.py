"""Turns the process tables of ``matrix_hil.tables`` into ROS 2 launch descriptions."""
