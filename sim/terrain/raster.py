"""Rasters of heights, read by windows: through GDAL with georeference, masks, scale and unit, or from a NumPy file."""

from __future__ import annotations

import glob
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.errors import LunarError

if TYPE_CHECKING:
    from sim.terrain.dem import DemConfig

DRIVERS = ("GTiff", "PDS", "PDS4", "ISIS2", "ISIS3", "VICAR", "HFA", "AAIGrid", "JP2OpenJPEG", "PNG")
"""GDAL's readers of files that hold heights themselves; others may fetch them from anywhere."""
MOST_PIXELS = 100_000_000
"""Most pixels that are held at once: those of the window, and those of a block that can only be decoded whole."""
MOST_PER_BYTE = 1000
"""Pixels that a byte of a file may stand for; a file that claims more claims what it does not hold."""
SENTINELS = (-9999.0, -9999.9, -99999.0, -32768.0, -32767.0, 32767.0, 65535.0)
"""Values that mark holes in files that forget to declare them."""
LABELS = (".lbl", ".xml")
"""Endings of labels of a file beside them."""
METRES = {
    "": 1.0, "m": 1.0, "metre": 1.0, "meter": 1.0, "km": 1e3, "kilometre": 1e3, "kilometer": 1e3, "cm": 0.01,
    "mm": 1e-3, "ft": 0.3048, "foot": 0.3048, "us survey foot": 1200 / 3937, "us-ft": 1200 / 3937, "ftus": 1200 / 3937,
}  # fmt: skip
"""m in units that GDAL names, by their lower-case singular."""


@dataclass(frozen=True)
class Raster:
    """An open file."""

    path: str
    shape: tuple[int, int]
    """Rows and columns, as the file has them."""
    size: float
    """m per pixel along its shorter edge."""
    place: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    """Points x, y in m east and north of the map's centre, broadcast together, to fractional rows and columns, whole at
    the pixels' centres."""
    read: Callable[[slice, slice], np.ndarray]
    """Rows and columns to heights in m, NaN where there are none."""
    undeclared: list[str] = field(default_factory=list)
    """What ``read`` has to say of holes that the file does not declare."""

    def over_the_edge(self, span: float) -> LunarError:
        """For a map of ``span`` m that is not inside."""
        rows, cols = self.shape
        row, col = (float(at.ravel()[0]) for at in self.place(np.zeros(1), np.zeros(1)))
        return LunarError(
            f"terrain.dem: a {span:g} m map around row {row:.0f}, column {col:.0f} of '{self.path}' reaches over the "
            f"edge of the file, which has {rows} by {cols} pixels of {self.size:g} m; change terrain.dem.x and y or "
            "terrain.size"
        )


@contextmanager
def opened(cfg: DemConfig) -> Iterator[Raster]:
    """The file, whatever its kind.

    Raises:
        LunarError: it does not exist, cannot be read, or does not say where or how high its pixels are.
    """
    if not Path(cfg.path).is_file():
        raise LunarError(f"terrain.dem.path '{cfg.path}' does not exist; give a GeoTIFF or .npy file")
    for name in ("x", "y", "resolution", "scale"):
        if not math.isfinite(value := getattr(cfg, name)) or (name == "resolution" and value < 0):
            raise LunarError(f"terrain.dem.{name} is {value:g}; give metres, or leave it out")
    if cfg.path.lower().endswith(".npy"):
        yield _numpy_raster(cfg)
        return
    import rasterio  # GDAL takes a third of a second, which only those wait for who read a raster

    try:
        # an absolute path is a file of this computer and no address; files beside it may hold its mask, not its source
        with rasterio.Env(CPL_VSIL_CURL_ALLOWED_EXTENSIONS="{none}"), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.DatasetReader(str(Path(cfg.path).resolve()), driver=list(DRIVERS)) as file:
                yield _gdal_raster(cfg, file)
    except LunarError:
        raise
    except Exception as error:  # whatever the damage leads the decoder to
        raise LunarError(
            f"terrain.dem: cannot read '{cfg.path}' ({error.__cause__ or error}); {_remedy(cfg.path)}"
        ) from None


def _remedy(path: str) -> str:
    """What to do with a file that GDAL cannot read."""
    if label := _label_of(path):
        return f"give its label '{label}'"
    if path.lower().endswith(".npz"):
        return "save one of its arrays by numpy.save as .npy"
    return "check it by gdalinfo, or convert it by gdal_translate in out.tif"


def _label_of(path: str) -> Path | None:
    """The label beside a file that is none itself."""
    place, stem = Path(path).parent, glob.escape(Path(path).stem)
    labels = [f for f in place.glob(f"{stem}.*") if f.suffix.lower() in LABELS and f.stem == Path(path).stem]
    return labels[0] if labels and Path(path) not in labels else None


def _numpy_raster(cfg: DemConfig) -> Raster:
    try:
        values = np.lib.format.open_memmap(cfg.path, mode="r")  # no pickle, no archive, no more than the file holds
    except Exception as error:  # a damaged header fails in as many ways as Python's tokenizer
        raise LunarError(f"terrain.dem: cannot read '{cfg.path}' as a NumPy array ({error})") from None
    if cfg.resolution <= 0:
        raise LunarError(
            f"terrain.dem.resolution is needed for '{cfg.path}': give the metres per pixel of an array whose first row "
            "is the southernmost"
        )
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise LunarError(f"terrain.dem: '{cfg.path}' holds no plain numbers; save one float array by numpy.save")
    if values.ndim != 2 or cfg.band > 1:
        raise LunarError(f"terrain.dem: '{cfg.path}' has shape {values.shape}; one band of rows and columns is needed")
    size, scale = cfg.resolution, cfg.scale or 1.0
    undeclared: list[str] = []
    row, col = ((count - 1) / 2 + shift / size for count, shift in zip(values.shape, (cfg.y, cfg.x), strict=True))

    def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.broadcast_arrays(x, y)
        return row + y / size, col + x / size

    def read(rows: slice, cols: slice) -> np.ndarray:
        stored = np.array(values[rows, cols])
        return _without_sentinels(stored, scale * stored.astype(float), size, undeclared)

    return Raster(cfg.path, values.shape, size, place, read, undeclared)


def _gdal_raster(cfg: DemConfig, file: Any) -> Raster:
    """An open rasterio dataset."""
    from rasterio.enums import ColorInterp

    from sim.terrain.georeference import place_in
    from sim.terrain.pds_label import PdsLabel, read_pds_label

    if file.subdatasets:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' holds {len(file.subdatasets)} images; take one out by gdal_translate "
            f"{file.subdatasets[0]} out.tif"
        )
    alphas = [k for k, colour in enumerate(file.colorinterp, 1) if colour == ColorInterp.alpha]
    heights = [k for k in range(1, file.count + 1) if k not in alphas]
    band = cfg.band or (heights[0] if len(heights) == 1 else 0)
    if band not in heights:
        names = ", ".join(f"{k} {file.descriptions[k - 1] or ''}".strip() for k in heights)
        raise LunarError(f"terrain.dem: '{cfg.path}' has the bands {names}; name one band by terrain.dem.band")
    if np.dtype(file.dtypes[band - 1]).kind not in "iuf":
        raise LunarError(f"terrain.dem: '{cfg.path}' holds {file.dtypes[band - 1]}; convert it to plain numbers")
    if file.colorinterp[band - 1] == ColorInterp.palette:
        raise LunarError(f"terrain.dem: '{cfg.path}' is a picture with a table of colours; give the heights themselves")
    stored_bytes = sum(os.path.getsize(name) for name in file.files if os.path.isfile(name))
    if (pixels := math.prod(file.shape)) > MOST_PER_BYTE * stored_bytes:
        raise LunarError(f"terrain.dem: '{cfg.path}' claims {pixels:,} pixels, too many for its size; it is damaged")
    if (pixels := file.count * math.prod(file.block_shapes[band - 1])) > MOST_PIXELS:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' is packed in blocks of {pixels:,} pixels, over {MOST_PIXELS:,}; repack it by "
            "gdal_translate -co TILED=YES"
        )
    label = read_pds_label(file.name) if file.driver == "PDS" else PdsLabel()
    stored_scale = file.scales[band - 1] if file.scales[band - 1] != 1.0 else label.scale
    unit = file.units[band - 1] or label.unit
    if file.driver == "PNG" and not (cfg.resolution and cfg.scale):
        raise LunarError(
            f"terrain.dem: a PNG like '{cfg.path}' does not say how large and how high it is; set "
            "terrain.dem.resolution in m per pixel and terrain.dem.scale in m per grey level"
        )
    if file.driver == "JP2OpenJPEG" and not (cfg.scale or unit) and stored_scale == 1.0:
        beside = _label_of(cfg.path)
        raise LunarError(
            f"terrain.dem: a JPEG 2000 file like '{cfg.path}' does not say how high it is; "
            + (f"give its label '{beside}', or " if beside else "")
            + "set terrain.dem.scale in m per grey level, 0.5 for LOLA's"
        )
    size, place = place_in(cfg, file)
    scale = cfg.scale or stored_scale * _metres(cfg, unit)
    undeclared: list[str] = []

    def read(rows: slice, cols: slice) -> np.ndarray:
        window = (rows.start, rows.stop), (cols.start, cols.stop)
        values = file.read(band, window=window, masked=True)
        holes = np.ma.getmaskarray(values)
        holes = holes | np.isin(values.data, label.holes)
        for alpha in alphas:
            holes = holes | (file.read(alpha, window=window) == 0)
        heights = np.where(holes, np.nan, scale * values.data.astype(float))
        return _without_sentinels(values.data, heights, size, undeclared)

    return Raster(cfg.path, file.shape, size, place, read, undeclared)


def _without_sentinels(stored: np.ndarray, heights: np.ndarray, size: float, undeclared: list[str]) -> np.ndarray:
    """``heights`` in m without the pixels of a sentinel's value that stand out of the ground around them by over 45
    degrees, or have none around; those are told of in ``undeclared``."""
    for value in (v for v in SENTINELS if _holds(stored, v)):
        spot = (stored == stored.dtype.type(value)) & np.isfinite(heights)
        if not spot.any():
            continue
        steps = np.concatenate([np.abs(np.diff(heights, axis=k))[np.diff(spot, axis=k)] for k in (0, 1)])
        if (steps > size).any() or spot.sum() == np.isfinite(heights).sum():
            heights = np.where(spot, np.nan, heights)
            undeclared.append(f", {int(spot.sum())} of them of {value:g}, which the file does not declare as such")
    return heights


def _holds(stored: np.ndarray, value: float) -> bool:
    """Whether an array's type can hold a value, rounded where it is a float's."""
    if stored.dtype.kind == "f":
        return True
    limits = np.iinfo(stored.dtype)
    return value.is_integer() and limits.min <= value <= limits.max


def _metres(cfg: DemConfig, name: str) -> float:
    """m per unit in which a file says that its heights are; GDAL takes a vertical coordinate system's for it."""
    unit = name.strip().lower().removesuffix("s").replace("feet", "foot")
    if unit not in METRES:
        raise LunarError(f"terrain.dem: '{cfg.path}' has heights in '{name}'; give m per unit by terrain.dem.scale")
    return METRES[unit]
