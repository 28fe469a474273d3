"""Names and units of a log's values as columns, and file names that stay in their folder."""

from __future__ import annotations

import re
from collections.abc import Sequence

from matrix_hil.log.topics import Fault, FootContacts, ImuSample, JointSample, Pose, SyncStamp
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    TreadmillCommand,
    TreadmillState,
    TwinPatch,
)
from sim.spec.command import HopCommand
from sim.spec.joints import JOINT_NAMES

_FEET = ("FL", "FR", "RL", "RR")
_DEVICES = ("platform", "treadmill", "counterweight", "tracker", "robot")
_POSE = ("x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad")
_TWIST = ("x_m_per_s", "y_m_per_s", "z_m_per_s", "roll_rad_per_s", "pitch_rad_per_s", "yaw_rad_per_s")


def _each(names: Sequence[str], unit: str) -> tuple[str, ...]:
    return tuple(f"{name}_{unit}" if unit else name for name in names)


UNITS: dict[type, dict[str, str | tuple[str, ...]]] = {
    JointSample: {"position": _each(JOINT_NAMES, "rad"), "velocity": _each(JOINT_NAMES, "rad_per_s")},
    ImuSample: {"angular_velocity": _each("xyz", "rad_per_s"), "projected_gravity": ("x", "y", "z")},
    FootContacts: {"force": _each(_FEET, "N"), "loaded": _FEET},
    Pose: {"position": _each("xyz", "m"), "quaternion": ("w", "x", "y", "z")},
    SyncStamp: {"lateness": "s", "duration": "s", "age": _each(_DEVICES, "s")},
    PlatformState: {"pose": _POSE, "velocity": _TWIST},
    PlatformCommand: {"pose": _POSE},
    TreadmillState: {"speed": "m_per_s", "position": "m"},
    TreadmillCommand: {"speed": "m_per_s"},
    CounterweightState: {"tension": "N", "length": "m", "speed": "m_per_s"},
    CounterweightCommand: {"tension": "N"},
    RobotCommand: {"targets": _each(JOINT_NAMES, "rad"), "kp": "Nm_per_rad", "kd": "Nms_per_rad"},
    HopCommand: {"vx": "m_per_s", "vy": "m_per_s", "yaw_rate": "rad_per_s", "apex_gain": "m"},
    TwinPatch: {"origin": ("x_m", "y_m"), "resolution": "m", "heights": "m"},
    Fault: {},
}
"""By dataclass and field: the unit, or names of the components with theirs. What is absent has no unit."""


def columns(message: type, field: str, count: int) -> list[str]:
    """Column names of a field of ``count`` components; 1 for a plain number."""
    known = UNITS.get(message, {}).get(field, "")
    if isinstance(known, tuple) and len(known) == count:
        return [f"{field}_{name}" for name in known]
    unit = f"_{known}" if known and isinstance(known, str) else ""
    return [f"{field}{unit}"] if count == 1 else [f"{field}_{i}{unit}" for i in range(count)]


def file_name(text: str, taken: set[str]) -> str:
    """A name for a file made from ``text``, which may come from a stranger: no separators, no leading dot, never one
    that is ``taken``, in which it is entered; at most 100 letters."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-")[-100:].strip("._-") or "unnamed"
    stem, dot, ending = plain.rpartition(".")
    name, k = plain, 1
    while name.lower() in taken:
        k += 1
        name = f"{stem}_{k}.{ending}" if dot else f"{plain}_{k}"
    taken.add(name.lower())
    return name
