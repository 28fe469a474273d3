"""What goes into a step of the virtual rig, and what can be seen of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sim.robots.go2.facts import GO2


@dataclass(frozen=True)
class RigInputs:
    """What the machines' actuators do during a step; held constant over it."""

    platform_pose: np.ndarray = field(default_factory=lambda: np.zeros(6))
    """(6,) x, y, z in m, roll, pitch, yaw in rad, at the start of the step."""
    platform_velocity: np.ndarray = field(default_factory=lambda: np.zeros(6))
    """(6,) rates of ``platform_pose``."""
    belt_speed: float = 0.0
    """m/s, positive carries the robot towards -x."""
    winch_force: float = 0.0
    """N added to the counterweight's pull, seen at the harness; negative pays out."""
    brake: bool = False
    """The drum pays nothing out and the winch's motor is off."""
    targets: np.ndarray = field(default_factory=lambda: GO2.nominal_pose.copy())
    """(12,) rad, project joint order."""
    kp: float = GO2.kp
    """N*m/rad."""
    kd: float = GO2.kd
    """N*m*s/rad."""
    mode: str = "stand"
    """``run`` and ``hold`` (PD to targets), ``stand`` (PD to the nominal pose), ``damp`` (kp = 0)."""


@dataclass(frozen=True)
class RigOutputs:
    """True state of the rig; sensor noise and delay belong to the devices that measure it."""

    time: float
    """s since the reset."""
    platform_pose: np.ndarray
    """(6,) m, rad."""
    platform_velocity: np.ndarray
    """(6,) m/s, rad/s."""
    belt_position: float
    """m, integral of the speed since the reset."""
    belt_speed: float
    """m/s."""
    rope_tension: float
    """N at the harness."""
    rope_length: float
    """m paid out from pulley to harness."""
    rope_speed: float
    """m/s, positive pays out."""
    base_position: np.ndarray
    """(3,) m, rig frame."""
    base_quaternion: np.ndarray
    """(4,) w, x, y, z."""
    base_velocity: np.ndarray
    """(3,) m/s, rig frame."""
    angular_velocity: np.ndarray
    """(3,) rad/s, base frame."""
    projected_gravity: np.ndarray
    """(3,) unit vector, base frame."""
    joint_position: np.ndarray
    """(12,) rad."""
    joint_velocity: np.ndarray
    """(12,) rad/s."""
    joint_torque: np.ndarray
    """(12,) N*m, of the motors."""
    foot_force: np.ndarray
    """(4,) N, normal, FL FR RL RR."""
    foot_position: np.ndarray
    """(4, 3) m, centres of the feet in the rig frame; a loaded foot touches the belt one foot radius below."""
