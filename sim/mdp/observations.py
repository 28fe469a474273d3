"""Observation groups: ``policy`` (proprioception only, noisy) and ``critic`` (privileged, exact)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.mdp.state import State
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import ObservationSpec

CRITIC_SIZE = 3 + 3 + 3 + 12 + 12 + 12 + 1 + 4 + 4 + 4 + 1 + 1 + 1 + 1 + 3 + 1 + 5


@dataclass(frozen=True)
class NoiseConfig:
    """Uniform sensor noise, half width."""

    angular_velocity: float = 0.1
    """rad/s."""
    projected_gravity: float = 0.02
    """1."""
    joint_position: float = 0.01
    """rad."""
    joint_velocity: float = 0.5
    """rad/s."""


def frame(s: State, spec: ObservationSpec, noise: NoiseConfig, generator: torch.Generator | None) -> Tensor:
    """(N, 42) one scaled frame of proprioception, as ``sim.spec.observation.make_frame`` makes it for one robot.

    Noise is added when a generator, of the state's device, is given.
    """
    nominal = torch.as_tensor(NOMINAL_POSE, dtype=torch.float32, device=s.joint_position.device)
    parts = (s.angular_velocity, s.gravity_direction, s.joint_position - nominal, s.joint_velocity, s.action)
    clean = torch.cat([p * c.scale for p, c in zip(parts, spec.frame, strict=True)], dim=1)
    if generator is None:
        return clean
    widths = (noise.angular_velocity, noise.projected_gravity, noise.joint_position, noise.joint_velocity, 0.0)
    half = [w * c.scale for w, c in zip(widths, spec.frame, strict=True) for _ in range(c.size)]
    uniform = torch.rand(clean.shape, generator=generator, device=clean.device)
    return clean + (2.0 * uniform - 1.0) * torch.tensor(half, device=clean.device)


def scaled_command(s: State, spec: ObservationSpec) -> Tensor:
    """(N, 5) command as the policy sees it."""
    return s.command * torch.tensor([c.scale for c in spec.command], device=s.command.device)


def critic(s: State, spec: ObservationSpec) -> Tensor:
    """(N, CRITIC_SIZE) everything that helps to judge a state, scaled to about one."""
    gain = s.com_height - s.liftoff_com_height + s.com_vertical_velocity.square() / (2.0 * s.gravity)
    columns = (
        s.velocity,
        s.angular_velocity * 0.5,
        s.gravity_direction,
        s.joint_position,
        s.joint_velocity * 0.05,
        s.action,
        s.height[:, None] * 2.0,
        s.foot_height * 2.0,
        s.contact.float(),
        s.foot_force / s.weight[:, None] * 0.2,
        s.air_time[:, None],
        s.stance_time[:, None] * 5.0,
        s.com_height[:, None] * 2.0,
        gain[:, None] * 2.0,
        s.angular_momentum,
        s.gravity[:, None],
        scaled_command(s, spec),
    )
    return torch.cat(columns, dim=1)
