"""What sensors do to a height map: physical degradations with a seed, by the name of their noise class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

Degrade = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
"""True heights (R, C) in m, m between samples, and random numbers, to measured heights, NaN where unknown."""

MAST = 2.0  # m, camera above the ground at the map's first column, one metre before it


def white(sigma: float) -> Degrade:
    """Independent error of ``sigma`` m in every sample."""
    return lambda z, _, rng: z + rng.normal(0.0, sigma, z.shape)


def stereo(growth: float) -> Degrade:
    """A stereo pair on a mast that looks along the rows from either end of the map, each sample from the nearer end
    that sees it: an error of 5 mm + ``growth`` r^2 (m at range r m) that is one over the matching window of 15 cm, 3%
    of wild matches of up to half a metre, and no ground that is hidden from both ends."""

    def degrade(z: np.ndarray, resolution: float, rng: np.random.Generator) -> np.ndarray:
        error = ndimage.uniform_filter(rng.normal(size=z.shape), round(0.15 / resolution), mode="wrap")
        wild = ndimage.binary_dilation(rng.random(z.shape) < 0.03 / 5.0)
        away = 1.0 + np.arange(z.shape[1]) * resolution
        seen = _in_sight(z, away), _in_sight(z[:, ::-1], away)[:, ::-1]
        ranges = [np.where(s, a, np.inf) for s, a in zip(seen, (away, away[::-1]), strict=True)]
        nearest = np.minimum(*ranges)
        nearest[~np.isfinite(nearest)] = np.nan
        measured = z + (0.005 + growth * nearest**2) * error / error.std()
        measured[wild] += rng.uniform(-0.5, 0.5, int(wild.sum()))
        return measured

    return degrade


def _in_sight(z: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Which samples a camera at height ``MAST`` over the first column sees along its row."""
    sight = (z - (z[:, :1] + MAST)) / away
    return sight >= np.maximum.accumulate(sight, axis=1) - 1e-9


def engine(height: float) -> Degrade:
    """UnrealCV's depth in half precision from ``height`` m above the map, each pixel 1% of that wide."""

    def degrade(z: np.ndarray, resolution: float, rng: np.random.Generator) -> np.ndarray:
        seen = ndimage.uniform_filter(z, max(1, round(0.01 * height / resolution)), mode="nearest")
        camera = float(z.max()) + height + rng.uniform(0.0, 1.0)
        return camera - (camera - seen).astype(np.float16).astype(float)

    return degrade


def stripes(sigma: float) -> Degrade:
    """Every row off by its own ``sigma`` m, as of a line scanner, and 5 mm of white noise."""
    return lambda z, _, rng: z + rng.normal(0.0, sigma, (len(z), 1)) + rng.normal(0.0, 0.005, z.shape)


def holes(share: float, sigma: float) -> Degrade:
    """Patches of some decimetres without data over ``share`` of the map, and ``sigma`` m of white noise."""

    def degrade(z: np.ndarray, resolution: float, rng: np.random.Generator) -> np.ndarray:
        cloud = ndimage.gaussian_filter(rng.normal(size=z.shape), 0.12 / resolution, mode="wrap")
        measured = z + rng.normal(0.0, sigma, z.shape)
        measured[cloud > np.quantile(cloud, 1.0 - share)] = np.nan
        return measured

    return degrade


def coarse(factor: int) -> Degrade:
    """A map ``factor`` times coarser, each pixel the mean of its footprint, laid on the finer grid: samples in between
    are unknown."""

    def degrade(z: np.ndarray, resolution: float, rng: np.random.Generator) -> np.ndarray:
        kernel = np.array([0.5, *[1.0] * (factor - 1), 0.5]) / factor
        mean = ndimage.convolve1d(ndimage.convolve1d(z, kernel, axis=0, mode="nearest"), kernel, axis=1, mode="nearest")
        measured = np.full_like(z, np.nan)
        at = slice(0, None, factor)
        measured[at, at] = mean[at, at]
        return measured

    return degrade


def drift(sigma: float) -> Degrade:
    """Scans of 3 m in width, each off by its own ``sigma`` m and its own half degree of tilt, and 5 mm of white
    noise."""

    def degrade(z: np.ndarray, resolution: float, rng: np.random.Generator) -> np.ndarray:
        along = np.arange(z.shape[1]) * resolution
        scan = (along / 3.0).astype(int)
        offset, tilt = rng.normal(0.0, sigma, scan[-1] + 1), rng.normal(0.0, np.radians(0.5), scan[-1] + 1)
        return z + offset[scan] + tilt[scan] * (along % 3.0 - 1.5) + rng.normal(0.0, 0.005, z.shape)

    return degrade


NOISE: dict[str, Degrade] = {
    "white-2cm": white(0.02),
    "white-5cm": white(0.05),
    "stereo": stereo(0.0003),
    "stereo-far": stereo(0.0006),
    "engine-3m": engine(3.0),
    "engine-10m": engine(10.0),
    "stripes-3cm": stripes(0.03),
    "stripes-6cm": stripes(0.06),
    "holes-15": holes(0.15, 0.01),
    "holes-30": holes(0.30, 0.01),
    "coarse-2x": coarse(2),
    "coarse-4x": coarse(4),
    "coarse-8x": coarse(8),
}
"""The classes for which filters have limits."""
HELD_OUT: dict[str, Degrade] = {"drift-4cm": drift(0.04)}
"""Classes that no filter was tuned, trained or given limits for."""
UNSEEN = ("stripes-3cm", "stripes-6cm", "stereo", "stereo-far")
"""Classes that no network was trained on: stripes and wild matches."""
