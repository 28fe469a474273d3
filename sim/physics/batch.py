"""Many robots stepped in C++ threads with ``mujoco.batch``."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from sim.physics.base import Physics
from sim.physics.ground import planes, points_below
from sim.physics.scene import PhysicsConfig
from sim.terrain.height_field import HeightField

_FORCES = slice(0, 4), slice(40, 57)  # of feet, limbs and trunk, and the motors' torque


class BatchPhysics(Physics):
    """``Physics`` on the CPU. MuJoCo computes in float64; the public tensors are copies in float32.

    Args:
        cfg: robot and contact.
        num_envs: N.
        terrain: ground under all robots, or a stack of grounds among which ``level`` chooses.
        threads: C++ threads; 0 takes every core. Results do not depend on it.
    """

    def __init__(self, cfg: PhysicsConfig, num_envs: int, terrain: HeightField, threads: int = 0) -> None:
        super().__init__(cfg, num_envs, terrain, "cpu")
        self.batch = Batch(self.model, nsim=num_envs, nthread=threads)
        self.qpos = torch.zeros(num_envs, self.model.nq)
        self.qvel = torch.zeros(num_envs, self.model.nv)
        self.torque = torch.zeros(num_envs, self.model.nu)
        self._bind_sensors(torch.zeros(num_envs, cfg.substeps, self.model.nsensordata))
        # live views of the engine's memory
        self._qpos, self._qvel, self._ctrl, self._torque, self._sensordata, self._ground_pos, self._ground_quat = (
            self.batch.bind(name)
            for name in ("qpos", "qvel", "ctrl", "actuator_force", "sensordata", "mocap_pos", "mocap_quat")
        )
        self._bind_engine(torch.from_numpy(self._qvel), torch.from_numpy(self.batch.bind("xfrc_applied")))
        self._record = np.zeros(self.sensors.shape)
        self._shown = [
            (self.qpos.numpy(), self._qpos),
            (self.qvel.numpy(), self._qvel),
            (self.torque.numpy(), self._torque),
            (self.sensors.numpy(), self._record),
        ]
        self._warnings_seen = self._warnings()
        self._read(slice(None))

    def step(self, targets: Tensor) -> Tensor:
        """See ``Physics``."""
        new = targets.numpy()
        control = None
        if self._is_late:
            late = np.arange(self.cfg.substeps) < self._delay[:, None].numpy()
            control = np.where(late[:, :, None], self._ctrl[:, None], new[:, None])
        self._ctrl[:] = new
        if self._has_rope:
            self._apply_rope()
        self._advance(control)
        if control is not None:
            self._ctrl[:] = new
        finite = np.isfinite(self._qpos.sum(axis=1) + self._qvel.sum(axis=1))
        warnings = self._warnings()
        diverged = ~finite | (warnings > self._warnings_seen)
        self._warnings_seen = warnings
        self._read(slice(None))
        return torch.from_numpy(diverged)

    def _advance(self, control: np.ndarray | None) -> None:
        """The physics steps of a control step of all robots, or of those that are ``moving``."""
        if self.moving is None:
            self.batch.rollout(self.cfg.substeps, control, record=("sensordata",), out={"sensordata": self._record})
            return
        rows = np.flatnonzero(self.moving.numpy())
        inputs = None if control is None else control[rows]
        found = self.batch.rollout(self.cfg.substeps, inputs, record=("sensordata",), ids=rows)
        self._record[rows] = found["sensordata"]

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """See ``Physics``."""
        rows = ids.numpy()
        self.batch.reset(rows, stage=0)
        self._warnings_seen[rows] = self._warnings()[rows]
        self._qpos[rows] = qpos.numpy()
        self._qvel[rows] = qvel.numpy()
        self._ctrl[rows] = self._qpos[rows, 7:]
        self._refresh(rows)

    def terrain_height(self, xy: Tensor, level: Tensor) -> Tensor:
        """See ``Physics``."""
        x, y = xy.double().numpy().transpose(2, 0, 1)
        return torch.from_numpy(self.terrain.height(x, y, level.numpy()[:, None])).float()

    def _own(self, field: str) -> Tensor:
        return torch.from_numpy(self.batch.expand(field))

    def _mass_changed(self, ids: Tensor) -> None:
        rows = ids.numpy()
        # MuJoCo takes short cuts where a body's frame and its inertia's agree in the file
        self.batch.expand("body_sameframe")[rows, self._trunk] = int(mujoco.mjtSameFrame.mjSAMEFRAME_NONE)
        self.batch.set_const(rows)
        self._refresh(rows)

    def _refresh(self, rows: np.ndarray) -> None:
        """Bring sensors of these robots up to their state, as if no force acted."""
        self.batch.forward(rows, stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self._record[rows] = self._sensordata[rows, None]
        for forces in _FORCES:
            self._record[rows, :, forces] = 0.0
        self._read(rows)

    def _warnings(self) -> np.ndarray:
        """(N,) number of MuJoCo warnings so far; a rise means bad positions, velocities or accelerations."""
        return self.batch.warning[:, :, 1].sum(axis=1)

    def _read(self, rows: slice | np.ndarray) -> None:
        """Bring tensors and ground of these robots up to the engine's state."""
        for shown, live in self._shown:
            shown[rows] = live[rows]
        if not self._is_flat:
            self._place_ground(rows)

    def _place_ground(self, rows: slice | np.ndarray) -> None:
        """Lay the planes of these robots on the terrain."""
        limbs = self._record[rows, -1, 16:40].reshape(-1, 8, 3)
        points = points_below(limbs[:, :4], limbs[:, 4:], self._qpos[rows], self.robot.reach)
        found = self.terrain.height_and_slopes(points[..., 0], points[..., 1], self.level.numpy()[rows, None])
        found = planes(points, *found, self.robot.reach)
        self._ground_pos[rows], self._ground_quat[rows], self.ground.numpy()[rows] = found
