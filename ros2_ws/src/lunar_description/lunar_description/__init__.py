"""Holds urdf/ and rviz/; generate.py beside this package writes the URDF."""
