"""Kinematics of the motion platform, a Stewart platform: legs from pose, workspace, the plate as a plane.

The top plate's frame is at home level with the rig; pose = x, y, z in m, roll, pitch, yaw in rad (turned x, then y,
then z about fixed axes). Positive pitch lowers the front. Source: J.-P. Merlet, Parallel Robots, 2nd ed. 2006, ch. 3-5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sim.spec.gravity import EARTH


@dataclass(frozen=True)
class StewartGeometry:
    """Six legs between two rings of joints in pairs; defaults reach +-0.18 m and +-22 degrees about home."""

    base_radius: float = 0.75
    """m, ring of the lower joints."""
    top_radius: float = 0.55
    """m, ring of the upper joints."""
    base_gap: float = math.radians(24.0)
    """rad between the two joints of a pair on the base."""
    top_gap: float = math.radians(24.0)
    """rad between the two joints of a pair on the top plate."""
    height: float = 0.85
    """m between the rings at home."""
    stroke: float = 0.40
    """m between a leg's shortest and longest, centred on its length at home."""

    @cached_property
    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower joints (6, 3) in the base frame (origin below the plate's home by ``height``) and upper joints (6, 3)
        in the plate's frame, m."""
        pairs = np.radians([0.0, 0.0, 120.0, 120.0, 240.0, 240.0])
        side = np.tile([-0.5, 0.5], 3)
        low = pairs + side * self.base_gap
        high = pairs + math.radians(60.0) * 2 * side - side * self.top_gap
        ring = [r * np.stack([np.cos(a), np.sin(a), np.zeros(6)], 1) for r, a in (
            (self.base_radius, low), (self.top_radius, high))]  # fmt: skip
        return ring[0], ring[1]

    @cached_property
    def home_lengths(self) -> np.ndarray:
        """(6,) m, legs at home, in the middle of their stroke."""
        return leg_lengths(self, np.zeros(6))


@dataclass(frozen=True)
class PlatformLimits:
    """What the motion platform can do: one ``platform`` in the config that machine, planner and supervisor share.

    Figures of common electric 6-DoF bases (±22°, 30°/s, 500°/s², 0.3 m/s, 0.5 g).
    """

    travel: float = 0.18
    """m, each way along x, y, z."""
    tilt: float = math.radians(22.0)
    """rad, each way about x, y, z."""
    speed: float = 0.3
    """m/s along each axis."""
    turn_rate: float = math.radians(30.0)
    """rad/s about each axis."""
    acceleration: float = 0.5 * EARTH
    """m/s^2 along each axis."""
    turn_acceleration: float = math.radians(500.0)
    """rad/s^2 about each axis."""
    geometry: StewartGeometry = field(default_factory=StewartGeometry)
    """Of the legs, whose stroke leaves out the corners of the box of ``travel`` and ``tilt``."""

    @cached_property
    def range(self) -> np.ndarray:
        """(6,) m and rad, each way."""
        return np.array([self.travel] * 3 + [self.tilt] * 3)

    @cached_property
    def rates(self) -> np.ndarray:
        """(6,) m/s and rad/s."""
        return np.array([self.speed] * 3 + [self.turn_rate] * 3)

    @cached_property
    def accelerations(self) -> np.ndarray:
        """(6,) m/s^2 and rad/s^2."""
        return np.array([self.acceleration] * 3 + [self.turn_acceleration] * 3)


def leg_lengths(geometry: StewartGeometry, pose: np.ndarray) -> np.ndarray:
    """Inverse kinematics: lengths (6,) in m of the legs for ``pose`` (6,)."""
    low, high = geometry.joints
    arms = high @ rotation(pose[3:]).T  # upper joints about the plate's origin, rig axes
    return np.linalg.norm(arms + pose[:3] + [0.0, 0.0, geometry.height] - low, axis=1)


def overreach(geometry: StewartGeometry, pose: np.ndarray) -> float:
    """m by which the leg that is worst off would have to leave its stroke; not positive for a pose within reach."""
    change = leg_lengths(geometry, pose) - geometry.home_lengths
    return float(np.abs(change).max()) - geometry.stroke / 2


def reachable(geometry: StewartGeometry, pose: np.ndarray) -> bool:
    """Whether every leg stays within its stroke."""
    return overreach(geometry, pose) <= 0.0


def shrink_to_reach(geometry: StewartGeometry, pose: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """``pose`` (6,) if it can be reached, else the farthest of the way there from ``towards`` (6,), in steps of 1/16.

    The corners of the box of an axis-by-axis limit lie outside of the workspace.
    """
    if reachable(geometry, pose):
        return pose
    low, high = 0.0, 1.0
    for _ in range(4):
        share = 0.5 * (low + high)
        if reachable(geometry, towards + share * (pose - towards)):
            low = share
        else:
            high = share
    return towards + low * (pose - towards)


def rotation(rpy: np.ndarray) -> np.ndarray:
    """(3, 3) from roll, pitch, yaw in rad about fixed x, y, z."""
    roll, pitch, yaw = (float(v) for v in rpy)
    cr, cp, cy = math.cos(roll), math.cos(pitch), math.cos(yaw)
    sr, sp, sy = math.sin(roll), math.sin(pitch), math.sin(yaw)
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip


def plate_height(pose: np.ndarray, x: float, y: float) -> float:
    """m, height of the plate's plane at rig coordinates x, y for ``pose`` (6,)."""
    roll, pitch, yaw = pose[3:]
    normal_x = math.cos(yaw) * math.sin(pitch) * math.cos(roll) + math.sin(yaw) * math.sin(roll)
    normal_y = math.sin(yaw) * math.sin(pitch) * math.cos(roll) - math.cos(yaw) * math.sin(roll)
    normal_z = math.cos(pitch) * math.cos(roll)
    return float(pose[2] - (normal_x * (x - pose[0]) + normal_y * (y - pose[1])) / normal_z)


def plane_slope(pose: np.ndarray) -> tuple[float, float]:
    """m/m, rise of the plate's plane along x and along y for ``pose`` (6,)."""
    x, y, z = (float(v) for v in rotation(pose[3:])[:, 2])
    return -x / z, -y / z
