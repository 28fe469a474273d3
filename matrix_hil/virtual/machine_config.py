"""Settings of the five emulated machines: ranges, rates, lags, dead times and sensor faults.

The default rig: ±0.18 m, ±22°, 0.3 m/s, 0.5 g; 3 m/s, 2 m/s²; 300 N, 10 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from matrix_hil.virtual.emulator import LineConfig
from sim.spec.gravity import EARTH, MOON


@dataclass(frozen=True)
class PlatformConfig:
    """Stewart platform. The figures are those of common electric 6-DoF bases (±22°, 30°/s, 500°/s², 0.3 m/s, 0.5 g)."""

    travel: float = 0.18
    """m, each way along x, y, z."""
    tilt: float = math.radians(22.0)
    """rad, each way about x, y, z."""
    speed: float = 0.3
    """m/s along each axis."""
    turn_rate: float = math.radians(30.0)
    """rad/s about each axis."""
    acceleration: float = 0.5 * EARTH
    """m/s^2 along each axis."""
    turn_acceleration: float = math.radians(500.0)
    """rad/s^2 about each axis."""
    bandwidth: float = 60.0
    """rad/s of the critically damped servo. Over 4 * acceleration / speed it would overshoot a step."""
    dead_time: float = 0.01
    """s from the last bit of a command to the first motion."""
    resolution: float = 1e-5
    """m and rad, step of the measured pose."""
    line: LineConfig = field(default_factory=LineConfig)


@dataclass(frozen=True)
class TreadmillConfig:
    """Belt and its drive."""

    max_speed: float = 3.0
    """m/s, each way."""
    max_acceleration: float = 2.0
    """m/s^2."""
    dead_time: float = 0.02
    """s from the last bit of a command to the first change of speed."""
    resolution: float = 0.005
    """m/s, step of the commanded and of the measured speed."""
    breakaway: float = 0.01
    """m/s. Stiction: from rest, a smaller command does not move the belt."""
    scale: float = 1.0
    """True metres per metre that the drive counts: a worn belt or roller."""
    line: LineConfig = field(default_factory=LineConfig)


@dataclass(frozen=True)
class CounterweightConfig:
    """Winch that adds a force to the rope's passive tension, load cell at the harness, brake on the drum."""

    passive_tension: float = 15.206 * (EARTH - MOON)
    """N at the harness at rest with the winch idle, as the hanging weight gives it."""
    winch_force: float = 300.0
    """N that the winch adds at most, each way."""
    lag: float = 0.01
    """s, first-order time constant of the winch force."""
    noise: float = 0.5
    """N, standard deviation of the load cell."""
    resolution: float = 0.1
    """N, step of the load cell."""
    zero: float = 0.0
    """N that the load cell reports without load."""
    tension_limit: float = 600.0
    """N. The device reports its limit above."""
    line: LineConfig = field(default_factory=LineConfig)


@dataclass(frozen=True)
class TrackerConfig:
    """Camera-based pose tracker."""

    noise: float = 0.002
    """m, standard deviation per axis."""
    turn_noise: float = 0.002
    """rad, standard deviation per axis."""
    latency: float = 0.01
    """s from exposure to the frame's first bit."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m, what it reports of the rig's origin."""
    line: LineConfig = field(default_factory=LineConfig)


@dataclass(frozen=True)
class RobotConfig:
    """The robot's own controller: PD to the last targets, and a way down when the host falls silent."""

    hold_time: float = 0.03
    """s that it holds its measured pose after the watchdog has tripped, before it stands."""
    damp_time: float = 0.1
    """s after the watchdog has tripped until it damps."""
    stand_rate: float = 3.0
    """rad/s at which targets go to the nominal pose in ``stand``."""
    kp: float = 30.0
    """N*m/rad before the first command."""
    kd: float = 0.75
    """N*m*s/rad before the first command."""
    dead_time: float = 0.0
    """s from the last bit of a command until the servos have it."""
    line: LineConfig = field(default_factory=LineConfig)
