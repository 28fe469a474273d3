"""The task: hop after hop on lunar ground, all four feet leaving and landing together, as a command asks.

From top to bottom: the config of a world (ground, robot, commands, resets, randomisation, pushes, sensor errors,
curriculum, weights and ends), the reward terms, and when a trial ends. A policy sees ``sim.spec.observation.SENSORS``
and its command, a critic ``sim.mdp.observations.CRITIC``. Draws are in ``sim.mdp``, the loop is ``sim.envs.world``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sim.errors import LunarError
from sim.mdp.commands import CommandConfig
from sim.mdp.curriculum import CurriculumConfig
from sim.mdp.events import PushConfig, RandomisationConfig, ResetConfig
from sim.mdp.observations import NoiseConfig
from sim.mdp.state import State
from sim.physics.scene import PhysicsConfig
from sim.robots.go2.facts import GO2
from sim.spec.gravity import MOON
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION, ScanGrid
from sim.tensors import constant
from sim.terrain.generators import TerrainConfig

TRUNK_LOAD = 0.3  # lunar body weights on trunk and hips from which on the trunk bears load


def default_rewards() -> dict[str, float]:
    """Weights per second of the last training stage."""
    return {
        "apex": 2.0, "velocity": 3.0, "yaw_rate": 0.5, "yaw_rate_error": -0.5, "push_off": 1.0,
        "partial_contact": -3.0, "limb_contact": -2.0, "trunk_load": -2.0, "righting": 2.0, "tilt": -3.0,
        "flight_momentum": -2.0, "impact": -0.5, "torque": -1e-4,
        "power": -0.02, "action_rate": -0.03, "angular_rate": -0.02, "pose": -0.05,
    }  # fmt: skip


@dataclass(frozen=True)
class Shaping:
    """Parameters of the reward terms."""

    apex_width: float = 0.08
    """m. Error of the apex at which the narrow half of ``apex`` has fallen to 1/e."""
    apex_range: float = 0.4
    """m. Error at which its wide half is zero."""
    velocity_width: float = 0.2
    """m/s. Error at which ``velocity`` has fallen to 1/e."""
    yaw_rate_width: float = 0.4
    """rad/s. Error at which ``yaw_rate`` has fallen to 1/e."""
    push_off_speed: float = 1.0
    """m/s. Upward speed up to which ``push_off`` grows."""
    trunk_most: float = 2.0
    """Lunar body weights up to which ``trunk_load`` grows."""
    soft_impact: float = 6.0
    """Lunar body weights that ``impact`` leaves free: what a stance of a 0.3 m hop needs anyway."""
    economy_gain: float = 2.0
    """1. An economy of 1 raises the cost of torque and impact by this times itself."""


@dataclass(frozen=True)
class FallConfig:
    """When a robot has fallen. The defaults judge policies; training may be looser, so that getting up is practised."""

    lying_time: float = 0.25
    """s for which its trunk has borne 0.3 lunar body weights or more."""
    tilt: float = math.radians(60.0)
    """rad, while something touches the ground."""
    tilt_in_flight: float = math.radians(90.0)
    """rad, at any time."""

    def fell(self, lying_time: Any, tilt: Any, touching: Any) -> Any:
        """Whether robots have fallen, of numbers or tensors of one shape.

        Args:
            lying_time: s, as ``State.lying_time``.
            tilt: rad.
            touching: bool, whether something touches the ground.
        """
        lies = lying_time >= self.lying_time - 1e-6
        return lies | ((tilt > self.tilt) & touching) | (tilt > self.tilt_in_flight)


@dataclass(frozen=True)
class WorldConfig:
    """A world full of robots."""

    num_envs: int = 512
    """Robots stepped together."""
    episode_length: float = 20.0
    """s."""
    action_scale: float = GO2.action_scale
    """rad per unit of action, around the nominal pose."""
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    other_terrains: tuple[str, ...] = ()
    """Presets besides ``terrain`` that the robots are spread over, each with its ten levels; with a curriculum only."""
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    commands: CommandConfig = field(default_factory=CommandConfig)
    resets: ResetConfig = field(default_factory=ResetConfig)
    randomisation: RandomisationConfig = field(default_factory=RandomisationConfig)
    pushes: PushConfig = field(default_factory=PushConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    ages: tuple[int, ...] = PRONK_OBSERVATION.ages
    """Control steps back of the frames in the observation group ``policy``. Those that look back over a whole hop,
    1.6 s, take 0, 1, 2, 3, 4, 5, then every fifth up to 80."""
    scan: ScanGrid | None = None
    """Where the ground is seen in the observation group ``policy``; None: the policy is blind."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    rewards: dict[str, float] = field(default_factory=default_rewards)
    """Weight per second of each reward term, by its name in sim/tasks/pronk.py."""
    shaping: Shaping = field(default_factory=Shaping)
    fall_penalty: float = 1.0
    """Taken off once when a trial ends by a fall."""
    fall: FallConfig = field(default_factory=FallConfig)
    maps: int = 1
    """Maps of each terrain, made with successive seeds, that the robots are spread over."""


# Rewards. Each term returns a rate (N,), per second; the config gives its weight. Terms from Earth walking (a penalty
# on vertical speed, a fixed base height) fight jumping and are absent on purpose.

RewardTerm = Callable[[State, Shaping], Tensor]
TERMS: dict[str, RewardTerm] = {}


def reward(term: RewardTerm) -> RewardTerm:
    """Register a term under its function's name, for use in a config's ``rewards``."""
    TERMS[term.__name__] = term
    return term


@reward
def apex(s: State, p: Shaping) -> Tensor:
    """In flight, how near the apex will be to the command. The energy height z + vz^2/2g of the centre of mass is
    conserved in flight, so that every flight step tells the whole hop's outcome."""
    gain = s.com_height - s.liftoff_com_height + s.com_vertical_velocity.square() / (2.0 * s.gravity)
    error = (gain - s.command[:, 3]).abs()
    near, far = torch.exp(-(error / p.apex_width).square()), (1.0 - error / p.apex_range).clamp(min=0.0)
    return s.in_flight * (0.5 * near + 0.5 * far)


@reward
def velocity(s: State, p: Shaping) -> Tensor:
    """In flight, horizontal velocity near the command."""
    error = (s.velocity[:, :2] - s.command[:, :2]).square().sum(1)
    return s.in_flight * torch.exp(-error / p.velocity_width**2)


@reward
def yaw_rate(s: State, p: Shaping) -> Tensor:
    """Turn rate near the command; without it a policy spins at over 1 rad/s and still scores."""
    return torch.exp(-((s.yaw_rate - s.command[:, 2]) / p.yaw_rate_width).square())


@reward
def yaw_rate_error(s: State, p: Shaping) -> Tensor:
    """Absolute turn-rate error, rad/s."""
    return (s.yaw_rate - s.command[:, 2]).abs()


@reward
def push_off(s: State, p: Shaping) -> Tensor:
    """Upward speed while all four feet push, m/s up to ``push_off_speed``: what gets hopping started."""
    return s.contact.all(1) * s.com_vertical_velocity.clamp(0.0, p.push_off_speed)


@reward
def partial_contact(s: State, p: Shaping) -> Tensor:
    """One to three feet on the ground: feet that leave or land apart."""
    feet = s.contact.sum(1)
    return ((feet > 0) & (feet < 4)).float()


@reward
def tilt(s: State, p: Shaping) -> Tensor:
    """Squared sine of the tilt."""
    return s.projected_gravity[:, :2].square().sum(1)


@reward
def flight_momentum(s: State, p: Shaping) -> Tensor:
    """Squared angular momentum in flight, (kg*m^2/s)^2: nothing can stop a turn before the ground does."""
    return s.in_flight * s.angular_momentum.square().sum(1)


@reward
def limb_contact(s: State, p: Shaping) -> Tensor:
    """Legs whose knee or shin is on the ground."""
    return s.limb_contact.sum(1).float()


@reward
def trunk_load(s: State, p: Shaping) -> Tensor:
    """Force on trunk and hips, lunar body weights up to ``trunk_most``."""
    return s.trunk_load.clamp(max=p.trunk_most)


@reward
def righting(s: State, p: Shaping) -> Tensor:
    """How fast the trunk rights itself: rate of change of the cosine of its tilt, 1/s. Over a trial it adds up to the
    difference between end and start, so that rocking earns nothing (Ng, Harada and Russell 1999)."""
    (gx, gy, _), (wx, wy, _) = s.projected_gravity.unbind(1), s.angular_velocity.unbind(1)
    return gy * wx - gx * wy


@reward
def power(s: State, p: Shaping) -> Tensor:
    """Positive mechanical power of the joints, W, times the economy commanded."""
    return (s.torque * s.joint_velocity).clamp(min=0.0).sum(1) * s.command[:, 4]


@reward
def impact(s: State, p: Shaping) -> Tensor:
    """Total foot force over ``soft_impact``, in lunar body weights; economy raises it. Under another gravity force
    counts in proportion to the speed of a landing from the same height: no robot is punished for where it is."""
    force = s.total_force / (s.weight * (s.gravity / MOON).sqrt())
    excess = (force - p.soft_impact).clamp(min=0.0)
    return excess * _economy(s, p)


@reward
def torque(s: State, p: Shaping) -> Tensor:
    """Sum of squared joint torques, (N*m)^2; economy raises it."""
    return s.torque.square().sum(1) * _economy(s, p)


@reward
def action_rate(s: State, p: Shaping) -> Tensor:
    """Squared change of the action."""
    return (s.last_action - s.action_before).square().sum(1)


@reward
def angular_rate(s: State, p: Shaping) -> Tensor:
    """Squared roll and pitch rate, (rad/s)^2."""
    return s.angular_velocity[:, :2].square().sum(1)


@reward
def pose(s: State, p: Shaping) -> Tensor:
    """Squared distance of the joints from the nominal stance, rad^2."""
    return (s.joint_position - constant(NOMINAL_POSE, s.joint_position.device)).square().sum(1)


def _economy(s: State, p: Shaping) -> Tensor:
    return 1.0 + p.economy_gain * s.command[:, 4]


def check_terms(names: Iterable[str], where: str) -> None:
    """Refuse ``names`` that are no terms.

    Raises:
        LunarError: it says ``where`` the name stands, and the nearest.
    """
    for name in names:
        if name not in TERMS:
            near = difflib.get_close_matches(name, TERMS, n=1, cutoff=0.3)
            raise LunarError(f"{where}: unknown term '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))


def total(s: State, weights: dict[str, float], p: Shaping, terms: dict[str, Tensor]) -> Tensor:
    """(N,) weighted sum of the terms, per second; ``terms`` takes them one by one, without their weights."""
    for name in weights:
        terms[name] = TERMS[name](s, p)
    if not weights:
        return torch.zeros_like(s.height)
    rates = torch.stack([term.float() for term in terms.values()], dim=1)
    return (rates * constant(list(weights.values()), s.height.device)).sum(1)


def check_reward(reward: Tensor, terms: dict[str, Tensor]) -> None:
    """Refuse a reward (N,) that is not finite; ``terms`` are those that ``total`` summed.

    Raises:
        LunarError: it names the term and the robot.
    """
    finite = torch.isfinite(reward)
    if bool(finite.all()):
        return
    robot = int((~finite).nonzero()[0])
    for name, term in terms.items():
        if not math.isfinite(value := float(term[robot])):
            raise LunarError(
                f"reward term '{name}' is {value} for robot {robot}: a term must be finite for every state"
            )
    raise LunarError(
        f"the reward of robot {robot} is not finite, though every term is: the critic or a weight is broken"
    )
