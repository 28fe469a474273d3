"""Messages between host and machines: which type number each has and how its payload is laid out.

Little-endian, packed. Quantities are IEEE-754 float32 in SI units, so that a NaN that a machine measured arrives as a
NaN and the safety layer can judge it; the belt's position is float64 because it grows without bound. Every state ends
with the fault byte. docs/protocol.md says the same for firmware engineers, with one golden frame per message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from matrix_hil.link.framing import Frame, encode
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    RobotState,
    TrackerState,
    TreadmillCommand,
    TreadmillState,
)

FAULT_ESTOP = 1
"""The hardware e-stop is pressed, or was and has not been reset."""
FAULT_WATCHDOG = 2
"""The device heard nothing from the host and went to its safe state."""
FAULT_LIMIT = 4
"""The device was asked to leave, or has left, its own range."""

HEARTBEAT_PERIOD = 0.02
"""s between heartbeats."""
HOST_SILENCE = 0.1
"""s without any valid frame from the host after which a device goes to its safe state by itself."""

ROBOT_MODES = ("run", "hold", "stand", "damp")
"""``RobotCommand.mode`` by its number on the wire."""


@dataclass(frozen=True)
class Heartbeat:
    """The sender is alive. Empty payload."""

    time: float


@dataclass(frozen=True)
class Reset:
    """Host to device: clear latched faults whose cause has gone, and wait for the next command. Empty payload."""

    time: float


Message = (
    Heartbeat | Reset | PlatformState | PlatformCommand | TreadmillState | TreadmillCommand
    | CounterweightState | CounterweightCommand | TrackerState | RobotState | RobotCommand
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Type number and payload of one message; field names are those of the dataclass."""

    type: int
    payload: np.dtype


def _layout(type: int, *fields: tuple[str, str] | tuple[str, str, int]) -> Layout:
    return Layout(type, np.dtype(list(fields)))


_FAULT = ("fault", "u1")
LAYOUTS: dict[type, Layout] = {
    Heartbeat: _layout(0x01),
    Reset: _layout(0x02),
    PlatformState: _layout(0x10, ("pose", "<f4", 6), ("velocity", "<f4", 6), _FAULT),
    PlatformCommand: _layout(0x11, ("pose", "<f4", 6)),
    TreadmillState: _layout(0x20, ("speed", "<f4"), ("position", "<f8"), _FAULT),
    TreadmillCommand: _layout(0x21, ("speed", "<f4")),
    CounterweightState: _layout(0x30, ("tension", "<f4"), ("length", "<f4"), ("speed", "<f4"), _FAULT),
    CounterweightCommand: _layout(0x31, ("tension", "<f4"), ("brake", "u1")),
    TrackerState: _layout(0x40, ("position", "<f4", 3), ("quaternion", "<f4", 4), _FAULT),
    RobotState: _layout(
        0x50, ("joint_position", "<f4", 12), ("joint_velocity", "<f4", 12), ("angular_velocity", "<f4", 3),
        ("projected_gravity", "<f4", 3), ("foot_force", "<f4", 4), _FAULT,
    ),
    RobotCommand: _layout(0x51, ("targets", "<f4", 12), ("kp", "<f4"), ("kd", "<f4"), ("mode", "u1")),
}  # fmt: skip
_BY_TYPE = {layout.type: (message, layout.payload) for message, layout in LAYOUTS.items()}


def pack(message: Message, sequence: int) -> bytes:
    """The frame of a message. What float32 cannot hold becomes infinite, for the receiver to refuse."""
    layout = LAYOUTS[type(message)]
    record = np.zeros((), layout.payload)
    with np.errstate(over="ignore"):
        for name in layout.payload.names or ():
            value = getattr(message, name)
            record[name] = ROBOT_MODES.index(value) if name == "mode" else value
    return encode(layout.type, sequence, message.time, record.tobytes())


def unpack(frame: Frame) -> Message | None:
    """The message in a frame, ``time`` being the sender's clock. None for an unknown type, length, flag or mode."""
    message, dtype = _BY_TYPE.get(frame.type, (None, None))
    if message is None or dtype is None or len(frame.payload) != dtype.itemsize:
        return None
    values: dict[str, Any] = {}
    if dtype.names:
        record = np.frombuffer(frame.payload, dtype)[0]
        for name in dtype.names:
            field = record[name]
            values[name] = field.astype(float) if field.ndim else field.item()
    if "mode" in values:
        if values["mode"] >= len(ROBOT_MODES):
            return None
        values["mode"] = ROBOT_MODES[values["mode"]]
    if "brake" in values:
        if values["brake"] > 1:
            return None
        values["brake"] = bool(values["brake"])
    return message(time=frame.time, **values)
