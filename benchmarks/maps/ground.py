"""Patches of true ground: our terrains with their craters and rocks."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from sim.terrain.generators import Terrain, build_terrain, load_terrain

PRESETS = ("mare", "blocky", "crater-field", "highland")
"""Sites. Where most of what is unsafe is one long wall (``rough``, ``crater-rim``), it would hide missed rocks."""
HELD_OUT_PRESET = "polar-rough"
"""Never used to tune, train or calibrate."""
SIZE, RESOLUTION = 12.8, 0.05
TEST, CALIBRATION, TRAINING = 700_000, 800_000, 900_000
"""First seeds of patches that filters are judged on, given limits on, and trained on."""


@lru_cache(maxsize=4)
def patch(preset: str, seed: int, size: float = SIZE) -> Terrain:
    """``size`` m of a preset at full difficulty, 5 cm between samples."""
    return build_terrain(replace(load_terrain(preset), size=size, resolution=RESOLUTION), seed)


def patches(count: int, first: int) -> list[tuple[str, int]]:
    """(preset, seed) of ``count`` patches from seed ``first`` on, presets by turns."""
    return [(PRESETS[k % len(PRESETS)], first + k) for k in range(count)]
