"""What the robot is doing: feet loaded or not, hops counted, and its velocity from the pose tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.spec.gravity import MOON


@dataclass(frozen=True)
class TrackerFilter:
    """Gains of an alpha-beta filter."""

    alpha: float = 0.3
    """1. Share of a position's innovation taken."""
    beta: float = 0.04
    """1. Share of it, over the time between samples, that corrects the velocity."""
    latency: float = 0.010
    """s between the tracker's exposure and its sample's arrival."""


class VelocityEstimate:
    """Base position and velocity from tracker samples; between samples it predicts, with lunar gravity in flight."""

    def __init__(self, cfg: TrackerFilter) -> None:
        self.cfg = cfg
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.position = np.zeros(3)
        """(3,) m, rig frame, now."""
        self.velocity = np.zeros(3)
        """(3,) m/s."""
        self._time: float | None = None
        self._sample_time = -math.inf

    def step(self, sample_time: float, position: np.ndarray, airborne: bool, now: float) -> None:
        """Advance to ``now``; a sample whose ``sample_time`` (host clock at arrival) is new corrects the estimate.

        Args:
            sample_time: s.
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
        acceleration = np.array([0.0, 0.0, -MOON if airborne else 0.0])
        self.position = self.position + self.velocity * dt + 0.5 * acceleration * dt**2
        self.velocity = self.velocity + acceleration * dt
        since = sample_time - self._sample_time
        if since <= 0.0:
            return
        self._sample_time = sample_time
        age = now - sample_time + self.cfg.latency
        miss = position + self.velocity * age - self.position
        self.position = self.position + self.cfg.alpha * miss
        self.velocity = self.velocity + self.cfg.beta / min(since, 0.05) * miss

    def time_to_land(self, landing_height: float) -> float:
        """s until the base sinks to ``landing_height`` (m, rig frame) in lunar free fall; 0 when it is below."""
        drop = self.position[2] - landing_height
        if drop <= 0.0 and self.velocity[2] <= 0.0:
            return 0.0
        v = self.velocity[2]
        return float((v + math.sqrt(max(v * v + 2.0 * MOON * drop, 0.0))) / MOON)


def yaw_of(quaternion: np.ndarray) -> float:
    """Heading in rad of a quaternion (w, x, y, z)."""
    w, x, y, z = (float(v) for v in quaternion)
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def tilt_of(projected_gravity: np.ndarray) -> float:
    """rad between the base's z axis and the vertical."""
    return math.acos(min(max(-float(projected_gravity[2]), -1.0), 1.0))
