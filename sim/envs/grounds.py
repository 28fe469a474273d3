"""The maps of a world."""

from __future__ import annotations

from dataclasses import replace

from sim.errors import LunarError
from sim.tasks.config import WorldConfig
from sim.terrain.generators import make_levels, make_terrain
from sim.terrain.height_field import HeightField, stack

MAP_STRIDE = 1000
"""Between the seeds of a terrain's maps."""


def grounds(cfg: WorldConfig, seed: int, ground: HeightField | None = None) -> HeightField:
    """One stack of maps: with a curriculum the ten levels of each of all kinds, else ``ground``, or ``cfg.maps`` maps.

    Raises:
        LunarError: other terrains or a ground of one's own do not go with the curriculum as it is.
    """
    seeds = [seed + MAP_STRIDE * k for k in range(cfg.maps)]
    if cfg.curriculum.enabled:
        if ground is not None:
            raise LunarError("a curriculum makes its own grounds; switch it off to give one")
        kinds = [cfg.terrain, *(replace(cfg.terrain, kind=kind) for kind in cfg.other_terrains)]
        return stack([make_levels(kind, one) for kind in kinds for one in seeds])
    if cfg.other_terrains:
        raise LunarError("world.other_terrains needs a curriculum: set curriculum.enabled, or name one terrain")
    return stack([make_terrain(cfg.terrain, one) for one in seeds]) if ground is None else ground
