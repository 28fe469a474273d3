"""The belt follows the robot: it runs at the robot's own speed, plus what brings the robot back to the middle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BeltControl:
    """Gains and limits of the belt."""

    max_speed: float = 1.5
    """m/s, either way; below the machine's own."""
    stance_acceleration: float = 1.8
    """m/s^2 while a foot is loaded."""
    flight_acceleration: float = 0.0
    """m/s^2 commanded in flight, where it is a fictitious force on the robot: 0.1 m/s^2 RMS is the most it may be, and
    a belt that moves in steps of 5 mm/s makes 0.3 of a command of 0.08."""
    centring: float = 0.6
    """1/s. Belt speed per metre off the middle."""
    deadband: float = 0.05
    """m off the middle that is left alone."""
    filter: float = 0.8
    """s. Time constant of the speed by which the robot differs from its command; about one hop, for an even belt."""


class BeltFollower:
    """Belt speed from where the robot is and how fast it moves over the belt."""

    def __init__(self, cfg: BeltControl) -> None:
        self.cfg = cfg
        self.reset()

    def reset(self, speed: float = 0.0) -> None:
        """Start from a belt that runs at ``speed`` m/s."""
        self.speed = speed
        """m/s commanded, positive carries the robot towards -x."""
        self._difference = 0.0

    def step(self, offset: float, speed_over_belt: float, expected: float, airborne: bool, dt: float) -> float:
        """Belt speed to command in m/s.

        Args:
            offset: m, robot ahead of the belt's middle.
            speed_over_belt: m/s, forward speed of the robot against the belt's surface.
            expected: m/s, speed that the robot was told.
            airborne: no foot is loaded.
            dt: s since the last call.
        """
        c = self.cfg
        self._difference += (speed_over_belt - expected - self._difference) * dt / (c.filter + dt)
        beyond = max(abs(offset) - c.deadband, 0.0) * (1.0 if offset > 0.0 else -1.0)
        wanted = min(max(expected + self._difference + c.centring * beyond, -c.max_speed), c.max_speed)
        step = (c.flight_acceleration if airborne else c.stance_acceleration) * dt
        self.speed += min(max(wanted - self.speed, -step), step)
        return self.speed
