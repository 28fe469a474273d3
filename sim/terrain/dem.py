"""Elevation models of real sites (LOLA, LROC NAC) from GeoTIFF or other rasters, or from NumPy files, with relief added
below their resolution.

The added relief is self-affine with the roughness of the file at one pixel and the exponent of its deviogram, and is
zero at the file's own samples (conditional simulation by kriging of residuals, with cubic in place of kriging weights).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.errors import LunarError
from sim.terrain.fractal import self_affine
from sim.terrain.height_field import HeightField
from sim.terrain.measure import deviogram, hurst_exponent
from sim.terrain.raster import MOST_PIXELS, Raster, opened
from sim.terrain.resample import cubic_resample

MARGIN = 8
"""Pixels read around the map, for the cubic's taps and for measuring roughness."""
HIGHEST_STEP = 200.0
"""m. Between neighbouring pixels; more is an unmarked hole, or another unit, unless the pixels are far apart."""
LATTICE = 33
"""Points along an edge of the map at which its place in the file is worked out; in between it is interpolated."""
BLOCK = 256
"""Rows that are resampled at once."""
NEAR = 1e-3
"""Pixels by which a point may be off a pixel's centre and still count as there."""
PLAIN = 0.002
"""Share of its half edge by which a map may lie askew in the file's grid and still be read pixel by pixel."""


@dataclass(frozen=True)
class DemConfig:
    """A piece of an elevation model."""

    path: str = ""
    """GeoTIFF, PDS or ISIS label, or another raster of GDAL's; ``.npy``, whose first row is the southernmost; or 16-bit
    PNG, whose first row is the northernmost. From the working directory."""
    band: int = 0
    """Which band of the file holds the heights, from 1; 0 takes the only one."""
    x: float = 0.0
    """m. East of the file's middle, where the map's centre is."""
    y: float = 0.0
    """m. North of the file's middle, where the map's centre is: north is where the file's own grid has it."""
    resolution: float = 0.0
    """m per pixel; 0 takes the file's own georeference. A .npy or PNG needs it."""
    scale: float = 0.0
    """m per unit of the file's values, e.g. 0.5 for LOLA's 16-bit files; 0 takes the file's own scale and unit, or
    1 for a .npy. A PNG needs it."""
    detail: float = 1.0
    """1. Amplitude of the relief added below the file's resolution: 1 continues its roughness, 0 adds none."""
    hurst: float = 0.0
    """1. Hurst exponent of that relief; 0 measures it on the file."""


def dem_relief(cfg: DemConfig, axis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Heights (n, n) in m at coordinates ``axis`` (n,) on both axes, mean zero.

    Raises:
        LunarError: an unreadable file, no resolution, holes, a map that reaches over the file's edge, or an option out
            of range.
    """
    if not (math.isfinite(cfg.detail) and cfg.detail >= 0 and 0 <= cfg.hurst <= 1):
        raise LunarError(
            f"terrain.dem: detail is {cfg.detail:g}, hurst {cfg.hurst:g}; they must be 0 or more, and 0 to 1"
        )
    pixels, size, (row, col) = _window(cfg, axis)
    rows, cols = axis / size + row, axis / size + col
    relief = cubic_resample(pixels, rows, cols)
    resolution = axis[1] - axis[0]
    if cfg.detail > 0 and size > resolution:
        relief += cfg.detail * _detail(cfg, pixels, size, (row, col), axis, rng)
    return relief - relief.mean()


def _detail(
    cfg: DemConfig,
    pixels: np.ndarray,
    size: float,
    middle: tuple[float, float],
    axis: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """A self-affine surface minus its own cubic interpolation between the pixels' centres. Shape (n, n)."""
    resolution = axis[1] - axis[0]
    hurst = cfg.hurst or float(np.clip(hurst_exponent(pixels, size, size, 4 * size), 0.5, 0.95))
    margin = np.ceil(3 * size / resolution) * resolution
    half = axis[-1] + margin
    surface = self_affine(hurst, 2 * half, resolution, rng)
    surface *= deviogram(pixels, size, [size])[0] / deviogram(surface, resolution, [size])[0]
    ground = HeightField(surface, resolution, (-half, -half))
    row, col = middle
    y, x = ((np.arange(np.ceil(m - half / size), m + half / size) - m) * size for m in (row, col))
    nodes = ground.height(x[None, :], y[:, None])
    crop = round(margin / resolution)
    inner = surface[crop : crop + len(axis), crop : crop + len(axis)]
    return inner - cubic_resample(nodes, (axis - y[0]) / size, (axis - x[0]) / size)


def _window(cfg: DemConfig, axis: np.ndarray) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Pixels (R, C) in m around the map, rows along +y; metres per pixel; row and column of the map's centre."""
    span = axis[-1] - axis[0]
    with opened(cfg) as raster:
        size = raster.size
        if size > span / 2:
            raise LunarError(
                f"terrain.dem: '{cfg.path}' has {size:g} m pixels, too coarse for a {span:g} m map; raise terrain.size"
            )
        heights, middle = _as_it_stands(raster, span) or _resampled(raster, span)
    holes = ~(np.abs(heights) < 1e30)
    if holes.any():
        undeclared = raster.undeclared[0] if raster.undeclared else ""
        raise LunarError(
            f"terrain.dem: '{cfg.path}' has {int(holes.sum())} pixels without data within {MARGIN} pixels of the map"
            f"{undeclared}; move it by terrain.dem.x and y"
        )
    step = max(float(np.abs(np.diff(heights, axis=k)).max()) for k in (0, 1))
    if step > max(HIGHEST_STEP, 3.0 * size):
        raise LunarError(
            f"terrain.dem: '{cfg.path}' steps by {step:g} m between pixels {size:g} m apart; mark holes by "
            "gdal_translate -a_nodata, or give the unit by terrain.dem.scale"
        )
    return heights, size, middle


def _as_it_stands(raster: Raster, span: float) -> tuple[np.ndarray, tuple[float, float]] | None:
    """The file's own pixels around the map and the row and column of its centre, where its grid is the map's but for
    the way that rows and columns run; None where it is not."""
    size, (total_rows, total_cols) = raster.size, raster.shape
    edge = np.linspace(-span / 2, span / 2, LATTICE)
    rows, cols = raster.place(edge[None, :], edge[:, None])
    down, across = np.sign(rows[-1, 0] - rows[0, 0]), np.sign(cols[0, -1] - cols[0, 0])
    middle = LATTICE // 2
    row, col = (round(float(at[middle, middle]), 5) for at in (rows, cols))  # what is finer is PROJ's rounding
    askew = max(np.abs(rows - row - down * edge[:, None] / size).max(), np.abs(cols - col - across * edge / size).max())
    if not askew <= PLAIN * span / 2 / size:
        return None
    reach = span / 2 / size
    if min(row, col) < reach - NEAR or max(row - total_rows, col - total_cols) + reach > NEAR - 1:
        raise raster.over_the_edge(span)
    first_row, first_col = (max(0, math.floor(m - reach + NEAR) - MARGIN) for m in (row, col))
    last_row, last_col = (
        min(math.ceil(m + reach - NEAR) + MARGIN + 1, n) for m, n in zip((row, col), raster.shape, strict=True)
    )
    _check_count((last_row - first_row) * (last_col - first_col), raster, span)
    heights = raster.read(slice(first_row, last_row), slice(first_col, last_col))
    row, col = (row - first_row, col - first_col)
    if down < 0:
        heights, row = heights[::-1], len(heights) - 1 - row
    if across < 0:
        heights, col = heights[:, ::-1], heights.shape[1] - 1 - col
    return heights, (row, col)


def _resampled(raster: Raster, span: float) -> tuple[np.ndarray, tuple[float, float]]:
    """Bilinear heights at points ``raster.size`` apart around the map, and the row and column of its centre: for grids
    that are rotated, of oblong pixels, or stretched by their projection."""
    size, shape = raster.size, np.array(raster.shape)
    for margin in range(MARGIN, -1, -1):
        count = math.ceil(span / 2 / size - NEAR) + margin
        edge = np.linspace(-count * size, count * size, LATTICE)
        rows, cols = raster.place(edge[None, :], edge[:, None])
        first, last = (np.array([reduce(rows), reduce(cols)]) for reduce in (np.min, np.max))
        if (first >= -NEAR).all() and (last <= shape - 1 + NEAR).all():
            break
    else:
        raise raster.over_the_edge(span)
    first_row, first_col = np.maximum(np.floor(first), 0).astype(int)
    last_row, last_col = np.minimum(np.ceil(last) + 1, shape).astype(int)
    _check_count(max((last_row - first_row) * (last_col - first_col), (2 * count + 1) ** 2), raster, span)
    source = HeightField(
        raster.read(slice(first_row, last_row), slice(first_col, last_col)), 1.0, (float(first_col), float(first_row))
    )
    along = np.linspace(0, LATTICE - 1, 2 * count + 1)
    heights = np.concatenate([
        source.height(cubic_resample(cols, block, along), cubic_resample(rows, block, along))
        for block in np.split(along, range(BLOCK, len(along), BLOCK))
    ])  # fmt: skip
    return heights, (float(count), float(count))


def _check_count(pixels: int, raster: Raster, span: float) -> None:
    if pixels > MOST_PIXELS:
        raise LunarError(
            f"terrain.dem: a {span:g} m map covers {pixels:,} pixels of '{raster.path}', over {MOST_PIXELS:,}; make "
            "terrain.size smaller, or the file coarser"
        )
