"""A tilted plane: a hillside, or the side of a hill larger than the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.errors import LunarError


@dataclass(frozen=True)
class SlopeConfig:
    """A plane through the map's centre."""

    angle: float = 0.0
    """deg. Steepness, 0 to below 45."""
    azimuth: float = 0.0
    """deg. Direction of steepest ascent, from +x towards +y."""


def slope_plane(cfg: SlopeConfig, axis: np.ndarray) -> np.ndarray:
    """Heights (n, n) in m at the coordinates ``axis`` (n,) on both axes; rows run along y.

    Raises:
        LunarError: an angle out of range.
    """
    if not 0.0 <= cfg.angle < 45.0:
        raise LunarError(f"terrain.slope.angle is {cfg.angle:g} deg; it must be in 0 to 45")
    ascent = np.tan(np.radians(cfg.angle))
    azimuth = np.radians(cfg.azimuth)
    return ascent * (np.cos(azimuth) * axis[None, :] + np.sin(azimuth) * axis[:, None])
