"""Limits of the limits: how far a configuration may move those of the supervisor. They stand in code, in no file."""

from __future__ import annotations

import math
from typing import Any

from matrix_hil.control.stewart import PlatformLimits
from matrix_hil.safety.limits import SafetyConfig
from sim.robots.facts import MOST_DAMPED, STIFFEST

HARNESS = 4.0
"""robot weights on Earth that rope, harness and legs are made to bear; ``tension_max`` must lie below."""

_BRIEF = (0.005, 0.1)  # s, what passes between two looks at a machine: within a device's own watchdog
OUTER: dict[str, tuple[float, float]] = {
    "platform_jerk": (1.0, 5000.0),
    "platform_turn_jerk": (1.0, 5000.0),
    "platform_astray": (0.001, 0.1),
    "platform_turn_astray": (0.001, 0.2),
    "platform_creep": (0.005, 0.1),
    "platform_turn_creep": (0.005, 0.2),
    "belt_astray": (0.01, 0.5),
    "belt_creep": (0.005, 0.1),
    "astray_time": (0.0, 0.3),
    "belt_speed": (0.0, 5.0),
    "belt_acceleration": (0.1, 10.0),
    "belt_jerk": (1.0, 1000.0),
    "tension_max": (0.0, 600.0),
    "tension_rate": (100.0, 50_000.0),
    "tension_min": (-100.0, 0.0),
    "slack_tension": (0.0, 50.0),
    "slack_time": (0.0, 1.0),
    "rope_astray": (5.0, 100.0),
    "rope_astray_time": (0.0, 0.05),
    "measured_margin": (1.0, 1.3),
    "far_outside": (1.0, 3.0),
    "tilt": (0.1, math.radians(75.0)),
    "height_min": (0.05, 0.3),
    "height_max": (0.3, 2.5),
    "drift": (0.05, 1.0),
    "travel_error": (0.005, 0.2),
    "frozen_time": (0.05, 0.5),
    "tracker_speed": (0.5, 10.0),
    "tracker_jump": (0.005, 0.2),
    "tracker_turn_rate": (1.0, 40.0),
    "tracker_turn_jump": (0.01, 0.5),
    "tilts_apart": (0.02, 0.6),
    "tilts_apart_time": (0.0, 0.5),
    "joint_measured_margin": (0.0, 0.5),
    "joint_speed": (10.0, 150.0),
    "turn_rate": (5.0, 60.0),
    "foot_force": (200.0, 5000.0),
    "ground_stale": (0.1, 3.0),
    "ground_jump": (0.01, 0.3),
    "joint_margin": (0.0, 0.1),
    "joint_far_outside": (0.1, math.pi),
    "joint_rate": (1.0, 200.0),
    "kp_max": (0.0, STIFFEST),
    "kd_max": (0.0, MOST_DAMPED),
    "platform_stale": _BRIEF,
    "treadmill_stale": (0.005, 0.2),  # a Modbus drive is slow, and has a slower watchdog
    "counterweight_stale": _BRIEF,
    "tracker_stale": _BRIEF,
    "robot_stale": _BRIEF,
    "command_stale": _BRIEF,
    "command_silence": (0.005, 0.2),
    "deadline": (0.005, 0.1),
    "hold_time": (0.0, 0.5),
    "damp_time": (0.0, 1.0),
}
"""(least, most) by field of ``SafetyConfig``, in its unit. Inside lies what some rig may need; outside, none does."""

PLATFORM: dict[str, tuple[float, float]] = {
    "travel": (0.01, 0.5),
    "tilt": (math.radians(1.0), math.radians(45.0)),
    "speed": (0.01, 1.0),
    "turn_rate": (math.radians(1.0), math.radians(90.0)),
    "acceleration": (0.1, 20.0),
    "turn_acceleration": (math.radians(10.0), math.radians(2000.0)),
}
"""As ``OUTER``, by field of ``PlatformLimits``: what any motion platform under a robot can do. No limit of the
supervisor's is wider than what the config says of the machine, so that a figure too large would be none."""
CYCLES = (50.0, 1000.0)
"""Hz, least and most of ``sync.rate``."""


def outside(cfg: SafetyConfig, bounded: bool = True, platform: PlatformLimits | None = None) -> str:
    """Which limit is out of bounds, in a sentence; empty when none is.

    Args:
        cfg: the limits.
        bounded: whether they must lie within ``OUTER``. Where no machine is real a comparison may switch a rule off,
            and only what is no number is out of bounds.
        platform: likewise, within ``PLATFORM``.
    """
    groups: list[tuple[str, Any, dict[str, tuple[float, float]]]] = [("safety", cfg, OUTER)]
    if platform is not None:
        groups.append(("platform", platform, PLATFORM))
    for group, limits, bounds in groups:
        for name, (least, most) in bounds.items():
            value = getattr(limits, name)
            if math.isnan(value) or (bounded and not least <= value <= most):
                return f"{group}.{name} is {value:g}; it must lie between {least:g} and {most:g}"
    return ""
