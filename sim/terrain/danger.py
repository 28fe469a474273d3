"""Ground that no foot should meet: how steep it is over 10 cm, and how high its steps are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REACH = 0.05
"""m. From a sample to those on either side between which its slope is taken, 10 cm in all; and the run of a step."""


@dataclass(frozen=True)
class Limits:
    """From where on ground counts as unsafe. The defaults are those of true ground; a map that went through a filter
    has lower ones, which its card tells."""

    slope: float = 22.0
    """deg, over 10 cm."""
    step: float = 0.05
    """m, between samples 5 cm apart."""


NOMINAL = Limits()


def steepness(heights: np.ndarray, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """Slope (rise over run, over 10 cm) and step (m, the largest difference to the samples 5 cm away along rows and
    columns) at every sample of a map of (R, C) m; on coarser grids over neighbouring samples. Two arrays (R, C); NaN
    where a height that is needed is unknown. At the border the last value continues.
    """
    lag = max(1, round(REACH / resolution))
    z = np.pad(np.asarray(heights, float), lag, mode="edge")
    middle = slice(lag, -lag)
    here = z[middle, middle]
    sides = z[middle, : -2 * lag], z[middle, 2 * lag :], z[: -2 * lag, middle], z[2 * lag :, middle]
    left, right, below, above = sides
    slope = np.hypot(right - left, above - below) / (2.0 * lag * resolution)
    return slope, np.max([np.abs(side - here) for side in sides], axis=0)


def danger(slope: np.ndarray, step: np.ndarray, limits: Limits = NOMINAL) -> np.ndarray:
    """How far ground is into its limits: over 1 is unsafe, infinity where it is unknown. Arguments as ``steepness``
    gives them."""
    ratio = np.maximum(slope / np.tan(np.radians(limits.slope)), step / limits.step)
    return np.where(np.isnan(ratio), np.inf, ratio)
