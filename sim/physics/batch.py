"""Many robots stepped in C++ threads with ``mujoco.batch``."""

from __future__ import annotations

import mujoco
import numpy as np
from mujoco.batch import Batch

from sim.physics.scene import PhysicsConfig, build_scene
from sim.terrain.height_field import HeightField

_FORCE, _COM, _COM_VELOCITY, _MOMENTUM = slice(0, 4), slice(4, 7), slice(7, 10), slice(10, 13)
_BASE, _FEET = slice(13, 16), slice(16, 28)


class BatchPhysics:
    """N robots on one height field.

    ``qpos`` (N, 19) and ``qvel`` (N, 18) are live views in MuJoCo's layout: position m, quaternion (w, x, y, z), joint
    angles rad; linear velocity m/s in the world, angular velocity rad/s in the base frame, joint speeds rad/s.

    Args:
        cfg: robot and contact.
        num_envs: N.
        terrain: ground under all robots.
        threads: C++ threads; 0 takes every core. Results do not depend on it.
    """

    def __init__(self, cfg: PhysicsConfig, num_envs: int, terrain: HeightField, threads: int = 0) -> None:
        self.cfg = cfg
        self.num_envs = num_envs
        self.terrain = terrain
        self.model = build_scene(cfg)
        self.batch = Batch(self.model, nsim=num_envs, nthread=threads)
        self.mass = float(self.model.body_mass.sum())
        self.qpos = self.batch.bind("qpos")
        self.qvel = self.batch.bind("qvel")
        self.torque = self.batch.bind("actuator_force")
        self._ctrl = self.batch.bind("ctrl")
        self._ground_pos = self.batch.bind("mocap_pos")
        self._ground_quat = self.batch.bind("mocap_quat")
        self._sensordata = self.batch.bind("sensordata")
        self._sensors = np.zeros((num_envs, cfg.substeps, self.model.nsensordata))
        self.effective_gravity = np.full(num_envs, cfg.gravity)
        self._gravity = self.batch.expand("opt.gravity")
        self._pull = self.batch.bind("xfrc_applied")[:, self.model.jnt_bodyid[0], 2]
        self.pair_friction = self.batch.expand("pair_friction")

    @property
    def foot_force(self) -> np.ndarray:
        """(N, substeps, 4) normal force on each foot during the last control step, newtons."""
        return self._sensors[:, :, _FORCE]

    @property
    def base_height(self) -> np.ndarray:
        """(N, substeps) height of the base over the last control step, metres in the world."""
        return self._sensors[:, :, _BASE][..., 2]

    @property
    def com(self) -> np.ndarray:
        """(N, 3) centre of mass at the last substep, metres."""
        return self._sensors[:, -1, _COM]

    @property
    def com_velocity(self) -> np.ndarray:
        """(N, substeps, 3) velocity of the centre of mass, m/s."""
        return self._sensors[:, :, _COM_VELOCITY]

    @property
    def angular_momentum(self) -> np.ndarray:
        """(N, 3) about the centre of mass, kg*m^2/s, world frame."""
        return self._sensors[:, -1, _MOMENTUM]

    @property
    def foot_position(self) -> np.ndarray:
        """(N, 4, 3) centres of the feet, metres in the world."""
        return self._sensors[:, -1, _FEET].reshape(-1, 4, 3)

    def step(self, targets: np.ndarray) -> np.ndarray:
        """One control step towards joint ``targets`` (N, 12), rad.

        Returns:
            (N,) bool, robots whose simulation diverged: their state is not to be used and they must be reset.
        """
        self._ctrl[:] = targets
        warnings = self._warnings()
        self.batch.rollout(self.cfg.substeps, record=("sensordata",), out={"sensordata": self._sensors})
        finite = np.isfinite(self.qpos).all(axis=1) & np.isfinite(self.qvel).all(axis=1)
        diverged = ~finite | (self._warnings() > warnings)
        if not self.terrain.is_flat:
            self._place_ground(slice(None), self.foot_position[..., :2], self.qpos[:, None, :2])
        return diverged

    def reset(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put robots ``ids`` into states ``qpos`` (n, 19), ``qvel`` (n, 18); sensors show zero force until a step."""
        self.batch.reset(ids, stage=0)
        self.qpos[ids] = qpos
        self.qvel[ids] = qvel
        self._ctrl[ids] = qpos[:, 7:]
        self.batch.forward(ids, stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self._sensors[ids] = self._sensordata[ids, None]
        self._sensors[ids, :, _FORCE] = 0.0
        if not self.terrain.is_flat:
            self._place_ground(ids, self.foot_position[ids, :, :2], qpos[:, None, :2])

    def set_gravity(self, ids: np.ndarray, effective: np.ndarray, offload: np.ndarray) -> None:
        """Gravity of robots ``ids``: ``effective`` (n,) m/s^2 on the whole robot, of which ``offload`` (n,) m/s^2 are
        a pull at the trunk against a stronger gravity. Call after ``reset``, which drops the pull."""
        self.effective_gravity[ids] = effective
        self._gravity[ids, 2] = -(effective + offload)
        self._pull[ids] = self.mass * offload

    def _warnings(self) -> np.ndarray:
        """(N,) number of MuJoCo warnings so far; a rise means bad positions, velocities or accelerations."""
        return self.batch.warning[:, :, 1].sum(axis=1)

    def _place_ground(self, ids: np.ndarray | slice, feet: np.ndarray, base: np.ndarray) -> None:
        xy = np.concatenate([feet, base], axis=1)
        height, normal = self.terrain.height_and_normal(xy[..., 0], xy[..., 1])
        self._ground_pos[ids] = np.concatenate([xy, height[..., None]], axis=-1)
        # shortest rotation that takes z to the normal
        quat = np.stack([1.0 + normal[..., 2], -normal[..., 1], normal[..., 0], np.zeros_like(height)], axis=-1)
        self._ground_quat[ids] = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
