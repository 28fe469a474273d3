"""Grounds that the tests of the twin stand on."""

from __future__ import annotations

import numpy as np
import pytest

from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField

GRID = np.arange(401) * 0.05 - 10.0


def on_grid(heights: np.ndarray) -> HeightField:
    """A 20 m x 20 m field of 5 cm cells around the origin."""
    return HeightField(np.broadcast_to(heights, (401, 401)).copy(), 0.05, (-10.0, -10.0))


@pytest.fixture(scope="session")
def grounds() -> dict[str, HeightField]:
    """Fields by name."""
    return {
        "flat": make_terrain(TerrainConfig(kind="flat"), seed=0),
        "slope": on_grid(np.tan(np.radians(15.0)) * GRID[None, :]),
        "side slope": on_grid(np.tan(np.radians(15.0)) * GRID[:, None]),
        "smooth": on_grid(0.15 * np.sin(2.0 * GRID[None, :]) * np.cos(1.5 * GRID[:, None])),
        "rough": make_terrain(TerrainConfig(kind="rough"), seed=3),
    }
