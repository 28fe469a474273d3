"""One robot on flat ground that obeys joint commands and reports what its sensors would: a stand-in for hardware."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.physics.actuator import set_gains
from sim.physics.scene import PhysicsConfig, build_scene, gains
from sim.robots.load import load_robot
from sim.spec.joints import LEGS

CLEARANCE = 0.013  # m between the feet and the ground at the start


class SingleRobot:
    """Starts in its nominal pose and holds it until it is told otherwise. ``step`` advances by ``dt`` seconds."""

    def __init__(self, cfg: PhysicsConfig | None = None) -> None:
        self.cfg = cfg or PhysicsConfig()
        self.dt = self.cfg.timestep
        self.robot = load_robot(self.cfg.robot)
        self._model = build_scene(self.cfg)
        self._data = mujoco.MjData(self._model)
        self._data.qpos[2] = self.robot.standing_height + CLEARANCE
        self._data.qpos[7:] = self.robot.nominal_pose
        self.command(self.robot.nominal_pose, *gains(self.cfg, self.robot))
        mujoco.mj_forward(self._model, self._data)

    def command(
        self,
        targets: np.ndarray,
        kp: np.ndarray | float,
        kd: np.ndarray | float,
        torque: np.ndarray | float = 0.0,
    ) -> None:
        """Joint targets (12,) in rad with stiffness N*m/rad and damping N*m*s/rad; kp = 0 leaves the joints damped.

        ``torque`` in N*m is added up to the motors' limit, without regard to their speed.
        """
        set_gains(self._model, kp, kd)
        self._data.ctrl[:] = targets
        self._data.qfrc_applied[6:] = np.clip(torque, -self.robot.torque_limit, self.robot.torque_limit)

    def step(self) -> None:
        """Advance by ``dt``."""
        mujoco.mj_step(self._model, self._data)

    @property
    def mass(self) -> float:
        """kg."""
        return float(self._model.body_subtreemass[self._model.dof_bodyid[0]])

    @property
    def joint_position(self) -> np.ndarray:
        """(12,) rad, project joint order."""
        return self._data.qpos[7:].copy()

    @property
    def joint_velocity(self) -> np.ndarray:
        """(12,) rad/s."""
        return self._data.qvel[6:].copy()

    @property
    def position(self) -> np.ndarray:
        """(3,) m, of the base in the world."""
        return self._data.qpos[:3].copy()

    @property
    def velocity(self) -> np.ndarray:
        """(3,) m/s, of the base in the world."""
        return self._data.qvel[:3].copy()

    @property
    def orientation(self) -> np.ndarray:
        """(4,) w, x, y, z, of the base in the world."""
        return self._data.qpos[3:7].copy()

    @property
    def angular_velocity(self) -> np.ndarray:
        """(3,) rad/s, base frame."""
        return self._data.qvel[3:6].copy()

    @property
    def joint_torque(self) -> np.ndarray:
        """(12,) N*m, of the motors in the last step."""
        return self._data.qfrc_actuator[6:] + self._data.qfrc_applied[6:]

    @property
    def specific_force(self) -> np.ndarray:
        """(3,) m/s^2, base frame, in the last step: what an accelerometer at the base's origin reads."""
        rotation = self._data.xmat[self._model.dof_bodyid[0]].reshape(3, 3)
        return rotation.T @ (self._data.qacc[:3] - self._model.opt.gravity)

    @property
    def foot_force(self) -> np.ndarray:
        """(4,) N, FL FR RL RR, in the last step."""
        return np.array([self._data.sensor(f"{leg}_force").data[0] for leg in LEGS])
