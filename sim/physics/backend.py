"""What a world needs from physics, in torch, whichever engine steps the robots."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sim.errors import LunarError
from sim.physics.scene import PhysicsConfig
from sim.terrain.height_field import HeightField

ROPE_CREEP = 0.05  # m/s of the trunk, over which the friction of a rig's rope changes sign
FEET_AND_BASE = 5  # points under which the ground is known: FL, FR, RL, RR, base


class SensorBlock:
    """``scene.build_scene``'s sensors at every physics step of the last control step, by name.

    The named tensors are views of ``sensors`` (N, S, 40 or 64), float32: they change when it does.
    """

    def __init__(self, sensors: Tensor) -> None:
        self.sensors = sensors
        self.foot_force = sensors[:, :, 0:4]
        self.com = sensors[:, -1, 4:7]
        self.com_velocity = sensors[:, :, 7:10]
        self.angular_momentum = sensors[:, -1, 10:13]
        self.base_height = sensors[:, :, 15]
        self.foot_position = sensors[:, -1, 16:28].unflatten(1, (4, 3))
        self.knee_position = sensors[:, -1, 28:40].unflatten(1, (4, 3))
        self.joint_torque = sensors[:, :, 40:52]
        self.joint_speed = sensors[:, :, 52:64]


class Physics(Protocol):
    """N robots on one terrain, S physics steps to a control step.

    Tensors are float32 on ``device``, in SI units and the world's frame unless said otherwise. Each shows the newest
    state and is overwritten by the next ``step`` or ``reset``: copy what must last, never write.
    """

    cfg: PhysicsConfig
    num_envs: int
    device: torch.device
    terrain: HeightField
    level: Tensor
    """(N,) whole numbers, the map of ``terrain`` that each robot is on; write it before ``reset``."""
    mass: float
    """kg."""
    qpos: Tensor
    """(N, 19): position m, quaternion w x y z, joint angles rad in project order."""
    qvel: Tensor
    """(N, 18): velocity m/s, angular velocity rad/s in the base frame, joint speeds rad/s."""
    torque: Tensor
    """(N, 12) N*m, at the last physics step."""
    foot_force: Tensor
    """(N, S, 4) N, normal force on each foot."""
    base_height: Tensor
    """(N, S) m, of the base."""
    com: Tensor
    """(N, 3) m, centre of mass at the last physics step."""
    com_velocity: Tensor
    """(N, S, 3) m/s, of the centre of mass."""
    angular_momentum: Tensor
    """(N, 3) kg*m^2/s, about the centre of mass at the last physics step."""
    foot_position: Tensor
    """(N, 4, 3) m, centres of the feet at the last physics step."""
    joint_torque: Tensor
    """(N, S, 12) N*m; (N, S, 0) without ``cfg.joint_sensors``."""
    joint_speed: Tensor
    """(N, S, 12) rad/s, of the same moments; (N, S, 0) without ``cfg.joint_sensors``."""
    ground: Tensor
    """(N, 5) m, height of the terrain under each foot and under the base."""
    effective_gravity: Tensor
    """(N,) m/s^2, at which the whole robot falls."""

    def step(self, targets: Tensor) -> Tensor:
        """One control step towards joint ``targets`` (N, 12), rad.

        Returns:
            (N,) bool, robots whose simulation diverged: their state is not to be used and they must be reset.
        """

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Put robots ``ids`` (n,) into states ``qpos`` (n, 19), ``qvel`` (n, 18); they feel no force until a step."""

    def set_gravity(self, ids: Tensor, effective: Tensor, offload: Tensor) -> None:
        """Gravity of robots ``ids``: ``effective`` (n,) m/s^2 on the whole robot, of which ``offload`` (n,) m/s^2 are
        a pull at the trunk against a stronger gravity. Call after ``reset``, which drops the pull, and after
        ``set_payload``, which changes the mass that it carries."""

    def set_rope(self, ids: Tensor, inertia: Tensor, friction: Tensor) -> None:
        """The pull on robots ``ids`` (n,) comes by a rope. Call after ``set_gravity``, which sets the pull at rest.

        Args:
            ids: robots.
            inertia: (n,) of all that moves with the rope, seen at the trunk, over the robot's mass: 5k/6 for a
                counterweight of 5/6 of the weight at rope ratio k. Times the trunk's upward acceleration, it is what
                the pull then lacks.
            friction: (n,) share of the pull lost while the trunk rises, and added while it falls.
        """

    def set_push(self, ids: Tensor, force: Tensor) -> None:
        """Push the trunks of robots ``ids``, at their centres of mass, with the horizontal ``force`` (n, 2) N from now
        on; a reset ends it."""

    def set_payload(self, ids: Tensor, load: Tensor, place: Tensor, offset: Tensor) -> None:
        """Put ``load`` (n,) kg at ``place`` (n, 3) m of the base frame onto the trunks of robots ``ids``, and displace
        the bare trunks' centres of mass by ``offset`` (n, 3) m. A negative load makes a trunk lighter all over.

        Raises:
            LunarError: a negative load leaves no trunk.
        """

    def set_motors(self, ids: Tensor, stiffness: Tensor, damping: Tensor, strength: Tensor, delay: Tensor) -> None:
        """Motors of robots ``ids``, all (n,): factors of ``cfg.kp`` and ``cfg.kd``, ``strength`` as a factor of
        the torque at every speed, and ``delay`` s, at most a control step, until a new target reaches the servo.

        The delay is rounded to whole physics steps.
        """

    def set_friction(self, ids: Tensor, friction: Tensor) -> None:
        """Sliding friction ``friction`` (n,) of robots ``ids`` against the ground; 1."""

    def set_soil_strength(self, ids: Tensor, strength: Tensor) -> None:
        """Regolith ``strength`` (n,) times as strong as ``cfg.soil`` under robots ``ids``; not for rigid ground."""

    def terrain_height(self, xy: Tensor, level: Tensor) -> Tensor:
        """(n, k) m, height of the terrain at ``xy`` (n, k, 2) m on the maps ``level`` (n,)."""


def make_physics(
    cfg: PhysicsConfig,
    num_envs: int,
    terrain: HeightField,
    device: torch.device | str,
    threads: int = 0,
) -> Physics:
    """The engine that ``cfg.backend`` names, else the one for ``device``: MuJoCo's C++ threads, as many as ``threads``
    (0: every core), or Warp on CUDA.

    Raises:
        LunarError: the engine cannot run there, or is not installed.
    """
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LunarError(f"device '{device}': torch sees no CUDA GPU; use device cpu, or install a CUDA build of torch")
    if device.type not in ("cpu", "cuda"):
        raise LunarError(f"device '{device}': physics runs on cpu and cuda only")
    backend = cfg.backend
    if backend == "auto":
        backend = "batch" if device.type == "cpu" else "warp"
    if backend == "warp":
        from sim.physics.warp import WarpPhysics

        return WarpPhysics(cfg, num_envs, terrain, device)
    if device.type != "cpu":
        raise LunarError(f"physics.backend 'batch' runs on cpu only, not on '{device}'; use backend auto or warp")
    from sim.physics.batch import BatchPhysics

    return BatchPhysics(cfg, num_envs, terrain, threads)
