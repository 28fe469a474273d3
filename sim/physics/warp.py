"""Many robots stepped by MuJoCo Warp: on a CUDA GPU, or on Warp's CPU device to check the former.

Warp compiles its kernels at the first use on a machine, which takes up to a minute, and keeps them in its cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import Any

import mujoco
import torch
from torch import Tensor

from sim.errors import LunarError
from sim.physics.base import Physics
from sim.physics.ground import planes, points_below
from sim.physics.inverse_weight import InverseWeights
from sim.physics.scene import PhysicsConfig
from sim.spec.joints import JOINT_NAMES
from sim.terrain.height_field import HeightField

try:
    import warp as wp

    wp.config.log_level = wp.LOG_WARNING  # below, it lists every kernel that it loads
    import mujoco_warp as mjw
except ImportError:
    raise LunarError("physics.backend 'warp' needs MuJoCo Warp: pip install 'lunar[gpu]'") from None

# fields of the model that robots have each their own values of, and constants that follow from them
_OWN = (
    "pair_friction", "pair_solref", "pair_solimp", "actuator_gainprm", "actuator_forcerange", "dof_armature",
    "dof_frictionloss", "dof_damping",
    "body_mass", "body_ipos", "body_inertia", "body_iquat", "body_subtreemass", "body_invweight0", "dof_invweight0",
)  # fmt: skip
MOST = 1e10  # as MuJoCo's mjMAXVAL: a larger position or speed is a diverged simulation's


class WarpPhysics(Physics):
    """``Physics`` in float32. State, commands and sensors are the engine's own memory.

    Args:
        cfg: robot and contact.
        num_envs: N.
        terrain: ground under all robots, or a stack of grounds among which ``level`` chooses.
        device: ``cuda`` or ``cpu``.
    """

    def __init__(self, cfg: PhysicsConfig, num_envs: int, terrain: HeightField, device: torch.device | str) -> None:
        super().__init__(cfg, num_envs, terrain, device)
        model = self.model
        self._warp_device = wp.get_device(str(self.device))
        contacts = _most_contacts(model)
        rows = 3 * contacts + int(model.jnt_limited.sum()) + len(JOINT_NAMES)  # which may rub, see set_joints
        with wp.ScopedDevice(self._warp_device):
            self._model = mjw.put_model(model, batch_sizes=dict.fromkeys(_OWN, num_envs))
            self._model.opt.gravity = wp.full(num_envs, wp.vec3(0.0, 0.0, -cfg.gravity), dtype=wp.vec3)
            self._data = data = mjw.make_data(model, nworld=num_envs, nconmax=contacts, njmax=rows)
        record = torch.zeros(cfg.substeps, num_envs, model.nsensordata, device=self.device)
        self._fields: dict[str, Tensor] = {}
        self._record: list[Any] = [wp.from_torch(step) for step in record]
        self._bind_sensors(record.transpose(0, 1))
        self._controls = torch.zeros(cfg.substeps, num_envs, model.nu, device=self.device)
        self._control: list[Any] = [wp.from_torch(step) for step in self._controls]
        self._target = torch.zeros(num_envs, model.nu, device=self.device)
        self._ticks = torch.arange(cfg.substeps, device=self.device)[:, None]
        self.qpos, self.qvel, self.torque = (wp.to_torch(a) for a in (data.qpos, data.qvel, data.actuator_force))
        self._bind_engine(self.qvel, wp.to_torch(data.xfrc_applied))
        self._to_clear = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._sensordata = wp.to_torch(data.sensordata)
        self._ground_pos, self._ground_quat = wp.to_torch(data.mocap_pos), wp.to_torch(data.mocap_quat)
        heights = torch.as_tensor(terrain.heights, dtype=torch.float32, device=self.device)
        self._terrain = replace(terrain, heights=heights)
        self._inverse_weights = InverseWeights(model, self._trunk, self.device)
        start = self.qpos.clone()
        self._run_step, self._run_clear, self._run_kinematics = (
            self._capture(work) for work in (self._substeps, self._clear, self._kinematics)
        )
        self.reset(torch.arange(num_envs, device=self.device), start, torch.zeros_like(self.qvel))

    def step(self, targets: Tensor) -> Tensor:
        """See ``Physics``."""
        late = (self._ticks < self._delay)[..., None]
        torch.where(late, self._target, targets, out=self._controls)
        self._target.copy_(targets)
        if self._has_rope:
            self._apply_rope()
        self._run_step()
        sound = (self.qpos.abs() < MOST).all(1) & (self.qvel.abs() < MOST).all(1)  # False for NaN too
        if not self._is_flat:
            self._place_ground(slice(None))
        return ~sound

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """See ``Physics``."""
        self._to_clear.zero_()
        self._to_clear[ids] = True
        self._run_clear()
        self.qpos[ids] = qpos
        self.qvel[ids] = qvel
        self._target[ids] = qpos[:, 7:]
        self.torque[ids] = 0.0
        self._refresh(ids)
        if not self._is_flat:
            self._place_ground(ids)

    def terrain_height(self, xy: Tensor, level: Tensor) -> Tensor:
        """See ``Physics``."""
        return self._ground_at(xy, level)[0]

    def _ground_at(self, xy: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Height and slopes along x and y at ``xy`` (n, k, 2) of the maps ``level`` (n,)."""
        return self._terrain.height_and_slopes(xy[..., 0], xy[..., 1], level[:, None])

    def _own(self, field: str) -> Tensor:
        if field not in self._fields:
            self._fields[field] = wp.to_torch(attrgetter(field)(self._model))
        return self._fields[field]

    def _mass_changed(self, ids: Tensor) -> None:
        mass, com, inertia, quat = (
            self._own(name)[ids, self._trunk] for name in ("body_mass", "body_ipos", "body_inertia", "body_iquat")
        )
        dofs, bodies = self._inverse_weights(mass, com, inertia, quat, self._own("dof_armature")[ids])
        self._own("dof_invweight0")[ids], self._own("body_invweight0")[ids] = dofs.float(), bodies.float()
        load = mass - float(self.model.body_mass[self._trunk])
        for body in (0, self._trunk):  # with all that hangs on them
            self._own("body_subtreemass")[ids, body] = float(self.model.body_subtreemass[body]) + load
        self._refresh(ids)

    def _refresh(self, ids: Tensor) -> None:
        """Bring sensors of robots ``ids`` up to their state, as if no force acted."""
        self._run_kinematics()
        self.sensors[ids] = self._sensordata[ids, None]

    def _substeps(self) -> None:
        for control, record in zip(self._control, self._record, strict=True):
            wp.copy(self._data.ctrl, control)
            mjw.step(self._model, self._data)
            wp.copy(record, self._data.sensordata)

    def _clear(self) -> None:
        """Robots marked in ``_to_clear`` as the model is at first."""
        mjw.reset_data(self._model, self._data, reset=wp.from_torch(self._to_clear))

    def _kinematics(self) -> None:
        """Sensors of position and velocity at the present state; forces become zero."""
        mjw.fwd_kinematics(self._model, self._data)
        mjw.com_vel(self._model, self._data)
        self._data.sensordata.zero_()
        mjw.sensor_pos(self._model, self._data)
        mjw.sensor_vel(self._model, self._data)

    def _capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work`` as one graph, whose launch costs the host almost nothing. On a GPU it runs in torch's stream."""
        with wp.ScopedDevice(self._warp_device):
            work()  # loads the kernels, which a capture must not do
            if self._warp_device.is_cuda:
                torch.cuda.synchronize(self.device)
            with wp.ScopedCapture() as capture:
                work()

        return lambda: wp.capture_launch(capture.graph, stream=self._stream())

    def _stream(self) -> Any:
        """Torch's stream on a GPU, so that Warp's work waits for torch's and the other way round."""
        if self._warp_device.is_cuda:
            return wp.stream_from_torch(torch.cuda.current_stream(self.device))
        return None

    def _place_ground(self, ids: Tensor | slice) -> None:
        """Lay the planes of robots ``ids`` on the terrain."""
        points = points_below(self.foot_position[ids], self.knee_position[ids], self.qpos[ids], self.robot.reach)
        found = planes(points, *self._ground_at(points, self.level[ids]), self.robot.reach)
        self._ground_pos[ids], self._ground_quat[ids], self.ground[ids] = found


def _most_contacts(model: mujoco.MjModel) -> int:
    """Contacts that one robot can have at once: what a plane makes with each shape that can meet one."""
    kinds = mujoco.mjtGeom
    counts = {kinds.mjGEOM_PLANE: 0, kinds.mjGEOM_SPHERE: 1, kinds.mjGEOM_CAPSULE: 2}
    shapes = [*model.geom_type[model.pair_geom1], *model.geom_type[model.pair_geom2]]
    return sum(counts.get(kinds(shape), 4) for shape in shapes)
