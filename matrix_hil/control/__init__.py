"""Kinematics and control of the machines: motion platform, treadmill, counterweight, and what the robot is doing."""
