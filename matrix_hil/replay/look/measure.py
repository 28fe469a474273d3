"""What a run did, from its log alone: times from the first message, hops, the ground under the robot, key figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from matrix_hil.log import Log, Series
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_TIME, HopDetector, HopTable
from sim.terrain.height_field import HeightField

_SMOOTH = 0.025  # s over which heights are averaged before they are differentiated; a tracker's 2 mm noise needs it
_MAX_SAMPLES = 5_000_000  # for hop detection, 7 h at 200 Hz; more comes from a clock that jumped
_BASE = ("/rig/base_pose", "/tracker/pose")  # where the base is in the rig: ground truth first


@dataclass(frozen=True)
class Run:
    """A log with what is derived from it. Times are s since the log's first message."""

    log: Log
    start: float
    """s of log time at which the run's time is zero."""
    base: Series | None
    """Base pose in the rig: ground truth of a virtual rig, else the tracker's; None if there is neither."""
    hops: HopTable | None
    """None when the log lacks foot forces every 10 ms or the base's height, or spans more than some hours."""
    ground_time: np.ndarray
    """(n,) s."""
    ground: np.ndarray
    """(n,) m, height of the virtual ground under the base; empty without world poses or height maps."""

    def time(self, topic: str) -> np.ndarray:
        """(messages,) s, when the values of ``topic`` were measured or made."""
        return self.log[topic].time - self.start

    def lateness(self) -> tuple[np.ndarray, str]:
        """(cycles,) µs by which each cycle was late, and what that means; a simulated clock waits for every cycle, so
        that there the computing time beyond the period stands for it."""
        if "/sync/stamp" not in self.log:
            return np.zeros(0), ""
        stamp = self.log["/sync/stamp"]
        if stamp.lateness.any() or len(stamp) < 2:
            return 1e6 * np.maximum(stamp.lateness, 0.0), "start of a cycle after its deadline"
        period = float(np.median(np.diff(stamp.time)))
        return 1e6 * np.maximum(stamp.duration - period, 0.0), "computing time beyond the period, clock waits"

    def results(self) -> dict[str, Any]:
        """Key figures, as ``lunar replay --json`` reports them; None where the log does not say."""
        late, kind = self.lateness()
        supervisor = self.log["/supervisor/state"] if "/supervisor/state" in self.log else None
        p50, p99, p999 = np.percentile(late, [50, 99, 99.9]).tolist() if len(late) else (None, None, None)
        lost = self.log.lost
        return {
            "duration_s": self.log.duration,
            "messages": self.log.messages,
            "lost_s": lost.seconds if lost else 0.0,
            "lost_bytes": lost.bytes if lost else 0,
            "hops": None if self.hops is None else len(self.hops),
            "pronks": None if self.hops is None else int(self.hops.pronk.sum()),
            "apex_gain": None if self.hops is None or not len(self.hops) else float(np.median(self.hops.apex_gain)),
            "trips": None if supervisor is None else int(supervisor.trips.max()),
            "stale_commands": None if supervisor is None else int(supervisor.stale_commands.max()),
            "lateness_kind": kind,
            "lateness_us": {"p50": p50, "p99": p99, "p999": p999},
        }


def measure(log: Log, mass: float) -> Run:
    """Derive hops and ground.

    Args:
        log: as read.
        mass: kg of the robot; its lunar weight decides when a foot counts as loaded.
    """
    start = min(float(s.log_time[0]) for s in log.series.values()) if log.series else 0.0
    base = next((log[t] for t in _BASE if t in log), None)
    ground_time, ground = _ground(log)
    return Run(log, start, base, _hops(log, base, start, mass), ground_time - start, ground)


def held(time: np.ndarray, known_time: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The newest value of ``known`` at each ``time``; the first one before it."""
    return known[np.maximum(np.searchsorted(known_time, time, side="right") - 1, 0)]


def interpolated(time: np.ndarray, known_time: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Linear in between, constant beyond the ends; ``known`` (n, ...)."""
    flat = known.reshape(len(known), -1)
    columns = [np.interp(time, known_time, column) for column in flat.T]
    return np.stack(columns, axis=-1).reshape(len(time), *known.shape[1:])


def rotations(time: np.ndarray, known_time: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """(len(time), 4) unit quaternions (w, x, y, z) in between those of (n, 4)."""
    flips = np.cumprod(np.where(np.sum(quaternion[1:] * quaternion[:-1], axis=1) < 0.0, -1.0, 1.0))
    continuous = quaternion * np.concatenate([[1.0], flips])[:, None]
    between = interpolated(time, known_time, continuous)
    return between / np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-9)


def _hops(log: Log, base: Series | None, start: float, mass: float) -> HopTable | None:
    if base is None or "/robot/foot_contacts" not in log:
        return None
    feet = log["/robot/foot_contacts"]
    if len(feet) < 3 or np.median(np.diff(feet.log_time)) > LOAD_TIME:
        return None
    # detection wants equal steps: hold the newest sample on a grid, so that a gap counts as time
    dt = float(np.clip(np.median(np.diff(feet.log_time)), 1e-3, LOAD_TIME))
    if np.ptp(feet.log_time) > _MAX_SAMPLES * dt:
        return None
    grid = np.arange(feet.log_time[0], feet.log_time[-1] + 0.5 * dt, dt)
    force = np.nan_to_num(held(grid, feet.log_time, feet.force))
    height = np.nan_to_num(interpolated(grid, base.log_time, base.position[:, 2]))
    velocity = np.gradient(_smooth(height, max(1, round(_SMOOTH / dt))), dt)
    tilt = np.zeros(len(grid))
    if "/robot/imu" in log:
        imu = log["/robot/imu"]
        up = -held(grid, imu.log_time, imu.projected_gravity[:, 2])
        tilt = np.arccos(np.clip(np.nan_to_num(up, nan=1.0), -1.0, 1.0))
    detector = HopDetector(np.array([lunar_weight(mass)]), dt)
    for k in range(len(grid)):
        detector.update(force[k : k + 1], height[k : k + 1], velocity[k : k + 1], tilt[k : k + 1])
    table = detector.table()
    columns = {f.name: getattr(table, f.name) for f in fields(table)}
    # the detector's clock reads dt after its first sample
    columns["liftoff_time"] = columns["liftoff_time"] - dt + (grid[0] - start)
    return HopTable(**columns)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")


def _ground(log: Log) -> tuple[np.ndarray, np.ndarray]:
    if "/world/base_pose" not in log or "/twin/patch" not in log:
        return np.zeros(0), np.zeros(0)
    pose, patches = log["/world/base_pose"], log["/twin/patch"]
    heights = np.full(len(pose), np.nan)
    newest = np.searchsorted(patches.log_time, pose.log_time, side="right") - 1
    for k in range(len(patches)):
        mine = newest == k
        field = patch_field(patches, k)
        if mine.any() and field is not None:
            heights[mine] = field.height(pose.position[mine, 0], pose.position[mine, 1])
    return pose.log_time, heights


def patch_field(patches: Series, k: int) -> HeightField | None:
    """The ``k``-th height map; None if it is too small or its resolution makes no sense."""
    heights, resolution = np.asarray(patches.heights[k], dtype=float), float(patches.resolution[k])
    if heights.ndim != 2 or min(heights.shape) < 2 or not (math.isfinite(resolution) and resolution > 0.0):
        return None
    return HeightField(heights, resolution, (float(patches.origin[k, 0]), float(patches.origin[k, 1])))
