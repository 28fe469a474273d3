"""A cycle in which all is well, to be spoiled one value at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from matrix_hil.control.stewart import PlatformLimits
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    RobotState,
    TrackerState,
    TreadmillCommand,
    TreadmillState,
)
from matrix_hil.safety.supervisor import SafetyConfig
from sim.spec.joints import NOMINAL_POSE

CFG = SafetyConfig()
PLATFORM = PlatformLimits()
DT = 0.005
NOW = 10.0


def good_states(now: float = NOW, **changes: Any) -> MachineStates:
    states = MachineStates(
        PlatformState(now, np.zeros(6), np.zeros(6)),
        TreadmillState(now, 0.0, 0.0),
        CounterweightState(now, 124.0, 3.0, 0.0),
        TrackerState(now, np.array([0.0, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0])),
        RobotState(now, NOMINAL_POSE, np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), np.full(4, 6.0)),
    )
    for key, value in changes.items():
        name, field = key.split("__")
        states = replace(states, **{name: replace(getattr(states, name), **{field: value})})
    return states


def good_commands(now: float = NOW, **changes: Any) -> MachineCommands:
    commands = MachineCommands(
        PlatformCommand(now, np.zeros(6)),
        TreadmillCommand(now, 0.0),
        CounterweightCommand(now, 124.0),
        RobotCommand(now, NOMINAL_POSE, 30.0, 0.75),
    )
    for key, value in changes.items():
        name, field = key.split("__")
        commands = replace(commands, **{name: replace(getattr(commands, name), **{field: value})})
    return commands


def at(index: int, value: float, size: int) -> np.ndarray:
    array = np.zeros(size)
    array[index] = value
    return array


def rolled(angle: float) -> dict[str, Any]:
    return {"tracker__quaternion": np.array([math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0])}
