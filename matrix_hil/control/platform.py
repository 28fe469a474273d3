"""The motion platform brings the world's next ground under the robot while it is in the air, and stands when it lands.

Of a hop the plate owes two things: its height under the landing place above that under the lift-off, and the slope.
What travel, speed and workspace do not allow is booked as terrain error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from matrix_hil.control.stewart import PlatformLimits, plane_slope, plate_height, reachable, shrink_to_reach
from matrix_hil.messages import TwinPatch
from sim.spec.hops import MIN_FLIGHT


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

    range_share: float = 0.9
    """1. Share of the machine's travel and tilt that is used."""
    rate_share: float = 0.93
    """1. Share of its speeds."""
    acceleration_share: float = 0.6
    """1. Share of its accelerations."""
    washout: float = 0.015
    """m of heave given back per hop at most, so that a long slope does not use up the travel; also a hop's error."""
    washout_share: float = 0.2
    """1. Share of the way back that is given back per hop, up to ``washout``."""
    room: float = 2.0
    """Hops like the last ones for which the heave is kept free: on a descent the plate waits above the middle."""
    recentre: float = 0.12
    """m by which the plate turns back when the travel has run out, in that one hop, so that the next ones fit again."""
    excess: float = 0.010
    """m beyond the travel that are cut off without turning back."""


@dataclass(frozen=True)
class HopHeights:
    """Heights of one hop, from lift-off to the next touch-down."""

    rig: float
    """m, plate under the touch-down minus plate under the lift-off."""
    ground: float
    """m, the same of the virtual ground."""
    within: bool
    """Whether the platform's travel, tilt and workspace hold the pose that makes both equal."""
    slope_error: float
    """rad, angle between the plate's and the ground's plane at touch-down."""

    @property
    def error(self) -> float:
        """m, rig minus ground."""
        return self.rig - self.ground


class PlatformPlanner:
    """Moves the plate in flight only: heave by the change of ground height from this stance to the next, roll and pitch
    to the slope there, a little of the heave given back on the way (washout)."""

    def __init__(self, cfg: PlatformControl, limits: PlatformLimits | None = None) -> None:
        self.cfg = cfg
        self.limits = limits = PlatformLimits() if limits is None else limits
        self.travel = cfg.range_share * limits.travel
        """m of heave used each way."""
        self.tilt = cfg.range_share * limits.tilt
        """rad of roll and pitch used each way."""
        self._rate = cfg.rate_share * limits.rates[[2, 3, 4]]
        self._acceleration = cfg.acceleration_share * limits.accelerations[[2, 3, 4]]
        self.reset()

    def reset(self, pose: np.ndarray | None = None) -> None:
        """Start from the measured ``pose`` (6,), home when absent; no ground known yet."""
        start = np.zeros(6) if pose is None else np.asarray(pose, dtype=float)
        self._position = start[[2, 3, 4]]
        self._velocity = np.zeros(3)
        self._fixed = start[[0, 1, 5]]
        self._target = self._position.copy()
        self._stance: tuple[float, float] | None = None  # plate and ground under the robot before lift-off
        self._trend = 0.0  # m that the ground rises per hop, smoothed
        self._turned_back = False
        self._was_airborne = False
        self._flight = 0.0  # s since the lift-off
        self.last: HopHeights | None = None
        """Heights of the newest hop over known ground."""
        self.hops = 0
        """Hops over known ground."""
        self.terrain_error = 0.0
        """m, sum over hops of the height errors' magnitudes."""

    @property
    def pose(self) -> np.ndarray:
        """(6,) the pose commanded now."""
        return self._pose(self._position)

    @property
    def target(self) -> np.ndarray:
        """(6,) the pose at which the plate will be when the robot lands."""
        return self._pose(self._target)

    def step(
        self,
        airborne: bool,
        place: tuple[float, float],
        ground: Ground | None,
        dt: float,
        measured: np.ndarray | None = None,
        bearable: tuple[float, float] = (-math.inf, math.inf),
    ) -> np.ndarray:
        """The pose (6,) to command.

        Args:
            airborne: no foot is loaded.
            place: m, rig frame: where the robot is; in flight where it will land.
            ground: under that place; None when unknown, and in flight also when it is too late for a new target.
            dt: s since the last call.
            measured: (6,) pose of the plate, for the book; the commanded one when absent.
            bearable: m/m, least and most rise to the left at which the robot can be held on the belt, which takes
                nothing back sideways. What the ground has beyond is an error of the slope.
        """
        plate = self.pose if measured is None else measured
        under = plate_height(plate, *place)
        landed = self._was_airborne and not airborne
        if landed and self._flight >= MIN_FLIGHT and ground is not None and self._stance is not None:
            self._book(ground, place, under, plate)
        self._flight = self._flight + dt if airborne else 0.0
        if airborne and not self._was_airborne:
            self._turned_back = False
            self._target = self._position.copy()
        self._was_airborne = airborne
        if not airborne:
            self._target = self._position.copy()
            self._stance = (under, ground.height) if ground is not None else None
        elif ground is not None and self._stance is not None:
            self._target = self._aim(ground, place, bearable)
        self._move(self._target, dt)
        return self.pose

    def ideal(self, ground: Ground, place: tuple[float, float]) -> np.ndarray:
        """(3,) heave, roll and pitch that owe nothing to ``ground`` at ``place``, whatever the machine can do."""
        assert self._stance is not None
        pitch = -math.atan(ground.slope_x)
        roll = math.atan(ground.slope_y * math.cos(pitch))
        wanted = self._stance[0] + ground.height - self._stance[1]
        return np.array([wanted - plate_height(np.array([0.0, 0.0, 0.0, roll, pitch, 0.0]), *place), roll, pitch])

    def within(self, wanted: np.ndarray) -> bool:
        """Whether heave, roll and pitch (3,) lie within travel, tilt and workspace."""
        inside = abs(wanted[0]) <= self.travel + 1e-9 and np.abs(wanted[1:]).max() <= self.tilt + 1e-9
        return bool(inside and reachable(self.limits.geometry, self._pose(wanted)))

    def _aim(self, ground: Ground, place: tuple[float, float], bearable: tuple[float, float]) -> np.ndarray:
        c = self.cfg
        held = replace(ground, slope_y=min(max(ground.slope_y, bearable[0]), bearable[1]))
        heave, roll, pitch = self.ideal(held, place)
        back = min(max(-c.room * self._trend, -self.travel), self.travel)
        # with hysteresis: early in a flight the landing place is still known to some centimetres only
        self._turned_back = abs(heave) > (self.travel if self._turned_back else self.travel + c.excess)
        if self._turned_back:
            edge = math.copysign(self.travel, heave)
            heave = edge - math.copysign(c.recentre, edge)
        else:
            heave += min(max(c.washout_share * (back - heave), -c.washout), c.washout)
            heave = min(max(heave, -self.travel), self.travel)
        tilts = np.clip([roll, pitch], -self.tilt, self.tilt)
        wanted = self._pose(np.array([heave, *tilts]))
        return shrink_to_reach(self.limits.geometry, wanted, self._pose(np.zeros(3)))[[2, 3, 4]]

    def _move(self, target: np.ndarray, dt: float) -> None:
        step = self._acceleration * dt
        error = target - self._position
        # the fastest speed from which the plate still stops at the target, in steps of dt
        speed = np.sqrt(0.25 * step**2 + 2.0 * self._acceleration * np.abs(error)) - 0.5 * step
        wanted = np.sign(error) * np.minimum(np.minimum(speed, self._rate), np.abs(error) / dt)
        self._velocity = self._velocity + np.clip(wanted - self._velocity, -step, step)
        self._position = self._position + self._velocity * dt

    def _book(self, ground: Ground, place: tuple[float, float], under: float, pose: np.ndarray) -> None:
        assert self._stance is not None
        wanted = self.ideal(ground, place)
        rise = ground.height - self._stance[1]
        along, across = plane_slope(pose)
        slope_error = math.atan(math.hypot(along - ground.slope_x, across - ground.slope_y))
        self.last = HopHeights(under - self._stance[0], rise, self.within(wanted), slope_error)
        self.hops += 1
        self.terrain_error += abs(self.last.error)
        self._trend += 0.4 * (rise - self._trend)

    def _pose(self, moving: np.ndarray) -> np.ndarray:
        heave, roll, pitch = moving
        x, y, yaw = self._fixed
        return np.array([x, y, heave, roll, pitch, yaw])
