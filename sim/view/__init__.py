"""Robots and ground in a browser on this computer, drawn with viser."""
