"""How the rope holds the robot: harness on the trunk, pulley overhead, and what that does besides carrying it.

With T the tension, h the pulley's height above the harness, M the robot's mass:

- **Sideways pull.** Off the pulley's vertical by d, the rope pulls back with T d / sqrt(h^2 + d^2): 0.6 m/s^2 at 0.3 m
  under a pulley 3.6 m above the harness, as a pendulum of that length would.
- **Pendulum moment.** A harness c above the centre of mass rights a robot tilted by a with T c sin(a). In flight it
  then swings at sqrt(T c / J) rad/s, J its inertia about the swing's axis; a robot on the Moon does not. With c = 0
  nothing rights it, and each centimetre by which the legs shift the centre of mass turns it with T times that.
- **Trolley.** A pulley that follows the harness with a lag tau keeps d at the robot's speed times tau.
"""

from __future__ import annotations

import math

import numpy as np

from sim.rig.config import RigConfig
from sim.rig.rope import Rope, RopeParameters
from sim.spec.gravity import EARTH, OFFLOAD_FRACTION


def rope_parameters(cfg: RigConfig, mass: float) -> RopeParameters:
    """The rope that offloads a robot of ``mass`` kg as configured."""
    if cfg.suspension == "counterweight":
        force = cfg.offload * mass * EARTH
        inertia = cfg.rope_ratio * cfg.offload * mass + cfg.pulley_mass  # k^2 m_c with m_c = offload M / k
        friction = cfg.rope_friction
    else:
        force = OFFLOAD_FRACTION * mass * EARTH if cfg.suspension == "constant" else 0.0
        inertia = friction = 0.0
    return RopeParameters(force, inertia, friction, cfg.rope_stiffness, cfg.rope_damping)


class Suspension:
    """Rope, harness and pulley of one rig.

    Args:
        cfg: mechanics.
        mass: kg of the robot that the counterweight was chosen for.
        trunk_com: (3,) m, the trunk's centre of mass in the base frame, where its external force applies.
    """

    def __init__(self, cfg: RigConfig, mass: float, trunk_com: np.ndarray) -> None:
        self.rope = Rope(rope_parameters(cfg, mass))
        self._attached = cfg.suspension != "none"
        self._height = cfg.pulley_height
        self._lag = cfg.trolley_lag
        self._harness = cfg.harness
        self._lever = tuple((np.array(cfg.harness) - trunk_com).tolist())
        self.pulley = (0.0, 0.0)
        """m, x and y of the pulley in the rig's frame."""

    def reset(
        self, qpos: np.ndarray, qvel: np.ndarray, tension: float | None = None, rope_speed: float | None = None
    ) -> None:
        """The rope holds a robot in this state; the pulley is over the belt's centre, or a trolley over the robot.

        Args:
            qpos: (7+,) base position in m and quaternion (w, x, y, z).
            qvel: (6+,) base velocity in m/s, rig frame, and rad/s, base frame.
            tension: N; what the rope pulls with at rest when absent.
            rope_speed: m/s paid out; as the harness moves when absent.
        """
        self.pulley = (float(qpos[0]), float(qpos[1])) if self._lag > 0.0 else (0.0, 0.0)
        distance, rate, _ = self._geometry(qpos, qvel)
        pull = self.rope.parameters.passive_force if tension is None else tension
        self.rope.reset(distance, pull if self._attached else 0.0, rate if rope_speed is None else rope_speed)

    def step(self, qpos: np.ndarray, qvel: np.ndarray, winch: float, brake: bool, dt: float) -> tuple[float, ...]:
        """Advance by ``dt`` s; force (3, N) and torque (3, N*m) on the trunk at its centre of mass, rig frame."""
        if not self._attached:
            return (0.0,) * 6
        distance, rate, (ux, uy, uz, rx, ry, rz) = self._geometry(qpos, qvel)
        t = self.rope.step(distance, rate, winch, brake, dt)
        if self._lag > 0.0:
            x, y = self.pulley
            share = dt / (self._lag + dt)
            self.pulley = (x - share * ux * distance, y - share * uy * distance)
        fx, fy, fz = t * ux, t * uy, t * uz
        return fx, fy, fz, ry * fz - rz * fy, rz * fx - rx * fz, rx * fy - ry * fx

    def spring_energy(self, qpos: np.ndarray, qvel: np.ndarray) -> float:
        """J in the stretched rope."""
        if not self._attached:
            return 0.0
        stretch = max(0.0, self._geometry(qpos, qvel)[0] - self.rope.length)
        return 0.5 * self.rope.parameters.stiffness * stretch**2

    def _geometry(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[float, float, tuple[float, ...]]:
        """Distance pulley to harness (m), its rate (m/s), and unit vector (3) towards the pulley with the lever (3)
        from the trunk's centre of mass to the harness, rig frame. The trolley's own speed is left out of the rate: it
        moves across the rope. Plain floats: this runs at 1 kHz."""
        x, y, z, qw, qx, qy, qz = qpos[0:7].tolist()
        vx, vy, vz, wx, wy, wz = qvel[0:6].tolist()
        ax, ay, az = 1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy + qw * qz), 2 * (qx * qz - qw * qy)  # columns of R
        bx, by, bz = 2 * (qx * qy - qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz + qw * qx)
        cx, cy, cz = 2 * (qx * qz + qw * qy), 2 * (qy * qz - qw * qx), 1 - 2 * (qx * qx + qy * qy)
        h0, h1, h2 = self._harness
        l0, l1, l2 = self._lever
        s0, s1, s2 = wy * h2 - wz * h1, wz * h0 - wx * h2, wx * h1 - wy * h0  # omega x harness, base frame
        dx = self.pulley[0] - (x + ax * h0 + bx * h1 + cx * h2)
        dy = self.pulley[1] - (y + ay * h0 + by * h1 + cy * h2)
        dz = self._height - (z + az * h0 + bz * h1 + cz * h2)
        distance = math.sqrt(dx * dx + dy * dy + dz * dz)
        ux, uy, uz = dx / distance, dy / distance, dz / distance
        rate = -(
            ux * (vx + ax * s0 + bx * s1 + cx * s2)
            + uy * (vy + ay * s0 + by * s1 + cy * s2)
            + uz * (vz + az * s0 + bz * s1 + cz * s2)
        )
        rx, ry, rz = ax * l0 + bx * l1 + cx * l2, ay * l0 + by * l1 + cy * l2, az * l0 + bz * l1 + cz * l2
        return distance, rate, (ux, uy, uz, rx, ry, rz)
