"""The belt follows the robot: in each stance it takes the speed at which the next flight ends in the middle.

A belt's acceleration is a fictitious force on whoever flies over it in the virtual world, so it changes its speed early
in a stance, by a raised cosine (bounded acceleration and jerk), and holds it from before the lift-off to the landing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class BeltControl:
    """Limits of the belt's motion."""

    max_speed: float = 1.5
    """m/s, either way; below the machine's own."""
    acceleration: float = 1.8
    """m/s^2."""
    jerk: float = 60.0
    """m/s^3."""
    share: float = 0.7
    """1. Share of a stance, the belt's delay not counted, in which the speed may change."""
    shortest: float = 0.06
    """s that a change of speed takes at least."""
    longest: float = 0.25
    """s that it takes at most, of a robot that stands or walks."""
    threshold: float = 0.005
    """m/s. A smaller change is not worth it; the drive's own step."""
    homing: float = 0.1
    """m/s. Largest share of the speed that brings the robot back to the middle."""


class BeltFollower:
    """Belt speed, changed in stances only."""

    def __init__(self, cfg: BeltControl) -> None:
        self.cfg = cfg
        self.reset()

    def reset(self, speed: float = 0.0) -> None:
        """Start from a belt that runs at ``speed`` m/s."""
        self.speed = speed
        """m/s commanded, positive carries the robot towards -x."""
        self._from = speed
        self._change = 0.0
        self._duration = self.cfg.longest
        self._elapsed = math.inf
        self._standing = math.inf  # s since the touch-down
        self._was_airborne = False

    def step(self, expected: float, homing: float, stance: float, airborne: bool, dt: float) -> float:
        """Belt speed to command in m/s.

        Args:
            expected: m/s, forward over the belt, that the robot's lift-off will have.
            homing: m/s in the rig's frame, that brings it back to the middle.
            stance: s that this stance is expected to last.
            airborne: no foot is loaded.
            dt: s since the last call.
        """
        c = self.cfg
        if airborne:
            self._elapsed = math.inf  # whatever is unfinished waits for the next stance
        else:
            self._standing = 0.0 if self._was_airborne else self._standing + dt
            stays = self._standing > 2.0 * stance  # no hop's stance: the robot stands or walks
            if self._was_airborne or (stays and self._elapsed >= self._duration):
                self._plan(expected - min(max(homing, -c.homing), c.homing), stance, self._was_airborne)
            self._elapsed += dt
            done = min(self._elapsed / self._duration, 1.0)
            self.speed = self._from + self._change * 0.5 * (1.0 - math.cos(math.pi * done))
        self._was_airborne = airborne
        return self.speed

    def _plan(self, wanted: float, stance: float, landed: bool) -> None:
        """Begin a change of speed, if the stance is not about to end."""
        c = self.cfg
        self._from, self._elapsed = self.speed, 0.0
        self._duration = min(max(c.share * stance, c.shortest), c.longest) if landed else c.longest
        # peak acceleration and jerk of a raised cosine over D are pi/2 and pi^2/2 of change/D and change/D^2
        most = min(2.0 * c.acceleration * self._duration / math.pi, 2.0 * c.jerk * (self._duration / math.pi) ** 2)
        change = min(max(wanted, -c.max_speed), c.max_speed) - self.speed
        self._change = min(max(change, -most), most) if abs(change) >= c.threshold else 0.0
