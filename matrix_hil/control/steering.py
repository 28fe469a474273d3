"""The outer loop: heading and drift, seen by the pose tracker, become yaw-rate, vy and vx commands, hop by hop.

In flight nothing can be steered: rates of lift-off last until the landing, and the rope swings the robot. So the loop
works once per hop. While the robot flies it asks for the lift-off after the coming landing at which the next flight
ends in the middle, facing along the belt, at the speed wanted over the ground. What the policy makes of a command is
modelled per axis: lift-off rate = response * told + push of the slope + rest. The rest is learned from hop to hop, and
so is how much of a slope's push the policy leaves: one that was trained on slopes may leave none.

Nothing but the policy brings back what goes sideways or turns; but the rope does: in flight the robot swings about the
middle with the amplitude sqrt(y^2 + (v / w)^2), so that a sideways speed v at each lift-off only shifts where it lands.
Where the policy's range is not enough for all that is wanted, the heading is held first, and a policy that is told to
go sideways turns as well; then the operator's speed, for a robot that gives it up to resist a slope stays there. No
command makes the amplitude exceed ``room``, and of a slope the plate shows what the command leaves of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from matrix_hil.control.landing import FreeFlight, Landing, speed_home
from sim.spec.command import HopCommand

_SHORTEST = 0.2  # s of flight from which its rates are known well enough to learn from
_FORGET = 0.01  # of the share of a slope's push, by which it may differ at each lift-off
_FIRST = 100.0  # weight of what must be met before anything else


@dataclass(frozen=True)
class SteeringConfig:
    """Gains and limits of the outer loop. Triples are for forward speed, lateral speed and yaw rate."""

    response: tuple[float, float, float] = (0.9, 0.7, 0.4)
    """1. Change of the lift-off's rate per change of what was told; half to twice as much is still damped."""
    learning: tuple[float, float, float] = (0.5, 0.35, 0.15)
    """1. Share of a hop's surprise that goes into the rest."""
    rest_limit: tuple[float, float, float] = (0.6, 0.2, 0.4)
    """m/s, m/s, rad/s. Largest rest that is believed."""
    push: float = 0.4
    """1, first guess of the share of the lunar weight's downhill impulse of a hop, gravity * time * slope, that a
    lift-off on a slope has: 1 if the legs push at right angles to the plate, 0 if they push straight up."""
    push_doubt: float = 0.4
    """1, standard deviation of that guess, between 0 and 1. It is learned: by least squares over lift-offs on the
    virtual rig ``policy/zoo/pronk`` has 0.82 +- 0.03 forward, 0.65 +- 0.02 sideways (193), ``dual`` 0 +- 0.05 (167)."""
    scatter: float = 0.1
    """m/s, standard deviation of a lift-off's speed about what rest and push say, from which the share is learned."""
    turned: float = -0.3
    """rad/m. Turn, rad/s, that comes with each m/s told to the left; -0.39 +- 0.05 and -0.22 +- 0.05 of the same."""
    leaned: float = -0.4
    """rad/s. Turn on a plate that rises by 1 m/m to the robot's left; -0.40 +- 0.07 and -0.47 +- 0.07 of the same."""
    sideways: float = 0.5
    """1. Weight of an error of the sideways speed against one of the forward speed, where both cannot be had."""
    room: float = 0.3
    """m. How far from the middle, sideways, commands and slopes of the plate may make the robot swing in a flight."""
    astray: float = 0.6
    """rad of heading at which the plate lies level sideways, until the robot has turned back; less for less."""
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
    downhill: np.ndarray
    """(2,) m/s, the weight's impulse."""


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
        self._told = np.zeros(3)  # speeds along the belt and across it
        self._aside = 0.0  # m/s told to the left of its heading
        self._downhill = np.zeros(2)  # m/s, impulse of the lunar weight in a hop on the plate's slope
        self._share = self.cfg.push
        self._doubt = self.cfg.push_doubt**2
        self._lean = 0.0  # m/m, rise of the plate to the robot's left
        self._wanted = np.zeros(2)  # lateral speed and yaw rate beyond the operator's
        self._reach = math.inf  # m/s sideways at the coming lift-off that keep the flight within ``room``
        self._facing = 0.0  # rad, heading at the coming landing
        self._impulse = 0.0  # m/s of the weight in a hop per m/m of slope
        self._liftoff: _Liftoff | None = None
        self._speeds: np.ndarray | None = None  # (2,) m/s of the lift-off, forward over the belt and lateral
        self._landed: tuple[float, float] | None = None  # time, yaw
        self._was_airborne = False

    @property
    def predicted(self) -> np.ndarray:
        """(3,) m/s, m/s, rad/s of the coming lift-off: forward over the belt, lateral, turning."""
        return self._response * self._told + self._own + [0.0, 0.0, self.cfg.turned * self._aside]

    @property
    def _own(self) -> np.ndarray:
        """(3,) of the coming lift-off, what comes with no command."""
        return self.rest + [*(self._share * self._downhill), self.cfg.leaned * self._lean]

    @property
    def bearable(self) -> tuple[float, float]:
        """m/m, least and most rise to the left of the plate under the coming landing that keep the flight after it
        within ``room``; level always does. What command or rest do against the slope is not counted: the heading may
        need the command, and a rest is a guess."""
        share = min(self._share + math.sqrt(self._doubt), 1.0)
        if self._impulse <= 0.0:
            return -math.inf, math.inf
        impulse = share * self._impulse
        told, rest = float(self._response[1] * self._told[1]), float(self.rest[1])
        left, right = max(told, 0.0) + max(rest, 0.0), min(told, 0.0) + min(rest, 0.0)
        reach = self._reach * max(0.0, 1.0 - abs(self._facing) / self.cfg.astray)
        return min((left - reach) / impulse, 0.0), max((right + reach) / impulse, 0.0)

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
            self._liftoff, self._speeds = _Liftoff(now, yaw, belt_speed, self.predicted, self._downhill), None
            if self._landed is not None:
                self.stance_time += 0.3 * (min(now - self._landed[0], 1.0) - self.stance_time)
        if self._was_airborne and not airborne:
            self._learn(yaw, now)
            self._landed = now, yaw
        self._was_airborne = airborne
        if landing is not None:
            self._measure(position, velocity, now)
            self._aim(landing, yaw, slope, now, asked)
        wished = np.array([asked.vx, asked.vy, asked.yaw_rate])
        wanted = wished + [0.0, *self._wanted]
        c, s = math.cos(yaw), math.sin(yaw)
        if self.flight_time is None:  # nothing is known yet: the policy is believed to do what the operator wants
            self.rest += wished - self._response * wished - self._own
            ahead, aside, turn = c * wanted[0] + s * wanted[1], c * wanted[1] - s * wanted[0], wanted[2]
        else:
            ahead, aside, turn = self._in_range(wanted, c, s)
        # the policy takes speeds in its heading frame; the belt and what is learned are along the belt and across it
        self._told = np.array([c * ahead - s * aside, s * ahead + c * aside, turn])
        self._aside = float(aside)
        return replace(asked, vx=float(ahead), vy=float(aside), yaw_rate=float(turn))

    def _in_range(self, wanted: np.ndarray, c: float, s: float) -> tuple[float, float, float]:
        """vx, vy and yaw rate for the policy, within its range.

        Args:
            wanted: (3,) m/s, m/s, rad/s of the lift-off, along the belt and across it.
            c: cosine of the heading.
            s: sine of it.
        """
        k, other = self.cfg.turned, self._own
        forward, left, _ = (float(v) for v in (wanted - other) / self._response)
        due, turn = float(wanted[2] - other[2]), float(self._response[2])
        low, high = self._low.copy(), self._high.copy()
        if k:  # sideways only as far as the turn that comes with it can be told away
            ends = (due - turn * high[2]) / k, (due - turn * low[2]) / k
            low[1], high[1] = max(low[1], min(*ends, 0.0)), min(high[1], max(*ends, 0.0))
        ahead, aside = _nearest(forward, left, c, s, low, high, self.cfg.sideways)
        across, rest, reach = s * ahead + c * aside, float(self.rest[1]), self._reach
        least = min(-reach - min(rest, 0.0), 0.0) / float(self._response[1])
        most = max(reach - max(rest, 0.0), 0.0) / float(self._response[1])
        if not least <= across <= most:
            ahead, aside = _nearest(forward, least if across < least else most, c, s, low, high, _FIRST)
        return ahead, aside, float(np.clip((due - k * aside) / turn, low[2], high[2]))

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
        for axis, downhill in enumerate(self._liftoff.downhill):
            missed = float(self._speeds[axis] - self._liftoff.predicted[axis])
            # a Kalman filter of the share; what the slope does not explain is left to the rest
            gain = self._doubt * downhill / (self._doubt * downhill**2 + self.cfg.scatter**2)
            share = min(max(self._share + gain * missed, 0.0), 1.0)
            surprise[axis] = missed - downhill * (share - self._share)
            self._share = share
            self._doubt = min((1.0 - gain * downhill) * self._doubt + _FORGET**2, self.cfg.push_doubt**2)
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
        self._facing = _wrap(yaw + turning * landing.left)
        swing = self.flight.swing(float(landing.position[2]))
        hop = time + self.stance_time
        self._wanted = np.array([
            c.lateral_gain * speed_home(float(landing.position[1]), swing, time),
            -c.yaw_gain * self._facing / hop,
        ])  # fmt: skip
        self._impulse = self.flight.gravity * hop
        self._downhill = -self._impulse * np.array(slope)
        self._lean = math.cos(self._facing) * slope[1] - math.sin(self._facing) * slope[0]
        self._reach = swing * math.sqrt(max(c.room**2 - float(landing.position[1]) ** 2, 0.0))


def _nearest(
    forward: float, left: float, c: float, s: float, low: np.ndarray, high: np.ndarray, weight: float
) -> tuple[float, float]:
    """vx, vy within ``low`` and ``high`` (2,) that come nearest, in least squares, to speeds along and across the belt.

    Args:
        forward: m/s.
        left: m/s.
        c: cosine of the heading.
        s: sine of it.
        low: m/s.
        high: m/s.
        weight: of an error to the left against one forward.
    """
    best = c * forward + s * left, c * left - s * forward
    if low[0] <= best[0] <= high[0] and low[1] <= best[1] <= high[1]:
        return best
    # convex: otherwise it lies on an edge, one of the two at a bound, the other at a parabola's lowest point
    columns = (c, weight * s), (-s, weight * c)
    due = forward, weight * left
    least = math.inf
    for fixed, free in ((0, 1), (1, 0)):
        for bound in (float(low[fixed]), float(high[fixed])):
            (a, b), (d, e) = columns[fixed], columns[free]
            short = due[0] - a * bound, due[1] - b * bound
            other = (d * short[0] + e * short[1]) / (d * d + e * e)
            other = min(max(other, float(low[free])), float(high[free]))
            miss = (short[0] - d * other) ** 2 + (short[1] - e * other) ** 2
            if miss < least:
                least, best = miss, (bound, other) if fixed == 0 else (other, bound)
    return best


def _wrap(angle: float) -> float:
    """rad, in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi
