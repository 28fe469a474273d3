"""What is drawn for robots, and from where: the configs of this folder's terms. Like every config free of torch, so
that a command knows its options before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING

from sim.spec.observation import SENSORS, Sensor


@dataclass(frozen=True)
class CommandConfig:
    """Ranges that commands are drawn from, uniformly, and how often."""

    vx: tuple[float, float] = (0.0, 0.6)
    """m/s."""
    vy: tuple[float, float] = (-0.2, 0.2)
    """m/s."""
    yaw_rate: tuple[float, float] = (-0.4, 0.4)
    """rad/s."""
    apex_gain: tuple[float, float] = (0.15, 0.40)
    """m."""
    economy: tuple[float, float] = (0.0, 1.0)
    """1."""
    period: float = 8.0
    """s between new commands; 0 keeps one command for the whole trial."""

    def low(self) -> list[float]:
        """Lower bounds, shape (5,)."""
        return [r[0] for r in self._ranges()]

    def high(self) -> list[float]:
        """Upper bounds, shape (5,)."""
        return [r[1] for r in self._ranges()]

    def _ranges(self) -> tuple[tuple[float, float], ...]:
        return self.vx, self.vy, self.yaw_rate, self.apex_gain, self.economy


@dataclass(frozen=True)
class ResetConfig:
    """Where trials start."""

    air_fraction: float = 0.5
    """1. Share of trials that start in the air, so that landings are met from the first step on."""
    air_height: tuple[float, float] = (0.0, 0.3)
    """m above standing height for those."""
    air_speed: tuple[float, float] = (-0.6, 0.6)
    """m/s, vertical, for those."""
    forward_speed: tuple[float, float] = (-0.1, 0.6)
    """m/s, for those."""
    joint_noise: float = 0.1
    """rad, half width around the nominal pose."""
    tilt_noise: float = 0.08
    """rad, half width of roll and pitch."""
    trouble_fraction: float = 0.0
    """1. Share of trials that start in trouble: tilted, spinning, and half of them kneeling, just above the ground."""
    trouble_tilt: float = 0.44
    """rad, half width of roll and pitch of those."""
    trouble_spin: float = 1.5
    """rad/s, half width of each angular velocity of those."""
    fair_ground: float = 0.15
    """m. Feet start on ground that differs by no more than that, if one of ``candidates`` places has it."""
    obstacle_fraction: float = 0.0
    """1. Share of trials that start where, of the fair candidates, the ground 0.3 to 0.6 m ahead rises most."""
    candidates: int = 8
    """Places that are looked at for each start."""


@dataclass(frozen=True)
class RandomisationConfig:
    """What differs from robot to robot, drawn anew at each reset."""

    gravity: tuple[float, float] | None = None
    """m/s^2, as the trunk feels it; a range that holds ``physics.gravity``, which all robots have without one."""
    gravity_share: float = 1.0
    """1. Share of robots whose gravity is drawn; the others have ``physics.gravity``."""
    rig_share: float = 0.0
    """1. Share of robots on an ideal MATRIX rig: Earth's gravity, and a constant upward pull at the trunk that leaves
    ``gravity``. Their legs keep their Earth weight."""
    friction: tuple[float, float] | None = None
    """1. Foot against ground, instead of ``physics.friction``, which it must hold if that was changed."""
    rig_inertia: tuple[float, float] = (0.0, 0.0)
    """1. On a rig: counterweight, pulleys and rope as the trunk feels them, over the robot's mass; 5k/6 for a passive
    counterweight at rope ratio k. The pull lags behind an accelerating trunk by that mass times its acceleration."""
    rig_friction: tuple[float, float] = (0.0, 0.0)
    """1. On a rig: share of the pull that friction takes while the trunk rises and adds while it falls."""
    added_mass: tuple[float, float] = (0.0, 0.0)
    """kg on the trunk of a robot of the Go2's mass, in proportion on others; a negative one is a trunk that is lighter
    all over."""
    added_mass_place: tuple[float, float, float] = (0.15, 0.05, 0.05)
    """m. Half sizes of the box around the base frame's origin in which that mass lies."""
    com_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m. Half widths by which the bare trunk's centre of mass differs from its file."""
    stiffness: tuple[float, float] = (1.0, 1.0)
    """1. Factor of ``physics.kp``."""
    damping: tuple[float, float] = (1.0, 1.0)
    """1. Factor of ``physics.kd``."""
    strength: tuple[float, float] = (1.0, 1.0)
    """1. Factor of the motors' torque at every speed."""
    joint_friction: tuple[float, float] = (0.0, 0.0)
    """N*m. Coulomb friction of every joint of a robot of the Go2's size, besides what the robot's file has."""
    joint_friction_share: float = 1.0
    """1. Share of robots that have it: physics of those costs half as much again."""
    joint_damping: tuple[float, float] = (0.0, 0.0)
    """N*m*s/rad. Viscous friction of every joint, likewise."""
    joint_damping_share: float = 1.0
    """1. Share of robots that have it."""
    delay: tuple[float, float] = (0.0, 0.0)
    """s, at most one control step, until a target reaches the servos; rounded to physics steps."""


@dataclass(frozen=True)
class PushConfig:
    """Pushes of the trunk: horizontal, in any direction, over one control step, in flight and in stance by turns."""

    impulse: tuple[float, float] = (0.0, 0.0)
    """N*s."""
    period: tuple[float, float] = (2.0, 4.0)
    """s from a trial's start or a push until the next is due; it comes as soon as its phase has come."""


def noise_config(sensors: Sequence[Sensor]) -> type:
    """The config class of the sensors' errors: ``<sensor>`` and ``<sensor>_bias`` for those that have such errors."""
    noise = {s.name: (s, s.noise) for s in sensors if s.noise is not None}
    noise |= {f"{s.name}_bias": (s, s.bias) for s in sensors if s.bias is not None}
    rows = [(name, float, default) for name, (_, default) in noise.items()]
    cls = make_dataclass("NoiseConfig", rows, frozen=True)
    cls.__module__ = __name__
    units = "".join(f"    {name}: {s.unit.partition(',')[0]}.\n" for name, (s, _) in noise.items())
    what = (
        "Uniform errors of the sensors, half widths: noise, new in every frame, and biases, constant through a trial."
    )
    cls.__doc__ = f"{what}\n\nArgs:\n{units}"
    return cls


if TYPE_CHECKING:

    class NoiseConfig:
        """``noise_config(SENSORS)``."""

        def __init__(self, *widths: float, **named: float) -> None: ...
        def __getattr__(self, name: str) -> float: ...

else:
    NoiseConfig = noise_config(SENSORS)


@dataclass(frozen=True)
class CurriculumConfig:
    """Promotion and demotion between the ten levels of a terrain, decided when a trial ends."""

    enabled: bool = False
    """Off: every robot stays on ``terrain.level``."""
    start: int = 2
    """Highest level of the first trials; they are spread evenly over 0 to this."""
    promote_hops: float = 0.55
    """Hops per second of a trial that lasted to its end, at least, to go up ..."""
    promote_distance: float = 0.6
    """... with this share of the commanded distance covered, at least."""
    return_to: int = 0
    """Lowest level to which those who master the hardest return; where robots fall most, most return."""
    demote_distance: float = 0.3
    """Down below this share of the commanded distance, or after a fall in the first half of the trial."""
