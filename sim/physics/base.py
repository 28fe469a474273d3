"""What a world needs from physics, in torch, whichever engine steps the robots."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sim.physics.actuator import DAMPING, RESISTANCE, STIFFNESS
from sim.physics.payload import bare_trunk, loaded_trunk
from sim.physics.scene import PhysicsConfig, build_scene, gains
from sim.physics.soil import RIGID, soft_pairs
from sim.robots.load import load_robot
from sim.spec.joints import JOINT_NAMES
from sim.terrain.height_field import HeightField

ROPE_CREEP = 0.05  # m/s of the trunk, over which the friction of a rig's rope changes sign
FEET_AND_BASE = 5  # points under which the ground is known: FL, FR, RL, RR, base


class Physics(ABC):
    """N robots on one terrain, S physics steps to a control step.

    Public tensors are float32 on ``device``, in SI units and the world's frame unless said otherwise. Each shows the
    newest state and is overwritten by the next ``step`` or ``reset``: copy what must last, never write.

    Args:
        cfg: robot and contact.
        num_envs: N.
        terrain: ground under all robots, or a stack of grounds among which ``level`` chooses.
        device: where the tensors live.
    """

    qpos: Tensor
    """(N, 19): position m, quaternion w x y z, joint angles rad in project order."""
    qvel: Tensor
    """(N, 18): velocity m/s, angular velocity rad/s in the base frame, joint speeds rad/s."""
    torque: Tensor
    """(N, 12) N*m, at the last physics step."""
    # the engine's memory, in its own precision
    _engine_qvel: Tensor
    _trunk_force: Tensor
    """(N, 3) N, external, at the trunk's centre of mass."""

    def __init__(self, cfg: PhysicsConfig, num_envs: int, terrain: HeightField, device: torch.device | str) -> None:
        self.cfg = cfg
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.robot = load_robot(cfg.robot)
        self.kp, self.kd = gains(cfg, self.robot)
        """N*m/rad and N*m*s/rad, of the servos."""
        self.terrain = terrain
        self.level = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        """(N,) whole numbers, the map of ``terrain`` that each robot is on; write it before ``reset``."""
        self.moving: Tensor | None = None
        """(N,) bool, robots that matter from now on: an engine may leave the others where they are. None: all."""
        self.model = build_scene(cfg)
        self.mass = float(self.model.body_mass.sum())
        """kg."""
        self.ground = torch.zeros(num_envs, FEET_AND_BASE, device=self.device)
        """(N, 5) m, height of the terrain under each foot and under the base."""
        self.effective_gravity = torch.full((num_envs,), cfg.gravity, device=self.device)
        """(N,) m/s^2, at which the whole robot falls."""
        self._trunk = int(self.model.jnt_bodyid[0])
        self._soft = torch.as_tensor(soft_pairs(self.model), device=self.device)
        self._delay = torch.zeros(num_envs, dtype=torch.long, device=self.device)  # physics steps
        self._is_late = False  # whether a robot's targets are delayed
        self._has_rope = False
        self._is_flat = self.terrain.is_flat

    def _bind_sensors(self, sensors: Tensor) -> None:
        """Name the parts of ``sensors`` (N, S, 45 or 69), float32: ``scene.build_scene``'s at every physics step of the
        last control step. The names are views: they change when it does."""
        self.sensors = sensors
        self.foot_force = sensors[:, :, 0:4]
        """(N, S, 4) N, normal force on each foot."""
        self.com = sensors[:, -1, 4:7]
        """(N, 3) m, centre of mass at the last physics step."""
        self.com_velocity = sensors[:, :, 7:10]
        """(N, S, 3) m/s, of the centre of mass."""
        self.angular_momentum = sensors[:, -1, 10:13]
        """(N, 3) kg*m^2/s, about the centre of mass at the last physics step."""
        self.base_height = sensors[:, :, 15]
        """(N, S) m, of the base."""
        self.foot_position = sensors[:, -1, 16:28].unflatten(1, (4, 3))
        """(N, 4, 3) m, centres of the feet at the last physics step."""
        self.knee_position = sensors[:, -1, 28:40].unflatten(1, (4, 3))
        """(N, 4, 3) m, of the knees."""
        self.calf_force = sensors[:, :, 40:44]
        """(N, S, 4) N, on all of each calf, its foot too."""
        self.trunk_force = sensors[:, :, 44]
        """(N, S) N, normal force on trunk and hips."""
        self.joint_torque = sensors[:, :, 45:57]
        """(N, S, 12) N*m; (N, S, 0) without ``cfg.joint_sensors``."""
        self.joint_speed = sensors[:, :, 57:69]
        """(N, S, 12) rad/s, of the same moments; (N, S, 0) without ``cfg.joint_sensors``."""

    @property
    def limb_force(self) -> Tensor:
        """(N, S, 4) N, normal force on knee and shin of each leg."""
        return (self.calf_force - self.foot_force).clamp(min=0.0)

    def _bind_engine(self, qvel: Tensor, external_force: Tensor) -> None:
        """Take hold of the engine's memory, in its precision: ``qvel`` (N, 18), ``external_force`` (N, bodies, 6)."""
        self._engine_qvel = qvel
        self._trunk_force = external_force[:, self._trunk, :3]
        self._robot_mass = torch.full_like(qvel[:, 0], self.mass)
        self._pull_at_rest, self._rope_mass, self._rope_friction = torch.zeros_like(qvel[:, :3].T.contiguous())

    @abstractmethod
    def step(self, targets: Tensor) -> Tensor:
        """One control step towards joint ``targets`` (N, 12), rad.

        Returns:
            (N,) bool, robots whose simulation diverged: their state is not to be used and they must be reset.
        """

    @abstractmethod
    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Put robots ``ids`` (n,) into states ``qpos`` (n, 19), ``qvel`` (n, 18); they feel no force until a step."""

    @abstractmethod
    def terrain_height(self, xy: Tensor, level: Tensor) -> Tensor:
        """(n, k) m, height of the terrain at ``xy`` (n, k, 2) m on the maps ``level`` (n,)."""

    @abstractmethod
    def _own(self, field: str) -> Tensor:
        """(N, ...) the robots' own values of a field of the model, in the engine's memory."""

    @abstractmethod
    def _mass_changed(self, ids: Tensor) -> None:
        """Bring what follows from masses, and the sensors, of robots ``ids`` up to date."""

    def set_gravity(self, ids: Tensor, effective: Tensor, offload: Tensor) -> None:
        """Gravity of robots ``ids``: ``effective`` (n,) m/s^2 on the whole robot, of which ``offload`` (n,) m/s^2 are
        a pull at the trunk against a stronger gravity. Call after ``reset``, which drops the pull, and after
        ``set_payload``, which changes the mass that it carries."""
        self.effective_gravity[ids] = effective
        gravity = self._own("opt.gravity")
        gravity[ids, 2] = -(effective + offload).to(gravity)
        pull = self._robot_mass[ids] * offload
        self._trunk_force[ids, 2] = self._pull_at_rest[ids] = pull.to(gravity)

    def set_rope(self, ids: Tensor, inertia: Tensor, friction: Tensor) -> None:
        """The pull on robots ``ids`` (n,) comes by a rope. Call after ``set_gravity``, which sets the pull at rest.

        Args:
            ids: robots.
            inertia: (n,) of all that moves with the rope, seen at the trunk, over the robot's mass: 5k/6 for a
                counterweight of 5/6 of the weight at rope ratio k. Times the trunk's upward acceleration, it is what
                the pull then lacks.
            friction: (n,) share of the pull lost while the trunk rises, and added while it falls.
        """
        self._has_rope = True
        self._rope_mass[ids] = self._robot_mass[ids] * inertia
        self._rope_friction[ids] = friction.to(self._rope_friction)
        self.effective_gravity[ids] /= 1.0 + inertia

    def _apply_rope(self) -> None:
        """The ropes' pull, for the speed of the trunks. Inertia is added to the trunk's vertical motion alone."""
        dof = int(self.model.jnt_dofadr[0]) + 2
        share = 1.0 - self._rope_friction * torch.tanh(self._engine_qvel[:, 2] / ROPE_CREEP)
        self._trunk_force[:, 2] = self._pull_at_rest * share
        self._own("dof_armature")[:, dof] = float(self.model.dof_armature[dof]) + self._rope_mass * share

    def set_push(self, ids: Tensor, force: Tensor) -> None:
        """Push the trunks of robots ``ids``, at their centres of mass, with the horizontal ``force`` (n, 2) N from now
        on; a reset ends it."""
        self._trunk_force[ids, :2] = force.to(self._trunk_force)

    def set_payload(self, ids: Tensor, load: Tensor, place: Tensor, offset: Tensor) -> None:
        """Put ``load`` (n,) kg at ``place`` (n, 3) m of the base frame onto the trunks of robots ``ids``, and displace
        the bare trunks' centres of mass by ``offset`` (n, 3) m. A negative load makes a trunk lighter all over.

        Raises:
            LunarError: a negative load leaves no trunk.
        """
        trunk = bare_trunk(self.model, self._trunk)
        drawn = torch.cat([load[:, None], place, offset], dim=1).double().cpu().numpy()
        values = loaded_trunk(trunk, drawn[:, 0], drawn[:, 1:4], drawn[:, 4:])
        for name, value in zip(("body_mass", "body_ipos", "body_inertia", "body_iquat"), values, strict=True):
            own = self._own(name)
            own[ids, self._trunk] = torch.as_tensor(value).to(own)
        self._robot_mass[ids] = (self.mass + load).to(self._robot_mass)
        self._mass_changed(ids)

    def set_motors(self, ids: Tensor, stiffness: Tensor, damping: Tensor, strength: Tensor, delay: Tensor) -> None:
        """Motors of robots ``ids``, all (n,): factors of ``cfg.kp`` and ``cfg.kd``, ``strength`` as a factor of
        the torque at every speed, and ``delay`` s, at most a control step, until a new target reaches the servo.

        The delay is rounded to whole physics steps.
        """
        s = strength[:, None]
        gains, limits = self._own("actuator_gainprm"), self._own("actuator_forcerange")
        gains[ids, :, RESISTANCE] = torch.as_tensor(self.model.actuator_gainprm[:, RESISTANCE]).to(gains) / s
        gains[ids, :, STIFFNESS] = (self.kp * stiffness[:, None] * s).to(gains)
        gains[ids, :, DAMPING] = (self.kd * damping[:, None] * s).to(gains)
        limits[ids] = torch.as_tensor(self.model.actuator_forcerange).to(limits) * s[..., None]
        self._delay[ids] = (delay / self.cfg.timestep).round().long()
        self._is_late = bool(self._delay.any())

    def set_joints(self, ids: Tensor, friction: Tensor, damping: Tensor) -> None:
        """Joints of robots ``ids`` rub: Coulomb ``friction`` (n,) N*m and viscous ``damping`` (n,) N*m*s/rad of every
        joint, besides what the robot's file has."""
        for name, value in (("dof_frictionloss", friction), ("dof_damping", damping)):
            own = self._own(name)
            files = torch.as_tensor(getattr(self.model, name)).to(own)
            own[ids, -len(JOINT_NAMES) :] = files[-len(JOINT_NAMES) :] + value[:, None].to(own)

    def set_friction(self, ids: Tensor, friction: Tensor) -> None:
        """Sliding friction ``friction`` (n,) of robots ``ids`` against the ground; 1."""
        own = self._own("pair_friction")
        own[ids, :, :2] = friction[:, None, None].to(own)

    def set_soil(self, ids: Tensor, strength: Tensor) -> None:
        """Regolith ``strength`` (n,) times as strong as ``cfg.soil``, which must be soft, under robots ``ids``; rigid
        ground where it is 0."""
        strength = strength[:, None, None]
        for name, rigid in zip(("pair_solref", "pair_solimp"), RIGID, strict=True):
            own = self._own(name)
            soft = torch.as_tensor(getattr(self.model, name)).to(own)[self._soft].expand(len(ids), -1, -1).clone()
            if name == "pair_solref":
                soft[..., :1] *= strength.to(own)
            own[ids[:, None], self._soft] = torch.where(strength > 0.0, soft, own.new_tensor(rigid))
