"""The figures of a comparison as rows of text: the chief ones for a terminal, all of them for a page."""

from __future__ import annotations

import math
from typing import Any

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
    "touch-down, m/s": ("touchdown_speed", 2),
    "peak force, lunar body weights": ("peak_force_lunar_bw", 1),
}
HEADINGS = ("scheme", *_CHIEF)
"""Of ``scheme_rows``."""


def scheme_rows(results: dict[str, dict[str, Any]]) -> list[list[str]]:
    """One row per scheme: its name and the chief figures with their errors against the Moon."""
    return [[name, *(_cell(figures, *column) for column in _CHIEF.values())] for name, figures in results.items()]


def figure_rows(results: dict[str, dict[str, Any]]) -> list[list[str]]:
    """One row per figure: name and unit, then each scheme's value with its error against the Moon, if it has one."""
    return [[title, *(_cell(figures, key, digits) for figures in results.values())] for title, key, digits in _ROWS]


def _cell(figures: dict[str, Any], key: str, digits: int) -> str:
    value: Any = figures
    for part in key.split("."):
        value = value[part]
    if not math.isfinite(value):
        return "–"
    error = figures.get(f"{key}_rel_error", 0.0)
    return f"{value:.{digits}f}" + (f" ({error:+.1%})" if error and math.isfinite(error) else "")
