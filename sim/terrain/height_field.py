"""A height field: a regular grid of heights with batched bilinear look-up, read by physics, cameras and critics.

It is one map, or a stack of maps of one size, such as a terrain's ten levels, each point looked up in its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sim.errors import LunarError


@dataclass(frozen=True)
class HeightField:
    """Heights over the horizontal plane; outside the grid the border value continues.

    Look-ups take NumPy arrays, or torch tensors where ``heights`` is one: all of one kind, on one device.

    Args:
        heights: (rows, cols) m, or (levels, rows, cols) for a stack; rows run along y, columns along x.
        resolution: m between neighbouring samples.
        origin: (x, y) of the first sample, m.
    """

    heights: Any
    resolution: float
    origin: tuple[float, float]

    def __len__(self) -> int:
        """Number of maps."""
        return len(self.heights) if self.heights.ndim == 3 else 1

    def __getitem__(self, level: int) -> HeightField:
        """One map of the stack, in shared memory."""
        if not -len(self) <= level < len(self):
            raise IndexError(f"level {level} of {len(self)}")
        return HeightField(self.heights[level], self.resolution, self.origin) if self.heights.ndim == 3 else self

    @cached_property
    def is_flat(self) -> bool:
        """Whether every sample of every map is equal."""
        return bool(self.heights.max() == self.heights.min())

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """x_min, x_max, y_min, y_max in m."""
        rows, cols = self.heights.shape[-2:]
        x, y = self.origin
        return x, x + (cols - 1) * self.resolution, y, y + (rows - 1) * self.resolution

    def height(self, x: Any, y: Any, level: Any = None) -> Any:
        """Bilinear height in m at points of any shape; arguments as of ``height_and_slopes``."""
        return self.height_and_slopes(x, y, level)[0]

    def height_and_normal(self, x: Any, y: Any, level: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Height (...,) in m and upward unit normal (..., 3) of the bilinear surface, for NumPy arrays."""
        height, slope_x, slope_y = self.height_and_slopes(x, y, level)
        up = (slope_x * slope_x + slope_y * slope_y + 1.0) ** -0.5
        return height, np.stack([-slope_x * up, -slope_y * up, up], axis=-1)

    def height_and_slopes(self, x: Any, y: Any, level: Any = None) -> tuple[Any, Any, Any]:
        """Bilinear height in m, and its derivatives along x and y, at points of any shape.

        Args:
            x: (...,) m.
            y: (...,) m.
            level: (...,) whole numbers from 0 to len - 1, the map that each point looks at; a stack needs it.
        """
        rows, cols = self.heights.shape[-2:]
        if isinstance(self.heights, np.ndarray):
            x, y = np.asarray(x, float), np.asarray(y, float)
        u = ((x - self.origin[0]) / self.resolution).clip(0, cols - 1)
        v = ((y - self.origin[1]) / self.resolution).clip(0, rows - 1)
        i = _integers(u).clip(0, cols - 2)
        j = _integers(v).clip(0, rows - 2)
        u, v = u - i, v - j
        if level is None and self.heights.ndim == 3:
            raise ValueError("a stack of maps is looked up at a level")
        first = j * cols + i if level is None else (level * rows + j) * cols + i
        samples = self.heights.reshape(-1)
        z00, z10 = samples[first], samples[first + 1]
        z01, z11 = samples[first + cols], samples[first + (cols + 1)]
        rise_0, rise_1 = z10 - z00, z11 - z01
        z0, z1 = z00 + rise_0 * u, z01 + rise_1 * u
        return z0 + (z1 - z0) * v, (rise_0 + (rise_1 - rise_0) * v) / self.resolution, (z1 - z0) / self.resolution


def stack(fields: Sequence[HeightField]) -> HeightField:
    """Maps, or stacks of maps, in one stack, in their order.

    Raises:
        LunarError: the maps differ in size: a flat terrain is one square of two samples a side.
    """
    first = fields[0]
    if len({(f.heights.shape[-2:], f.resolution, f.origin) for f in fields}) > 1:
        raise LunarError("terrains used together must have maps of one size; flat ground has none: leave it out")
    maps = [f.heights.reshape(-1, *f.heights.shape[-2:]) for f in fields]
    return HeightField(np.concatenate(maps), first.resolution, first.origin)


def _integers(a: Any) -> Any:
    return a.astype(np.int64) if isinstance(a, (np.ndarray, np.generic)) else a.long()
