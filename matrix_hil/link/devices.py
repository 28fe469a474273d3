"""The five devices: what each sends and takes, how often, and what leaves it safe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Never, TypeVar

import numpy as np

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
from sim.spec.joints import NOMINAL_POSE

S = TypeVar("S", bound=PlatformState | TreadmillState | CounterweightState | TrackerState | RobotState)
C = TypeVar("C", bound=PlatformCommand | TreadmillCommand | CounterweightCommand | RobotCommand)


@dataclass(frozen=True)
class DeviceSpec(Generic[S, C]):
    """What a driver must know of a device."""

    name: str
    state_type: type[S]
    command_type: type[C] | None
    """None for a device that only measures."""
    period: float
    """s between states that it sends, and the least time between commands that it is sent."""
    stale_limit: float
    """s. An older state must not be acted upon."""
    safe: Callable[[S | None, float], C | None]
    """(newest state, now) -> the command that leaves the device safe; None when there is nothing to say."""


def safe_platform(state: PlatformState | None, now: float) -> PlatformCommand | None:
    """Freeze at the last measured pose. Without one there is no pose known to be safe: say nothing."""
    if state is None or not np.isfinite(state.pose).all():
        return None
    return PlatformCommand(now, state.pose)


def safe_treadmill(state: TreadmillState | None, now: float) -> TreadmillCommand:
    """Stop; the drive ramps down at its own limit."""
    return TreadmillCommand(now, 0.0)


def safe_counterweight(state: CounterweightState | None, now: float) -> CounterweightCommand:
    """Brake with the last tension: the drum takes up slack and pays nothing out."""
    known = state is not None and np.isfinite(state.tension)
    return CounterweightCommand(now, state.tension if state is not None and known else 0.0, brake=True)


def safe_robot(state: RobotState | None, now: float) -> RobotCommand:
    """Damp: no stiffness, so that a fallen or hanging robot cannot push."""
    return RobotCommand(now, NOMINAL_POSE, kp=0.0, kd=2.0, mode="damp")


def _nothing(state: TrackerState | None, now: float) -> None:
    return None


PLATFORM = DeviceSpec("platform", PlatformState, PlatformCommand, 0.005, 0.05, safe_platform)
TREADMILL = DeviceSpec("treadmill", TreadmillState, TreadmillCommand, 0.005, 0.05, safe_treadmill)
COUNTERWEIGHT = DeviceSpec("counterweight", CounterweightState, CounterweightCommand, 0.005, 0.05, safe_counterweight)
TRACKER: DeviceSpec[TrackerState, Never] = DeviceSpec("tracker", TrackerState, None, 1.0 / 120.0, 0.06, _nothing)
ROBOT = DeviceSpec("robot", RobotState, RobotCommand, 0.005, 0.04, safe_robot)

DEVICES = {spec.name: spec for spec in (PLATFORM, TREADMILL, COUNTERWEIGHT, TRACKER, ROBOT)}
"""By name, in the order of ``MachineStates``."""
