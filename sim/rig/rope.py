"""A rope over a pulley: elastic, tension only, with Coulomb friction, inertia, a winch and a brake."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RopeParameters:
    """Constants of one rope as the harness feels them, SI units."""

    passive_force: float
    """N. What pulls at rest with the winch idle; k m_c g for a hanging mass m_c that moves k m per metre of rope."""
    inertia: float
    """kg. What moves with the rope: k^2 m_c, pulleys and drum. Zero is the ideal: the force is constant."""
    friction: float
    """1. Share mu of the rope force that the pulleys lose."""
    stiffness: float
    """N/m, of the rope between pulley and harness."""
    damping: float
    """N*s/m."""


class Rope:
    """The rope's state: ``length`` (m) paid out from pulley to harness, its rate ``speed`` (m/s), ``tension`` (N)."""

    def __init__(self, parameters: RopeParameters) -> None:
        self.parameters = parameters
        self.length = 0.0
        self.speed = 0.0
        self.tension = 0.0

    def reset(self, distance: float, tension: float, speed: float = 0.0) -> None:
        """``distance`` m between pulley and harness, pulling with ``tension`` N, paid out at ``speed`` m/s."""
        self.length = distance - tension / self.parameters.stiffness
        self.speed = speed
        self.tension = tension

    def step(self, distance: float, distance_rate: float, winch: float, brake: bool, dt: float) -> float:
        """Advance by ``dt`` seconds; return the tension at the harness in N, never negative.

        With mu the friction, P the passive force and s the length, a moving rope obeys
        T = (1 +- mu)(P + winch + inertia s''), + while it pays out (the robot falls) and - while it comes in; a rope at
        rest stays there while friction can hold it. A slack rope lets the counterweight fall until it is taut.

        Args:
            distance: m from the pulley to the harness.
            distance_rate: m/s.
            winch: N that the winch adds, positive pulls in, seen at the harness.
            brake: a ratchet on the drum: it pays nothing out, and its motor is off; what pulls in is the counterweight.
            dt: s.
        """
        p = self.parameters
        if p.inertia == 0.0 and not brake:
            self.reset(distance, max(0.0, p.passive_force + winch), distance_rate)
            return self.tension
        stretch = distance - self.length
        tension = 0.0
        if stretch > 0.0:
            tension = max(0.0, p.stiffness * stretch + p.damping * (distance_rate - self.speed))
        self.speed = self._drum_speed(tension, 0.0 if brake else winch, dt)
        if brake:
            self.speed = min(self.speed, 0.0)
        self.length += self.speed * dt
        self.tension = tension
        return tension

    def _drum_speed(self, tension: float, winch: float, dt: float) -> float:
        p = self.parameters
        if p.inertia == 0.0:
            return 0.0  # only a braked ideal rope gets here: it stays as it is
        rate = dt / p.inertia
        free = self.speed + rate * (tension - p.passive_force - winch)
        sign = 1.0 if free > 0.0 else -1.0
        lost = rate * p.friction * tension / (1.0 + sign * p.friction)
        return sign * max(0.0, abs(free) - lost)
