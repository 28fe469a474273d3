"""Impact craters: how many of each size, the shape of a fresh one, and how age wears it down.

Sizes: NASA's VIPER site model (synthterrain) has 29174 D^-1.92 craters per km^2 larger than D metres, for D up to 80 m;
Trask's equilibrium, 10^-1.1 D^-2 per m^2, caps it. Shape: the same model's polynomials. Age: soil creeps downhill, so
heights obey a diffusion equation (Fassett and Thomson 2014, J. Geophys. Res. Planets 119, 2255).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sim.errors import LunarError

LARGEST = 80.0
"""m. Largest diameter of the size-frequency law."""
RIM = 0.98
"""Crater radii from the centre to the crest of a fresh rim, where the inner polynomial hands over to the outer one."""
REACH = 4.0
"""Crater radii beyond which no crater, however old, changes the ground."""
STEP = 0.02
"""Crater radii between the samples of a profile."""


@dataclass(frozen=True)
class PlacedCrater:
    """One crater where the user wants it."""

    x: float
    """m. Centre."""
    y: float
    """m. Centre."""
    diameter: float
    """m. Rim to rim."""
    age: float = 0.0
    """1. Diffusion kappa t over diameter squared; 0 is fresh."""


@dataclass(frozen=True)
class CraterConfig:
    """A field of craters."""

    density: float = 1.0
    """1. Times 29174 D^-1.92 per km^2; the equilibrium caps the product. 0 leaves only ``placed``."""
    smallest: float = 0.25
    """m. Smallest diameter drawn; on a coarse map four samples, if that is more."""
    largest: float = 24.0
    """m. Largest diameter drawn, up to 80 m; half a map's edge shows whole craters."""
    youngest: float = 0.0002
    """1. Least degradation kappa t / D^2 of a drawn crater."""
    oldest: float = 0.06
    """1. Greatest degradation; 0.06 leaves a fifth of the fresh depth, where a count no longer sees it."""
    placed: tuple[PlacedCrater, ...] = ()
    """Craters in addition to the drawn ones."""


@dataclass(frozen=True)
class Craters:
    """Craters of one map, largest first; every array is (C,)."""

    x: np.ndarray
    """m. Centre."""
    y: np.ndarray
    """m. Centre; some lie outside the map and reach into it."""
    diameter: np.ndarray
    """m. Rim to rim."""
    age: np.ndarray
    """1. Degradation kappa t / D^2."""


def crater_density(cfg: CraterConfig, diameter: np.ndarray) -> np.ndarray:
    """Craters per m^2 larger than each diameter (m): the production law under the cap of Trask's equilibrium."""
    production = cfg.density * 29174e-6 * diameter**-1.92
    return np.minimum(production, 10**-1.1 * diameter**-2.0)


def smallest_drawn(cfg: CraterConfig, resolution: float) -> float:
    """m. Least diameter on a map with ``resolution`` m between samples: a bowl needs four of them."""
    return min(max(cfg.smallest, 4 * resolution), cfg.largest)


def draw_craters(cfg: CraterConfig, size: float, resolution: float, rng: np.random.Generator) -> Craters:
    """A Poisson population on and around a map of edge ``size`` m centred at 0; only craters that touch it are kept.

    In equilibrium a crater is counted from birth until it has faded, and the time to fade grows as D^2: so kappa
    t / D^2 is uniform between youngest and oldest at every size.

    Raises:
        LunarError: sizes or ages out of order or range.
    """
    _check(cfg)
    reach = REACH * cfg.largest / 2
    half = size / 2 + reach
    grid = np.geomspace(smallest_drawn(cfg, resolution), cfg.largest, 400)
    larger = crater_density(cfg, grid)
    mean = (larger[0] - larger[-1]) * (2 * half) ** 2
    count = int(rng.poisson(mean)) if cfg.density > 0 else 0
    rank = rng.uniform(larger[-1], larger[0], count)
    diameter = np.exp(np.interp(rank, larger[::-1], np.log(grid)[::-1]))
    x, y = rng.uniform(-half, half, (2, count))
    age = rng.uniform(cfg.youngest, cfg.oldest, count)
    touches = np.maximum(np.abs(x), np.abs(y)) < size / 2 + REACH * diameter / 2
    drawn = np.stack([x, y, diameter, age], axis=1)[touches]
    placed = np.array([(c.x, c.y, c.diameter, c.age) for c in cfg.placed]).reshape(-1, 4)
    everything = np.concatenate([placed, drawn])
    everything = everything[np.argsort(-everything[:, 2], kind="stable")]
    return Craters(*(np.ascontiguousarray(column) for column in everything.T))


def crater_relief(craters: Craters, axis: np.ndarray) -> np.ndarray:
    """Heights (n, n) in m that the craters add to level ground at coordinates ``axis`` (n,) on both axes."""
    relief = np.zeros((len(axis), len(axis)))
    if len(craters.x) == 0:
        return relief
    profiles = aged_profiles(craters.diameter, craters.age)
    for x, y, diameter, profile in zip(craters.x, craters.y, craters.diameter, profiles, strict=True):
        radius = diameter / 2
        reach = (np.flatnonzero(np.abs(profile) > 1e-6)[-1] + 1.5) * STEP
        cols = slice(*np.searchsorted(axis, [x - reach * radius, x + reach * radius]))
        rows = slice(*np.searchsorted(axis, [y - reach * radius, y + reach * radius]))
        r = np.sqrt(((axis[cols] - x) / radius)[None, :] ** 2 + ((axis[rows] - y) / radius)[:, None] ** 2)
        relief[rows, cols] += diameter * np.interp(r, _radii(), profile)
    return relief


def fresh_profile(r: np.ndarray, diameter: np.ndarray) -> np.ndarray:
    """Height over diameter of a fresh crater at ``r`` crater radii from its centre, above the ground around it.

    The floor is clipped so that the depth from rim to floor is ``depth_ratio`` diameters.
    """
    inside = -0.2288 + 0.2275 * r + 0.0831 * r**2 - 0.0395 * r**3
    height = np.where(r < RIM, np.maximum(inside, _outside(np.array(RIM)) - depth_ratio(diameter)), _outside(r))
    return np.where(r < 1.5, height, 0.0)


def _outside(r: np.ndarray) -> np.ndarray:
    return 0.1883 - 0.1871 * r + 0.0184 * r**2 + 0.0151 * r**3


def depth_ratio(diameter: np.ndarray) -> np.ndarray:
    """Depth from rim to floor over diameter of a fresh crater: 0.10 below 10 m, rising to 0.21 from 400 m."""
    diameter = np.asarray(diameter, float)
    table = np.interp(diameter, [10.0, 40.0, 100.0, 200.0, 400.0], [0.11, 0.13, 0.15, 0.17, 0.21])
    return np.where(diameter < 10.0, 0.10, table)


def aged_profiles(diameter: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Height over diameter at radii 0.01, 0.03, … crater radii after diffusion. Shape (C, 200); volume is conserved.

    Args:
        diameter: (C,) m.
        age: (C,) kappa t / D^2.
    """
    decay, modes, inverse = _diffusion()
    fresh = fresh_profile(_radii()[None, :], np.asarray(diameter)[:, None])
    # time in units of radius^2 / kappa is four times that of diameter^2 / kappa
    return (fresh @ inverse.T * np.exp(4.0 * np.asarray(age)[:, None] * decay)) @ modes.T


@lru_cache(maxsize=1)
def _radii() -> np.ndarray:
    return (np.arange(round(REACH / STEP)) + 0.5) * STEP


@lru_cache(maxsize=1)
def _diffusion() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (200,), modes (200, 200) and their inverse of diffusion between rings, the last closed."""
    r = _radii()
    area = r * STEP
    flow = np.arange(1.0, len(r))  # circumference of the edge between two rings over the distance of their middles
    laplacian = np.diag(flow, 1) + np.diag(flow, -1)
    laplacian -= np.diag(laplacian.sum(axis=1))
    root = np.sqrt(area)
    decay, vectors = np.linalg.eigh(laplacian / np.outer(root, root))
    return decay, vectors / root[:, None], vectors.T * root[None, :]


def _check(cfg: CraterConfig) -> None:
    if not 0 < cfg.smallest < cfg.largest <= LARGEST:
        raise LunarError(
            f"terrain.craters: smallest {cfg.smallest:g} m and largest {cfg.largest:g} m must be in order, above zero "
            f"and at most {LARGEST:g} m"
        )
    if not 0.0 <= cfg.youngest <= cfg.oldest:
        raise LunarError(f"terrain.craters.youngest {cfg.youngest:g} must be in 0 to oldest {cfg.oldest:g}")
    if cfg.density < 0 or any(c.diameter <= 0 or c.age < 0 for c in cfg.placed):
        raise LunarError("terrain.craters: density, a placed diameter or an age is negative; give zero or more")
