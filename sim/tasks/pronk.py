"""The task: hop after hop on lunar ground, all four feet leaving and landing together, as a command asks.

From top to bottom: the reward terms, how they add up, and what a term must be. Their weights, and all else that makes a
world, stand in ``sim.tasks.config``. A policy sees ``sim.spec.observation.SENSORS``
and its command, a critic ``sim.mdp.observations.CRITIC``. Draws are in ``sim.mdp``, the loop is ``sim.envs.world``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sim.errors import LunarError
from sim.mdp.state import State
from sim.spec.gravity import MOON
from sim.tasks.config import Shaping
from sim.tensors import constant

TRUNK_LOAD = 0.3  # lunar body weights on trunk and hips from which on the trunk bears load


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
def level(s: State, p: Shaping) -> Tensor:
    """How near to level the trunk is. Unlike ``tilt`` it asks much of a robot that is nearly level and nothing more of
    one that has toppled."""
    return torch.exp(-s.projected_gravity[:, :2].square().sum(1) / p.level_width**2)


@reward
def crouch(s: State, p: Shaping) -> Tensor:
    """How far the base is below ``crouch_height``, m of a robot of the Go2's size: a trunk that dips to the ground at
    every push-off has nothing left for a stone, or for the rule of a rig."""
    return (p.crouch_height - s.height / s.size[3]).clamp(min=0.0)


@reward
def flight_momentum(s: State, p: Shaping) -> Tensor:
    """Squared angular momentum in flight, (kg*m^2/s)^2 of a robot of the Go2's size: nothing can stop a turn
    before the ground does."""
    return s.in_flight * (s.angular_momentum / s.size[2]).square().sum(1)


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
    """Positive mechanical power of the joints, W of a robot of the Go2's size, times the economy commanded."""
    return (s.torque * s.joint_velocity).clamp(min=0.0).sum(1) / s.size[1] * s.command[:, 4]


@reward
def impact(s: State, p: Shaping) -> Tensor:
    """Total foot force over ``soft_impact``, in lunar body weights; economy raises it. Under another gravity force
    counts in proportion to the speed of a landing from the same height: no robot is punished for where it is."""
    force = s.total_force / (s.weight * (s.gravity / MOON).sqrt())
    excess = (force - p.soft_impact).clamp(min=0.0)
    return excess * _economy(s, p)


@reward
def torque(s: State, p: Shaping) -> Tensor:
    """Sum of squared joint torques, (N*m)^2 of a robot of the Go2's size; economy raises it."""
    return (s.torque / s.size[0]).square().sum(1) * _economy(s, p)


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
    return (s.joint_position - s.nominal_pose).square().sum(1)


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
