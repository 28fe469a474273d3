"""A log's hops as rows of features: what each was like, in numbers that hops of any log have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from matrix_hil.log.signals import Signals, find_hops, tilt_of
from sim.spec.gravity import lunar_weight
from sim.spec.hops import PEAK_WINDOW, HopTable

STANCE = 0.4  # s before lift-off that belong to a hop where no landing is nearer
AFTER = 0.25  # s after touch-down that belong to it
POINTS = 64  # of a hop's curves
CURVES = ("height", "tilt", "FL", "FR", "RL", "RR")
_LEGS = {"FL": "front left", "FR": "front right", "RL": "rear left", "RR": "rear right"}
FEATURES: dict[str, tuple[str, str, float]] = {
    "apex_gain": ("m", "apex gain", 0.005),
    "apex_error": ("m", "apex gain over the commanded", 0.005),
    "flight_time": ("s", "time of flight", 0.01),
    "liftoff_spread": ("s", "spread of the lift-offs", 0.01),
    "touchdown_spread": ("s", "spread of the touch-downs", 0.01),
    "pitch": ("rad", "pitch at touch-down, nose down positive", 0.02),
    "roll": ("rad", "roll at touch-down", 0.02),
    "touchdown_speed": ("m/s", "sink rate at touch-down", 0.02),
    "peak_force": ("lunar weights", "peak force", 0.2),
    **{f"share_{leg}": ("1", f"{place} foot's share of the landing", 0.02) for leg, place in list(_LEGS.items())[:3]},
    "stance": ("s", "time on the ground before", 0.01),
    "spin": ("rad/s", "fastest turn in flight", 0.1),
    "yaw": ("rad", "turn about the vertical in flight", 0.02),
    "rise": ("m", "landing place above the take-off", 0.005),
    "velocity_x_error": ("m/s", "forward velocity over the commanded", 0.02),
    "velocity_y_error": ("m/s", "sideways velocity over the commanded", 0.02),
    "offset": ("m", "distance from below the pulley", 0.02),
    "tracker_error": ("m", "error of the pose tracker", 0.001),
    "rope_rising": ("N", "rope force over the commanded, rising", 0.5),
    "rope_falling": ("N", "rope force over the commanded, falling", 0.5),
    "rope_peak": ("N", "largest error of the rope force", 1.0),
    "platform_error": ("m", "place of the platform off the commanded at touch-down", 0.001),
    "slope_error": ("rad", "slope of the platform off the commanded at touch-down", 0.002),
    "belt_error": ("m/s", "belt speed off the commanded in flight", 0.01),
    **{f"joints_{leg}": ("rad", f"{place} joints off their targets", 0.005) for leg, place in _LEGS.items()},
    **{
        f"{leg}_{joint}": ("rad", f"{place} {joint} at touch-down", 0.02)
        for leg, place in _LEGS.items()
        for joint in ("hip", "thigh", "calf")
    },
    "least_motion": ("rad", "motion of the stillest hip or knee", 0.02),
    "work": ("J/kg", "mechanical work of the joints", 0.05),
    "age": ("s", "oldest state of the robot that was used", 0.001),
    "lateness": ("s", "latest cycle", 0.0005),
    "doubt": ("of a trip", "doubt of the policy's monitor", 0.05),
    "vx": ("m/s", "commanded vx", 0.02),
    "vy": ("m/s", "commanded vy", 0.02),
    "yaw_rate": ("rad/s", "commanded yaw rate", 0.05),
    "apex_command": ("m", "commanded apex gain", 0.01),
    "economy": ("1", "commanded economy", 0.05),
}
"""Of each feature, by its name and in the order of a row: unit, words, and the least difference that means anything."""


@dataclass(frozen=True)
class Hops:
    """h hops of one log. Times are s of log time."""

    start: np.ndarray
    """(h,) the landing before, or ``STANCE`` before lift-off."""
    liftoff: np.ndarray
    """(h,)."""
    touchdown: np.ndarray
    """(h,)."""
    values: np.ndarray
    """(h, len(FEATURES)); NaN where the log does not say."""
    curves: np.ndarray
    """(h, POINTS, 6) of ``CURVES`` from ``start`` to ``end``: m above the lowest, rad, forces in lunar weights."""
    poses: np.ndarray
    """(h, 3, 15) joints in rad and gravity's direction in the base frame, at lift-off, in mid-flight and at
    touch-down; NaN where the log does not say."""

    @property
    def end(self) -> np.ndarray:
        """(h,) ``AFTER`` touch-down."""
        return self.touchdown + AFTER

    def __len__(self) -> int:
        return len(self.start)


def hops_of(signals: Signals, mass: float) -> Hops:
    """Find and describe the hops of a robot of ``mass`` kg."""
    table = find_hops(signals, mass)
    liftoff, touchdown = table.liftoff_time, table.liftoff_time + table.flight_time
    start = liftoff - STANCE
    if len(table) > 1:
        before = np.concatenate([[-np.inf], touchdown[:-1]])
        start = np.where(liftoff - before < 2.0 * STANCE, before, start)
    rows = [_row(signals, table, k, start[k], mass) for k in range(len(table))]
    values = np.array([[row.get(name, np.nan) for name in FEATURES] for row in rows]).reshape(-1, len(FEATURES))
    tilt, weight = tilt_of(signals), float(lunar_weight(mass))
    curves = [_curves(signals, tilt, a, b + AFTER, weight) for a, b in zip(start, touchdown, strict=True)]
    poses = np.full((len(table), 3, 15), np.nan)
    for part, name in ((slice(12), "joint_position"), (slice(12, 15), "gravity")):
        if name in signals.values:
            for k, moments in enumerate(zip(liftoff, 0.5 * (liftoff + touchdown), touchdown, strict=True)):
                poses[k, :, part] = signals.values[name][[signals.at(t) for t in moments]]
    return Hops(
        start, liftoff, touchdown, values, np.array(curves, dtype=np.float32).reshape(-1, POINTS, len(CURVES)), poses
    )


def _row(signals: Signals, table: HopTable, k: int, start: float, mass: float) -> dict[str, float]:
    v, dt = signals.values, signals.dt
    lift, touch = float(table.liftoff_time[k]), float(table.liftoff_time[k] + table.flight_time[k])
    first, last = signals.at(lift), signals.at(touch)
    flight = slice(first, max(last, first + 1) + 1)
    whole = slice(signals.at(start), signals.at(touch + AFTER) + 1)
    apex = first + int(np.argmax(v["base"][flight, 2]))
    row = {name: float(getattr(table, name)[k]) for name in FEATURES if hasattr(table, name)}
    row["stance"] = lift - start
    impulse = v["force"][last : signals.at(touch + PEAK_WINDOW) + 1].sum(0)
    if impulse.sum() > 0.0:
        row |= {f"share_{leg}": float(s) for leg, s in zip(_LEGS, impulse[:3] / impulse.sum(), strict=False)}
    row["offset"] = float(np.linalg.norm(v["base"][flight, :2], axis=1).max())
    if "command" in v:
        asked = v["command"][first].astype(float)
        row |= dict(zip(("vx", "vy", "yaw_rate", "apex_command", "economy"), asked.tolist(), strict=True))
        row["apex_error"] = row["apex_gain"] - float(asked[3])
        moved = v["base"][last] - v["base"][first]
        if "travel" in v:
            moved = moved + [float(v["travel"][last] - v["travel"][first]), 0.0, 0.0]
        for axis, name in enumerate("xy"):
            row[f"velocity_{name}_error"] = float(moved[axis]) / (touch - lift) - float(asked[axis])
    if "gravity" in v:
        x, y, z = v["gravity"][last].tolist()
        row["pitch"], row["roll"] = math.atan2(x, math.hypot(y, z)), math.atan2(-y, -z)
    if "rates" in v:
        row["spin"] = float(np.linalg.norm(v["rates"][flight], axis=1).max())
        row["yaw"] = float(v["rates"][flight, 2].sum() * dt)
    if "world" in v:
        row["rise"] = float(v["world"][last, 2] - v["world"][first, 2])
    if "truth" in v and "tracked" in v:
        row["tracker_error"] = float(np.linalg.norm(v["tracked"][flight] - v["truth"][flight], axis=1).mean())
    if "tension" in v and "tension_command" in v:
        error = (v["tension"] - v["tension_command"])[flight]
        row["rope_rising"] = float(error[: apex - first + 1].mean())
        row["rope_falling"] = float(error[apex - first :].mean())
        row["rope_peak"] = float(np.abs(error).max())
    if "platform" in v and "platform_command" in v:
        error = v["platform"][last] - v["platform_command"][last]
        row["platform_error"], row["slope_error"] = (float(np.linalg.norm(e)) for e in (error[:3], error[3:]))
    if "belt_speed" in v and "belt_command" in v:
        row["belt_error"] = float(np.sqrt(np.mean(np.square((v["belt_speed"] - v["belt_command"])[flight]))))
    if "joint_position" in v:
        names = [name for name in FEATURES if name.endswith(("_hip", "_thigh", "_calf"))]
        row |= dict(zip(names, v["joint_position"][last].tolist(), strict=True))
        row["least_motion"] = float(np.ptp(v["joint_position"][whole], axis=0).reshape(4, 3)[:, 1:].min())
        if "targets" in v:
            error = v["targets"][whole] - v["joint_position"][whole]
            each = np.sqrt(np.mean(np.square(error).reshape(-1, 4, 3), axis=(0, 2)))
            row |= {f"joints_{leg}": float(e) for leg, e in zip(_LEGS, each, strict=True)}
            if {"joint_velocity", "kp", "kd"} <= set(v):
                speed = v["joint_velocity"][whole]
                torque = v["kp"][whole, None] * error - v["kd"][whole, None] * speed
                row["work"] = float(np.maximum(torque * speed, 0.0).sum() * dt / mass)
    if "age" in v:
        row["age"] = float(v["age"][whole, 4].max())
    if "lateness" in v:
        row["lateness"] = float(v["lateness"][whole].max())
    if "doubt" in v:
        row["doubt"] = float(v["doubt"][whole].max())
    return row


def _curves(signals: Signals, tilt: np.ndarray, start: float, end: float, weight: float) -> np.ndarray:
    at = np.linspace(start, end, POINTS)
    inside = slice(signals.at(start), signals.at(end) + 1)
    time, height = signals.time[inside], signals.values["base"][inside, 2]
    columns = [height - height.min(), tilt[inside], *(signals.values["force"][inside] / weight).T]
    return np.stack([np.interp(at, time, column) for column in columns], axis=1)
