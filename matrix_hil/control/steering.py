"""The outer loop: heading and drift, seen by the pose tracker, become yaw-rate, vy and vx commands, hop by hop.

In flight nothing can be steered: rates of lift-off last until the landing, and the rope swings the robot. So the loop
works once per hop. While the robot flies it asks for the lift-off after the coming landing at which the next flight
ends in the middle, facing along the belt, at the speed wanted over the ground. What the policy makes of a command is
modelled per axis: lift-off rate = response * told + push of the slope + rest, and the rest is learned from hop to hop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from matrix_hil.control.landing import FreeFlight, Landing, speed_home
from sim.spec.command import HopCommand

_SHORTEST = 0.2  # s of flight from which its rates are known well enough to learn from


@dataclass(frozen=True)
class SteeringConfig:
    """Gains and limits of the outer loop. Triples are for forward speed, lateral speed and yaw rate."""

    response: tuple[float, float, float] = (0.7, 0.7, 0.4)
    """1. Change of the lift-off's rate per change of what was told; half to twice as much is still damped."""
    learning: tuple[float, float, float] = (0.5, 0.35, 0.15)
    """1. Share of a hop's surprise that goes into the rest."""
    rest_limit: tuple[float, float, float] = (0.6, 0.2, 0.4)
    """m/s, m/s, rad/s. Largest rest that is believed."""
    push: float = 0.85
    """1. Share of the lunar weight's downhill impulse of a hop, gravity * time * slope, that a lift-off on a slope has:
    1 if the legs push at right angles to the plate, 0 if they push straight up."""
    lateral_gain: float = 1.0
    """1. Share of the lateral offset that the next flight shall take back."""
    yaw_gain: float = 0.5
    """1. Share of the heading error that the next hop shall take back."""
    stance: float = 0.15
    """s, first guess of how long a stance lasts."""


@dataclass(frozen=True)
class _Liftoff:
    time: float
    yaw: float
    belt: float
    predicted: np.ndarray


class Steering:
    """Corrects commands, and learns what the policy makes of them.

    Args:
        cfg: gains and limits.
        flight: what acts on the robot in the air.
        low: (3,) m/s, m/s, rad/s: the least that the policy takes of speeds and yaw rate.
        high: (3,) the most.
    """

    def __init__(self, cfg: SteeringConfig, flight: FreeFlight, low: np.ndarray, high: np.ndarray) -> None:
        self.cfg = cfg
        self.flight = flight
        self._low, self._high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        self._response = np.array(cfg.response)
        self.reset()

    def reset(self) -> None:
        """Forget what was learned."""
        self.rest = np.zeros(3)
        """(3,) forward speed over the belt and lateral speed in m/s, yaw rate in rad/s, that no command explains."""
        self.flight_time: float | None = None
        """s, smoothed; None before the first hop."""
        self.stance_time = self.cfg.stance
        """s, smoothed."""
        self._told = np.zeros(3)
        self._push = np.zeros(3)
        self._wanted = np.zeros(2)  # lateral speed and yaw rate beyond the operator's
        self._liftoff: _Liftoff | None = None
        self._speeds: np.ndarray | None = None  # (2,) m/s of the lift-off, forward over the belt and lateral
        self._landed: tuple[float, float] | None = None  # time, yaw
        self._was_airborne = False

    @property
    def predicted(self) -> np.ndarray:
        """(3,) m/s, m/s, rad/s of the coming lift-off: forward over the belt, lateral, turning."""
        return self._response * self._told + self._push + self.rest

    def step(
        self,
        position: np.ndarray,
        velocity: np.ndarray,
        yaw: float,
        belt_speed: float,
        landing: Landing | None,
        slope: tuple[float, float],
        asked: HopCommand,
        now: float,
    ) -> HopCommand:
        """The command for the policy.

        Args:
            position: (3,) m, base, rig frame.
            velocity: (3,) m/s.
            yaw: rad, heading in the rig's frame.
            belt_speed: m/s.
            landing: the coming one; None in stance.
            slope: m/m, rise forward and to the left of the plate at the coming or present stance.
            asked: what the operator wants, speeds along the belt and across it.
            now: s.
        """
        airborne = landing is not None
        if airborne and not self._was_airborne:
            self._liftoff, self._speeds = _Liftoff(now, yaw, belt_speed, self.predicted), None
            if self._landed is not None:
                self.stance_time += 0.3 * (min(now - self._landed[0], 1.0) - self.stance_time)
        if self._was_airborne and not airborne:
            self._learn(yaw, now)
            self._landed = now, yaw
        self._was_airborne = airborne
        if landing is not None:
            self._measure(position, velocity, now)
            self._aim(landing, yaw, slope, now, asked)
        wanted = np.array([asked.vx, asked.vy + self._wanted[0], asked.yaw_rate + self._wanted[1]])
        if self.flight_time is None:  # nothing is known yet: the policy is believed to do what it is told
            self._told = wanted
            self.rest = wanted - self._response * wanted - self._push
        else:
            # beyond its range the policy would not do more: what is left of vx the belt takes
            self._told = np.clip((wanted - self._push - self.rest) / self._response, self._low, self._high)
        forward, left, turn = (float(v) for v in self._told)
        c, s = math.cos(yaw), math.sin(yaw)
        # told along the belt and across it; the policy takes speeds in its heading frame
        return replace(asked, vx=c * forward + s * left, vy=c * left - s * forward, yaw_rate=turn)

    def _measure(self, position: np.ndarray, velocity: np.ndarray, now: float) -> None:
        """The speeds of this flight's lift-off, seen from now."""
        assert self._liftoff is not None
        since = now - self._liftoff.time
        if since >= _SHORTEST:
            _, speed = self.flight.advance(position, velocity, -since)
            self._speeds = np.array([speed[0] + self._liftoff.belt, speed[1]])

    def _learn(self, yaw: float, now: float) -> None:
        """At touch-down. The turn counts from the touch-down before: part of it is made in stance."""
        if self._speeds is None or self._liftoff is None:
            return
        time = now - self._liftoff.time
        self.flight_time = time if self.flight_time is None else self.flight_time + 0.3 * (time - self.flight_time)
        surprise = np.zeros(3)
        surprise[:2] = self._speeds - self._liftoff.predicted[:2]
        if self._landed is not None and now - self._landed[0] < time + 3.0 * self.stance_time:
            then, facing = self._landed
            surprise[2] = _wrap(yaw - facing) / (now - then) - self._liftoff.predicted[2]
        limit = np.array(self.cfg.rest_limit)
        self.rest = np.clip(self.rest + self.cfg.learning * surprise, -limit, limit)

    def _aim(self, landing: Landing, yaw: float, slope: tuple[float, float], now: float, asked: HopCommand) -> None:
        """What the lift-off after ``landing`` shall have."""
        assert self._liftoff is not None
        c = self.cfg
        time = self.flight_time or 2.0 * math.sqrt(2.0 * max(asked.apex_gain, 0.05) / self.flight.gravity)
        since = now - self._liftoff.time
        turning = _wrap(yaw - self._liftoff.yaw) / since if since >= _SHORTEST else 0.0
        facing = _wrap(yaw + turning * landing.left)
        swing = self.flight.swing(float(landing.position[2]))
        hop = time + self.stance_time
        self._wanted = np.array([
            c.lateral_gain * speed_home(float(landing.position[1]), swing, time),
            -c.yaw_gain * facing / hop,
        ])  # fmt: skip
        self._push[:2] = -c.push * self.flight.gravity * hop * np.array(slope)


def _wrap(angle: float) -> float:
    """rad, in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi
