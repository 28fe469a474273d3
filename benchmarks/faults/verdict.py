"""Whether a trial ended in the safe state, and in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.faults.trial import Recording
from matrix_hil.link.protocol import HOST_SILENCE
from matrix_hil.safety.limits import SafetyConfig
from sim.spec.gravity import EARTH


@dataclass(frozen=True)
class Reaction:
    """s from the trip, or from the machine's own watchdog, until it is safe; the times of docs/safety.md."""

    platform: float = 0.25
    """It stands."""
    belt: float = 0.05
    """It stands, besides ``belt_ramp``."""
    belt_ramp: float = 2.0
    """m/s^2. From speed v the belt takes v / belt_ramp longer."""
    rope: float = 0.015
    """The brake has closed."""
    robot: float = 0.12
    """It damps."""
    watchdog: float = HOST_SILENCE + 0.01
    """Until a device that hears nothing has noticed."""
    given_up: float = SafetyConfig().astray_time + 0.1
    """Until a machine that does not come to rest is no longer spoken to; ``watchdog`` follows."""


REACTION = Reaction()
SNAP = 3.0
"""robot weights on Earth. No stop may pull harder at the harness."""
OVER_APEX = 0.5
"""m above the highest place of its normal hops that a machine may bring the robot's base."""
AWAY = 1.5
"""m/s at which the base may move on upwards from there, or outwards over the ground."""
_STILL = (2e-3, 1e-3)  # m/s or rad/s of the platform, m/s of the belt
_PAID_OUT = 2e-3  # m that the rope may lengthen after the brake has closed: what its last millisecond gives


@dataclass(frozen=True)
class Outcome:
    """How a trial ended; times in s after the fault, NaN for never."""

    name: str
    reason: str
    """Latched by the supervisor, or the devices' own."""
    detected: float
    """The supervisor tripped."""
    detection_limit: float
    safe: float
    """The last machine was safe."""
    safe_limit: float
    snap: float
    """robot weights, the hardest pull at the harness afterwards."""
    problems: tuple[str, ...]
    """What was not as it must be; empty when the rig ended safe in time."""
    over: float = float("nan")
    """m over its normal apex that the robot's base came to; of machines that disobey."""
    away: float = float("nan")
    """m/s at which the base moved on upwards from there, or outwards."""


def last_time(recording: Recording, bad: np.ndarray) -> float:
    """s, the first time from which nothing is ``bad`` until the end; NaN when the last row still is."""
    if not bad.any():
        return recording.time[0]
    last = int(np.flatnonzero(bad)[-1])
    return recording.time[last + 1] if last + 1 < len(bad) else float("nan")


def machines_safe(recording: Recording, since: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """When each machine was safe for good, and by when it had to be, s on the trial's clock.

    Args:
        recording: of the machines.
        since: when each machine was told, or noticed by itself.
    """
    time = np.array(recording.time)
    belt = np.array(recording.belt_speed)
    speed = float(abs(belt[np.searchsorted(time, since["treadmill"]).clip(max=len(belt) - 1)]))
    safe = {
        "platform": last_time(recording, np.array(recording.platform_speed) > _STILL[0]),
        "treadmill": last_time(recording, np.abs(belt) > _STILL[1]),
        "counterweight": last_time(recording, ~np.array(recording.brake)),
        "robot": last_time(recording, np.array(recording.mode) != "damp"),
    }
    limit = {
        "platform": since["platform"] + REACTION.platform,
        "treadmill": since["treadmill"] + REACTION.belt + speed / REACTION.belt_ramp,
        "counterweight": since["counterweight"] + REACTION.rope,
        "robot": since["robot"] + REACTION.robot,
    }
    return safe, limit


def judge_robot(recording: Recording, apex: float) -> tuple[list[str], float, float]:
    """(problems, m above its normal ``apex`` that the base came to, m/s at which it moved away at most)."""
    base = np.array(recording.base)
    over = max(0.0, float(base[:, 2].max()) - apex)
    upward = np.where(base[:, 2] > apex, base[:, 5], 0.0).max()
    distance = np.hypot(base[:, 0], base[:, 1])
    outward = (base[:, 0] * base[:, 3] + base[:, 1] * base[:, 4]) / np.maximum(distance, 1e-3)
    away = float(max(upward, outward.max()))
    problems = []
    if over > OVER_APEX:
        problems.append(f"the robot came {over:.2f} m over its apex, limit {OVER_APEX} m")
    if away > AWAY:
        problems.append(f"the robot moved away at {away:.2f} m/s, limit {AWAY} m/s")
    return problems, over, away


def judge_machines(recording: Recording, since: dict[str, float], mass: float) -> tuple[list[str], float, float, float]:
    """(problems, when all were safe, by when they had to be, hardest pull in robot weights)."""
    safe, limit = machines_safe(recording, since)
    problems = []
    for name, at in safe.items():
        if np.isnan(at):
            problems.append(f"{name} never became safe")
        elif at > limit[name] + 1e-9:
            problems.append(f"{name} was safe {at - limit[name]:.3f} s too late")
    snap = float(np.max(recording.tension)) / (mass * EARTH)
    if snap > SNAP:
        problems.append(f"the rope pulled with {snap:.2f} robot weights, limit {SNAP}")
    closed = safe["counterweight"]
    if not np.isnan(closed):
        length = np.array(recording.rope_length)[np.array(recording.time) >= closed]
        paid = float((length - np.minimum.accumulate(length)).max())
        if paid > _PAID_OUT:
            problems.append(f"the braked rope paid out {1e3 * paid:.1f} mm")
    return problems, max(safe.values()), max(limit.values()), snap
