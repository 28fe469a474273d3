"""A height field: a regular grid of heights with batched bilinear look-up, read by physics, cameras and critics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class HeightField:
    """Heights over the horizontal plane; outside the grid the border value continues.

    Args:
        heights: (rows, cols) m; row index runs along y, column index along x.
        resolution: m between neighbouring samples.
        origin: (x, y) of ``heights[0, 0]``, m.
    """

    heights: np.ndarray
    resolution: float
    origin: tuple[float, float]

    @cached_property
    def is_flat(self) -> bool:
        """Whether every sample is equal."""
        return bool(np.ptp(self.heights) == 0.0)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """x_min, x_max, y_min, y_max in m."""
        rows, cols = self.heights.shape
        x, y = self.origin
        return x, x + (cols - 1) * self.resolution, y, y + (rows - 1) * self.resolution

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Bilinear height in m at points of any shape."""
        return bilinear(self.heights, self.resolution, self.origin, np.asarray(x, float), np.asarray(y, float))[0]

    def height_and_normal(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Height (...,) in m and upward unit normal (..., 3) of the bilinear surface."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        return surface(*bilinear(self.heights, self.resolution, self.origin, x, y))


def surface(height: np.ndarray, slope_x: np.ndarray, slope_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``bilinear``'s result as height (...,) and upward unit normal (..., 3)."""
    up = (slope_x * slope_x + slope_y * slope_y + 1.0) ** -0.5
    return height, np.stack([-slope_x * up, -slope_y * up, up], axis=-1)


# The functions below take NumPy arrays or torch tensors (all of one kind, on one device): only what both spell alike.


def bilinear(
    heights: Any, resolution: float, origin: tuple[float, float], x: Any, y: Any, level: Any = None
) -> tuple[Any, Any, Any]:
    """Bilinear height in m, and its derivatives along x and y, at points of any shape.

    Args:
        heights: (rows, cols) m, or (levels, rows, cols) with a ``level``.
        resolution: m between neighbouring samples.
        origin: (x, y) of the first sample, m.
        x: (...,) m.
        y: (...,) m.
        level: (...,) whole numbers, which of the stacked maps each point looks at.
    """
    rows, cols = heights.shape[-2:]
    u = ((x - origin[0]) / resolution).clip(0, cols - 1)
    v = ((y - origin[1]) / resolution).clip(0, rows - 1)
    i = _integers(u).clip(0, cols - 2)
    j = _integers(v).clip(0, rows - 2)
    u, v = u - i, v - j
    first = j * cols + i if level is None else (level * rows + j) * cols + i
    samples = heights.reshape(-1)
    z00, z10 = samples[first], samples[first + 1]
    z01, z11 = samples[first + cols], samples[first + (cols + 1)]
    rise_0, rise_1 = z10 - z00, z11 - z01
    z0, z1 = z00 + rise_0 * u, z01 + rise_1 * u
    return z0 + (z1 - z0) * v, (rise_0 + (rise_1 - rise_0) * v) / resolution, (z1 - z0) / resolution


def _integers(a: Any) -> Any:
    return a.astype(np.int64) if isinstance(a, (np.ndarray, np.generic)) else a.long()
