"""Ten difficulties of one terrain stacked, so that a curriculum gives every robot its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sim.errors import LunarError
from sim.terrain.height_field import HeightField, bilinear


@dataclass(frozen=True)
class TerrainLevels:
    """Maps of one size, easiest first. Look-ups take NumPy arrays, or torch tensors where ``heights`` is one.

    Args:
        heights: (levels, rows, cols) float32 m; rows run along y, columns along x.
        resolution: m between neighbouring samples.
        origin: (x, y) of the first sample, m.
    """

    heights: Any
    resolution: float
    origin: tuple[float, float]

    def __len__(self) -> int:
        return len(self.heights)

    def __getitem__(self, level: int) -> HeightField:
        """One level as a height field that shares the memory (NumPy only)."""
        return HeightField(self.heights[level], self.resolution, self.origin)

    @cached_property
    def is_flat(self) -> bool:
        """Whether all maps are level at the same height."""
        return bool(np.ptp(self.heights) == 0.0)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """x_min, x_max, y_min, y_max in m."""
        return self[0].extent

    def height(self, x: Any, y: Any, level: Any) -> Any:
        """Bilinear height in m at points (...,) of the map ``level`` (...,), whole numbers from 0 to len - 1."""
        return self.height_and_slopes(x, y, level)[0]

    def height_and_slopes(self, x: Any, y: Any, level: Any) -> tuple[Any, Any, Any]:
        """Height in m and its derivatives along x and y, all (...,), at points of the map ``level`` (...,)."""
        return bilinear(self.heights, self.resolution, self.origin, x, y, level)


def join(stacks: list[TerrainLevels]) -> TerrainLevels:
    """Stacks of maps of one size in one stack, in their order.

    Raises:
        LunarError: the maps differ in size: a flat terrain is one square of two samples a side.
    """
    first = stacks[0]
    if len({(s.heights.shape[1:], s.resolution, s.origin) for s in stacks}) > 1:
        raise LunarError("terrains used together must have maps of one size; flat ground has none: leave it out")
    return (
        first
        if len(stacks) == 1
        else TerrainLevels(np.concatenate([s.heights for s in stacks]), first.resolution, first.origin)
    )


def as_levels(terrain: HeightField | TerrainLevels) -> TerrainLevels:
    """A stack as it is, one map as a stack of its own."""
    if isinstance(terrain, TerrainLevels):
        return terrain
    return TerrainLevels(terrain.heights[None], terrain.resolution, terrain.origin)
