"""Cubic interpolation on a regular grid: smooth, local, and exact at the samples."""

from __future__ import annotations

import numpy as np


def cubic_resample(samples: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Catmull-Rom bicubic values of ``samples`` at every pair of fractional indices.

    Args:
        samples: (R, C) values, at least two along each axis; beyond the border they go on in a straight line.
        rows: (r,) fractional row indices within [0, R - 1].
        cols: (c,) fractional column indices within [0, C - 1].

    Returns:
        (r, c) values; at integer indices exactly the samples.
    """
    return _weights(rows, samples.shape[0]) @ samples @ _weights(cols, samples.shape[1]).T


def _weights(at: np.ndarray, count: int) -> np.ndarray:
    """(len(at), count) matrix whose rows hold the four Catmull-Rom weights of each position."""
    at = np.asarray(at, float)
    first = np.clip(np.floor(at), 0, count - 2).astype(int)
    t = at - first
    taps = (
        (-(t**3) + 2 * t**2 - t) / 2,
        (3 * t**3 - 5 * t**2 + 2) / 2,
        (-3 * t**3 + 4 * t**2 + t) / 2,
        (t**3 - t**2) / 2,
    )
    matrix = np.zeros((len(at), count))
    for offset, weight in zip((-1, 0, 1, 2), taps, strict=True):
        tap = first + offset
        inside = np.clip(tap, 0, count - 1)
        beyond = tap - inside  # -1, 0 or 1: as far again as the border's neighbour is inwards
        rows = np.arange(len(at))
        np.add.at(matrix, (rows, inside), weight * (1 + np.abs(beyond)))
        np.add.at(matrix, (rows, inside - beyond), -weight * np.abs(beyond))
    return matrix
