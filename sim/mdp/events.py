"""Resets and randomisation of robots."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sim.physics.backend import Physics
from sim.spec.gravity import EARTH
from sim.spec.joints import NOMINAL_POSE

STANDING_HEIGHT = 0.287  # m, base above the ground in the nominal pose: 2 * 0.213 * cos(0.9) + 0.022


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


@dataclass(frozen=True)
class RandomisationConfig:
    """What differs from robot to robot, drawn anew at each reset."""

    gravity: tuple[float, float] = (1.62, 1.62)
    """m/s^2, as the trunk feels it."""
    rig_share: float = 0.0
    """1. Share of robots on an ideal MATRIX rig: Earth's gravity, and a constant upward pull at the trunk that leaves
    ``gravity``. Their legs keep their Earth weight."""
    friction: tuple[float, float] = (0.8, 0.8)
    """1. Foot against ground."""


def reset_states(cfg: ResetConfig, physics: Physics, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Start states: qpos (count, 19) and qvel (count, 18), robots spread over the terrain with any heading."""
    device = generator.device
    qpos = torch.zeros(count, 19, device=device)
    qvel = torch.zeros(count, 18, device=device)
    if not physics.terrain.is_flat:
        x0, x1, y0, y1 = physics.terrain.extent
        qpos[:, 0] = _uniform((0.7 * x0 + 0.3 * x1, 0.3 * x0 + 0.7 * x1), (count,), generator)
        qpos[:, 1] = _uniform((0.7 * y0 + 0.3 * y1, 0.3 * y0 + 0.7 * y1), (count,), generator)
    yaw = _uniform((-math.pi, math.pi), (count,), generator)
    nominal = torch.as_tensor(NOMINAL_POSE, dtype=torch.float32, device=device)
    qpos[:, 7:] = nominal + _uniform((-cfg.joint_noise, cfg.joint_noise), (count, 12), generator)
    ground = physics.terrain_height(qpos[:, None, :2] + _hip_offsets(yaw)).amax(1)
    air = _uniform((0.0, 1.0), (count,), generator) < cfg.air_fraction
    qpos[:, 2] = ground + STANDING_HEIGHT + 0.02 + air * _uniform(cfg.air_height, (count,), generator)
    roll, pitch = (0.5 * _uniform((-cfg.tilt_noise, cfg.tilt_noise), (2, count), generator)).unbind(0)
    c, s = torch.cos(yaw / 2), torch.sin(yaw / 2)
    # yaw * (1, roll/2, pitch/2, 0), small angles
    quaternion = torch.stack([c, c * roll - s * pitch, c * pitch + s * roll, s], dim=1)
    qpos[:, 3:7] = quaternion / quaternion.norm(dim=1, keepdim=True)
    forward = air * _uniform(cfg.forward_speed, (count,), generator)
    qvel[:, 0], qvel[:, 1] = forward * torch.cos(yaw), forward * torch.sin(yaw)
    qvel[:, 2] = air * _uniform(cfg.air_speed, (count,), generator)
    return qpos, qvel


def randomise(cfg: RandomisationConfig, physics: Physics, ids: Tensor, generator: torch.Generator) -> None:
    """Draw gravity, rig, friction and soil for robots ``ids``."""
    count = (len(ids),)
    effective = _uniform(cfg.gravity, count, generator)
    on_rig = _uniform((0.0, 1.0), count, generator) < cfg.rig_share
    physics.set_gravity(ids, effective, on_rig * (EARTH - effective))
    physics.set_friction(ids, _uniform(cfg.friction, count, generator))
    soil = physics.cfg.soil
    if soil.kind == "regolith":
        physics.set_soil_strength(ids, soil.spread ** _uniform((-1.0, 1.0), count, generator))


def _uniform(limits: tuple[float, float], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _hip_offsets(yaw: Tensor) -> Tensor:
    """(n, 4, 2) horizontal offsets from the base of the points below the hips, for upright robots turned by ``yaw``."""
    body = torch.tensor([[0.1934, 0.142], [0.1934, -0.142], [-0.1934, 0.142], [-0.1934, -0.142]], device=yaw.device)
    c, s = torch.cos(yaw)[:, None], torch.sin(yaw)[:, None]
    x, y = body.unbind(1)
    return torch.stack([c * x - s * y, s * x + c * y], dim=2)
