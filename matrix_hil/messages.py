"""What flows through MATRIX: plain dataclasses in SI units and ROS frames, shared by drivers, sync, safety and log.

``time`` is always the host's clock when the value was measured or the command was made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PlatformState:
    """Measured pose of the motion platform's top plate against its home."""

    time: float
    pose: np.ndarray
    """(6,) x, y, z in m, roll, pitch, yaw in rad."""
    velocity: np.ndarray
    """(6,) m/s and rad/s."""
    fault: int = 0
    """0 = none; bit 0 e-stop, bit 1 device watchdog, bit 2 limit."""


@dataclass(frozen=True)
class PlatformCommand:
    """Where the platform shall be."""

    time: float
    pose: np.ndarray
    """(6,) m and rad."""
    valid_for: float = math.inf
    """s after ``time`` until which it may be written: then the data that it was made from are too old."""


@dataclass(frozen=True)
class TreadmillState:
    """Measured belt."""

    time: float
    speed: float
    """m/s, positive carries the robot backwards (towards -x)."""
    position: float
    """m, integral of speed."""
    fault: int = 0


@dataclass(frozen=True)
class TreadmillCommand:
    """Belt speed to reach."""

    time: float
    speed: float
    """m/s."""
    valid_for: float = math.inf
    """s after ``time`` until which it may be written: then the data that it was made from are too old."""


@dataclass(frozen=True)
class CounterweightState:
    """Measured rope."""

    time: float
    tension: float
    """N, load cell at the harness."""
    length: float
    """m, rope paid out from the pulley to the harness."""
    speed: float
    """m/s, positive pays out."""
    fault: int = 0


@dataclass(frozen=True)
class CounterweightCommand:
    """Rope force to hold."""

    time: float
    tension: float
    """N, upward force wanted at the harness."""
    brake: bool = False
    """Lock the drum: take up slack, pay nothing out."""
    valid_for: float = math.inf
    """s after ``time`` until which it may be written: then the data that it was made from are too old."""


@dataclass(frozen=True)
class TrackerState:
    """Base pose in the rig's frame (origin at belt centre, platform home height) from the pose tracker."""

    time: float
    position: np.ndarray
    """(3,) m."""
    quaternion: np.ndarray
    """(4,) w, x, y, z."""
    fault: int = 0


@dataclass(frozen=True)
class RobotState:
    """Proprioception and foot forces as the robot reports them."""

    time: float
    joint_position: np.ndarray
    """(12,) rad, project joint order."""
    joint_velocity: np.ndarray
    """(12,) rad/s."""
    angular_velocity: np.ndarray
    """(3,) rad/s, base frame."""
    projected_gravity: np.ndarray
    """(3,) unit vector, base frame."""
    foot_force: np.ndarray
    """(4,) N, FL FR RL RR."""
    fault: int = 0


@dataclass(frozen=True)
class RobotCommand:
    """Joint targets. Modes: ``run`` (PD to targets), ``hold``, ``stand`` (nominal pose), ``damp`` (kp = 0)."""

    time: float
    targets: np.ndarray
    """(12,) rad."""
    kp: float
    """N*m/rad."""
    kd: float
    """N*m*s/rad."""
    mode: str = "run"
    valid_for: float = math.inf
    """s after ``time`` until which it may be written: then the data that it was made from are too old."""


@dataclass(frozen=True)
class PolicyDoubt:
    """What the monitor beside the policy says each time that the policy acts, as ``policy.runtime.monitor.Verdict``."""

    time: float
    doubt: float
    """1. From 1 on it is a trip."""
    advice: bool
    trip: bool
    channel: str
    deviations: float


@dataclass(frozen=True)
class TwinPatch:
    """Ground of the virtual world around the robot's virtual place, from depth images."""

    time: float
    origin: np.ndarray
    """(2,) m, world x and y of heights[0, 0]."""
    resolution: float
    """m between samples."""
    heights: np.ndarray
    """(rows, cols) m, row index along y, column index along x."""


@dataclass(frozen=True)
class MachineCommands:
    """Everything the rig is told in one cycle, before or after the safety layer."""

    platform: PlatformCommand
    treadmill: TreadmillCommand
    counterweight: CounterweightCommand
    robot: RobotCommand


@dataclass(frozen=True)
class MachineStates:
    """The newest state of every machine in one cycle; None when nothing has been received yet."""

    platform: PlatformState | None = None
    treadmill: TreadmillState | None = None
    counterweight: CounterweightState | None = None
    tracker: TrackerState | None = None
    robot: RobotState | None = None


@dataclass(frozen=True)
class RigTruth:
    """What the physics knows better than any sensor."""

    base_position: np.ndarray
    """(3,) m, rig frame."""
    base_quaternion: np.ndarray
    """(4,) w, x, y, z."""
    vertical_speed: float
    """m/s, of the robot's centre of mass."""


MOST_SAMPLES = 2048
"""Along an edge of a ``TwinPatch``; 100 m of ground at 5 cm."""
MOST_HEIGHT = 1e5
"""m, above or below the origin of a virtual world."""


def malformed(patch: TwinPatch) -> str:
    """What is wrong with a patch that came from outside, in words; empty when nothing is. NaN is unknown ground."""
    if not (np.shape(patch.origin) == (2,) and np.isfinite(patch.origin).all() and math.isfinite(patch.time)):
        return "its place or time is no number"
    if not 1e-3 <= patch.resolution <= 1.0:
        return f"its resolution is {patch.resolution} m"
    shape = np.shape(patch.heights)
    if len(shape) != 2 or not 2 <= min(shape) <= max(shape) <= MOST_SAMPLES:
        return f"its size is {shape}"
    if (np.abs(np.nan_to_num(patch.heights)) > MOST_HEIGHT).any():
        return "a height is infinite, or over any mountain"
    return ""


def broken_field(message: Any) -> str:
    """Name of the first field of a message that holds a NaN or infinity; empty when none does. ``valid_for`` may."""
    for name, value in vars(message).items():
        if isinstance(value, str) or name == "valid_for":
            continue
        if not (math.isfinite(value) if isinstance(value, float) else np.isfinite(value).all()):
            return name
    return ""


def is_finite(message: Any) -> bool:
    """Whether no quantity in a message is a NaN or infinite."""
    return not broken_field(message)
