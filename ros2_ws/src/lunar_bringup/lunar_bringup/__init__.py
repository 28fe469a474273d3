"""Turns the process tables of ``matrix_hil.bringup.tables`` into ROS 2 launch descriptions."""
