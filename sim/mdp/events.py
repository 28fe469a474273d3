"""Resets and randomisation of robots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.physics.batch import BatchPhysics
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


def reset_states(
    cfg: ResetConfig, physics: BatchPhysics, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Start states: qpos (count, 19) and qvel (count, 18), robots spread over the terrain with any heading."""
    qpos = np.zeros((count, 19))
    qvel = np.zeros((count, 18))
    if not physics.terrain.is_flat:
        x0, x1, y0, y1 = physics.terrain.extent
        qpos[:, 0] = rng.uniform(0.7 * x0 + 0.3 * x1, 0.3 * x0 + 0.7 * x1, count)
        qpos[:, 1] = rng.uniform(0.7 * y0 + 0.3 * y1, 0.3 * y0 + 0.7 * y1, count)
    yaw = rng.uniform(-np.pi, np.pi, count)
    qpos[:, 3], qpos[:, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
    qpos[:, 7:] = NOMINAL_POSE + rng.uniform(-cfg.joint_noise, cfg.joint_noise, (count, 12))
    feet = qpos[:, None, :2] + _hip_offsets(qpos)
    ground = physics.terrain.height(feet[..., 0], feet[..., 1]).max(axis=1)
    air = rng.random(count) < cfg.air_fraction
    qpos[:, 2] = ground + STANDING_HEIGHT + 0.02 + np.where(air, rng.uniform(*cfg.air_height, count), 0.0)
    tilted = rng.uniform(-cfg.tilt_noise, cfg.tilt_noise, (count, 2)) / 2
    c, s = qpos[:, 3].copy(), qpos[:, 6].copy()
    # yaw * (1, roll/2, pitch/2, 0), small angles
    qpos[:, 3:7] = np.stack([c, c * tilted[:, 0] - s * tilted[:, 1], c * tilted[:, 1] + s * tilted[:, 0], s], axis=1)
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    forward = np.where(air, rng.uniform(*cfg.forward_speed, count), 0.0)
    qvel[:, 0], qvel[:, 1] = forward * np.cos(yaw), forward * np.sin(yaw)
    qvel[:, 2] = np.where(air, rng.uniform(*cfg.air_speed, count), 0.0)
    return qpos, qvel


def randomise(cfg: RandomisationConfig, physics: BatchPhysics, ids: np.ndarray, rng: np.random.Generator) -> None:
    """Draw gravity, rig and friction for robots ``ids``."""
    effective = rng.uniform(*cfg.gravity, len(ids))
    on_rig = rng.random(len(ids)) < cfg.rig_share
    physics.set_gravity(ids, effective, np.where(on_rig, EARTH - effective, 0.0))
    physics.pair_friction[ids, :, :2] = rng.uniform(*cfg.friction, (len(ids), 1, 1))


def _hip_offsets(qpos: np.ndarray) -> np.ndarray:
    """(n, 4, 2) horizontal offsets from the base of the points below the hips, for upright robots turned about z."""
    yaw = 2.0 * np.arctan2(qpos[:, 6], qpos[:, 3])
    body = np.array([[0.1934, 0.142], [0.1934, -0.142], [-0.1934, 0.142], [-0.1934, -0.142]])
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    return np.einsum("nij,kj->nki", rotation, body)
