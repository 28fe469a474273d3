"""Mechanics of the virtual rig, as a lab configures them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.spec.gravity import EARTH


@dataclass(frozen=True)
class RigConfig:
    """The rig's mechanics. Defaults are the design's figures; a lab gives its own."""

    robot: str = "go2"
    """Name of a robot (docs/robots.md), or the path of a quadruped's MJCF or of its folder."""
    timestep: float = 0.001
    """s. Physics step."""
    gravity: float = EARTH
    """m/s^2. Weight of everything; 1.62 with no ``suspension`` is the robot that the rig shall be compared with."""
    belt_length: float = 2.5
    """m, along x."""
    belt_width: float = 1.0
    """m, along y."""
    friction: float = 0.8
    """1. Sliding friction of feet on the belt."""
    added_mass: float = 0.0
    """kg at the trunk's centre of mass unknown to the robot's file and the counterweight; negative: lighter."""
    strength: float = 1.0
    """1. Factor of the motors' torque at every speed."""
    pulley_height: float = 4.0
    """m. Pulley above the belt's centre."""
    harness: tuple[float, float, float] = (-0.003, 0.0, 0.03)
    """m. Where the rope holds the trunk, base frame. The default lies 5 cm above the centre of mass in the nominal
    pose: at the centre of mass itself the legs' motion tips the flying robot over (tilt at landing up to 1 rad)."""
    trolley_lag: float = 0.0
    """s. The pulley follows the harness with this time constant; 0 fixes it over the belt's centre."""
    suspension: Literal["counterweight", "constant", "none"] = "counterweight"
    """``constant``: an ideal rope with exactly the force that leaves lunar weight. ``none``: no rope."""
    rope_ratio: float = 0.5
    """m/m. How far the counterweight moves per metre of the robot, k."""
    offload: float = 5.0 / 6.0
    """1. Share of the robot's weight that the counterweight carries at rest: m_c = offload * M / k."""
    rope_friction: float = 0.05
    """1. Share of the rope force lost in the pulleys."""
    pulley_mass: float = 0.2
    """kg. Rotational inertia of pulleys and drum over their radius squared."""
    rope_stiffness: float = 3000.0
    """N/m, of rope and harness between drum and trunk with the spring that belongs there: it bounds the snap when the
    drum stops a falling robot (M g + v sqrt(stiffness M)), and what a winch that comes late does to the force."""
    rope_damping: float = 100.0
    """N*s/m."""
