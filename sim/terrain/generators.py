"""Terrain by name: a preset's layers are generated one by one, scaled by a level of difficulty, and summed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sim.config import CONFIGS, load
from sim.errors import LunarError
from sim.terrain.craters import CraterConfig, Craters, crater_relief, draw_craters
from sim.terrain.dem import DemConfig, dem_relief
from sim.terrain.fractal import FractalConfig, fractal_ground
from sim.terrain.height_field import HeightField, stack
from sim.terrain.rocks import RockConfig, Rocks, draw_rocks, place_rocks
from sim.terrain.slope import SlopeConfig, slope_plane

PRESETS = CONFIGS / "terrain"
LEVELS = 10
MOST_SAMPLES = 8193
"""Largest map, samples along an edge: 0.5 GB while it is made."""
LAYERS = ("slope", "fractal", "craters", "rocks", "dem")


@dataclass(frozen=True)
class TerrainConfig:
    """Ground of a world: a preset, with any of its layers replaced."""

    kind: str = "flat"
    """A preset in configs/terrain/ (flat, rough, mare, highland, …) or the path of such a file."""
    level: int = 9
    """0 to 9, difficulty: heights are (level + 1) / 10 of the preset's, and that share of its rocks lies there."""
    size: float = 48.0
    """m. Edge of the square map, centred on the origin; 48 keeps 20 s at full speed inside."""
    resolution: float = 0.05
    """m between samples."""
    slope: SlopeConfig | None = None
    """A tilted plane; null keeps the preset's layer, as for the other four."""
    fractal: FractalConfig | None = None
    """Self-affine ground."""
    craters: CraterConfig | None = None
    """Crater field."""
    rocks: RockConfig | None = None
    """Rocks."""
    dem: DemConfig | None = None
    """Elevation model of a real site."""


@dataclass(frozen=True)
class Terrain:
    """A map and what lies on it."""

    field: HeightField
    """Everything together."""
    craters: Craters
    """Their heights are in ``field``, scaled by the level."""
    rocks: Rocks
    """Also in ``field``; contact may use them as ellipsoids."""


def load_terrain(name_or_path: str | Path) -> TerrainConfig:
    """The configuration of a preset by name, or of a YAML file, with all its layers filled in.

    Raises:
        LunarError: no such preset (the nearest is named), or a file that is wrong.
    """
    return _with_layers(_read(str(name_or_path)))


def make_terrain(cfg: TerrainConfig, seed: int) -> HeightField:
    """The height field that ``cfg`` describes; the same seed gives the same ground.

    Raises:
        LunarError: unknown preset, or a value out of range.
    """
    return build_terrain(cfg, seed).field


def build_terrain(cfg: TerrainConfig, seed: int) -> Terrain:
    """Height field, craters and rocks that ``cfg`` describes; the same seed gives the same ground.

    Each layer has its own random numbers: changing one leaves the others as they are, and levels share one layout.

    Raises:
        LunarError: unknown preset, or a value out of range.
    """
    cfg = _with_layers(cfg)
    _check(cfg)
    relief, craters = _relief(cfg, seed)
    field, rocks = _level(cfg, cfg.level, relief, seed)
    return Terrain(field, craters, rocks)


def make_levels(cfg: TerrainConfig, seed: int) -> HeightField:
    """All ten levels of ``cfg`` in one stack; each equals ``make_terrain`` at that level.

    Raises:
        LunarError: unknown preset, or a value out of range.
    """
    cfg = _with_layers(cfg)
    _check(cfg)
    relief, _ = _relief(cfg, seed)
    return stack([_level(cfg, level, relief, seed)[0] for level in range(LEVELS)])


def level_factor(level: int) -> float:
    """Share of a preset's heights and rocks at a level: 0.1 at 0, 1 at 9."""
    return (level + 1) / LEVELS


def preset_names() -> list[str]:
    """Names of the files in configs/terrain/."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _relief(cfg: TerrainConfig, seed: int) -> tuple[np.ndarray, Craters]:
    """Ground at full difficulty without rocks, (n, n) m or (2, 2) where it is flat; and its craters."""
    slope, fractal, craters, _, dem = (np.random.default_rng([seed, i]) for i in range(len(LAYERS)))
    del slope  # a plane needs no random numbers; it keeps its place in the order
    drawn = draw_craters(cfg.craters or CraterConfig(density=0.0), cfg.size, cfg.resolution, craters)
    if not any(getattr(cfg, name) for name in LAYERS):
        return np.zeros((2, 2)), drawn
    axis = _axis(cfg)
    relief = crater_relief(drawn, axis)
    if cfg.slope:
        relief += slope_plane(cfg.slope, axis)
    if cfg.fractal:
        relief += fractal_ground(cfg.fractal, cfg.size, cfg.resolution, fractal)
    if cfg.dem:
        relief += dem_relief(cfg.dem, axis, dem)
    return relief, drawn


def _level(cfg: TerrainConfig, level: int, relief: np.ndarray, seed: int) -> tuple[HeightField, Rocks]:
    """The map of one level: the relief scaled, then rocks of their own size on it."""
    axis = _axis(cfg)
    origin = (float(axis[0]), float(axis[0]))
    share = level_factor(level)
    heights = (share * relief).astype(np.float32)
    rng = np.random.default_rng([seed, LAYERS.index("rocks")])
    rocks = draw_rocks(cfg.rocks or RockConfig(coefficient=0.0), cfg.size, cfg.resolution, share, rng)
    rocks = place_rocks(rocks, heights, axis)
    return HeightField(heights, cfg.resolution if len(heights) > 2 else cfg.size, origin), rocks


def _axis(cfg: TerrainConfig) -> np.ndarray:
    return np.arange(round(cfg.size / cfg.resolution) + 1) * cfg.resolution - cfg.size / 2


def _with_layers(cfg: TerrainConfig) -> TerrainConfig:
    """``cfg`` with the layers that it does not give filled in from its preset, which may build on another."""
    if cfg.kind == "flat":
        return cfg
    base = _with_layers(_read(cfg.kind))
    return replace(cfg, kind="flat", **{n: getattr(cfg, n) or getattr(base, n) for n in LAYERS})


def _read(name: str) -> TerrainConfig:
    """A preset's file as it stands."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(name, preset_names(), n=1, cutoff=0.3)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise LunarError(f"terrain '{name}' is unknown; {hint}presets: {', '.join(preset_names())}")
    cfg = load(TerrainConfig, path)
    if cfg.kind != "flat" and cfg.kind in (name, path.stem):
        raise LunarError(f"terrain '{path}' names itself as its kind; name another preset or flat")
    return cfg


def _check(cfg: TerrainConfig) -> None:
    if not 0 <= cfg.level < LEVELS:
        raise LunarError(f"terrain.level is {cfg.level}; it must be 0 to {LEVELS - 1}")
    if not 0.005 <= cfg.resolution <= 1.0 or not 4.0 <= cfg.size or cfg.size / cfg.resolution > MOST_SAMPLES - 1:
        raise LunarError(
            f"terrain: size {cfg.size:g} m (at least 4) at resolution {cfg.resolution:g} m (0.005 to 1) must have at "
            f"most {MOST_SAMPLES} samples along an edge; make one of them coarser"
        )
