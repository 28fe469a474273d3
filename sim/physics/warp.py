"""Many robots stepped by MuJoCo Warp: on a CUDA GPU, or on Warp's CPU device to check the former.

Warp compiles its kernels at the first use on a machine, which takes up to a minute, and keeps them in its cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import torch
from torch import Tensor

from sim.errors import LunarError
from sim.physics.backend import FEET_AND_BASE, SensorBlock
from sim.physics.scene import PhysicsConfig, build_scene
from sim.physics.soil import soft_pairs
from sim.terrain.height_field import HeightField, bilinear, surface

try:
    import warp as wp

    wp.config.log_level = wp.LOG_WARNING  # below, it lists every kernel that it loads
    import mujoco_warp as mjw
except ImportError:
    raise LunarError("physics.backend 'warp' needs MuJoCo Warp: pip install 'lunar[gpu]'") from None

MOST = 1e10  # as MuJoCo's mjMAXVAL: a larger position or speed is a diverged simulation's


class WarpPhysics(SensorBlock):
    """``backend.Physics`` in float32. State, commands and sensors are the engine's own memory.

    Args:
        cfg: robot and contact.
        num_envs: N.
        terrain: ground under all robots.
        device: ``cuda`` or ``cpu``.
    """

    def __init__(self, cfg: PhysicsConfig, num_envs: int, terrain: HeightField, device: torch.device | str) -> None:
        self.cfg = cfg
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.terrain = terrain
        self.model = model = build_scene(cfg)
        self.mass = float(model.body_mass.sum())
        self._warp_device = wp.get_device(str(self.device))
        contacts = _most_contacts(model)
        rows = 4 * contacts + int(model.jnt_limited.sum())  # of a friction pyramid; a cone has 3
        with wp.ScopedDevice(self._warp_device):
            self._model = mjw.put_model(model, batch_sizes={"pair_friction": num_envs, "pair_solref": num_envs})
            self._model.opt.gravity = wp.full(num_envs, wp.vec3(0.0, 0.0, -cfg.gravity), dtype=wp.vec3)
            self._data = data = mjw.make_data(model, nworld=num_envs, nconmax=contacts, njmax=rows)
        record = torch.zeros(cfg.substeps, num_envs, model.nsensordata, device=self.device)
        self._record: list[Any] = [wp.from_torch(step) for step in record]
        super().__init__(record.transpose(0, 1))
        self.qpos, self.qvel, self.torque = (wp.to_torch(a) for a in (data.qpos, data.qvel, data.actuator_force))
        self.ground = torch.zeros(num_envs, FEET_AND_BASE, device=self.device)
        self.effective_gravity = torch.full((num_envs,), cfg.gravity, device=self.device)
        self._ctrl = wp.to_torch(data.ctrl)
        self._to_clear = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._sensordata = wp.to_torch(data.sensordata)
        self._ground_pos, self._ground_quat = wp.to_torch(data.mocap_pos), wp.to_torch(data.mocap_quat)
        self._pull = wp.to_torch(data.xfrc_applied)[:, model.jnt_bodyid[0], 2]
        self._gravity = wp.to_torch(self._model.opt.gravity)
        self._friction = wp.to_torch(self._model.pair_friction)
        self._solref = wp.to_torch(self._model.pair_solref)
        self._soft = torch.as_tensor(soft_pairs(model), device=self.device)
        self._stiffness = self._solref[0, self._soft, 0].clone()
        self._is_flat = terrain.is_flat
        self._heights = torch.as_tensor(terrain.heights, dtype=torch.float32, device=self.device)
        start = self.qpos.clone()
        self._run_step, self._run_clear, self._run_kinematics = (
            self._capture(work) for work in (self._substeps, self._clear, self._kinematics)
        )
        self.reset(torch.arange(num_envs, device=self.device), start, torch.zeros_like(self.qvel))

    def step(self, targets: Tensor) -> Tensor:
        """See ``backend.Physics``."""
        self._ctrl.copy_(targets)
        self._run_step()
        sound = (self.qpos.abs() < MOST).all(1) & (self.qvel.abs() < MOST).all(1)  # False for NaN too
        if not self._is_flat:
            self._place_ground(slice(None))
        return ~sound

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """See ``backend.Physics``."""
        self._to_clear.zero_()
        self._to_clear[ids] = True
        self._run_clear()
        self.qpos[ids] = qpos
        self.qvel[ids] = qvel
        self._ctrl[ids] = qpos[:, 7:]
        self.torque[ids] = 0.0
        self._run_kinematics()
        self.sensors[ids] = self._sensordata[ids, None]
        if not self._is_flat:
            self._place_ground(ids)

    def set_gravity(self, ids: Tensor, effective: Tensor, offload: Tensor) -> None:
        """See ``backend.Physics``."""
        self.effective_gravity[ids] = effective
        self._gravity[ids, 2] = -(effective + offload)
        self._pull[ids] = self.mass * offload

    def set_friction(self, ids: Tensor, friction: Tensor) -> None:
        """See ``backend.Physics``."""
        self._friction[ids, :, :2] = friction[:, None, None]

    def set_soil_strength(self, ids: Tensor, strength: Tensor) -> None:
        """See ``backend.Physics``."""
        self._solref[ids[:, None], self._soft, 0] = strength[:, None] * self._stiffness

    def terrain_height(self, xy: Tensor) -> Tensor:
        """See ``backend.Physics``."""
        return bilinear(self._heights, self.terrain.resolution, self.terrain.origin, xy[..., 0], xy[..., 1])[0]

    def _substeps(self) -> None:
        for record in self._record:
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

        def launch() -> None:
            stream = None
            if self._warp_device.is_cuda:
                stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
            wp.capture_launch(capture.graph, stream=stream)

        return launch

    def _place_ground(self, ids: Tensor | slice) -> None:
        """Lay the planes of robots ``ids`` tangent to the terrain below their feet and base."""
        xy = torch.cat([self.foot_position[ids, :, :2], self.qpos[ids, None, :2]], dim=1)
        terrain = self.terrain
        slopes = bilinear(self._heights, terrain.resolution, terrain.origin, xy[..., 0], xy[..., 1])
        height, normal = surface(*slopes)
        self.ground[ids] = height
        self._ground_pos[ids] = torch.cat([xy, height[..., None]], dim=-1)
        # shortest rotation that takes z to the normal
        nx, ny, nz = normal.unbind(-1)
        quat = torch.stack([1.0 + nz, -ny, nx, torch.zeros_like(height)], dim=-1)
        self._ground_quat[ids] = quat / quat.norm(dim=-1, keepdim=True)


def _most_contacts(model: mujoco.MjModel) -> int:
    """Contacts that one robot can have at once: what a plane makes with each shape that can meet one."""
    kinds = mujoco.mjtGeom
    counts = {kinds.mjGEOM_PLANE: 0, kinds.mjGEOM_SPHERE: 1, kinds.mjGEOM_CAPSULE: 2}
    shapes = [*model.geom_type[model.pair_geom1], *model.geom_type[model.pair_geom2]]
    return sum(counts.get(kinds(shape), 4) for shape in shapes)
