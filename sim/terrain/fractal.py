"""Self-affine ground: relief at every scale, its steepness tied to the scale by the Hurst exponent.

Rosenburg et al. (2011, J. Geophys. Res. 116, E02001) measured it with the Lunar Orbiter Laser Altimeter: Hurst exponent
0.95 in the highlands and 0.76 in the maria, with median slopes over a baseline of 17 m of 7.5 and 2.0 degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.errors import LunarError
from sim.terrain.measure import slopes_at

BASELINE = 17.0
"""m. Baseline of ``median_slope``: the shortest that Rosenburg et al. give."""
SPAN = 48.0
"""m. Smaller maps are the middle of one this wide, so that the slope over the baseline can be measured."""
SPLIT = 8.0
"""m. Longer waves are summed as a Fourier series, shorter ones filtered by FFT."""


@dataclass(frozen=True)
class FractalConfig:
    """Self-affine ground between the craters."""

    hurst: float = 0.76
    """1. Hurst exponent in (0, 1): the RMS height difference grows as distance to this power."""
    median_slope: float = 2.0
    """deg. Median slope over a baseline of 17 m; 0 for none."""


def fractal_ground(cfg: FractalConfig, size: float, resolution: float, rng: np.random.Generator) -> np.ndarray:
    """Heights (n, n) in m of a square of edge ``size`` m, centre at 0, with exactly the median slope asked for.

    Raises:
        LunarError: an exponent or slope outside its range.
    """
    if not 0.0 < cfg.hurst < 1.0:
        raise LunarError(f"terrain.fractal.hurst is {cfg.hurst:g}; it must lie between 0 and 1, e.g. 0.76 for maria")
    if not 0.0 <= cfg.median_slope < 45.0:
        raise LunarError(f"terrain.fractal.median_slope is {cfg.median_slope:g} deg; it must be in 0 to 45")
    scale = np.tan(np.radians(cfg.median_slope)) / _expected_slope(cfg.hurst)
    long, short, plane = _waves(cfg.hurst, max(size, SPAN), resolution, rng)
    field = scale * _with_median(long, short, plane, resolution, _expected_slope(cfg.hurst))
    crop = (len(field) - 1 - round(size / resolution)) // 2
    field = field[crop : len(field) - crop, crop : len(field) - crop]
    return field - field[len(field) // 2, len(field) // 2]


def self_affine(hurst: float, size: float, resolution: float, rng: np.random.Generator) -> np.ndarray:
    """Fractional Brownian surface with power spectrum k^-(2H+2). Shape (n, n), n = size/resolution + 1."""
    return sum(_waves(hurst, size, resolution, rng), np.zeros(()))


def _waves(
    hurst: float, size: float, resolution: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The surface's waves longer and shorter than ``SPLIT``, and a plane for those too long to see; each (n, n).

    A periodic field of the map's size would lack the waves longer than the map, which carry most of the slope when H is
    near 1, and its measured exponent would be too low. So waves down to ``SPLIT`` are a Fourier series over eight
    map widths, what is longer still is a plane, and only the short waves are periodic (over more than the map).
    """
    n = round(size / resolution) + 1
    axis = np.arange(n) * resolution
    long = _long_waves(hurst, axis, 8.0 * size, rng)
    short = _short_waves(hurst, n, resolution, rng)
    # along the long waves' own tilt and of RMS magnitude: maps differ in direction rather than in steepness
    azimuth = np.arctan2(np.mean(long[-1] - long[0]), np.mean(long[:, -1] - long[:, 0]))
    steepness = np.sqrt(2.0) * _missing_slope(hurst, 8.0 * size)
    plane = steepness * (np.cos(azimuth) * axis[None, :] + np.sin(azimuth) * axis[:, None])
    return long, short, plane


def _expected_slope(hurst: float) -> float:
    """Median tangent of the bidirectional slope over ``BASELINE`` expected of ``self_affine``'s spectrum.

    Structure function of the spectrum k^-(2H+2): 4 pi (2 pi L)^2H 2^-2H Gamma(1-H) / (2H Gamma(1+H)); two Gaussian
    components of equal variance have a median magnitude of sqrt(2 ln 2).
    """
    gammas = math.gamma(1 - hurst) / (2 * hurst * math.gamma(1 + hurst))
    variance = 4 * math.pi * (math.pi * BASELINE) ** (2 * hurst) * gammas
    return math.sqrt(2 * math.log(2) * variance) / BASELINE


def _with_median(
    long: np.ndarray, short: np.ndarray, plane: np.ndarray, resolution: float, target: float
) -> np.ndarray:
    """The sum whose median slope tangent over ``BASELINE`` is ``target``: by more or less of the plane or, where
    the waves alone are too steep, by less of the long ones.

    Scaling the whole map instead would make hop-scale roughness vary twofold between seeds.
    """

    def median(base: np.ndarray, part: np.ndarray, gain: float) -> float:
        angles = slopes_at(base + gain * part, resolution, BASELINE, points=20_000)
        return float(np.median(np.tan(np.radians(angles))))

    base, part = (long + short, plane) if median(short, long, 1.0) < target else (short, long)
    low, high = 0.0, 1.0
    while median(base, part, high) < target:
        high *= 2.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (low, middle) if median(base, part, middle) > target else (middle, high)
    return base + high * part


def _amplitude(hurst: float, k: np.ndarray) -> np.ndarray:
    """Square root of the power spectral density k^-(2H+2)."""
    return np.maximum(k, 1e-12) ** -(hurst + 1.0)


def _long_waves(hurst: float, axis: np.ndarray, period: float, rng: np.random.Generator) -> np.ndarray:
    """Sum of the waves between ``SPLIT`` and ``period``, evaluated exactly at ``axis`` on both axes."""
    modes = np.arange(-int(period / SPLIT), int(period / SPLIT) + 1) / period
    k = np.hypot(modes[:, None], modes[None, :])
    wanted = (k > 0) & (k < 1.0 / SPLIT)
    noise = rng.standard_normal((*k.shape, 2)) @ np.array([1.0, 1j])
    coefficients = np.where(wanted, noise * _amplitude(hurst, np.where(wanted, k, 1.0)) / period, 0.0)
    basis = np.exp(2j * np.pi * np.outer(axis, modes)).astype(np.complex64)
    return (basis @ coefficients.astype(np.complex64) @ basis.T).real.astype(float)


def _short_waves(hurst: float, n: int, resolution: float, rng: np.random.Generator) -> np.ndarray:
    """White noise filtered to the waves shorter than ``SPLIT``, on a torus one such wave wider than the map."""
    m = n + round(SPLIT / resolution)
    k = np.hypot(np.fft.fftfreq(m, resolution)[:, None], np.fft.rfftfreq(m, resolution)[None, :])
    gain = np.where(k >= 1.0 / SPLIT, _amplitude(hurst, k), 0.0) / resolution
    noise = rng.standard_normal((m, m), dtype=np.float32)
    return np.fft.irfft2(np.fft.rfft2(noise) * gain, s=(m, m))[:n, :n]


def _missing_slope(hurst: float, period: float) -> float:
    """RMS slope per axis of the waves too long for the series: those in the disc of one mode's area around k = 0."""
    longest = 1.0 / (period * np.sqrt(np.pi))
    return float(np.sqrt(0.5 * (2 * np.pi) ** 3 * longest ** (2 - 2 * hurst) / (2 - 2 * hurst)))
