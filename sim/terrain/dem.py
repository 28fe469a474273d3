"""Elevation models of real sites: GeoTIFF (LOLA, LROC NAC) or NumPy files, with relief added below their resolution.

The added relief is self-affine with the roughness of the file at one pixel and the exponent of its deviogram, and is
zero at the file's own samples (conditional simulation by kriging of residuals, with cubic in place of kriging weights).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import LunarError
from sim.terrain.fractal import self_affine
from sim.terrain.height_field import HeightField
from sim.terrain.measure import deviogram, hurst_exponent
from sim.terrain.resample import cubic_resample

MARGIN = 8
"""Pixels read around the map, for the cubic's taps and for measuring roughness."""
MOST_PIXELS = 100_000_000
"""Most pixels that are held at once: those of the window, and those of a block that can only be decoded whole."""
MOST_PER_BYTE = 1000
"""Pixels that a byte of a file may stand for; a file that claims more claims what it does not hold."""
HIGHEST_STEP = 1000.0
"""m. Between neighbouring pixels; more is an unmarked hole, or another unit, unless the pixels are far apart."""
METRES = {
    "": 1.0, "m": 1.0, "metre": 1.0, "meter": 1.0, "km": 1e3, "kilometre": 1e3, "kilometer": 1e3, "cm": 0.01,
    "mm": 1e-3, "ft": 0.3048, "foot": 0.3048, "us survey foot": 1200 / 3937, "us-ft": 1200 / 3937, "ftus": 1200 / 3937,
}  # fmt: skip
"""m in units that GDAL names, by their lower-case singular."""


@dataclass(frozen=True)
class DemConfig:
    """A piece of an elevation model."""

    path: str = ""
    """``.tif`` GeoTIFF, projected and not rotated, or ``.npy`` with rows along +y; from the working directory."""
    band: int = 0
    """Which band of a GeoTIFF holds the heights, from 1; 0 takes the only one."""
    x: float = 0.0
    """m. East of the file's middle, where the map's centre is."""
    y: float = 0.0
    """m. North of the file's middle, where the map's centre is."""
    resolution: float = 0.0
    """m per pixel; 0 reads it from the GeoTIFF. A .npy needs it."""
    scale: float = 0.0
    """m per unit of the file's values, e.g. 0.5 for LOLA's 16-bit files; 0 takes a GeoTIFF's own scale and unit."""
    detail: float = 1.0
    """1. Amplitude of the relief added below the file's resolution: 1 continues its roughness, 0 adds none."""
    hurst: float = 0.0
    """1. Hurst exponent of that relief; 0 measures it on the file."""


def dem_relief(cfg: DemConfig, axis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Heights (n, n) in m at coordinates ``axis`` (n,) on both axes, mean zero.

    Raises:
        LunarError: an unreadable file, no resolution, holes, or a map that reaches over the file's edge.
    """
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


@dataclass(frozen=True)
class _Source:
    """An open file."""

    shape: tuple[int, int]
    """Rows, along +y, and columns, along +x."""
    size: float
    """m per pixel."""
    read: Callable[[slice, slice], np.ndarray]
    """Rows and columns to heights in m, NaN where there are none."""


def _window(cfg: DemConfig, axis: np.ndarray) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Pixels (R, C) in m around the map, rows along +y; metres per pixel; row and column of the map's centre."""
    with _opened(cfg) as source:
        size, (rows, cols) = source.size, source.shape
        span = axis[-1] - axis[0]
        if size > span / 2:
            raise LunarError(
                f"terrain.dem: '{cfg.path}' has {size:g} m pixels, too coarse for a {span:g} m map; raise terrain.size"
            )
        row, col = ((count - 1) / 2 + shift / size for count, shift in zip(source.shape, (cfg.y, cfg.x), strict=True))
        reach = span / 2 / size
        if row - reach < 0 or row + reach > rows - 1 or col - reach < 0 or col + reach > cols - 1:
            raise LunarError(
                f"terrain.dem: a {span:g} m map at ({cfg.x:g}, {cfg.y:g}) m reaches over the edge of '{cfg.path}', "
                f"which covers {(cols - 1) * size:g} by {(rows - 1) * size:g} m; change terrain.dem.x and y or "
                "terrain.size"
            )
        first_row, first_col = (max(0, int(m - reach) - MARGIN) for m in (row, col))
        last_row, last_col = (
            min(int(m + reach) + 2 + MARGIN, n) for m, n in zip((row, col), source.shape, strict=True)
        )
        if (pixels := (last_row - first_row) * (last_col - first_col)) > MOST_PIXELS:
            raise LunarError(
                f"terrain.dem: a {span:g} m map covers {pixels:,} pixels of '{cfg.path}', over {MOST_PIXELS:,}; make "
                "terrain.size smaller, or the file coarser"
            )
        heights = source.read(slice(first_row, last_row), slice(first_col, last_col))
    holes = ~(np.abs(heights) < 1e30)
    if holes.any():
        raise LunarError(
            f"terrain.dem: '{cfg.path}' has {int(holes.sum())} pixels without data within {MARGIN} pixels of the map; "
            "move it by terrain.dem.x and y"
        )
    step = max(float(np.abs(np.diff(heights, axis=k)).max()) for k in (0, 1))
    if step > max(HIGHEST_STEP, 3.0 * size):
        raise LunarError(
            f"terrain.dem: '{cfg.path}' steps by {step:g} m between pixels {size:g} m apart; mark holes by "
            "gdal_translate -a_nodata, or give the unit by terrain.dem.scale"
        )
    return heights, size, (row - first_row, col - first_col)


@contextmanager
def _opened(cfg: DemConfig) -> Iterator[_Source]:
    """The file, whatever its kind."""
    if cfg.path.lower().endswith(".npy"):
        yield _numpy_source(cfg)
    elif not cfg.path.lower().endswith((".tif", ".tiff")):
        raise LunarError(
            f"terrain.dem.path '{cfg.path}' is neither .tif nor .npy; convert it, e.g. gdal_translate in out.tif"
        )
    elif not Path(cfg.path).is_file():
        raise LunarError(f"terrain.dem.path '{cfg.path}' does not exist; give a GeoTIFF or .npy file")
    else:
        import rasterio  # GDAL takes a third of a second, which only those wait for who read a GeoTIFF

        try:
            # an absolute path is a file of this computer and no address; files beside it are not looked at
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                with rasterio.open(Path(cfg.path).resolve(), driver="GTiff") as file:
                    yield _geotiff_source(cfg, file)
        except LunarError:
            raise
        except Exception as error:  # whatever the damage leads the decoder to
            raise LunarError(
                f"terrain.dem: cannot read '{cfg.path}' ({error.__cause__ or error}); check it by gdalinfo"
            ) from None


def _numpy_source(cfg: DemConfig) -> _Source:
    try:
        values = np.lib.format.open_memmap(cfg.path, mode="r")  # no pickle, no archive, no more than the file holds
    except Exception as error:  # a damaged header fails in as many ways as Python's tokenizer
        raise LunarError(f"terrain.dem: cannot read '{cfg.path}' as a NumPy array ({error})") from None
    if cfg.resolution <= 0:
        raise LunarError(f"terrain.dem.resolution is needed for '{cfg.path}': give the metres per pixel")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise LunarError(f"terrain.dem: '{cfg.path}' holds no plain numbers; save one float array by numpy.save")
    if values.ndim != 2 or cfg.band > 1:
        raise LunarError(f"terrain.dem: '{cfg.path}' has shape {values.shape}; one band of rows and columns is needed")
    scale = cfg.scale or 1.0
    return _Source(values.shape, cfg.resolution, lambda rows, cols: scale * values[rows, cols].astype(float))


def _geotiff_source(cfg: DemConfig, file: Any) -> _Source:
    """An open rasterio dataset."""
    band = cfg.band or file.count
    if not 1 <= band <= file.count or (file.count > 1 and not cfg.band):
        raise LunarError(f"terrain.dem: '{cfg.path}' has bands 1 to {file.count}; name one band by terrain.dem.band")
    if np.dtype(file.dtypes[band - 1]).kind not in "iuf":
        raise LunarError(f"terrain.dem: '{cfg.path}' holds {file.dtypes[band - 1]}; convert it to plain numbers")
    if (pixels := math.prod(file.shape)) > MOST_PER_BYTE * Path(cfg.path).stat().st_size:
        raise LunarError(f"terrain.dem: '{cfg.path}' claims {pixels:,} pixels, too many for its size; it is damaged")
    if (pixels := file.count * math.prod(file.block_shapes[band - 1])) > MOST_PIXELS:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' is packed in blocks of {pixels:,} pixels, over {MOST_PIXELS:,}; repack it by "
            "gdal_translate -co TILED=YES"
        )
    scale = cfg.scale or file.scales[band - 1] * _height_unit(cfg, file.units[band - 1])
    across, skew_x, _, skew_y, down, _ = file.transform[:6]
    if abs(skew_x) + abs(skew_y) > 1e-6 * (abs(across) + abs(down)):
        raise LunarError(f"terrain.dem: '{cfg.path}' is rotated; turn it north up by gdalwarp")
    placed = file.transform != type(file.transform).identity()
    size = cfg.resolution or _pixel_size(cfg, file, placed)
    total_rows, total_cols = file.shape
    northward, westward = placed and down > 0, placed and across < 0  # the way that rows and columns of the file run

    def read(rows: slice, cols: slice) -> np.ndarray:
        if not northward:
            rows = slice(total_rows - rows.stop, total_rows - rows.start)
        if westward:
            cols = slice(total_cols - cols.stop, total_cols - cols.start)
        values = file.read(band, window=((rows.start, rows.stop), (cols.start, cols.stop)), masked=True)
        heights = np.where(np.ma.getmaskarray(values), np.nan, scale * values.data.astype(float))
        return heights[:: 1 if northward else -1, :: -1 if westward else 1]

    return _Source(file.shape, size, read)


def _height_unit(cfg: DemConfig, name: str | None) -> float:
    """m per unit in which a GeoTIFF says that its heights are."""
    unit = (name or "").lower().removesuffix("s").replace("feet", "foot")
    if unit not in METRES:
        raise LunarError(f"terrain.dem: '{cfg.path}' has heights in '{name}'; give m per unit by terrain.dem.scale")
    return METRES[unit]


def _pixel_size(cfg: DemConfig, file: Any, placed: bool) -> float:
    """m per pixel by the GeoTIFF's own tags."""
    if file.crs and file.crs.is_geographic:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' is in degrees; project it to metres, e.g. gdalwarp with a stereographic t_srs"
        )
    if not placed:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' does not say its resolution; set terrain.dem.resolution in m per pixel"
        )
    unit = file.crs.linear_units_factor[1] if file.crs and file.crs.is_projected else 1.0
    across, down = (unit * abs(step) for step in (file.transform.a, file.transform.e))
    if across <= 0 or abs(across - down) > 1e-3 * across:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' has pixels of {across:g} by {down:g} m; resample it to square ones"
        )
    return across
