"""Height maps in files of their own: read whole with their holes, and written in the format and place they came in."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.dem import DemConfig
from sim.terrain.raster import DRIVERS, MOST_PIXELS, opened

PLAIN = (".npy", ".png")
"""Endings of files that do not say how large their pixels are."""


@dataclass(frozen=True)
class Map:
    """A map in a file."""

    heights: np.ndarray
    """(R, C) m in the file's order, NaN where there are none."""
    resolution: float
    """m between samples."""
    notes: tuple[str, ...]
    """What was taken for holes although the file does not say so."""


def read_map(path: str, resolution: float, scale: float, band: int) -> Map:
    """All heights of a raster or a .npy file; arguments as of ``terrain.dem``.

    Raises:
        LunarError: the file cannot be read, is a picture, is too large, or does not say its resolution.
    """
    suffix = Path(path).suffix.lower()
    if suffix in PLAIN and Path(path).is_file() and not resolution:
        raise LunarError(f"'{path}' does not say how large its pixels are: give --resolution, m per pixel")
    if suffix == ".png" and Path(path).is_file() and not scale:
        raise LunarError(f"'{path}' does not say how high a grey level is: give --scale, m per grey level")
    try:
        with opened(DemConfig(path, band, resolution=resolution, scale=scale)) as raster:
            rows, cols = raster.shape
            if rows * cols > MOST_PIXELS:
                raise LunarError(f"'{path}' has {rows:,} by {cols:,} pixels, over {MOST_PIXELS:,}; cut it first")
            if not scale and _eight_bits(path, suffix):
                raise LunarError(
                    f"'{path}' has 8 bits per pixel, as a picture has: if they are heights, give --scale, m per level"
                )
            heights = raster.read(slice(0, rows), slice(0, cols))
            return Map(heights, raster.size, tuple(raster.undeclared))
    except LunarError as error:  # a map is read by the rules of terrain.dem, whose options have no prefix here
        said = str(error).replace("terrain.dem.path ", "").replace("terrain.dem.", "--").replace("terrain.dem: ", "")
        raise LunarError(said) from None


def write_map(path: Path, heights: np.ndarray, source: str, finer: int = 1) -> None:
    """Write heights (R, C) m as float32: .npy, or .tif with the georeference of ``source``, a raster of which every
    pixel was divided into ``finer`` along each axis, from the first pixel's centre on.

    Raises:
        LunarError: another ending, or the file cannot be written.
    """
    if path.suffix.lower() == ".npy":
        data = io.BytesIO()
        np.save(data, heights.astype(np.float32), allow_pickle=False)
        write_whole({path: data.getvalue()})
    elif path.suffix.lower() in (".tif", ".tiff"):
        write_whole({path: _geotiff(heights, source, finer)})
    else:
        raise LunarError(f"--out '{path}' must end in .npy or .tif")


def _eight_bits(path: str, suffix: str) -> bool:
    if suffix == ".npy":
        return np.lib.format.open_memmap(path, mode="r").dtype.itemsize == 1
    import rasterio

    with rasterio.DatasetReader(str(Path(path).resolve()), driver=list(DRIVERS)) as file:
        return all(kind in ("uint8", "int8") for kind in file.dtypes)


def _geotiff(heights: np.ndarray, source: str, finer: int) -> bytes:
    import warnings

    import rasterio
    from rasterio.transform import Affine

    place: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        if not source.lower().endswith(".npy"):
            with rasterio.DatasetReader(str(Path(source).resolve()), driver=list(DRIVERS)) as file:
                shift = 0.5 - 0.5 / finer
                moved = file.transform * Affine.translation(shift, shift) * Affine.scale(1.0 / finer)
                place = {"crs": file.crs, "transform": moved}
        with rasterio.MemoryFile() as memory:
            rows, cols = heights.shape
            with memory.open(
                driver="GTiff", height=rows, width=cols, count=1, dtype="float32", nodata=np.nan, compress="deflate",
                **place,
            ) as out:  # fmt: skip
                out.write(heights.astype(np.float32), 1)
            return bytes(memory.read())
