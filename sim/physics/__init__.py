"""Physics: a robot on the ground as a MuJoCo model, and many of them stepped together."""

import os

# MuJoCo picks its OpenGL library at its first import. EGL draws without a screen; without it only drawing fails.
os.environ.setdefault("MUJOCO_GL", "egl")
