"""Filters for measured height maps: holes filled, noise and outliers taken out; each a function of a map.

With the noise a filter takes out part of slopes, steps and rocks: its card (``sim.terrain.cards``) tells the limits
with which the filtered map may be used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from sim.terrain.resample import cubic_resample

Filter = Callable[[np.ndarray, float], np.ndarray]
"""Heights (R, C) in m, NaN where unknown, and m between samples, to heights (R, C) in m without NaN."""

_SHRINK = 5  # samples, mean over which a hole's first guess is smoothed
_TV_STEPS = 40


def filled(heights: np.ndarray, resolution: float = 1.0) -> np.ndarray:
    """Holes filled from what is around them, known heights as they are; (R, C) m.

    Where the known samples are every k-th row and column, as of a coarse map that is laid on a finer grid, what lies
    between them is cubic. Any other hole is a membrane stretched between its edges, from the nearest known heights.
    """
    z = np.asarray(heights, float)
    known = np.isfinite(z)
    if known.all():
        return z
    rows, cols = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    if min(len(rows), len(cols)) > 3 and known.sum() == len(rows) * len(cols) and _even(rows) and _even(cols):
        at = [(np.arange(n) - p[0]) / (p[1] - p[0]) for n, p in zip(z.shape, (rows, cols), strict=True)]
        inside = [np.clip(a, 0, len(p) - 1) for a, p in zip(at, (rows, cols), strict=True)]
        return cubic_resample(z[np.ix_(rows, cols)], *inside)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    z = z[tuple(nearest)]
    for width in (4 * _SHRINK, 2 * _SHRINK, _SHRINK, _SHRINK, 3, 3, 3):
        z = np.where(known, z, ndimage.uniform_filter(z, width, mode="nearest"))
    return z


def noise_level(heights: np.ndarray) -> float:
    """m, standard deviation of what differs from sample to sample, by the median of second differences; of a map
    without holes. Rough ground counts as noise; an outlier does not."""
    cross = heights[1:, 1:] - heights[1:, :-1] - heights[:-1, 1:] + heights[:-1, :-1]
    return float(np.median(np.abs(cross))) * 1.4826 / 2.0


def despiked(heights: np.ndarray, resolution: float) -> np.ndarray:
    """Outliers taken out and filled like holes: samples that stand out of the median around them (25 cm) by over 10 cm
    and three deviations, and their neighbours. Hardly a rock does: one that narrow is rarely so high."""
    z = filled(heights)
    off = np.abs(z - ndimage.median_filter(z, _samples(0.25, resolution), mode="nearest"))
    wild = off > 0.10 + 3.0 * 1.4826 * float(np.median(off))
    return filled(np.where(ndimage.binary_dilation(wild), np.nan, heights)) if wild.any() and not wild.all() else z


def gauss(width: float) -> Filter:
    """Gaussian of ``width`` m."""
    return lambda z, resolution: ndimage.gaussian_filter(filled(z), width / resolution, mode="nearest")


def median(width: float) -> Filter:
    """Median over a square of ``width`` m."""
    return lambda z, resolution: ndimage.median_filter(filled(z), _samples(width, resolution), mode="nearest")


def total_variation(strength: float) -> Filter:
    """Least total variation (Rudin, Osher and Fatemi 1992) by Chambolle's projection, with a weight of ``strength``
    times the noise: flat stays flat, edges stay edges."""
    return lambda z, _: _least_variation(filled(z), strength)


def non_local(strength: float) -> Filter:
    """Non-local means (Buades et al. 2005): each sample the mean of those up to six samples away whose surroundings of
    five samples look alike within ``strength`` times the noise."""

    def restore(heights: np.ndarray, resolution: float) -> np.ndarray:
        from skimage.restoration import denoise_nl_means  # half a second

        z = filled(heights)
        rough = ndimage.gaussian_filter(z, 6, mode="nearest")  # alike is the shape, not the height
        sigma = max(noise_level(z), 1e-6)
        fine = (z - rough) / sigma
        return rough + sigma * denoise_nl_means(fine, patch_size=5, patch_distance=6, h=strength, sigma=1.0)

    return restore


def bilateral(width: float, strength: float) -> Filter:
    """Mean weighted by nearness (``width`` m) and by likeness of height above the slope (``strength`` times the
    noise)."""

    def restore(heights: np.ndarray, resolution: float) -> np.ndarray:
        z = filled(heights)
        rough = ndimage.gaussian_filter(z, 2.0 * width / resolution, mode="nearest")
        fine, tolerance = z - rough, strength * max(noise_level(z), 1e-6)
        reach = max(1, round(2.0 * width / resolution))
        padded = np.pad(fine, reach, mode="edge")
        total, weights = np.zeros_like(fine), np.zeros_like(fine)
        for i in range(-reach, reach + 1):
            for j in range(-reach, reach + 1):
                other = padded[reach + i : reach + i + z.shape[0], reach + j : reach + j + z.shape[1]]
                near = np.exp(-(i * i + j * j) * (resolution / width) ** 2 / 2.0)
                weight = near * np.exp(-(((other - fine) / tolerance) ** 2) / 2.0)
                total, weights = total + weight * other, weights + weight
        return rough + total / weights

    return restore


def wiener(width: float) -> Filter:
    """Lee's local Wiener filter over a square of ``width`` m: smooth ground becomes its mean, rough ground stays."""

    def restore(heights: np.ndarray, resolution: float) -> np.ndarray:
        z = filled(heights)
        return _keep_rough(z, _samples(width, resolution), np.array(noise_level(z)), ndimage.uniform_filter, 1.0)

    return restore


def adaptive(heights: np.ndarray, resolution: float) -> np.ndarray:
    """A Wiener filter (35 cm) without outliers and with a noise of its own in every square of 32 samples, measured
    between samples 15 cm apart: for noise that grows with range and is alike in neighbouring samples."""
    z = despiked(heights, resolution)
    lag = min(max(1, round(0.15 / resolution)), min(z.shape) - 1)
    cross = np.abs(z[lag:, lag:] - z[lag:, :-lag] - z[:-lag, lag:] + z[:-lag, :-lag])
    block = min(32, *cross.shape)
    padded = np.pad(cross, [(0, -n % block) for n in cross.shape], mode="reflect")
    rows, cols = (n // block for n in padded.shape)
    level = np.median(padded.reshape(rows, block, cols, block), axis=(1, 3)) * 1.4826 / 2.0
    level = ndimage.zoom(level, block, order=1, mode="nearest", grid_mode=True)
    level = ndimage.gaussian_filter(level, block / 4, mode="nearest")
    level = np.pad(level, [(0, max(0, n - m)) for n, m in zip(z.shape, level.shape, strict=True)], mode="edge")
    n = _samples(0.35, resolution)
    return _keep_rough(z, n, level[: z.shape[0], : z.shape[1]], ndimage.gaussian_filter, 1.0 / 3.0)


def destriped(heights: np.ndarray, resolution: float) -> np.ndarray:
    """Offsets of single rows taken out: each row's median difference to the mean of those within 25 cm."""
    z = filled(heights)
    smooth = ndimage.gaussian_filter1d(z, 0.25 / resolution, axis=0, mode="nearest")
    for _ in range(3):
        z = z - np.median(z - smooth, axis=1, keepdims=True)
        smooth = ndimage.gaussian_filter1d(z, 0.25 / resolution, axis=0, mode="nearest")
    return z


def after(first: Filter, then: Filter) -> Filter:
    """One filter after another."""
    return lambda z, resolution: then(first(z, resolution), resolution)


FILTERS: dict[str, Filter] = {
    "fill": filled,
    "gauss1": gauss(0.05),
    "gauss2": gauss(0.10),
    "median3": median(0.15),
    "median5": median(0.25),
    "tv": total_variation(1.0),
    "tv2": total_variation(2.5),
    "nlm": non_local(0.8),
    "bilateral": bilateral(0.10, 3.0),
    "wiener": wiener(0.25),
    "adaptive": adaptive,
    "despike": after(despiked, gauss(0.10)),
    "destripe": after(destriped, wiener(0.25)),
}
"""Those without weights, by name."""


def _even(at: np.ndarray) -> bool:
    steps = np.diff(at)
    return bool((steps == steps[0]).all())


def _samples(width: float, resolution: float) -> int:
    """An odd number of samples, at least three."""
    return max(3, 2 * round((width / resolution - 1.0) / 2.0) + 1)


def _keep_rough(
    z: np.ndarray, n: int, noise: np.ndarray, mean_of: Callable[..., np.ndarray], share: float
) -> np.ndarray:
    """Heights over their course of ``n`` samples, replaced by the mean that ``mean_of`` takes over ``share`` times n
    samples where they vary by no more than ``noise`` (m)."""
    rough = ndimage.gaussian_filter(z, n, mode="nearest")
    fine = z - rough
    mean = mean_of(fine, share * n, mode="nearest")
    spread = np.maximum(mean_of(fine**2, share * n, mode="nearest") - mean**2, 1e-12)
    return rough + mean + np.maximum(spread - noise**2, 0.0) / spread * (fine - mean)


def _least_variation(z: np.ndarray, strength: float) -> np.ndarray:
    """Chambolle's dual iteration with Nesterov's momentum (Beck and Teboulle 2009), a fixed number of steps."""
    weight = strength * max(noise_level(z), 1e-6)
    px, py, qx, qy = (np.zeros_like(z) for _ in range(4))
    t = 1.0
    for _ in range(_TV_STEPS):
        u = z + weight * _divergence(qx, qy)
        gx, gy = np.zeros_like(z), np.zeros_like(z)
        np.subtract(u[:, 1:], u[:, :-1], out=gx[:, :-1])
        np.subtract(u[1:], u[:-1], out=gy[:-1])
        nx, ny = qx + gx / (8.0 * weight), qy + gy / (8.0 * weight)
        scale = np.maximum(1.0, np.sqrt(nx * nx + ny * ny))
        nx, ny = nx / scale, ny / scale
        later = (1.0 + np.sqrt(1.0 + 4.0 * t * t)) / 2.0
        qx, qy = nx + (t - 1.0) / later * (nx - px), ny + (t - 1.0) / later * (ny - py)
        px, py, t = nx, ny, later
    return z + weight * _divergence(px, py)


def _divergence(px: np.ndarray, py: np.ndarray) -> np.ndarray:
    out = px + py
    out[:, 1:] -= px[:, :-1]
    out[1:] -= py[:-1]
    return out
