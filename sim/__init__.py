"""Lunar worlds: robots, terrain, physics, and the reinforcement-learning environments made of them."""

import os

# MuJoCo picks its OpenGL library at its first import. EGL draws without a screen; without it only drawing fails.
os.environ.setdefault("MUJOCO_GL", "egl")
