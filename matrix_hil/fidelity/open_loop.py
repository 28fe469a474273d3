"""Open loop: the robot is thrown up with its legs held. How fast it is slowed down rising, and sped up falling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from matrix_hil.config import Winch
from matrix_hil.control.counterweight import TrimConfig, WinchTrim, wanted_tension
from matrix_hil.fidelity.schemes import Scheme
from sim.rig.config import RigConfig
from sim.rig.signals import RigInputs
from sim.rig.virtual_rig import VirtualRig
from sim.spec.gravity import MOON

TICK = 0.001  # s, of physics and of the winch's force loop
_CLEAR = 0.05  # m below the feet at launch and at the end
_KP, _KD = 60.0, 2.0  # N*m/rad, N*m*s/rad: legs held


@dataclass(frozen=True)
class Flight:
    """One throw, a sample per ``TICK`` from launch to the return to launch height."""

    time: np.ndarray
    """(n,) s."""
    height: np.ndarray
    """(n,) m, centre of mass above where it was launched."""
    speed: np.ndarray
    """(n,) m/s, upward, of the centre of mass."""
    tension: np.ndarray
    """(n,) N."""

    @property
    def apex(self) -> int:
        """Index of the first sample that does not rise."""
        return int(np.argmax(self.speed <= 0.0))

    @property
    def rising(self) -> float:
        """m/s^2, mean downward acceleration from launch to apex, the rope's first transient included."""
        return float((self.speed[0] - self.speed[self.apex]) / (self.time[self.apex] - self.time[0]))

    @property
    def falling(self) -> float:
        """m/s^2, mean downward acceleration from apex to the end."""
        return float((self.speed[self.apex] - self.speed[-1]) / (self.time[-1] - self.time[self.apex]))


def throw(scheme: Scheme, rig: RigConfig, trim: TrimConfig, winch: Winch, apex_gain: float, seed: int) -> Flight:
    """Throw the robot up as for a hop of ``apex_gain`` m on the Moon; the same launch for every scheme.

    Robot and rope start at the same speed, the rope with the force that its passive side has at rest, the winch idle.
    """
    machine = VirtualRig(scheme.rig_config(rig), seed)
    rope = machine.rope.parameters
    loop = WinchTrim(trim, rope.inertia, rope.passive_force) if scheme.trim else None
    cell = np.random.default_rng(seed)
    tension, share = wanted_tension(machine.mass - rig.added_mass), 1.0 - math.exp(-TICK / winch.lag)
    stance = machine.robot.nominal_pose
    machine.reset(joint_position=stance)
    height = float(machine.outputs().base_position[2]) + _CLEAR
    machine.reset(height, joint_position=stance, velocity=np.array([0.0, 0.0, math.sqrt(2 * MOON * apex_gain)]))
    force, rows = 0.0, [_row(machine)]
    while rows[-1][1] >= rows[0][1]:
        if loop is not None:
            measured = machine.rope.tension + winch.noise * cell.standard_normal()
            measured = round(measured / winch.resolution) * winch.resolution
            target = loop.step(tension, measured, machine.rope.speed, TICK)
            force += share * (min(max(target, -winch.winch_force), winch.winch_force) - force)
        machine.step(RigInputs(winch_force=force, kp=_KP, kd=_KD), TICK)
        rows.append(_row(machine))
    time, z, speed, tensions = np.array(rows).T
    return Flight(time, z - z[0], speed, tensions)


def _row(machine: VirtualRig) -> tuple[float, float, float, float]:
    position, velocity = machine.center_of_mass()
    return machine.data.time, float(position[2]), float(velocity[2]), machine.rope.tension
