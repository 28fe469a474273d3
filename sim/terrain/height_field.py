"""A height field: a regular grid of heights with batched bilinear look-up, read by physics, cameras and critics."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
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
        z00, z10, z01, z11, u, v = self._cell(x, y)
        return (z00 * (1 - u) + z10 * u) * (1 - v) + (z01 * (1 - u) + z11 * u) * v

    def height_and_normal(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Height (...,) in m and upward unit normal (..., 3) of the bilinear surface."""
        z00, z10, z01, z11, u, v = self._cell(x, y)
        z = (z00 * (1 - u) + z10 * u) * (1 - v) + (z01 * (1 - u) + z11 * u) * v
        slope_x = ((z10 - z00) * (1 - v) + (z11 - z01) * v) / self.resolution
        slope_y = ((z01 - z00) * (1 - u) + (z11 - z10) * u) / self.resolution
        normal = np.stack([-slope_x, -slope_y, np.ones_like(z)], axis=-1)
        return z, normal / np.linalg.norm(normal, axis=-1, keepdims=True)

    def _cell(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        rows, cols = self.heights.shape
        gx = np.clip((np.asarray(x, float) - self.origin[0]) / self.resolution, 0, cols - 1)
        gy = np.clip((np.asarray(y, float) - self.origin[1]) / self.resolution, 0, rows - 1)
        i = np.minimum(gx.astype(int), cols - 2)
        j = np.minimum(gy.astype(int), rows - 2)
        base = j * cols + i
        flat = self.heights.ravel()
        return flat[base], flat[base + 1], flat[base + cols], flat[base + cols + 1], gx - i, gy - j
