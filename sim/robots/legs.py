"""Where a quadruped's feet are, by its joints alone: for who has no MJCF at hand, such as the robot's own computer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEFT = np.array([1.0, -1.0, 1.0, -1.0])  # FL, FR, RL, RR
_FORE = np.array([1.0, 1.0, -1.0, -1.0])


@dataclass(frozen=True)
class LegLengths:
    """Of four equal legs, each of an abduction about x, then hip and knee about y; lengths in m."""

    hip: tuple[float, float]
    """x and y of the front left abduction's axis from the base's origin; the others are its reflections."""
    abduction: float
    """From that axis sideways to the plane of the leg."""
    thigh: float
    calf: float
    """To the foot's centre."""

    def feet(self, joint_position: np.ndarray) -> np.ndarray:
        """Centres of the feet (4, 3) in the base frame, for joint angles (12,) rad in project order."""
        abduction, hip, knee = np.asarray(joint_position).reshape(4, 3).T
        x = -self.thigh * np.sin(hip) - self.calf * np.sin(hip + knee)
        z = -self.thigh * np.cos(hip) - self.calf * np.cos(hip + knee)
        y, sin, cos = _LEFT * self.abduction, np.sin(abduction), np.cos(abduction)
        return np.stack([_FORE * self.hip[0] + x, _LEFT * self.hip[1] + y * cos - z * sin, y * sin + z * cos], axis=1)
