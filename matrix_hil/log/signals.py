"""A log's hops, and its measurements on the even grid of time on which they were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from matrix_hil.log.reader import Log, Series
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_TIME, HopDetector, HopTable

_SMOOTH = 0.025  # s over which heights are averaged before they are differentiated; a tracker's 2 mm noise needs it
_MAX_SAMPLES = 5_000_000  # for hop detection, 7 h at 200 Hz; more comes from a clock that jumped
_BASE = ("/rig/base_pose", "/tracker/pose")  # where the base is in the rig: ground truth first
_HELD = {
    "targets": ("/robot/command", "targets"),
    "kp": ("/robot/command", "kp"),
    "kd": ("/robot/command", "kd"),
    "tension_command": ("/counterweight/command", "tension"),
    "platform_command": ("/platform/command", "pose"),
    "belt_command": ("/treadmill/command", "speed"),
    "doubt": ("/policy/doubt", "doubt"),
    "age": ("/sync/stamp", "age"),
    "lateness": ("/sync/stamp", "lateness"),
}
_MEASURED = {
    "gravity": ("/robot/imu", "projected_gravity"),
    "rates": ("/robot/imu", "angular_velocity"),
    "joint_position": ("/robot/joint_states", "position"),
    "joint_velocity": ("/robot/joint_states", "velocity"),
    "tension": ("/counterweight/state", "tension"),
    "platform": ("/platform/state", "pose"),
    "belt_speed": ("/treadmill/state", "speed"),
    "travel": ("/treadmill/state", "position"),
    "world": ("/world/base_pose", "position"),
    "tracked": ("/tracker/pose", "position"),
    "truth": ("/rig/base_pose", "position"),
}
TOPICS_READ = {topic for topic, _ in (_HELD | _MEASURED).values()} | {
    "/robot/foot_contacts", "/hop_command", "/supervisor/state",
}  # fmt: skip
"""What of a log ``signals_of`` and who names trips look at."""


@dataclass(frozen=True)
class Signals:
    """Measurements of a robot and its rig, sampled every ``dt`` s."""

    time: np.ndarray
    """(n,) s of log time."""
    values: Mapping[str, np.ndarray]
    """(n, ...) by name, in SI units; what the log lacks is absent. Always there: ``force`` (n, 4) N and ``base`` (n, 3)
    m."""

    @property
    def dt(self) -> float:
        """s."""
        return float(self.time[1] - self.time[0])

    def at(self, time: float) -> int:
        """The sample at ``time`` s, or the nearest that there is."""
        return int(np.clip(round((time - self.time[0]) / self.dt), 0, len(self.time) - 1))


def held(time: np.ndarray, known_time: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The newest value of ``known`` at each ``time``; the first one before it."""
    return known[np.maximum(np.searchsorted(known_time, time, side="right") - 1, 0)]


def interpolated(time: np.ndarray, known_time: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Linear in between, constant beyond the ends; ``known`` (n, ...)."""
    flat = known.reshape(len(known), -1)
    columns = [np.interp(time, known_time, column) for column in flat.T]
    return np.stack(columns, axis=-1).reshape(len(time), *known.shape[1:])


def base_of(log: Log) -> Series | None:
    """Base pose in the rig: ground truth of a virtual rig, else the tracker's; None if there is neither."""
    return next((log[t] for t in _BASE if t in log), None)


def signals_of(log: Log, all_of_it: bool = True) -> Signals | None:
    """Put a log on the grid of its foot forces.

    Args:
        log: as read.
        all_of_it: else only what hops are found by.

    Returns:
        None when the log lacks foot forces every 10 ms or the base's height, spans more than some hours, or no time.
    """
    base = base_of(log)
    if base is None or "/robot/foot_contacts" not in log:
        return None
    feet = log["/robot/foot_contacts"]
    if len(feet) < 3 or np.median(np.diff(feet.log_time)) > LOAD_TIME:
        return None
    # detection wants equal steps: hold the newest sample on a grid, so that a gap counts as time
    dt = float(np.clip(np.median(np.diff(feet.log_time)), 1e-3, LOAD_TIME))
    if not dt <= np.ptp(feet.log_time) <= _MAX_SAMPLES * dt:
        return None
    grid = np.arange(feet.log_time[0], feet.log_time[-1] + 0.5 * dt, dt)
    values = {
        "force": np.nan_to_num(held(grid, feet.log_time, feet.force)),
        "base": np.nan_to_num(interpolated(grid, base.log_time, base.position)),
    }
    wanted = _MEASURED if all_of_it else {"gravity": _MEASURED["gravity"]}
    for name, (topic, column) in wanted.items():
        if topic in log:
            take = held if name == "gravity" else interpolated
            values[name] = take(grid, log[topic].log_time, getattr(log[topic], column)).astype(np.float32)
    for name, (topic, column) in _HELD.items() if all_of_it else ():
        if topic in log:
            values[name] = held(grid, log[topic].log_time, getattr(log[topic], column)).astype(np.float32)
    if all_of_it and "/hop_command" in log:
        sent = log["/hop_command"]
        asked = np.stack([getattr(sent, name) for name in ("vx", "vy", "yaw_rate", "apex_gain", "economy")], axis=1)
        values["command"] = held(grid, sent.log_time, asked)
    return Signals(grid, values)


def find_hops(signals: Signals, mass: float) -> HopTable:
    """The hops of a robot of ``mass`` kg; times are log times."""
    dt, force, height = signals.dt, signals.values["force"], signals.values["base"][:, 2]
    velocity, tilt = np.gradient(_smooth(height, max(1, round(_SMOOTH / dt))), dt), tilt_of(signals)
    detector = HopDetector(np.array([lunar_weight(mass)]), dt)
    for k in range(len(height)):
        detector.update(force[k : k + 1], height[k : k + 1], velocity[k : k + 1], tilt[k : k + 1])
    table = detector.table()
    columns = {f.name: getattr(table, f.name) for f in fields(table)}
    # the detector's clock reads dt after its first sample
    columns["liftoff_time"] = columns["liftoff_time"] - dt + signals.time[0]
    return HopTable(**columns)


def tilt_of(signals: Signals) -> np.ndarray:
    """(n,) rad between the base's z axis and the vertical; 0 where the log does not say."""
    if "gravity" not in signals.values:
        return np.zeros(len(signals.time))
    return np.arccos(np.clip(np.nan_to_num(-signals.values["gravity"][:, 2], nan=1.0), -1.0, 1.0))


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
