"""Half-buried rocks: how many of each size, and their shapes on the ground.

N(>D) = 0.0003 D^-2.482 per m^2 for D from 0.10 m (NASA's VIPER site model, synthterrain), 0.002 D^-2.66 at blocky
sites; a rock stands about half its diameter above the ground (Golombek et al. 2003, J. Geophys. Res. 108, 8086).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.errors import LunarError

SMALLEST = 0.10
"""m. Smallest diameter of the law, and a foot's size."""
RESOLVED = 6
"""Samples across. Narrower rocks are centred on a sample, or the grid would cut their tops off."""


@dataclass(frozen=True)
class RockConfig:
    """A field of rocks."""

    coefficient: float = 0.0003
    """1/m^2. Rocks larger than 1 m per m^2, were the law to go on; 0.002 at blocky sites, 0 for none."""
    exponent: float = 2.482
    """1. Steepness of N(>D) = coefficient D^-exponent; 2.66 at blocky sites."""
    smallest: float = 0.10
    """m. Smallest diameter drawn, at least 0.10 m."""
    largest: float = 2.0
    """m. Largest diameter drawn."""
    relative_height: float = 0.5
    """1. Mean height above the ground over diameter."""
    height_spread: float = 0.1
    """1. Standard deviation of that ratio."""


@dataclass(frozen=True)
class Rocks:
    """Rocks of one map, largest first; every array is (R,). Each is an ellipsoid cut in half by the ground."""

    x: np.ndarray
    """m. Centre."""
    y: np.ndarray
    """m. Centre."""
    ground: np.ndarray
    """m. Height of the ground under the centre: the ellipsoid's middle."""
    diameter: np.ndarray
    """m. Geometric mean of the two horizontal axes."""
    height: np.ndarray
    """m. Top above ``ground``."""
    elongation: np.ndarray
    """1. Longer horizontal axis over the shorter."""
    yaw: np.ndarray
    """rad. Direction of the longer axis, from +x towards +y."""


def rock_density(cfg: RockConfig, diameter: np.ndarray) -> np.ndarray:
    """Rocks per m^2 larger than each diameter (m)."""
    return cfg.coefficient * diameter**-cfg.exponent


def draw_rocks(cfg: RockConfig, size: float, resolution: float, share: float, rng: np.random.Generator) -> Rocks:
    """A Poisson population on a map of edge ``size`` m centred at 0, of which ``share`` (0 to 1) is kept, not yet
    placed on the ground.

    With the same generator a larger share holds all rocks of a smaller one.

    Raises:
        LunarError: sizes out of order or a negative number.
    """
    _check(cfg)
    larger = rock_density(cfg, np.array([cfg.smallest, cfg.largest]))
    count = int(rng.poisson((larger[0] - larger[1]) * size**2))
    order = np.sort(rng.uniform(larger[1], larger[0], count)) if count else np.zeros(0)
    diameter = (order / cfg.coefficient) ** (-1.0 / cfg.exponent) if count else np.zeros(0)
    x, y = rng.uniform(-size / 2, size / 2, (2, count))
    narrow = diameter < RESOLVED * resolution
    x, y = (np.where(narrow, np.round((v + size / 2) / resolution) * resolution - size / 2, v) for v in (x, y))
    ratio = np.clip(rng.normal(cfg.relative_height, cfg.height_spread, count), 0.1, 1.0)
    elongation = rng.uniform(1.0, 1.6, count)
    yaw = rng.uniform(0.0, np.pi, count)
    kept = rng.random(count) < share
    columns = (x, y, np.zeros(count), diameter, ratio * diameter, elongation, yaw)
    return Rocks(*(column[kept] for column in columns))


def place_rocks(rocks: Rocks, heights: np.ndarray, axis: np.ndarray) -> Rocks:
    """Raise ``heights`` (n, n) in place to the rocks' surfaces; the rocks come back with their ``ground``.

    Args:
        rocks: the population.
        heights: (n, n) m, rows along y.
        axis: (n,) m, coordinates of rows and columns.
    """
    resolution = axis[1] - axis[0]
    bare = heights.copy()
    nearest = np.clip(np.round((np.stack([rocks.y, rocks.x]) - axis[0]) / resolution).astype(int), 0, len(axis) - 1)
    ground = bare[nearest[0], nearest[1]].astype(float)
    for i in range(len(rocks.x)):
        longer = rocks.diameter[i] / 2 * np.sqrt(rocks.elongation[i])
        shorter = rocks.diameter[i] / 2 / np.sqrt(rocks.elongation[i])
        cols = slice(*np.searchsorted(axis, [rocks.x[i] - longer, rocks.x[i] + longer]))
        rows = slice(*np.searchsorted(axis, [rocks.y[i] - longer, rocks.y[i] + longer]))
        dx, dy = axis[cols][None, :] - rocks.x[i], axis[rows][:, None] - rocks.y[i]
        c, s = np.cos(rocks.yaw[i]), np.sin(rocks.yaw[i])
        inside = 1.0 - ((dx * c + dy * s) / longer) ** 2 - ((dy * c - dx * s) / shorter) ** 2
        top = ground[i] + rocks.height[i] * np.sqrt(np.maximum(inside, 0.0))
        heights[rows, cols] = np.where(inside > 0, np.maximum(heights[rows, cols], top), heights[rows, cols])
    return Rocks(rocks.x, rocks.y, ground, rocks.diameter, rocks.height, rocks.elongation, rocks.yaw)


def _check(cfg: RockConfig) -> None:
    if not SMALLEST <= cfg.smallest < cfg.largest:
        raise LunarError(
            f"terrain.rocks: smallest {cfg.smallest:g} m and largest {cfg.largest:g} m must be in order and at least "
            f"{SMALLEST:g} m, where the law begins"
        )
    if cfg.coefficient < 0 or cfg.exponent <= 0:
        raise LunarError("terrain.rocks: coefficient must not be negative and exponent must be positive")
