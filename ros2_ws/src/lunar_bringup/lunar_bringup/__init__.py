"""Turns the process tables of ``tables.yaml`` into ROS 2 launch descriptions, with ROS's own Python alone."""
