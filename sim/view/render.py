"""A robot on its terrain to look at: pictures off screen (needs EGL) and a window. Physics has no part in it."""

from __future__ import annotations

import os
import time

import mujoco
import mujoco.viewer
import numpy as np

from sim.errors import LunarError
from sim.physics.scene import PhysicsConfig
from sim.robots.load import load_robot
from sim.terrain.height_field import HeightField
from sim.view.moon import moon_model, place_sky


class Renderer:
    """Draws states of one robot.

    Raises:
        LunarError: no EGL on this machine.
    """

    def __init__(self, cfg: PhysicsConfig, terrain: HeightField, width: int = 640, height: int = 480) -> None:
        self.model = moon_model(cfg.robot, terrain, width, height)
        self.data = mujoco.MjData(self.model)
        try:
            self._renderer = mujoco.Renderer(self.model, height, width)
        except Exception as error:  # each GL backend raises its own type
            raise LunarError(f"no picture: EGL rendering failed ({error}); on Debian: apt install libegl1") from None
        self.camera = mujoco.MjvCamera()
        self._size = load_robot(cfg.robot).length_ratio
        self.camera.elevation, self.camera.distance = -9.0, 1.45 * self._size
        self._terrain = terrain

    def frame(self, qpos: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 of the robot in state ``qpos`` (19,), seen from its right side."""
        self.data.qpos[:] = qpos
        place_sky(self.model, self.data, qpos[:3])
        mujoco.mj_forward(self.model, self.data)
        yaw = 2.0 * np.degrees(np.arctan2(qpos[6], qpos[3]))
        self.camera.azimuth = yaw + 75.0
        ground = float(self._terrain.height(qpos[0], qpos[1]))
        self.camera.lookat[:] = [qpos[0], qpos[1], ground + 0.33 * self._size]
        self._renderer.update_scene(self.data, self.camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()


class Window:
    """MuJoCo's viewer on one robot, kept to real time. The user may turn the camera; closing it ends the showing.

    Raises:
        LunarError: no screen.
    """

    def __init__(self, cfg: PhysicsConfig, terrain: HeightField) -> None:
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise LunarError("no screen for a window: use render_mode='rgb_array', or start under a desktop or Xvfb")
        self.model = moon_model(cfg.robot, terrain, 640, 480)
        self.data = mujoco.MjData(self.model)
        self._viewer = mujoco.viewer.launch_passive(self.model, self.data, show_left_ui=False, show_right_ui=False)
        self._viewer.cam.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        self._viewer.cam.trackbodyid = self.model.jnt_bodyid[0]
        self._viewer.cam.azimuth, self._viewer.cam.elevation, self._viewer.cam.distance = 120.0, -12.0, 2.2
        self._period = cfg.control_dt
        self._due = time.monotonic()

    def show(self, qpos: np.ndarray) -> None:
        """Draw state ``qpos`` (19,), not before a control period has passed since the last."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + self._period, time.monotonic())
        if self._viewer.is_running():
            with self._viewer.lock():
                self.data.qpos[:] = qpos
                place_sky(self.model, self.data, qpos[:3])
                mujoco.mj_forward(self.model, self.data)
            self._viewer.sync()

    def close(self) -> None:
        """Close the window."""
        self._viewer.close()
