"""What the robot is doing: where its base is and how fast, from the pose tracker; its heading and tilt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from matrix_hil.control.landing import FreeFlight


@dataclass(frozen=True)
class TrackerFilter:
    """A Kalman filter of position and velocity, one for each axis with the same gains."""

    noise: float = 0.002
    """m, standard deviation of a sample."""
    latency: float = 0.010
    """s between the tracker's exposure and the time stamp of its sample."""
    stance: float = 8.0
    """m^2/s^3, spectral density of the acceleration that legs give unforeseen."""
    flight: float = 0.005
    """m^2/s^3, the same in flight, where only legs that swing move the base against the parabola."""


class BaseEstimate:
    """Base position and velocity from tracker samples that may be late, missing or noisy.

    Between samples and through dropouts it follows free flight (``landing.FreeFlight``) in the air and goes straight on
    in stance. In the air almost nothing is unforeseen, so that the whole flight so far sharpens the velocity.
    """

    def __init__(self, cfg: TrackerFilter, flight: FreeFlight) -> None:
        self.cfg = cfg
        self.flight = flight
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.position = np.zeros(3)
        """(3,) m, rig frame, now."""
        self.velocity = np.zeros(3)
        """(3,) m/s."""
        self._variance = (self.cfg.noise**2, 0.0, 1.0)  # of position, both, velocity
        self._time: float | None = None
        self._sample_time = -math.inf

    def step(self, sample_time: float, position: np.ndarray, airborne: bool, now: float) -> None:
        """Advance to ``now``; a sample whose ``sample_time`` is new corrects the estimate.

        Args:
            sample_time: s, host clock, stamp of the newest sample.
            position: (3,) m, of the newest sample.
            airborne: no foot is loaded.
            now: s.
        """
        if self._time is None:
            self.position = np.array(position, dtype=float)
            self._time, self._sample_time = now, sample_time
            return
        dt = max(0.0, now - self._time)
        self._time = now
        self._predict(dt, airborne)
        if sample_time <= self._sample_time:
            return
        self._sample_time = sample_time
        self._correct(np.asarray(position, dtype=float), max(0.0, now - sample_time + self.cfg.latency), airborne)

    def _predict(self, dt: float, airborne: bool) -> None:
        if airborne:
            self.position, self.velocity = self.flight.advance(self.position, self.velocity, dt)
        else:
            self.position = self.position + self.velocity * dt
        q = self.cfg.flight if airborne else self.cfg.stance
        p, c, v = self._variance
        self._variance = (p + 2.0 * c * dt + v * dt**2 + q * dt**3 / 3.0, c + v * dt + q * dt**2 / 2.0, v + q * dt)

    def _correct(self, sample: np.ndarray, age: float, airborne: bool) -> None:
        """The sample shows where the base was ``age`` s ago."""
        if airborne:
            then, _ = self.flight.advance(self.position, self.velocity, -age)
        else:
            then = self.position - self.velocity * age
        p, c, v = self._variance
        row = (p - age * c, c - age * v)  # covariance of what was measured with position and velocity now
        total = row[0] - age * row[1] + self.cfg.noise**2
        gain = (row[0] / total, row[1] / total)
        miss = sample - then
        self.position = self.position + gain[0] * miss
        self.velocity = self.velocity + gain[1] * miss
        self._variance = (p - gain[0] * row[0], c - gain[0] * row[1], v - gain[1] * row[1])


def yaw_of(quaternion: np.ndarray) -> float:
    """Heading in rad of a quaternion (w, x, y, z)."""
    w, x, y, z = (float(v) for v in quaternion)
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def tilt_of(projected_gravity: np.ndarray) -> float:
    """rad between the base's z axis and the vertical."""
    return math.acos(min(max(-float(projected_gravity[2]), -1.0), 1.0))
