"""The command that a policy follows, and the ranges it was trained for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HopCommand:
    """What the robot is asked to do, in its heading frame (x forward, y left)."""

    vx: float = 0.3
    """m/s. Forward speed."""
    vy: float = 0.0
    """m/s. Leftward speed."""
    yaw_rate: float = 0.0
    """rad/s. Turn rate, counter-clockwise from above."""
    apex_gain: float = 0.3
    """m. Base height at apex minus at lift-off."""
    economy: float = 0.0
    """0 to 1. Scales the cost of torque and impact that the policy was trained with."""

    def array(self) -> np.ndarray:
        """Shape (5,), in the order of the fields."""
        return np.array([self.vx, self.vy, self.yaw_rate, self.apex_gain, self.economy])


COMMAND_NAMES = ("vx", "vy", "yaw_rate", "apex_gain", "economy")
COMMAND_UNITS = ("m/s", "m/s", "rad/s", "m", "1")
