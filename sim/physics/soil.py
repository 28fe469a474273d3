"""Regolith under the feet: Bekker's pressure-sinkage law as MuJoCo contact parameters.

**Law.** Bekker (1969, Introduction to Terrain-Vehicle Systems): a plate of radius b sinks into soil until the pressure
under it is p = (kc / b + kphi) z^n. Lunar soil has kphi = 820 kN/m^3, kc = 1.4 kN/m^2 and n = 1 (Lunar Sourcebook,
chapter 9). A sphere of radius R whose lowest point is z deep presses everywhere by its own depth there, so with n = 1
and b = R the force is k = kc / R + kphi times the displaced volume,

    F(z) = k pi z^2 (R - z / 3)  for z <= R,        k pi R^2 (z - R / 3)  beyond:

a buried sphere sinks on like the shaft behind it. The Go2's foot (R = 22 mm) sinks 11, 21, 30 and 53 mm under a quarter
of 1, 3, 5 and 10 lunar body weights.

**In MuJoCo** a contact at depth z with impedance d(z), the sigmoid ``solimp``, and ``solref`` = (-K dmax^2, -B dmax)
carries, once the foot no longer accelerates, the normal force (K d z - B v) d / ((1 - d) A): v is the upward speed and
A the inverse mass that MuJoCo assigns to the foot. d is fitted once so that the first term is F(z) within 5% from 0.4 R
to 2.4 R; with K proportional to k R^2 A that one fit serves every soil, radius and robot. The second term makes it
plastic: the ground follows a rising foot so slowly that it gives little back. Both hold only with an elliptic friction
cone; the normal force of a pyramid depends on friction.

**What it is not.** The ground heals behind each step; sinkage lags by damping over stiffness, about 0.1 s; resistance
to sliding is friction's, without bulldozing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np

from sim.errors import LunarError

RIGID = ((0.02, 1.0), (0.9, 0.95, 0.001, 0.5, 2.0))
"""``solref`` and ``solimp`` of rigid ground, which are MuJoCo's defaults."""
IMPRATIO = 10.0
"""1. How much stiffer friction is than the normal direction: else a foot on soft ground creeps sideways."""
# the fit: minimum, maximum, width over radius, midpoint and power of the impedance, and K / (k R^2 A)
_LEAST, _MOST, _WIDTH, _MIDPOINT, _POWER = 0.2923, 0.5, 2.0, 0.1, 3.0
_STIFFNESS = 5.148


@dataclass(frozen=True)
class SoilConfig:
    """What the feet stand on."""

    kind: Literal["rigid", "regolith"] = "rigid"
    """``rigid`` ground, MuJoCo's default contact, or ``regolith`` that gives way by Bekker's law."""
    k_phi: float = 820e3
    """N/m^3. Bekker's frictional modulus."""
    k_c: float = 1.4e3
    """N/m^2. Bekker's cohesive modulus."""
    damping: float = 100.0
    """N*s/m of a deep foot. At 100 a landing's peak force is a seventh below that of soil which resists alike at any
    rate and never pushes back; less damping comes closer and bounces more."""
    share: float = 1.0
    """1. Share of the robots that stand on regolith, drawn anew at each reset; the others' ground is rigid."""
    spread: float = 2.0
    """1. Randomisation: a robot's soil is up to this many times stronger or weaker, log-uniform. 1 for none."""


def sphere_contact(soil: SoilConfig, radius: float, inverse_mass: float) -> tuple[np.ndarray, np.ndarray]:
    """MuJoCo's ``solref`` (2,) and ``solimp`` (5,) of a sphere on regolith.

    Strength enters ``solref[0]`` alone and in proportion, so that one robot's soil is that entry times a factor.

    Args:
        soil: the soil.
        radius: m.
        inverse_mass: 1/kg, ``body_invweight0`` of the sphere's body.
    """
    stiffness = _STIFFNESS * (soil.k_c / radius + soil.k_phi) * radius**2 * inverse_mass
    damping = soil.damping * inverse_mass * (1.0 - _MOST) / _MOST
    solref = np.array([-stiffness * _MOST**2, -damping * _MOST])
    return solref, np.array([_LEAST, _MOST, _WIDTH * radius, _MIDPOINT, _POWER])


def apply_soil(model: mujoco.MjModel, soil: SoilConfig) -> None:
    """Give the planes in a compiled ``model`` this soil where spheres meet them; other pairs keep rigid ground.

    Raises:
        LunarError: a value out of range.
    """
    if min(soil.k_phi, soil.k_c, soil.damping) < 0 or soil.k_phi == 0 or soil.spread < 1 or not 0 <= soil.share <= 1:
        raise LunarError(
            "physics.soil: k_phi must be positive, k_c and damping not negative, spread at least 1, share from 0 to 1"
        )
    if soil.kind == "rigid":
        return
    model.opt.impratio = IMPRATIO
    for pair in soft_pairs(model):
        geom = _sphere(model, pair)
        inverse_mass = model.body_invweight0[model.geom_bodyid[geom], 0]
        solref, solimp = sphere_contact(soil, model.geom_size[geom, 0], inverse_mass)
        model.pair_solref[pair], model.pair_solimp[pair] = solref, solimp


def soft_pairs(model: mujoco.MjModel) -> np.ndarray:
    """Indices (P,) of the contact pairs in which a sphere meets a plane: feet and knees on the ground."""
    return np.array([pair for pair in range(model.npair) if _sphere(model, pair) >= 0], dtype=int)


def _sphere(model: mujoco.MjModel, pair: int) -> int:
    """The sphere of a contact pair with a plane, -1 for another pair."""
    kinds = mujoco.mjtGeom
    geoms = sorted((int(model.pair_geom1[pair]), int(model.pair_geom2[pair])), key=lambda geom: model.geom_type[geom])
    return geoms[1] if list(model.geom_type[geoms]) == [kinds.mjGEOM_PLANE, kinds.mjGEOM_SPHERE] else -1
