"""What no robot can measure and none is told: the rules that the rig's supervisor and a deployed policy share.

Pure functions of NumPy arrays. Bounds are written as "not within", so that a NaN is outside of every bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sim.robots.legs import LegLengths
from sim.spec.clamps import limit_range, limit_rate
from sim.spec.joints import JOINT_NAMES, LOWER, NOMINAL_POSE, UPPER

STOPS = (LOWER, UPPER)
"""rad, (12,) each, of the Go2's joints."""


class Joints(NamedTuple):
    """Of one kind of robot."""

    stance: np.ndarray = NOMINAL_POSE
    """(12,) rad."""
    stops: tuple[np.ndarray, np.ndarray] = STOPS
    """(12,) rad each, lowest and highest."""


@dataclass(frozen=True)
class RobotLimits:
    """Limits of a robot, whoever commands it."""

    tilt: float = math.radians(60.0)
    """rad between the robot's z axis and the vertical."""
    joint_measured_margin: float = 0.35
    """rad beyond a joint's range that may be measured; mechanical stops give way, calibrations differ."""
    joint_speed: float = 80.0
    """rad/s, fastest joint speed that may be measured; a landing's spike is faster than any motor."""
    turn_rate: float = 35.0
    """rad/s about any axis of the robot's base that may be measured."""
    joint_margin: float = 0.0
    """rad beyond the joint's range that a target may lie."""
    joint_rate: float = 120.0
    """rad/s. Greatest change of a joint target; 0.6 rad per 200 Hz cycle passes a policy's steps, not a glitch."""


def implausible_joints(
    position: np.ndarray, velocity: np.ndarray, limits: RobotLimits, stops: tuple[np.ndarray, np.ndarray] = STOPS
) -> str:
    """Why no robot with these stops has these joint angles (12,) rad and speeds (12,) rad/s; empty where one may."""
    lower, upper = stops
    beyond = np.maximum(lower - position, position - upper)
    for what, values, limit in (
        ("position beyond its range", beyond, limits.joint_measured_margin),
        ("speed", np.abs(velocity), limits.joint_speed),
    ):
        if not (values <= limit + 1e-9).all():
            worst = int(np.argmax(np.where(np.isfinite(values), values, np.inf)))
            return f"joint {what} {values[worst]:.2f} ({JOINT_NAMES[worst]}), limit {limit:.2f}"
    return ""


def implausible_turn(angular_velocity: np.ndarray, limits: RobotLimits) -> str:
    """Why no robot turns with this angular velocity (3,) rad/s; empty where one may."""
    worst = float(np.max(np.abs(angular_velocity)))
    return "" if worst <= limits.turn_rate + 1e-9 else f"turn rate {worst:.2f}, limit {limits.turn_rate:.2f}"


def reach(joint_position: np.ndarray, gravity: np.ndarray, legs: LegLengths) -> float:
    """m by which the lowest foot's centre lies below the base, along ``gravity`` (3,) in the base frame. Feet cannot be
    below the ground: on level ground it is at most the base's height."""
    return float((legs.feet(joint_position) @ gravity).max())


def limit_targets(
    wanted: np.ndarray,
    sent: np.ndarray,
    limits: RobotLimits,
    dt: float,
    stops: tuple[np.ndarray, np.ndarray] = STOPS,
) -> np.ndarray:
    """Joint targets (12,) rad near ``wanted`` within range and rate; ``sent`` was in force ``dt`` s before."""
    target = limit_range(wanted, sent, stops[0] - limits.joint_margin, stops[1] + limits.joint_margin)
    return limit_rate(target, sent, limits.joint_rate, dt)
