"""Cubic interpolation on a regular grid: smooth, local, and exact at the samples."""

from __future__ import annotations

import numpy as np


def cubic_resample(samples: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Catmull-Rom bicubic values of ``samples`` at every pair of fractional indices.

    Args:
        samples: (R, C) values; beyond the border the outermost row or column continues.
        rows: (r,) fractional row indices within [0, R - 1].
        cols: (c,) fractional column indices within [0, C - 1].

    Returns:
        (r, c) values; at integer indices exactly the samples.
    """
    return _weights(rows, samples.shape[0]) @ samples @ _weights(cols, samples.shape[1]).T


def _weights(at: np.ndarray, count: int) -> np.ndarray:
    """(len(at), count) matrix whose rows hold the four Catmull-Rom weights of each position."""
    at = np.asarray(at, float)
    first = np.clip(np.floor(at), 0, max(count - 2, 0)).astype(int)
    t = at - first
    taps = (
        (-(t**3) + 2 * t**2 - t) / 2,
        (3 * t**3 - 5 * t**2 + 2) / 2,
        (-3 * t**3 + 4 * t**2 + t) / 2,
        (t**3 - t**2) / 2,
    )
    matrix = np.zeros((len(at), count))
    for offset, weight in zip((-1, 0, 1, 2), taps, strict=True):
        np.add.at(matrix, (np.arange(len(at)), np.clip(first + offset, 0, count - 1)), weight)
    return matrix
