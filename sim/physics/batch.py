"""Many robots stepped in C++ threads with ``mujoco.batch``."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from sim.physics.actuator import DAMPING, RESISTANCE, STIFFNESS
from sim.physics.backend import FEET_AND_BASE, ROPE_CREEP, SensorBlock
from sim.physics.ground import planes, points_below
from sim.physics.payload import bare_trunk, loaded_trunk
from sim.physics.scene import PhysicsConfig, build_scene
from sim.physics.soil import soft_pairs
from sim.terrain.height_field import HeightField

_FORCE = slice(0, 4)


class BatchPhysics(SensorBlock):
    """``backend.Physics`` on the CPU. MuJoCo computes in float64; the tensors are copies in float32.

    Args:
        cfg: robot and contact.
        num_envs: N.
        terrain: ground under all robots, or a stack of grounds among which ``level`` chooses.
        threads: C++ threads; 0 takes every core. Results do not depend on it.
    """

    def __init__(self, cfg: PhysicsConfig, num_envs: int, terrain: HeightField, threads: int = 0) -> None:
        self.cfg = cfg
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.terrain = terrain
        self.level = torch.zeros(num_envs, dtype=torch.long)
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
        self._trunk = self.model.jnt_bodyid[0]
        trunk_force = self.batch.bind("xfrc_applied")[:, self._trunk]
        self._push, self._pull = trunk_force[:, :2], trunk_force[:, 2]
        self._gravity = self.batch.expand("opt.gravity")
        self._friction = self.batch.expand("pair_friction")
        if cfg.soil.kind == "regolith":
            self._solref = self.batch.expand("pair_solref")
            self._soft = soft_pairs(self.model)
        self._robot_mass = np.full(num_envs, self.mass)
        self._delay = np.zeros(num_envs, dtype=int)  # physics steps
        self._has_rope = False
        self._pull_at_rest, self._rope_mass, self._rope_friction = np.zeros((3, num_envs))
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
        new = targets.numpy()
        control = None
        if self._delay.any():
            late = np.arange(self.cfg.substeps) < self._delay[:, None]
            control = np.where(late[:, :, None], self._ctrl[:, None], new[:, None])
        self._ctrl[:] = new
        if self._has_rope:
            self._hang()
        self.batch.rollout(self.cfg.substeps, control, record=("sensordata",), out={"sensordata": self._record})
        if control is not None:
            self._ctrl[:] = new
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
        self._settle(rows)

    def set_gravity(self, ids: Tensor, effective: Tensor, offload: Tensor) -> None:
        """See ``backend.Physics``."""
        rows = ids.numpy()
        self.effective_gravity[ids] = effective
        self._gravity[rows, 2] = -(effective + offload).numpy()
        self._pull[rows] = self._pull_at_rest[rows] = self._robot_mass[rows] * offload.numpy()

    def set_rope(self, ids: Tensor, inertia: Tensor, friction: Tensor) -> None:
        """See ``backend.Physics``."""
        rows = ids.numpy()
        self._has_rope = True
        self._rope_mass[rows] = self._robot_mass[rows] * inertia.numpy()
        self._rope_friction[rows] = friction.numpy()
        self.effective_gravity[ids] /= 1.0 + inertia

    def set_push(self, ids: Tensor, force: Tensor) -> None:
        """See ``backend.Physics``."""
        self._push[ids.numpy()] = force.numpy()

    def set_payload(self, ids: Tensor, load: Tensor, place: Tensor, offset: Tensor) -> None:
        """See ``backend.Physics``."""
        rows, body = ids.numpy(), self._trunk
        # MuJoCo takes short cuts where a body's frame and its inertia's agree in the file
        self.batch.expand("body_sameframe")[rows, body] = int(mujoco.mjtSameFrame.mjSAMEFRAME_NONE)
        values = loaded_trunk(bare_trunk(self.model, body), *(t.double().numpy() for t in (load, place, offset)))
        for name, value in zip(("body_mass", "body_ipos", "body_inertia", "body_iquat"), values, strict=True):
            self.batch.expand(name)[rows, body] = value
        self.batch.set_const(rows)
        self._robot_mass[rows] = self.mass + load.numpy()
        self._settle(rows)

    def set_motors(self, ids: Tensor, stiffness: Tensor, damping: Tensor, strength: Tensor, delay: Tensor) -> None:
        """See ``backend.Physics``."""
        rows = ids.numpy()
        s = strength.numpy()[:, None]
        gains = self.batch.expand("actuator_gainprm")
        gains[rows, :, RESISTANCE] = self.model.actuator_gainprm[:, RESISTANCE] / s
        gains[rows, :, STIFFNESS] = self.cfg.kp * stiffness.numpy()[:, None] * s
        gains[rows, :, DAMPING] = self.cfg.kd * damping.numpy()[:, None] * s
        self.batch.expand("actuator_forcerange")[rows] = self.model.actuator_forcerange * s[..., None]
        self._delay[rows] = np.rint(delay.numpy() / self.cfg.timestep)

    def set_friction(self, ids: Tensor, friction: Tensor) -> None:
        """See ``backend.Physics``."""
        self._friction[ids.numpy(), :, :2] = friction.numpy()[:, None, None]

    def set_soil_strength(self, ids: Tensor, strength: Tensor) -> None:
        """See ``backend.Physics``."""
        stiffness = self.model.pair_solref[self._soft, 0]
        self._solref[ids.numpy()[:, None], self._soft, 0] = strength.numpy()[:, None] * stiffness

    def terrain_height(self, xy: Tensor, level: Tensor) -> Tensor:
        """See ``backend.Physics``."""
        x, y = xy.double().numpy().transpose(2, 0, 1)
        return torch.from_numpy(self.terrain.height(x, y, level.numpy()[:, None])).float()

    def _hang(self) -> None:
        """The ropes' pull, for the speed of the trunks. Inertia is added to the trunk's vertical motion alone."""
        dof = self.model.jnt_dofadr[0] + 2
        share = 1.0 - self._rope_friction * np.tanh(self._qvel[:, 2] / ROPE_CREEP)
        self._pull[:] = self._pull_at_rest * share
        self.batch.expand("dof_armature")[:, dof] = self.model.dof_armature[dof] + self._rope_mass * share

    def _settle(self, rows: np.ndarray) -> None:
        """Bring sensors of these robots up to their state, as if no force acted."""
        self.batch.forward(rows, stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self._record[rows] = self._sensordata[rows, None]
        self._record[rows, :, _FORCE] = 0.0
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
        points = points_below(limbs[:, :4], limbs[:, 4:], self._qpos[rows])
        found = self.terrain.height_and_slopes(points[..., 0], points[..., 1], self.level.numpy()[rows, None])
        self._ground_pos[rows], self._ground_quat[rows], self.ground.numpy()[rows] = planes(points, *found)
