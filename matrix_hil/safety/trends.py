"""What the safety rules must know of the cycles before: how long something has lasted, and what changed at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matrix_hil.messages import MachineCommands, MachineStates, TrackerState, TreadmillState, TwinPatch, malformed
from matrix_hil.safety.limits import SafetyConfig

WATCHED = {
    "counterweight": ("tension",),
    "tracker": ("position", "quaternion"),
    "robot": ("joint_position", "joint_velocity", "angular_velocity", "projected_gravity"),
}
"""Measured values that never repeat themselves bit by bit for long on a running rig. Platform and belt may stand."""

TRAVEL_SPAN = 1.0
"""s over which the belt's position is compared with its speed."""
CELL = 0.3
"""m, edge of the cells in which the ground of two patches is compared; a robot's two feet stand on less."""
_SAMPLES = 6  # per axis of a cell
_MOST_CELLS = 20  # per axis; larger patches are compared in larger cells


@dataclass(frozen=True)
class Trends:
    """The past as the rules need it. Durations in s are 0 while all is well."""

    slack_for: float = 0.0
    """The rope has been slack, while running."""
    refused_for: float = 0.0
    """Some machine has had no fresh command, while running."""
    frozen_for: dict[str, float] = field(default_factory=dict)
    """By device: its ``WATCHED`` values have repeated themselves, while running."""
    platform_astray_for: float = 0.0
    """The platform has not been where it was commanded to be."""
    belt_astray_for: float = 0.0
    """The belt has not run as it was commanded to."""
    rope_astray_for: float = 0.0
    """The rope has not pulled as it was commanded to."""
    tilts_apart_for: float = 0.0
    """Robot and tracker have reported different tilts."""
    travel_error: float = 0.0
    """m, belt position against the sum of its speed over the last ``TRAVEL_SPAN`` at most."""
    tracker_step: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m, rad and s between the two newest samples of the tracker."""
    ground_age: float = 0.0
    """Of the newest patch of virtual ground; 0 without a twin."""
    ground_step: float = 0.0
    """m, median height by which the newest patch differs from the one before, in the cell where it differs most; NaN
    where it is no ground at all."""


class TrendWatch:
    """Keeps ``Trends`` up to date, one call per cycle. Pure: time is an argument."""

    def __init__(self, cfg: SafetyConfig) -> None:
        self.cfg = cfg
        self._since: dict[str, float] = {}
        self._last: dict[str, Any] = {}
        self._travel: tuple[TreadmillState, float, float] | None = None  # newest state, position and time of the start
        self._sum = 0.0
        self._patch: TwinPatch | None = None

    def step(
        self,
        states: MachineStates,
        sent: MachineCommands | None,
        patch: TwinPatch | None,
        now: float,
        active: bool,
        running: bool,
        refused: bool,
    ) -> Trends:
        """Take a cycle.

        Args:
            states: newest state of every machine.
            sent: commands of the cycle before; None in the first.
            patch: newest virtual ground; None without a twin.
            now: s.
            active: the machines follow commands, or should: in all states but idle.
            running: the policy drives the robot.
            refused: some command of the cycle before was too old.
        """
        cfg, rope = self.cfg, states.counterweight
        known = active and sent is not None
        return Trends(
            slack_for=self._lasting("slack", running and rope is not None and rope.tension < cfg.slack_tension, now),
            refused_for=self._lasting("refused", running and refused, now),
            frozen_for={name: self._frozen(name, getattr(states, name), running, now) for name in WATCHED},
            platform_astray_for=self._lasting("platform", known and self._platform_astray(states, sent, running), now),
            belt_astray_for=self._lasting("belt", known and self._belt_astray(states, sent), now),
            rope_astray_for=self._lasting("rope", known and self._rope_astray(states, sent, running), now),
            tilts_apart_for=self._lasting("tilts", self._tilts_apart(states), now),
            travel_error=self._travel_error(states.treadmill),
            tracker_step=self._tracker_step(states.tracker),
            ground_age=0.0 if patch is None else now - patch.time,
            ground_step=self._ground_step(patch),
        )

    def _lasting(self, what: str, true: bool, now: float) -> float:
        """s that ``what`` has been true without a break: 0 in the first cycle, and where the clock jumps back.

        From there it is counted anew: else nothing would have lasted until the clock has caught up.
        """
        if not true:
            self._since.pop(what, None)
            return 0.0
        if not self._since.get(what, math.inf) <= now:
            self._since[what] = now
        return now - self._since[what] if math.isfinite(now) else 0.0

    def _frozen(self, name: str, state: Any, running: bool, now: float) -> float:
        if state is None or not running:
            self._last.pop(name, None)
            return self._lasting(name + " frozen", False, now)
        values = np.concatenate([np.ravel(getattr(state, field)) for field in WATCHED[name]])
        same = name in self._last and np.array_equal(values, self._last[name])
        self._last[name] = values
        return self._lasting(name + " frozen", same, now)

    def _platform_astray(self, states: MachineStates, sent: Any, running: bool) -> bool:
        told, self._last["told"] = self._last.get("told"), sent.platform.pose
        if states.platform is None:
            return False
        if not running and told is not None and np.array_equal(told, sent.platform.pose):
            if not (np.abs(states.platform.velocity) <= self.cfg.platform_creeps).all():
                return True
        return not (np.abs(states.platform.pose - sent.platform.pose) <= self.cfg.platform_errors).all()

    def _belt_astray(self, states: MachineStates, sent: Any) -> bool:
        if states.treadmill is None:
            return False
        limit = self.cfg.belt_astray if sent.treadmill.speed != 0.0 else self.cfg.belt_creep
        return not abs(states.treadmill.speed - sent.treadmill.speed) <= limit

    def _rope_astray(self, states: MachineStates, sent: Any, running: bool) -> bool:
        """A braked rope has no force of its own; one that hangs slack before the run is still to be taken in."""
        rope, told = states.counterweight, sent.counterweight
        if rope is None or told.brake:
            return False
        excess = rope.tension - told.tension
        return not (-self.cfg.rope_astray if running else -math.inf) <= excess <= self.cfg.rope_astray

    def _tilts_apart(self, states: MachineStates) -> bool:
        if states.robot is None or states.tracker is None:
            return False
        by_robot = tilt_of_gravity(states.robot.projected_gravity)
        by_tracker = tilt_of_quaternion(states.tracker.quaternion)
        return not abs(by_robot - by_tracker) <= self.cfg.tilts_apart

    def _travel_error(self, belt: TreadmillState | None) -> float:
        if belt is None:
            return 0.0
        if self._travel is None or not belt.time >= self._travel[0].time:
            self._travel, self._sum = (belt, belt.position, belt.time), 0.0
        last, start, began = self._travel
        self._sum += 0.5 * (last.speed + belt.speed) * (belt.time - last.time)
        error = belt.position - start - self._sum
        if belt.time - began >= TRAVEL_SPAN:
            start, began, self._sum = belt.position, belt.time, 0.0
        self._travel = (belt, start, began)
        return error

    def _tracker_step(self, tracker: TrackerState | None) -> tuple[float, float, float]:
        last = self._last.get("pose")
        self._last["pose"] = tracker
        if tracker is None or last is None or not tracker.time > last.time:
            return 0.0, 0.0, 0.0
        moved = float(np.linalg.norm(tracker.position - last.position))
        return moved, angle_between(tracker.quaternion, last.quaternion), tracker.time - last.time

    def _ground_step(self, patch: TwinPatch | None) -> float:
        last = self._patch
        if patch is None or patch is last:
            return 0.0
        if malformed(patch):
            return math.nan
        self._patch = patch
        return 0.0 if last is None else ground_difference(last, patch)


def tilt_of_gravity(projected_gravity: np.ndarray) -> float:
    """rad between the base's z axis and the vertical; projected_gravity is (3,), base frame."""
    length = math.hypot(*projected_gravity)
    return math.acos(min(max(-projected_gravity[2] / length, -1.0), 1.0)) if length > 0.0 else math.nan


def tilt_of_quaternion(quaternion: np.ndarray) -> float:
    """rad between the base's z axis and the vertical; quaternion is (4,) w, x, y, z."""
    w, x, y, z = (float(v) for v in quaternion)
    square = w * w + x * x + y * y + z * z
    return math.acos(min(max(1.0 - 2.0 * (x * x + y * y) / square, -1.0), 1.0)) if square > 0.0 else math.nan


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """rad of the turn between two attitudes; quaternions (4,) of any length but zero."""
    lengths = math.hypot(*a) * math.hypot(*b)
    return 2.0 * math.acos(min(abs(float(a @ b)) / lengths, 1.0)) if lengths > 0.0 else math.nan


def ground_difference(old: TwinPatch, new: TwinPatch) -> float:
    """m, median of new minus old height in the cell of about ``CELL`` where it is largest; 0 without common ground.

    Two views of one ground differ along the edges of what stands on it: a median of a cell does not see that, one of a
    whole patch would not see a boulder. A cell of which either patch knows less than half is not compared.
    """
    (x, nx), (y, ny) = (_common(old, new, axis) for axis in (0, 1))
    if not nx or not ny:
        return 0.0
    difference = heights_at(new, *np.meshgrid(x, y)) - heights_at(old, *np.meshgrid(x, y))
    cells = difference.reshape(ny, _SAMPLES, nx, _SAMPLES).swapaxes(1, 2).reshape(ny * nx, -1)
    cells = cells[np.isfinite(cells).mean(axis=1) >= 0.5]
    if not cells.size:
        return 0.0
    medians = np.nanmedian(cells, axis=1)
    return float(medians[np.abs(medians).argmax()])


def _common(a: TwinPatch, b: TwinPatch, axis: int) -> tuple[np.ndarray, int]:
    """m, samples along x (0) or y (1) over all that both patches cover, and the number of cells that they make up."""
    spans = [(p.origin[axis], p.origin[axis] + (p.heights.shape[1 - axis] - 1) * p.resolution) for p in (a, b)]
    start, end = max(s[0] for s in spans), min(s[1] for s in spans)
    if end < start:
        return np.zeros(0), 0
    cells = min(max(1, round((end - start) / CELL)), _MOST_CELLS)
    return np.linspace(start, end, cells * _SAMPLES), cells


def heights_at(patch: TwinPatch, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """m, bilinear at points (any shape, m); the nearest edge's outside of the patch, NaN where it does not know."""
    rows, cols = patch.heights.shape
    col = np.clip((x - patch.origin[0]) / patch.resolution, 0.0, cols - 1.0)
    row = np.clip((y - patch.origin[1]) / patch.resolution, 0.0, rows - 1.0)
    i, j = np.minimum(row.astype(int), rows - 2), np.minimum(col.astype(int), cols - 2)
    v, u = row - i, col - j
    h = patch.heights
    return (h[i, j] * (1 - u) + h[i, j + 1] * u) * (1 - v) + (h[i + 1, j] * (1 - u) + h[i + 1, j + 1] * u) * v
