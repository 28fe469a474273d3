"""The motion platform: what a Stewart platform can reach, and how it brings the world's next ground under the robot.

The top plate's frame is at home level with the rig; pose = x, y, z in m, roll, pitch, yaw in rad (turned x, then y,
then z about fixed axes). Positive pitch lowers the front.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from matrix_hil.messages import TwinPatch


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


def leg_lengths(geometry: StewartGeometry, pose: np.ndarray) -> np.ndarray:
    """Inverse kinematics: lengths (6,) in m of the legs for ``pose`` (6,)."""
    low, high = geometry.joints()
    top = pose[:3] + [0.0, 0.0, geometry.height] + high @ rotation(pose[3:]).T
    return np.linalg.norm(top - low, axis=1)


def reachable(geometry: StewartGeometry, pose: np.ndarray) -> bool:
    """Whether every leg stays within its stroke."""
    change = leg_lengths(geometry, pose) - leg_lengths(geometry, np.zeros(6))
    return bool((np.abs(change) <= geometry.stroke / 2).all())


def rotation(rpy: np.ndarray) -> np.ndarray:
    """(3, 3) from roll, pitch, yaw in rad about fixed x, y, z."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """Plane fitted to the world's ground where the robot will land, in its heading frame."""

    height: float
    """m, world."""
    slope_x: float
    """m/m, rise per metre forward."""
    slope_y: float
    """m/m, rise per metre to the left."""


def ground_under(patch: TwinPatch, x: float, y: float, heading: float, reach: float = 0.3) -> Ground | None:
    """Least-squares plane through the patch within ``reach`` m of world ``(x, y)``; None where the patch knows nothing.

    Args:
        patch: heights of the virtual world; NaN where unknown.
        x: m, world.
        y: m, world.
        heading: rad, world yaw of the robot's x axis.
        reach: m, half the edge of the square that is fitted.
    """
    rows, cols = patch.heights.shape
    col = (x - patch.origin[0]) / patch.resolution
    row = (y - patch.origin[1]) / patch.resolution
    n = max(1, round(reach / patch.resolution))
    c0, c1 = max(0, round(col) - n), min(cols, round(col) + n + 1)
    r0, r1 = max(0, round(row) - n), min(rows, round(row) + n + 1)
    if c1 - c0 < 2 or r1 - r0 < 2:
        return None
    z = patch.heights[r0:r1, c0:c1].astype(float)
    dy, dx = np.meshgrid(
        (np.arange(r0, r1) - row) * patch.resolution, (np.arange(c0, c1) - col) * patch.resolution, indexing="ij"
    )
    known = np.isfinite(z)
    if known.sum() < 0.5 * z.size:
        return None
    design = np.stack([np.ones(known.sum()), dx[known], dy[known]], axis=1)
    height, along_x, along_y = np.linalg.lstsq(design, z[known], rcond=None)[0]
    c, s = math.cos(heading), math.sin(heading)
    return Ground(float(height), float(c * along_x + s * along_y), float(-s * along_x + c * along_y))


@dataclass(frozen=True)
class PlatformControl:
    """How the platform follows the ground."""

    travel: float = 0.16
    """m of heave used each way, within the machine's own."""
    tilt: float = math.radians(20.0)
    """rad of roll and pitch used each way."""
    speed: float = 0.28
    """m/s of heave."""
    turn_rate: float = math.radians(28.0)
    """rad/s of roll and pitch."""
    acceleration: float = 3.0
    """m/s^2 of heave."""
    turn_acceleration: float = math.radians(300.0)
    """rad/s^2 of roll and pitch."""
    washout: float = 0.15
    """1. Share of the heave given back per hop, so that a long slope does not use up the travel."""
    geometry: StewartGeometry = field(default_factory=StewartGeometry)


class PlatformPlanner:
    """Moves the plate in flight only: heave by the change of ground height from this stance to the next, roll and pitch
    to the slope there. What travel, washout or time do not allow is booked as terrain error at touch-down."""

    def __init__(self, cfg: PlatformControl) -> None:
        self.cfg = cfg
        self._limit = np.array([cfg.travel, cfg.tilt, cfg.tilt])
        self._rate = np.array([cfg.speed, cfg.turn_rate, cfg.turn_rate])
        self._acceleration = np.array([cfg.acceleration, cfg.turn_acceleration, cfg.turn_acceleration])
        self.reset()

    def reset(self, pose: np.ndarray | None = None) -> None:
        """Start from the measured ``pose`` (6,), home when absent; no ground known yet."""
        start = np.zeros(6) if pose is None else np.asarray(pose, dtype=float)
        self._position = start[[2, 3, 4]]
        self._velocity = np.zeros(3)
        self._fixed = start[[0, 1, 5]]
        self._stance_heave = float(start[2])
        self._stance_height: float | None = None
        self._ideal = self._position.copy()
        self._was_airborne = False
        self.height_error = 0.0
        """m, height of the real minus the virtual ground at the last touch-down, by that hop alone."""
        self.slope_error = 0.0
        """rad, angle by which roll and pitch missed there."""
        self.terrain_error = 0.0
        """m, sum over hops of the height errors' magnitudes."""

    def step(self, airborne: bool, ground: Ground | None, dt: float) -> np.ndarray:
        """The pose (6,) to command.

        Args:
            airborne: no foot is loaded.
            ground: where the robot stands, or in flight will land; None when unknown keeps the plate where it is.
            dt: s since the last call.
        """
        if airborne and not self._was_airborne:
            self._stance_heave = float(self._position[0])
            self._ideal = self._position.copy()
        if self._was_airborne and not airborne:
            self._book()
        self._was_airborne = airborne
        target = self._position
        if ground is not None:
            if airborne and self._stance_height is not None:
                target = self._target(ground)
            elif not airborne:
                self._stance_height = ground.height
        self._move(target if airborne else self._position, dt)
        return self.pose

    @property
    def pose(self) -> np.ndarray:
        """(6,) the pose commanded now."""
        heave, roll, pitch = self._position
        x, y, yaw = self._fixed
        return np.array([x, y, heave, roll, pitch, yaw])

    def _target(self, ground: Ground) -> np.ndarray:
        assert self._stance_height is not None
        rise = ground.height - self._stance_height
        attitude = (math.atan(ground.slope_y), -math.atan(ground.slope_x))
        self._ideal = np.array([self._stance_heave + rise, *attitude])
        wanted = np.array([(1.0 - self.cfg.washout) * self._stance_heave + rise, *attitude])
        wanted = np.clip(wanted, -self._limit, self._limit)
        home = self.pose
        for share in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):  # the corners of the box of limits lie outside the workspace
            tried = share * wanted
            if reachable(self.cfg.geometry, np.array([home[0], home[1], *tried, home[5]])):
                return tried
        return self._position

    def _move(self, target: np.ndarray, dt: float) -> None:
        step = self._acceleration * dt
        error = target - self._position
        # the fastest speed from which the plate still stops at the target, in steps of dt
        speed = np.sqrt(0.25 * step**2 + 2.0 * self._acceleration * np.abs(error)) - 0.5 * step
        wanted = np.sign(error) * np.minimum(np.minimum(speed, self._rate), np.abs(error) / dt)
        self._velocity = self._velocity + np.clip(wanted - self._velocity, -step, step)
        self._position = self._position + self._velocity * dt

    def _book(self) -> None:
        miss = self._position - self._ideal
        self.height_error = float(miss[0])
        self.slope_error = float(np.hypot(miss[1], miss[2]))
        self.terrain_error += abs(self.height_error)
