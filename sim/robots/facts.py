"""What code knows of a robot without its MJCF, in NumPy alone, so that the robot's own computer can import it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.robots.legs import LegLengths

STIFFEST = 200.0
"""N*m/rad. No robot of the Go2's size bears stiffer servos; others in proportion to mass times length of the legs."""
MOST_DAMPED = 20.0
"""N*m*s/rad, likewise."""
STOUTEST = 30.0
"""1. The largest such proportion that is believed."""
FARTHEST_ACTION = 2.0
"""rad per unit of action at most: a policy's unit then sweeps most of a joint's range."""
FROM_STOPS = 0.02
"""rad that a stance keeps from the joints' stops at least."""


@dataclass(frozen=True, eq=False)
class Facts:
    """Figures of one robot; arrays are (12,) in project joint order (``sim.spec.joints``)."""

    lower: np.ndarray
    """rad, lowest joint angles."""
    upper: np.ndarray
    """rad, highest."""
    torque_limit: np.ndarray
    """N*m, of motor and gear at low speed."""
    speed_limit: np.ndarray
    """rad/s, at which a motor without load turns."""
    corner: float
    """1. Share of the no-load speed up to which the motors give their full torque (``sim.physics.actuator``)."""
    nominal_pose: np.ndarray
    """rad, the stance that action zero commands."""
    kp: float
    """N*m/rad, stiffness of the servos."""
    kd: float
    """N*m*s/rad, their damping."""
    action_scale: float
    """rad per unit of action."""
    kneeling_pose: np.ndarray
    """rad, legs folded so that the knees are the lowest points."""
    kneeling_height: float
    """m, base above the ground in that pose, at least."""
    legs: LegLengths | None = None
    """Where the joints put the feet; without it nobody can tell that the robot lies on its belly."""
    standing_com_height: float | None = None
    """m above the ground, centre of mass where the robot stands on servos that yield; by its kinematics when absent."""
    mass_ratio: float = 1.0
    """1. Its mass over the Go2's."""
    length_ratio: float = 1.0
    """1. Its legs' length over the Go2's."""

    @property
    def torque_ratio(self) -> float:
        """1. M g l over the Go2's: how torques and stiffness scale from robot to robot."""
        return self.mass_ratio * self.length_ratio

    @property
    def time_ratio(self) -> float:
        """1. sqrt(l / g) over the Go2's: how times scale, and one over it speeds of turning."""
        return math.sqrt(self.length_ratio)
