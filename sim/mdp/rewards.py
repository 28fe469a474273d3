"""Reward terms for pronking. Each returns a rate (N,), per second; the config gives its weight.

Terms from Earth walking (a penalty on vertical speed, a fixed base height) fight jumping and are absent on purpose.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sim.mdp.state import State
from sim.spec.joints import NOMINAL_POSE

RewardTerm = Callable[[State], Tensor]
TERMS: dict[str, RewardTerm] = {}
SOFT_IMPACT = 6.0  # lunar body weights: what a stance of a 0.3 m hop needs anyway
ECONOMY_GAIN = 2.0  # economy 1 triples the cost of torque and impact


def reward(term: RewardTerm) -> RewardTerm:
    """Register a term under its function's name, for use in a config's ``rewards``."""
    TERMS[term.__name__] = term
    return term


@reward
def apex(s: State) -> Tensor:
    """In flight, how near the apex will be to the command. The energy height z + vz^2/2g of the centre of mass is
    conserved in flight, so that every flight step tells the whole hop's outcome."""
    gain = s.com_height - s.liftoff_com_height + s.com_vertical_velocity.square() / (2.0 * s.gravity)
    error = (gain - s.command[:, 3]).abs()
    return s.in_flight * (0.5 * torch.exp(-(error / 0.08).square()) + 0.5 * (1.0 - error / 0.4).clamp(min=0.0))


@reward
def velocity(s: State) -> Tensor:
    """In flight, horizontal velocity near the command."""
    error = (s.velocity[:, :2] - s.command[:, :2]).square().sum(1)
    return s.in_flight * torch.exp(-error / 0.2**2)


@reward
def yaw_rate(s: State) -> Tensor:
    """Turn rate near the command; without it a policy spins at over 1 rad/s and still scores."""
    return torch.exp(-((s.yaw_rate - s.command[:, 2]) / 0.4).square())


@reward
def yaw_rate_error(s: State) -> Tensor:
    """Absolute turn-rate error, rad/s."""
    return (s.yaw_rate - s.command[:, 2]).abs()


@reward
def push_off(s: State) -> Tensor:
    """Upward speed while all four feet push, m/s up to 1: what gets hopping started."""
    return s.contact.all(1) * s.com_vertical_velocity.clamp(0.0, 1.0)


@reward
def partial_contact(s: State) -> Tensor:
    """One to three feet on the ground: feet that leave or land apart."""
    feet = s.contact.sum(1)
    return ((feet > 0) & (feet < 4)).float()


@reward
def tilt(s: State) -> Tensor:
    """Squared sine of the tilt."""
    return s.projected_gravity[:, :2].square().sum(1)


@reward
def flight_momentum(s: State) -> Tensor:
    """Squared angular momentum in flight, (kg*m^2/s)^2: nothing can stop a turn before the ground does."""
    return s.in_flight * s.angular_momentum.square().sum(1)


@reward
def impact(s: State) -> Tensor:
    """Total foot force over 6 lunar body weights, in body weights; economy raises it."""
    excess = (s.total_force / s.weight - SOFT_IMPACT).clamp(min=0.0)
    return excess * _economy(s)


@reward
def torque(s: State) -> Tensor:
    """Sum of squared joint torques, (N*m)^2; economy raises it."""
    return s.torque.square().sum(1) * _economy(s)


@reward
def action_rate(s: State) -> Tensor:
    """Squared change of the action."""
    return (s.last_action - s.action_before).square().sum(1)


@reward
def angular_rate(s: State) -> Tensor:
    """Squared roll and pitch rate, (rad/s)^2."""
    return s.angular_velocity[:, :2].square().sum(1)


@reward
def pose(s: State) -> Tensor:
    """Squared distance of the joints from the nominal stance, rad^2."""
    nominal = torch.as_tensor(NOMINAL_POSE, dtype=torch.float32, device=s.joint_position.device)
    return (s.joint_position - nominal).square().sum(1)


def _economy(s: State) -> Tensor:
    return 1.0 + ECONOMY_GAIN * s.command[:, 4]
