"""What a planetary scientist measures on a map: slopes at a baseline, the deviogram's Hurst exponent, size counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def slopes_at(heights: np.ndarray, resolution: float, baseline: float, points: int = 250_000) -> np.ndarray:
    """Bidirectional slope angles over ``baseline``: both axes' height differences added as vectors.

    Args:
        heights: (R, C) m, larger than the baseline on both axes.
        resolution: m between samples.
        baseline: m, rounded to whole samples.
        points: about how many places to measure.

    Returns:
        (P,) degrees.
    """
    lag = max(1, round(baseline / resolution))
    here = heights[:-lag, :-lag]
    stride = max(1, int(np.sqrt(here.size / points)))
    here = here[::stride, ::stride].astype(float)
    along_x = heights[:-lag, lag:][::stride, ::stride] - here
    along_y = heights[lag:, :-lag][::stride, ::stride] - here
    return np.degrees(np.arctan(np.hypot(along_x, along_y) / (lag * resolution))).ravel()


def deviogram(heights: np.ndarray, resolution: float, lags: Sequence[float] | np.ndarray) -> np.ndarray:
    """RMS height difference in m over each lag (m), both axes together. Shape (len(lags),)."""
    out = []
    for lag in lags:
        k = max(1, round(lag / resolution))
        along_x = heights[:, k:] - heights[:, :-k]
        along_y = heights[k:, :] - heights[:-k, :]
        out.append(np.sqrt((np.mean(along_x**2, dtype=float) + np.mean(along_y**2, dtype=float)) / 2))
    return np.array(out)


def hurst_exponent(heights: np.ndarray, resolution: float, shortest: float, longest: float) -> float:
    """Slope of the best line through log deviation against log lag (Rosenburg et al. 2011).

    Args:
        heights: (R, C) m, larger than ``longest``.
        resolution: m between samples.
        shortest: m. Shortest lag.
        longest: m. Longest lag.
    """
    lags = np.unique(np.round(np.geomspace(shortest, longest, 12) / resolution)) * resolution
    return float(np.polyfit(np.log(lags), np.log(deviogram(heights, resolution, lags)), 1)[0])


def cumulative(diameters: np.ndarray, area: float, at: np.ndarray) -> np.ndarray:
    """Features per m^2 that are larger than each diameter of ``at`` (m). ``area`` in m^2."""
    ordered = np.sort(diameters)
    return (len(ordered) - np.searchsorted(ordered, at, side="right")) / area
