"""From a recording to figures, from two schemes' figures to the errors of one, and figures as rows of text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from matrix_hil.control.counterweight import wanted_tension
from matrix_hil.fidelity.closed_loop import Recording
from matrix_hil.fidelity.open_loop import Flight
from matrix_hil.fidelity.schemes import Scheme
from sim.spec.gravity import lunar_weight
from sim.spec.hops import HopDetector, HopTable

COMPARED = (
    "flight_accel_up", "flight_accel_down", "apex_gain", "flight_time", "touchdown_speed", "peak_force_lunar_bw",
    "hop_rate", "power_w",
)  # fmt: skip
"""Figures whose relative error against the Moon is reported."""
PHASES = 50
"""Samples of a stance and of a flight, over which torques are compared."""
_ROWS: tuple[tuple[str, str, int], ...] = (
    ("thrown up: acceleration rising, m/s²", "flight_accel_up", 3),
    ("thrown up: acceleration falling, m/s²", "flight_accel_down", 3),
    ("  theory, rising", "theory_accel_up", 3),
    ("  theory, falling", "theory_accel_down", 3),
    ("hopping: acceleration rising, m/s²", "hop_accel_up", 3),
    ("hopping: acceleration falling, m/s²", "hop_accel_down", 3),
    ("hops", "hops", 0),
    ("pronks", "pronks", 0),
    ("apex gain, m", "apex_gain", 3),
    ("  its standard error, m", "apex_gain_sem", 3),
    ("flight time, s", "flight_time", 3),
    ("touch-down speed, m/s", "touchdown_speed", 3),
    ("peak force, lunar body weights", "peak_force_lunar_bw", 1),
    ("hops per second", "hop_rate", 3),
    ("tilt at touch-down, degrees", "touchdown_tilt_deg", 1),
    ("tilt in flight, RMS, degrees", "flight_tilt_rms_deg", 1),
    ("mechanical power, W", "power_w", 1),
    ("joint torque error, RMS, N·m", "joint_torque_error_nm", 2),
    ("lateral acceleration in flight, RMS, m/s²", "lateral_accel", 3),
    ("rope force error in flight, RMS, N", "rope_force_error_n.flight_rms", 1),
    ("rope force error in stance, RMS, N", "rope_force_error_n.stance_rms", 1),
    ("slack rope, share of the time", "slack_fraction", 3),
    ("terrain error per hop, RMS, mm", "terrain_error_mm", 1),
    ("latency, p50, ms", "latency_ms.p50", 1),
)
_CHIEF = {
    "thrown up: rising, m/s²": ("flight_accel_up", 2),
    "falling, m/s²": ("flight_accel_down", 2),
    "hopping: apex gain, m": ("apex_gain", 3),
    "flight time, s": ("flight_time", 2),
    "landing speed, m/s": ("touchdown_speed", 2),
    "peak force, lunar body weights": ("peak_force_lunar_bw", 1),
}
HEADINGS = ("scheme", *_CHIEF)
"""Of ``scheme_rows``."""
_TURN = 0.05  # m/s of vertical speed around the apex that belong neither to rising nor to falling
_EDGE = 0.03  # s after lift-off and before touch-down in which a foot may still touch
_WINDOW = 0.02  # s over which accelerations are taken
_SLACK = 5.0  # N


@dataclass(frozen=True)
class Hops:
    """The hops of a recording that count: after the first seconds, in which the robot gets going."""

    table: HopTable
    """Columns (hops,); times from the recording's start."""
    spans: np.ndarray
    """(hops, 2) first and last sample of each flight."""


@dataclass(frozen=True)
class Outcome:
    """Everything of one scheme."""

    scheme: Scheme
    flight: Flight
    recording: Recording
    hops: Hops
    figures: dict[str, Any]
    """Keys: docs/fidelity.md."""


def find_hops(run: Recording, settle: float) -> Hops:
    """Hops by ``sim.spec.hops``, from the true foot forces; those that lift off before ``settle`` s are left out."""
    n = len(run.time)
    if n < 2:
        return Hops(HopDetector(np.ones(1), 0.001).table(), np.zeros((0, 2), dtype=int))
    dt = float(run.time[1] - run.time[0])
    detector = HopDetector(np.array([lunar_weight(run.mass)]), dt)
    for k in range(n):
        detector.update(
            run.foot_force[k : k + 1], run.base_height[k : k + 1], run.base_speed[k : k + 1], run.tilt[k : k + 1]
        )
    table = detector.table()
    kept = table.liftoff_time >= settle
    table = HopTable(**{name: column[kept] for name, column in vars(table).items()})
    # the detector's clock reads dt after its first sample
    first = np.round(table.liftoff_time / dt).astype(int) - 1
    last = np.round((table.liftoff_time + table.flight_time) / dt).astype(int) - 1
    return Hops(table, np.stack([first, last], axis=1))


def measure(run: Recording, hops: Hops, moon: tuple[Recording, Hops] | None) -> dict[str, Any]:
    """The figures of one closed-loop run; NaN where there is no rope or no Moon to compare. Keys: docs/fidelity.md."""
    t, flying = hops.table, _flying(hops, len(run.time))
    whole = np.zeros(len(run.time), dtype=bool)  # from the first lift-off to the last: as many stances as flights
    if len(t):
        whole[hops.spans[0, 0] : hops.spans[-1, 0]] = True
    rate = 1.0 / np.diff(t.liftoff_time).mean() if len(t) > 1 else math.nan
    up, down = _flight_acceleration(run, hops)
    power = np.maximum(run.joint_torque * run.joint_velocity, 0.0).sum(axis=1)
    miss = run.tension - wanted_tension(run.mass) if run.tension.any() else np.full(len(run.time), math.nan)
    return {
        "hops": len(t),
        "pronks": int(t.pronk.sum()),
        "apex_gain": _mean(t.apex_gain),
        "apex_gain_sem": _sem(t.apex_gain),
        "flight_time": _mean(t.flight_time),
        "flight_time_sem": _sem(t.flight_time),
        "touchdown_speed": _mean(-run.base_speed[hops.spans[:, 1]]),
        "peak_force_lunar_bw": _mean(t.peak_force),
        "hop_rate": float(rate),
        "touchdown_tilt_deg": math.degrees(_mean(t.touchdown_tilt)),
        "flight_tilt_rms_deg": math.degrees(_rms(run.tilt[flying])),
        "hop_accel_up": up,
        "hop_accel_down": down,
        "lateral_accel": _lateral_acceleration(run, hops),
        "power_w": _mean(power[whole]),
        "joint_torque_error_nm": math.nan if moon is None else _torque_error((run, hops), moon),
        "rope_force_error_n": {"flight_rms": _rms(miss[flying]), "stance_rms": _rms(miss[whole & ~flying])},
        "slack_fraction": _mean(np.where(np.isnan(miss), math.nan, run.tension < _SLACK)[whole]),
        "terrain_error_mm": 1e3 * _terrain_error(run, hops),
        "latency_ms": {f"p{q}": float(np.percentile(1e3 * run.latency, q)) for q in (50, 99)}
        if len(run.latency)
        else {"p50": math.nan, "p99": math.nan},
        "trips": run.trips,
        "reason": run.reason,
    }


def relative_errors(figures: dict[str, Any], moon: dict[str, Any]) -> dict[str, float]:
    """``NAME_rel_error`` of every compared figure: (scheme - Moon) / Moon."""
    return {
        f"{name}_rel_error": (figures[name] - moon[name]) / moon[name] if moon[name] else math.nan for name in COMPARED
    }


def scheme_rows(results: dict[str, dict[str, Any]]) -> list[list[str]]:
    """One row per scheme: its name and the chief figures with their errors against the Moon."""
    return [[name, *(_cell(figures, *column) for column in _CHIEF.values())] for name, figures in results.items()]


def figure_rows(results: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """One row per figure: name and unit, then each scheme's value with its error against the Moon, if it has one."""
    return [[title, *(_cell(figures, key, digits) for figures in results.values())] for title, key, digits in _ROWS]


def torque_profile(run: Recording, hops: Hops) -> np.ndarray:
    """(2 PHASES, 12) N*m: mean joint torques over a flight and the stance after it, each on its own phase."""
    cycles = []
    for (lift, land), (next_lift, _) in zip(hops.spans[:-1], hops.spans[1:], strict=True):
        halves = [np.linspace(a, b, PHASES, endpoint=False) for a, b in ((lift, land), (land, next_lift))]
        cycles.append(run.joint_torque[np.concatenate(halves).astype(int)])
    return np.mean(cycles, axis=0) if cycles else np.full((2 * PHASES, run.joint_torque.shape[1]), math.nan)


def _torque_error(one: tuple[Recording, Hops], other: tuple[Recording, Hops]) -> float:
    return float(np.sqrt(np.mean((torque_profile(*one) - torque_profile(*other)) ** 2)))


def _flying(hops: Hops, n: int) -> np.ndarray:
    flying = np.zeros(n, dtype=bool)
    for first, last in hops.spans:
        flying[first:last] = True
    return flying


def _inner(run: Recording, first: int, last: int) -> slice:
    """The part of a flight in which certainly nothing touches."""
    edge = round(_EDGE / float(run.time[1] - run.time[0]))
    return slice(first + edge, max(first + edge, last - edge))


def _flight_acceleration(run: Recording, hops: Hops) -> tuple[float, float]:
    """m/s^2, median over hops of the centre of mass's downward acceleration, rising and falling."""
    fits: tuple[list[float], list[float]] = ([], [])
    for first, last in hops.spans:
        part = _inner(run, first, last)
        t, v = run.time[part], run.com_velocity[part, 2]
        for out, side in zip(fits, (v > _TURN, v < -_TURN), strict=True):
            if side.sum() >= 3:
                out.append(-float(np.polyfit(t[side], v[side], 1)[0]))
    up, down = (float(np.median(f)) if f else math.nan for f in fits)
    return up, down


def _lateral_acceleration(run: Recording, hops: Hops) -> float:
    """m/s^2, RMS over flights of the centre of mass's horizontal acceleration."""
    squares = []
    for first, last in hops.spans:
        part = _inner(run, first, last)
        step = max(1, round(_WINDOW / float(run.time[1] - run.time[0])))
        v, t = run.com_velocity[part, :2], run.time[part]
        if len(t) > step:
            acceleration = (v[step:] - v[:-step]) / (t[step:] - t[:-step])[:, None]
            squares.append((acceleration**2).sum(axis=1))
    return float(np.sqrt(np.mean(np.concatenate(squares)))) if squares else math.nan


def _terrain_error(run: Recording, hops: Hops) -> float:
    """m, RMS over hops of the ground's rise from lift-off to touch-down: the rig's minus the virtual world's."""
    if not len(hops.spans):
        return math.nan
    first, last = hops.spans.T
    rise = [ground[last] - ground[first] for ground in (run.rig_ground, run.twin_ground)]
    return _rms(rise[0] - rise[1])


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _sem(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else math.nan


def _cell(figures: Mapping[str, Any], key: str, digits: int) -> str:
    value: Any = figures
    for part in key.split("."):
        value = value[part]
    if not math.isfinite(value):
        return "–"
    error = figures.get(f"{key}_rel_error", 0.0)
    return f"{value:.{digits}f}" + (f" ({error:+.1%})" if error and math.isfinite(error) else "")
