"""A rope over a pulley: elastic, tension only, with Coulomb friction, a counterweight, a winch and a brake."""

from __future__ import annotations

from dataclasses import dataclass

from sim.spec.gravity import EARTH


@dataclass(frozen=True)
class RopeParameters:
    """Constants of one rope, SI units."""

    counterweight: float
    """kg. Hanging mass m_c."""
    ratio: float
    """m/m. How far the counterweight moves per metre of rope, k."""
    pulley_mass: float
    """kg. Rotational inertia of pulleys and drum over their radius squared, moving at the rope's speed."""
    friction: float
    """1. Share mu of the rope force that the pulleys lose."""
    stiffness: float
    """N/m, of the rope between pulley and harness."""
    damping: float
    """N*s/m."""

    @property
    def inertia(self) -> float:
        """kg. What moves with the rope, seen at the harness: k^2 m_c + pulley_mass."""
        return self.ratio**2 * self.counterweight + self.pulley_mass

    @property
    def passive_force(self) -> float:
        """N. What the counterweight alone pulls with, seen at the harness at rest: k m_c g."""
        return self.ratio * self.counterweight * EARTH


class Rope:
    """The rope's state: ``length`` (m) paid out from pulley to harness, its rate ``speed`` (m/s), ``tension`` (N)."""

    def __init__(self, parameters: RopeParameters) -> None:
        self.parameters = parameters
        self.length = 0.0
        self.speed = 0.0
        self.tension = 0.0

    def reset(self, distance: float, tension: float) -> None:
        """At rest, ``distance`` m between pulley and harness, pulling with ``tension`` N."""
        self.length = distance - tension / self.parameters.stiffness
        self.speed = 0.0
        self.tension = tension

    def step(self, distance: float, distance_rate: float, winch: float, brake: bool, dt: float) -> float:
        """Advance by ``dt`` seconds; return the tension at the harness in N, never negative.

        With mu the friction and s the length, a moving rope obeys T = (1 +- mu)(k m_c g + winch + inertia s''), + while
        it pays out (the robot falls) and - while it comes in; a rope at rest stays there while friction can hold it.
        A slack rope lets the counterweight fall at g until it is taut.

        Args:
            distance: m from the pulley to the harness.
            distance_rate: m/s.
            winch: N that the winch adds, positive pulls in, seen at the harness.
            brake: the drum pays nothing out.
            dt: s.
        """
        p = self.parameters
        stretch = distance - self.length
        tension = 0.0
        if stretch > 0.0:
            tension = max(0.0, p.stiffness * stretch + p.damping * (distance_rate - self.speed))
        rate = dt / p.inertia
        free = self.speed + rate * (tension - p.passive_force - winch)
        sign = 1.0 if free > 0.0 else -1.0
        lost = rate * p.friction * tension / (1.0 + sign * p.friction)
        speed = sign * max(0.0, abs(free) - lost)
        if brake:
            speed = min(speed, 0.0)
        self.speed = speed
        self.length += speed * dt
        self.tension = tension
        return tension
