"""The gravity-offload unit: how heavy the counterweight is, what the rope shall hold, and the winch's active trim.

A robot of mass M hangs on a rope that pulls with T; its height z and the rope s paid out obey s'' = -z''. The rope ends
at a weight m_c that moves k metres per metre of rope, over pulleys and a drum of inertia m_p (kg, at the rope's speed);
friction loses the share mu of the rope force, and a winch adds F:

    M z'' = T - M g                                    robot in flight
    T = (1 +- mu) (P + F + I s'')                      rope, + paying out (falling), - coming in (rising)
    P = k m_c g,  I = k^2 m_c + m_p                    weight and inertia as the harness feels them

At rest P = o M g offloads the share o, so m_c = o M / k and I = k o M + m_p. Passively (F = 0), free flight shows

    -z'' = g [1 - o (1 +- mu)] / [1 + (o k + m_p / M) (1 +- mu)]

With o = 5/6 and no friction (g/6) / (1 + 5k/6): 0.89, 1.15 and 1.35 m/s^2 at k = 1, 1/2 and 1/4, right only as k -> 0.
A weight of 0.717 M at k = 1 gives 1.62 in flight, and 0.283 g standing. The rope goes slack where T would be negative,
z'' > P / I, which is g/k for a light pulley. The trim makes T what was asked for all the same: the rope's equation
solved for F, the friction's sign being that of the drum's speed, and load-cell feedback for what these feed-forwards
miss. Pulling in at a low tension, up to the winch's force, is also what keeps the rope taut at a landing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.spec.gravity import EARTH, OFFLOAD_FRACTION


def wanted_tension(mass: float) -> float:
    """N, rope force that leaves a robot of ``mass`` kg its lunar weight: 0.8349 M g."""
    return OFFLOAD_FRACTION * mass * EARTH


def counterweight_mass(mass: float, ratio: float, offload: float = 5.0 / 6.0) -> float:
    """kg, m_c = offload * M / k for a robot of ``mass`` kg and ``ratio`` k."""
    return offload * mass / ratio


def passive_flight(
    ratio: float, friction: float = 0.0, rising: bool = True, offload: float = 5.0 / 6.0, pulley: float = 0.0
) -> float:
    """m/s^2, downward acceleration in free flight without trim; see the module's formulas.

    Args:
        ratio: m/m, k.
        friction: 1, mu.
        rising: rope coming in; else paying out.
        offload: 1, share of the weight carried at rest.
        pulley: 1, m_p / M.
    """
    lost = 1.0 - friction if rising else 1.0 + friction
    return EARTH * (1.0 - offload * lost) / (1.0 + (offload * ratio + pulley) * lost)


def slack_acceleration(ratio: float, mass: float, offload: float = 5.0 / 6.0, pulley_mass: float = 0.0) -> float:
    """m/s^2 upward beyond which a robot of ``mass`` kg outruns its untrimmed counterweight; see the module."""
    return offload * mass * EARTH / (ratio * offload * mass + pulley_mass)


@dataclass(frozen=True)
class TrimConfig:
    """The winch's force loop, as its drive runs it at 1 kHz."""

    enabled: bool = True
    """Off: the winch stays slack and the counterweight works passively."""
    friction: float = 0.05
    """1. Rope friction that the feed-forward assumes."""
    friction_speed: float = 0.02
    """m/s. Speed over which the friction's sign changes."""
    acceleration_limit: float = 40.0
    """m/s^2. Rope acceleration whose inertia force the feed-forward cancels; a landing's spike is clipped."""
    acceleration_filter: float = 0.004
    """s. Time constant of the rope acceleration that is differentiated from the encoder."""
    gain: float = 12.0
    """N/N. Load-cell feedback; the rope's inertia feels 1 + gain times smaller."""
    damping: float = 0.06
    """s. Load-cell rate feedback, N per N/s."""
    integral: float = 10.0
    """1/s. Integral load-cell feedback."""
    integral_limit: float = 15.0
    """N. Share of the force that the integral may hold."""
    lag: float = 0.010
    """s. Lag of the winch's torque, compensated by a lead."""
    filter: float = 0.003
    """s. Time constant of the load-cell rate and of the lead."""
    max_force: float = 300.0
    """N. Winch force, either way."""


class WinchTrim:
    """Winch force from wanted tension, load cell and rope encoder.

    Args:
        cfg: gains.
        inertia: kg, k^2 m_c plus pulleys and drum, seen at the harness.
        passive_force: N, k m_c g.
    """

    def __init__(self, cfg: TrimConfig, inertia: float, passive_force: float) -> None:
        self.cfg = cfg
        self._inertia = inertia
        self._passive = passive_force
        self.reset()

    def reset(self) -> None:
        """Forget filters and integral."""
        self._speed: float | None = None
        self._acceleration = 0.0
        self._error: float | None = None
        self._error_rate = 0.0
        self._integral = 0.0
        self._smooth: float | None = None

    def step(self, wanted: float, tension: float, speed: float, dt: float) -> float:
        """N that the winch shall add to the counterweight's pull.

        Args:
            wanted: N at the harness.
            tension: N, load cell.
            speed: m/s, rope paid out.
            dt: s since the last call.
        """
        c = self.cfg
        if not c.enabled:
            return 0.0
        raw = 0.0 if self._speed is None else (speed - self._speed) / dt
        self._speed = speed
        self._acceleration += (raw - self._acceleration) * dt / (c.acceleration_filter + dt)
        error = wanted - tension
        rate = 0.0 if self._error is None else (error - self._error) / dt
        self._error = error
        self._error_rate += (rate - self._error_rate) * dt / (c.filter + dt)
        self._integral = _clip(self._integral + c.integral * error * dt, c.integral_limit)
        share = 1.0 + c.friction * math.tanh(speed / c.friction_speed)
        force = wanted / share - self._passive - self._inertia * _clip(self._acceleration, c.acceleration_limit)
        force += c.gain * error + c.damping * self._error_rate + self._integral
        if self._smooth is None:
            self._smooth = force
        change = (force - self._smooth) / (c.filter + dt)
        self._smooth += change * dt
        return _clip(self._smooth + c.lag * change, c.max_force)


def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
