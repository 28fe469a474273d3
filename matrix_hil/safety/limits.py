"""Limits of rig and robot, and the pure functions that keep a motion within them: speed, acceleration, jerk."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from policy.runtime.robot_rules import RobotLimits


@dataclass(frozen=True)
class SafetyConfig(RobotLimits):
    """Limits of rig and robot. Within these the supervisor passes or clamps commands, beyond them it trips.

    Those of the motion platform itself are ``control.stewart.PlatformLimits``.
    """

    platform_jerk: float = 1000.0
    """m/s^3 along each axis."""
    platform_turn_jerk: float = math.radians(1e5)
    """rad/s^3 about each axis."""
    platform_astray: float = 0.04
    """m along an axis between where the platform was commanded to be and where it is measured."""
    platform_turn_astray: float = 0.08
    """rad, likewise."""
    platform_creep: float = 0.05
    """m/s along an axis of a platform that is told to stand, before a run or after a trip."""
    platform_turn_creep: float = 0.1
    """rad/s, likewise."""
    belt_astray: float = 0.15
    """m/s between the belt's speed as commanded and as measured."""
    belt_creep: float = 0.03
    """m/s of a belt that is told to stand."""
    astray_time: float = 0.15
    """s that a machine may be astray."""
    belt_speed: float = 3.0
    """m/s, each way."""
    belt_acceleration: float = 2.0
    """m/s^2."""
    belt_jerk: float = 200.0
    """m/s^3. Full acceleration after 10 ms."""
    tension_max: float = 450.0
    """N. Commands are clamped to it; a measured tension above it trips."""
    tension_rate: float = 10000.0
    """N/s. Greatest change of the commanded tension."""
    tension_min: float = -20.0
    """N. No rope pushes: a load cell that says less is broken."""
    slack_tension: float = 5.0
    """N. Below it the rope counts as slack."""
    slack_time: float = 0.5
    """s of slack rope before a trip: by then it has parted or come off."""
    rope_astray: float = 40.0
    """N between the rope force commanded and measured; healthy hops of two policies over nine grounds: 14 N."""
    rope_astray_time: float = 0.01
    """s that the rope force may be astray: a winch that runs away adds 0.16 m/s to the robot in each 10 ms."""
    measured_margin: float = 1.15
    """Measured poses and speeds may exceed their command's limit by this factor (overshoot, noise)."""
    far_outside: float = 1.5
    """A commanded pose, belt speed or tension beyond its limit times this factor trips instead of being clamped."""
    height_min: float = 0.12
    """m from the plate under it to the robot's base."""
    height_max: float = 1.6
    """m, base in the rig's frame."""
    drift: float = 0.45
    """m from the belt's centre along x or y."""
    travel_error: float = 0.05
    """m by which the belt's position may differ from the sum of its speed over a second."""
    frozen_time: float = 0.25
    """s that rope force, tracked pose or the robot's sensors may repeat themselves bit by bit while running."""
    tracker_speed: float = 6.0
    """m/s. A tracked position that changes faster, beyond ``tracker_jump``, is a jump."""
    tracker_jump: float = 0.04
    """m."""
    tracker_turn_rate: float = 20.0
    """rad/s. A tracked attitude that changes faster, beyond ``tracker_turn_jump``, is a jump."""
    tracker_turn_jump: float = 0.15
    """rad."""
    tilts_apart: float = 0.35
    """rad between the tilts that robot and tracker report."""
    tilts_apart_time: float = 0.1
    """s that they may differ by more."""
    foot_force: float = 3000.0
    """N on one foot that may be measured."""
    ground_stale: float = 1.0
    """s, oldest patch of virtual ground to run on."""
    ground_jump: float = 0.1
    """m, change of virtual ground that was seen before, as the median of 0.3 m; two views of one ground: 1 mm."""
    joint_far_outside: float = math.pi
    """rad beyond the joint's range at which a target trips."""
    kp_max: float = 100.0
    """N*m/rad."""
    kd_max: float = 10.0
    """N*m*s/rad."""
    platform_stale: float = 0.05
    """s, oldest state to act upon."""
    treadmill_stale: float = 0.05
    """s, oldest state to act upon."""
    counterweight_stale: float = 0.05
    """s, oldest state to act upon."""
    tracker_stale: float = 0.06
    """s, oldest state to act upon."""
    robot_stale: float = 0.04
    """s, oldest state to act upon."""
    command_stale: float = 0.05
    """s. An older command is not sent."""
    command_silence: float = 0.1
    """s without a fresh command for some machine before a trip."""
    deadline: float = 0.04
    """s between two steps at most."""
    hold_time: float = 0.03
    """s after a trip that the robot holds its pose, before it stands."""
    damp_time: float = 0.1
    """s after a trip at which the robot damps."""

    @property
    def platform_jerks(self) -> np.ndarray:
        """(6,) m/s^3 and rad/s^3."""
        return np.array([self.platform_jerk] * 3 + [self.platform_turn_jerk] * 3)

    @property
    def platform_creeps(self) -> np.ndarray:
        """(6,) m/s and rad/s at which a standing platform may move."""
        return np.array([self.platform_creep] * 3 + [self.platform_turn_creep] * 3)

    @property
    def platform_errors(self) -> np.ndarray:
        """(6,) m and rad that the platform may be astray."""
        return np.array([self.platform_astray] * 3 + [self.platform_turn_astray] * 3)


def tightened(cfg: SafetyConfig, belt_scale: float, load_cell_offset: float) -> SafetyConfig:
    """Limits in true units that also hold for what is commanded in the machines' own units, which are these:

    a true speed is ``belt_scale`` reported ones, a reported tension is a true one plus ``load_cell_offset`` N.
    """
    share = min(1.0, belt_scale)
    return replace(
        cfg,
        belt_speed=cfg.belt_speed * share,
        belt_acceleration=cfg.belt_acceleration * share,
        belt_jerk=cfg.belt_jerk * share,
        tension_max=cfg.tension_max - max(0.0, load_cell_offset),
    )


# ---- clamps --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Motion:
    """How what is commanded moves; SI units, any shape."""

    velocity: np.ndarray
    acceleration: np.ndarray


def limit_motion(
    command: Any,
    previous: Any,
    motion: Motion,
    rate: Any,
    acceleration: Any,
    jerk: Any,
    dt: float,
) -> tuple[np.ndarray, Motion]:
    """The position nearest to ``command`` that speed, acceleration and jerk allow, and the motion of getting there.

    It approaches no faster than it can stop, in steps of dt. Non-finite commands stop where they are, and a clock that
    stands or jumps back moves nothing. Any shape, SI units.
    """
    command, previous = np.asarray(command, dtype=float), np.asarray(previous, dtype=float)
    if not dt > 0.0:
        return previous, motion
    error = np.where(np.isfinite(command), command - previous, 0.0)
    # Braking begins by letting go of the acceleration, for which a / 2j is the mean delay, and a step late.
    wanted = _approach(error, rate, acceleration, 0.5 * acceleration / np.asarray(jerk) + dt, dt)
    velocity, gain = limit_speed(wanted, motion.velocity, motion.acceleration, acceleration, jerk, dt)
    return previous + velocity * dt, Motion(velocity, gain)


def limit_speed(
    command: Any, previous: Any, gain: Any, acceleration: Any, jerk: Any, dt: float
) -> tuple[np.ndarray, np.ndarray]:
    """The speed nearest to ``command`` that acceleration and jerk allow, and the acceleration of getting there.

    As ``limit_motion``, one derivative lower; ``gain`` is the acceleration so far.
    """
    command, previous, gain = (np.asarray(v, dtype=float) for v in (command, previous, gain))
    if not dt > 0.0:
        return previous, gain
    error = np.where(np.isfinite(command), command - previous, 0.0)
    step = np.asarray(jerk) * dt
    gain = gain + np.clip(_approach(error, acceleration, jerk, 0.5 * dt, dt) - gain, -step, step)
    return previous + gain * dt, gain


def _approach(error: np.ndarray, limit: Any, slope: Any, delay: Any, dt: float) -> np.ndarray:
    """Greatest rate towards zero error, at most ``limit``, that can still be let go at ``slope`` after ``delay``."""
    stopping = slope * (np.sqrt(delay**2 + 2.0 * np.abs(error) / slope) - delay)
    return np.sign(error) * np.minimum(np.minimum(stopping, limit), np.abs(error) / dt)
