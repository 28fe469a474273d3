"""Many robots stepped in C++ threads with ``mujoco.batch``."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from sim.physics.backend import FEET_AND_BASE, SensorBlock
from sim.physics.scene import PhysicsConfig, build_scene
from sim.physics.soil import soft_pairs
from sim.terrain.height_field import HeightField

_FORCE = slice(0, 4)


class BatchPhysics(SensorBlock):
    """``backend.Physics`` on the CPU. MuJoCo computes in float64; the tensors are copies in float32.

    Args:
        cfg: robot and contact.
        num_envs: N.
        terrain: ground under all robots.
        threads: C++ threads; 0 takes every core. Results do not depend on it.
    """

    def __init__(self, cfg: PhysicsConfig, num_envs: int, terrain: HeightField, threads: int = 0) -> None:
        self.cfg = cfg
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.terrain = terrain
        self.model = build_scene(cfg)
        self.batch = Batch(self.model, nsim=num_envs, nthread=threads)
        self.mass = float(self.model.body_mass.sum())
        super().__init__(torch.zeros(num_envs, cfg.substeps, self.model.nsensordata))
        self.qpos = torch.zeros(num_envs, self.model.nq)
        self.qvel = torch.zeros(num_envs, self.model.nv)
        self.torque = torch.zeros(num_envs, self.model.nu)
        self.ground = torch.zeros(num_envs, FEET_AND_BASE)
        self.effective_gravity = torch.full((num_envs,), cfg.gravity)
        # live views of the engine's memory
        self._qpos, self._qvel, self._ctrl, self._torque, self._sensordata, self._ground_pos, self._ground_quat = (
            self.batch.bind(name)
            for name in ("qpos", "qvel", "ctrl", "actuator_force", "sensordata", "mocap_pos", "mocap_quat")
        )
        self._pull = self.batch.bind("xfrc_applied")[:, self.model.jnt_bodyid[0], 2]
        self._gravity = self.batch.expand("opt.gravity")
        self._friction = self.batch.expand("pair_friction")
        if cfg.soil.kind == "regolith":
            self._solref = self.batch.expand("pair_solref")
            self._soft = soft_pairs(self.model)
        self._record = np.zeros(self.sensors.shape)
        self._shown = [
            (self.qpos.numpy(), self._qpos),
            (self.qvel.numpy(), self._qvel),
            (self.torque.numpy(), self._torque),
            (self.sensors.numpy(), self._record),
        ]
        self._warnings_seen = self._warnings()
        self._is_flat = terrain.is_flat
        self._read(slice(None))

    def step(self, targets: Tensor) -> Tensor:
        """See ``backend.Physics``."""
        self._ctrl[:] = targets.numpy()
        self.batch.rollout(self.cfg.substeps, record=("sensordata",), out={"sensordata": self._record})
        finite = np.isfinite(self._qpos).all(axis=1) & np.isfinite(self._qvel).all(axis=1)
        warnings = self._warnings()
        diverged = ~finite | (warnings > self._warnings_seen)
        self._warnings_seen = warnings
        self._read(slice(None))
        return torch.from_numpy(diverged)

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """See ``backend.Physics``."""
        rows = ids.numpy()
        self.batch.reset(rows, stage=0)
        self._warnings_seen[rows] = self._warnings()[rows]
        self._qpos[rows] = qpos.numpy()
        self._qvel[rows] = qvel.numpy()
        self._ctrl[rows] = self._qpos[rows, 7:]
        self.batch.forward(rows, stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self._record[rows] = self._sensordata[rows, None]
        self._record[rows, :, _FORCE] = 0.0
        self._read(rows)

    def set_gravity(self, ids: Tensor, effective: Tensor, offload: Tensor) -> None:
        """See ``backend.Physics``."""
        rows = ids.numpy()
        self.effective_gravity[ids] = effective
        self._gravity[rows, 2] = -(effective + offload).numpy()
        self._pull[rows] = self.mass * offload.numpy()

    def set_friction(self, ids: Tensor, friction: Tensor) -> None:
        """See ``backend.Physics``."""
        self._friction[ids.numpy(), :, :2] = friction.numpy()[:, None, None]

    def set_soil_strength(self, ids: Tensor, strength: Tensor) -> None:
        """See ``backend.Physics``."""
        stiffness = self.model.pair_solref[self._soft, 0]
        self._solref[ids.numpy()[:, None], self._soft, 0] = strength.numpy()[:, None] * stiffness

    def terrain_height(self, xy: Tensor) -> Tensor:
        """See ``backend.Physics``."""
        return torch.from_numpy(self.terrain.height(xy[..., 0].numpy(), xy[..., 1].numpy())).float()

    def _warnings(self) -> np.ndarray:
        """(N,) number of MuJoCo warnings so far; a rise means bad positions, velocities or accelerations."""
        return self.batch.warning[:, :, 1].sum(axis=1)

    def _read(self, rows: slice | np.ndarray) -> None:
        """Bring tensors and ground of these robots up to the engine's state."""
        for shown, live in self._shown:
            shown[rows] = live[rows]
        if not self._is_flat:
            feet = self._record[rows, -1, 16:28].reshape(-1, 4, 3)
            self._place_ground(rows, np.concatenate([feet[..., :2], self._qpos[rows, None, :2]], axis=1))

    def _place_ground(self, rows: slice | np.ndarray, xy: np.ndarray) -> None:
        """Lay the planes of these robots tangent to the terrain at ``xy`` (n, 5, 2)."""
        height, normal = self.terrain.height_and_normal(xy[..., 0], xy[..., 1])
        self._ground_pos[rows] = np.concatenate([xy, height[..., None]], axis=-1)
        # shortest rotation that takes z to the normal
        quat = np.stack([1.0 + normal[..., 2], -normal[..., 1], normal[..., 0], np.zeros_like(height)], axis=-1)
        self._ground_quat[rows] = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
        self.ground.numpy()[rows] = height
