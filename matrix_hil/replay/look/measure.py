"""What a run did, from its log alone: times from the first message, hops, the ground under the robot, key figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matrix_hil.log import Log, Series
from matrix_hil.log.signals import base_of, find_hops, interpolated, signals_of
from sim.spec.hops import HopTable
from sim.terrain.height_field import HeightField


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
    signals = signals_of(log, all_of_it=False)
    hops = None if signals is None else find_hops(signals, mass)
    if hops is not None:
        hops = replace(hops, liftoff_time=hops.liftoff_time - start)
    ground_time, ground = _ground(log)
    return Run(log, start, base_of(log), hops, ground_time - start, ground)


def rotations(time: np.ndarray, known_time: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """(len(time), 4) unit quaternions (w, x, y, z) in between those of (n, 4)."""
    flips = np.cumprod(np.where(np.sum(quaternion[1:] * quaternion[:-1], axis=1) < 0.0, -1.0, 1.0))
    continuous = quaternion * np.concatenate([[1.0], flips])[:, None]
    between = interpolated(time, known_time, continuous)
    return between / np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-9)


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
