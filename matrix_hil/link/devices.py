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
    safe: Callable[[S | None, C | None, float], C | None]
    """(newest state, newest command, now) -> the command that leaves the device safe; None: nothing to say."""


PLATFORM_LAG = np.array([0.04] * 3 + [0.08] * 3)
"""(6,) m and rad by which a sound platform may be behind what it was commanded."""
ROPE_LAG = 40.0
"""N by which a sound rope may pull harder than it was commanded, as ``SafetyConfig.rope_astray``."""


def safe_platform(state: PlatformState | None, commanded: PlatformCommand | None, now: float) -> PlatformCommand | None:
    """Freeze at the pose measured last; at the one it was commanded where that measurement cannot be believed.

    A measurement that is no number, or far from what the platform was commanded, may be a sensor's error: it sends the
    platform nowhere. Without either no pose is known to be safe: say nothing.
    """
    measured = state.pose if state is not None and np.isfinite(state.pose).all() else None
    if commanded is not None and (measured is None or not (np.abs(measured - commanded.pose) <= PLATFORM_LAG).all()):
        return PlatformCommand(now, commanded.pose)
    return None if measured is None else PlatformCommand(now, measured)


def safe_treadmill(state: TreadmillState | None, commanded: TreadmillCommand | None, now: float) -> TreadmillCommand:
    """Stop; the drive ramps down at its own limit."""
    return TreadmillCommand(now, 0.0)


def safe_counterweight(
    state: CounterweightState | None, commanded: CounterweightCommand | None, now: float
) -> CounterweightCommand:
    """Brake with the tension measured last: the drum takes up slack and pays nothing out.

    With the one commanded where that measurement is no number, or much more: a broken load cell, or a winch that ran
    away, must not say how hard to pull.
    """
    measured = state.tension if state is not None and np.isfinite(state.tension) else None
    if commanded is not None and (measured is None or not measured <= commanded.tension + ROPE_LAG):
        measured = commanded.tension
    return CounterweightCommand(now, max(measured or 0.0, 0.0), brake=True)


def safe_robot(state: RobotState | None, commanded: RobotCommand | None, now: float) -> RobotCommand:
    """Damp: no stiffness, so that a fallen or hanging robot cannot push."""
    return RobotCommand(now, NOMINAL_POSE, kp=0.0, kd=2.0, mode="damp")


def _nothing(state: TrackerState | None, commanded: None, now: float) -> None:
    return None


PLATFORM = DeviceSpec("platform", PlatformState, PlatformCommand, 0.005, 0.05, safe_platform)
TREADMILL = DeviceSpec("treadmill", TreadmillState, TreadmillCommand, 0.005, 0.05, safe_treadmill)
COUNTERWEIGHT = DeviceSpec("counterweight", CounterweightState, CounterweightCommand, 0.005, 0.05, safe_counterweight)
TRACKER: DeviceSpec[TrackerState, Never] = DeviceSpec("tracker", TrackerState, None, 1.0 / 120.0, 0.06, _nothing)
ROBOT = DeviceSpec("robot", RobotState, RobotCommand, 0.005, 0.04, safe_robot)

DEVICES = {spec.name: spec for spec in (PLATFORM, TREADMILL, COUNTERWEIGHT, TRACKER, ROBOT)}
"""By name, in the order of ``MachineStates``."""
