"""Where and when a robot on the rope comes down: free flight under the scheme's gravity and the rope's sideways pull.

Up: a parabola with the gravity of the offload scheme. Sideways: the rope carries T = M (9.81 - gravity) and pulls to
the pulley, so the robot swings about the point below it like a pendulum, x'' = -T / (M L) x, L from robot to pulley;
1.5 rad/s at 4 m. The belt's speed plays no part: nothing touches it in flight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.spec.gravity import EARTH, MOON


@dataclass(frozen=True)
class FreeFlight:
    """What acts on the robot between two stances."""

    gravity: float = MOON
    """m/s^2, downward, of the offload scheme; a passive counterweight gives another than the Moon's."""
    pulley_height: float = 4.0
    """m, pulley above the belt's centre, which is the origin of the rig's frame."""

    def swing(self, height: float) -> float:
        """rad/s, angular frequency of the pendulum at ``height`` m of the base."""
        return math.sqrt((EARTH - self.gravity) / max(self.pulley_height - height, 0.5))

    def advance(self, position: np.ndarray, velocity: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) m and velocity (3,) m/s ``time`` s later, or earlier when negative; rig frame."""
        w = self.swing(float(position[2]))
        c, s = math.cos(w * time), math.sin(w * time)
        there, fast = np.empty(3), np.empty(3)
        there[:2] = c * position[:2] + s / w * velocity[:2]
        fast[:2] = c * velocity[:2] - s * w * position[:2]
        there[2] = position[2] + velocity[2] * time - 0.5 * self.gravity * time**2
        fast[2] = velocity[2] - self.gravity * time
        return there, fast


@dataclass(frozen=True)
class Landing:
    """The coming touch-down."""

    left: float
    """s from now."""
    position: np.ndarray
    """(3,) m, base, rig frame."""
    velocity: np.ndarray
    """(3,) m/s."""


def predict_landing(flight: FreeFlight, position: np.ndarray, velocity: np.ndarray, floor: float) -> Landing:
    """When the base sinks to ``floor`` m, and how; at once when it is below and sinking.

    Args:
        flight: what acts on the robot.
        position: (3,) m, base, rig frame, now.
        velocity: (3,) m/s, now.
        floor: m, height of the base at touch-down: plate under the landing place plus the legs' length then.
    """
    drop, up = float(position[2]) - floor, float(velocity[2])
    left = 0.0
    if drop > 0.0 or up > 0.0:
        left = (up + math.sqrt(max(up * up + 2.0 * flight.gravity * drop, 0.0))) / flight.gravity
    there, fast = flight.advance(position, velocity, left)
    return Landing(left, there, fast)


def speed_home(offset: float, swing: float, time: float) -> float:
    """m/s at lift-off with which a robot ``offset`` m off the middle comes down in the middle after ``time`` s.

    Zero of x cos wt + v/w sin wt. A flight of more than a quarter swing is carried past the middle by the rope alone:
    what would then be needed points outwards, and zero is returned; the robot comes down on the other side, nearer.
    """
    phase = max(swing * time, 0.1)
    if phase >= math.pi / 2:
        return 0.0
    return -offset * swing * min(1.0 / math.tan(phase), 2.0)
