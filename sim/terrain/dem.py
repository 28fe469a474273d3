"""Elevation models of real sites: GeoTIFF (LOLA, LROC NAC) or NumPy files, with relief added below their resolution.

The added relief is self-affine with the roughness of the file at one pixel and the exponent of its deviogram, and is
zero at the file's own samples (conditional simulation by kriging of residuals, with cubic in place of kriging weights).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from sim.errors import LunarError
from sim.terrain.fractal import self_affine
from sim.terrain.height_field import HeightField
from sim.terrain.measure import deviogram, hurst_exponent
from sim.terrain.resample import cubic_resample

MARGIN = 8
"""Pixels read around the map, for the cubic's taps and for measuring roughness."""
MOST_PIXELS = 100_000_000
"""Largest file that is decoded as a whole; uncompressed files and .npy are read by window and may be larger."""


MOST_PER_BYTE = 1000
"""Pixels that a byte of a compressed file may stand for; a file that claims more claims what it does not hold."""


@dataclass(frozen=True)
class DemConfig:
    """A piece of an elevation model."""

    path: str = ""
    """``.tif`` GeoTIFF in projected metres, north up, or ``.npy`` with rows along +y; from the working directory."""
    x: float = 0.0
    """m. East of the file's middle, where the map's centre is."""
    y: float = 0.0
    """m. North of the file's middle, where the map's centre is."""
    resolution: float = 0.0
    """m per pixel; 0 reads it from the GeoTIFF. A .npy needs it."""
    scale: float = 1.0
    """m per unit of the file's values, e.g. 0.5 for LOLA's 16-bit files."""
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


def _window(cfg: DemConfig, axis: np.ndarray) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Pixels (R, C) in m around the map, rows along +y; metres per pixel; row and column of the map's centre."""
    if cfg.path.lower().endswith(".npy"):
        values, size, nodata = _open_numpy(cfg)
    elif cfg.path.lower().endswith((".tif", ".tiff")):
        values, size, nodata = _open_geotiff(cfg)
    else:
        raise LunarError(
            f"terrain.dem.path '{cfg.path}' is neither .tif nor .npy; convert it, e.g. gdal_translate in out.tif"
        )
    if values.ndim != 2:
        raise LunarError(f"terrain.dem: '{cfg.path}' has shape {values.shape}; one band of rows and columns is needed")
    span = axis[-1] - axis[0]
    if size > span / 2:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' has {size:g} m pixels, too coarse for a {span:g} m map; raise terrain.size"
        )
    row, col = ((count - 1) / 2 + shift / size for count, shift in zip(values.shape, (cfg.y, cfg.x), strict=True))
    reach = span / 2 / size
    rows, cols = values.shape
    if row - reach < 0 or row + reach > rows - 1 or col - reach < 0 or col + reach > cols - 1:
        raise LunarError(
            f"terrain.dem: a {span:g} m map at ({cfg.x:g}, {cfg.y:g}) m reaches over the edge of '{cfg.path}', which "
            f"covers {(cols - 1) * size:g} by {(rows - 1) * size:g} m; change terrain.dem.x and y or terrain.size"
        )
    first_row, first_col = (max(0, int(m - reach) - MARGIN) for m in (row, col))
    last_row, last_col = (int(m + reach) + 2 + MARGIN for m in (row, col))
    pixels = np.array(values[first_row:last_row, first_col:last_col], float)
    holes = ~np.isfinite(pixels) | (np.abs(pixels) > 1e30)
    if nodata is not None:
        holes |= pixels == nodata
    if holes.any():
        raise LunarError(
            f"terrain.dem: '{cfg.path}' has {int(holes.sum())} pixels without data within {MARGIN} pixels of the map; "
            "move it by terrain.dem.x and y"
        )
    return pixels * cfg.scale, size, (row - first_row, col - first_col)


def _open_numpy(cfg: DemConfig) -> tuple[np.ndarray, float, float | None]:
    try:
        values = np.lib.format.open_memmap(cfg.path, mode="r")  # no pickle, no archive, no more than the file holds
    except Exception as error:  # a damaged header fails in as many ways as Python's tokenizer
        raise LunarError(f"terrain.dem: cannot read '{cfg.path}' as a NumPy array ({error})") from None
    if cfg.resolution <= 0:
        raise LunarError(f"terrain.dem.resolution is needed for '{cfg.path}': give the metres per pixel")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise LunarError(f"terrain.dem: '{cfg.path}' holds no plain numbers; save one float array by numpy.save")
    return values, cfg.resolution, None


def _open_geotiff(cfg: DemConfig) -> tuple[np.ndarray, float, float | None]:
    path = Path(cfg.path)
    if not path.is_file():
        raise LunarError(f"terrain.dem.path '{cfg.path}' does not exist; give a GeoTIFF or .npy file")
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            tags = page.geotiff_tags or {}
            nodata = float(page.nodata) if page.is_gdal or "GDAL_NODATA" in page.tags else None
            size = cfg.resolution or _pixel_size(cfg, tags)
            values: np.ndarray
            if page.is_memmappable:
                values = tifffile.memmap(path, mode="r")
            elif (pixels := math.prod(page.shape)) > min(MOST_PIXELS, MOST_PER_BYTE * path.stat().st_size):
                raise LunarError(
                    f"terrain.dem: '{cfg.path}' is compressed and has {pixels:,} pixels, too many for its size or over "
                    f"{MOST_PIXELS:,}; cut a piece out, e.g. gdal_translate -co COMPRESS=NONE -projwin … in.tif out.tif"
                )
            else:
                values = page.asarray()
    except LunarError:
        raise
    except Exception as error:  # whatever the damage leads the decoder to
        raise LunarError(
            f"terrain.dem: cannot read '{cfg.path}' ({str(error).strip(chr(34))}); if its compression is the reason, "
            "install imagecodecs or run gdal_translate -co COMPRESS=DEFLATE"
        ) from None
    # images run from north to south
    return values[::-1], size, nodata


def _pixel_size(cfg: DemConfig, tags: dict) -> float:
    """m per pixel by the GeoTIFF's own tags."""
    if int(tags.get("GTModelTypeGeoKey", 1)) == 2:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' is in degrees; project it to metres, e.g. gdalwarp with a stereographic t_srs"
        )
    if "ModelPixelScale" in tags:
        across, down = float(tags["ModelPixelScale"][0]), float(tags["ModelPixelScale"][1])
    elif "ModelTransformation" in tags:
        matrix = np.asarray(tags["ModelTransformation"], float).reshape(4, 4)
        across, down = float(np.hypot(*matrix[:2, 0])), float(np.hypot(*matrix[:2, 1]))
    else:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' does not say its resolution; set terrain.dem.resolution in m per pixel"
        )
    if across <= 0 or abs(across - down) > 1e-3 * across:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' has pixels of {across:g} by {down:g} m; resample it to square ones"
        )
    return across
