"""Where a georeferenced raster's pixels lie on the ground, in metres around a site."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.errors import LunarError

if TYPE_CHECKING:
    from sim.terrain.dem import DemConfig

Place = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
GEO_KEYS, LINEAR_UNIT = 34735, 3076
"""TIFF tag of the GeoTIFF keys, and the key of the map's unit."""
KEY_UNITS = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937, 9036: 1e3}
"""m per unit by its EPSG code."""
LONGEST_PIXEL = 20.0
"""Longer over shorter edge of a pixel on the ground; beyond, as next to the pole of a map in degrees, a map is bent."""
FINEST_PIXEL = 0.001
"""m. Finer ones are of a unit that the file does not name."""
STRETCH = 0.001
"""By how much a projection may stretch lengths and still be taken for metres as it stands."""


def place_in(cfg: DemConfig, file: Any) -> tuple[float, Place]:
    """Metres per pixel along its shorter edge, and the function from metres around the map's centre to rows and columns
    (``Raster.place``) of an open rasterio dataset.

    North is where the file's grid has it. A coordinate system of a known body is followed to the ground: degrees, and
    stretched projections such as an equirectangular one near a pole, by an azimuthal projection centred at the site.

    Raises:
        LunarError: the file does not say its resolution, or is too distorted around the site.
    """
    middle = np.array([file.width / 2, file.height / 2])  # in pixels from the upper left corner
    placed = file.transform != type(file.transform).identity()
    a = file.transform
    pixel = np.array([[a.a, a.b], [a.d, a.e]]) if placed else np.diag([1.0, -1.0])
    offset = np.array([a.c, a.f])
    lengths = np.hypot(*pixel)
    if not lengths.all() or not np.isfinite(pixel).all() or abs(np.linalg.det(pixel)) < 1e-9 * lengths.prod():
        raise LunarError(
            f"terrain.dem: the georeference of '{cfg.path}' is degenerate; give it anew by gdal_edit -a_ullr"
        )
    if cfg.resolution:
        return _flat(cfg, pixel / lengths * cfg.resolution, middle)
    if not placed:
        raise LunarError(
            f"terrain.dem: '{cfg.path}' does not say its resolution; set terrain.dem.resolution in m per pixel"
        )
    if file.crs is None or not (file.crs.is_projected or file.crs.is_geographic):
        metres = pixel * _plain_unit(file)
        if np.hypot(*metres).max() < FINEST_PIXEL:
            raise LunarError(
                f"terrain.dem: '{cfg.path}' has pixels of {np.hypot(*metres).max():.2g} of an unknown unit, degrees "
                "perhaps: name its coordinate system by gdal_edit -a_srs, or set terrain.dem.resolution in m per pixel"
            )
        return _flat(cfg, metres, middle)
    return _on_body(cfg, file.crs, pixel, offset, middle)


def _flat(cfg: DemConfig, pixel: np.ndarray, middle: np.ndarray) -> tuple[float, Place]:
    """Of a plane map: ``pixel`` (2, 2) turns columns and rows into m east and north."""
    inverse = np.linalg.inv(pixel)

    def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        east, north = np.broadcast_arrays(x + cfg.x, y + cfg.y)
        col, row = (middle[k] - 0.5 + inverse[k, 0] * east + inverse[k, 1] * north for k in (0, 1))
        return row, col

    return float(np.hypot(*pixel).min()), place


def _on_body(
    cfg: DemConfig, crs: Any, pixel: np.ndarray, offset: np.ndarray, middle: np.ndarray
) -> tuple[float, Place]:
    """Of a coordinate system ``crs``, in which ``pixel`` (2, 2) and ``offset`` (2,) place columns and rows."""
    metres = crs.units_factor[1] if crs.is_projected else 1.0
    origin = pixel @ middle + offset
    tangent = _Tangent(cfg.path, crs, origin, pixel)
    site = origin + np.linalg.solve(tangent.scale, [cfg.x, cfg.y])
    tangent = _Tangent(cfg.path, crs, site, pixel)
    edges = np.hypot(*(tangent.scale @ pixel))
    if edges.max() > LONGEST_PIXEL * edges.min():
        raise tangent.distorted()
    plain = np.hypot(*pixel).min() * metres
    size = plain if crs.is_projected and abs(edges / plain - 1.0).max() < STRETCH else edges.min()
    inverse = np.linalg.inv(pixel)

    def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        east, north = np.broadcast_arrays(x, y)
        there = tangent.from_ground(east, north) - offset[:, None]
        col, row = (inverse @ there - 0.5).reshape(2, *east.shape)
        return row, col

    return float(size), place


class _Tangent:
    """The ground around one point of a coordinate system: metres along and across its grid's north.

    Args:
        path: of the file, for messages.
        crs: rasterio's.
        at: (2,) the point, in the system's coordinates.
        pixel: (2, 2) columns and rows to those coordinates: the steps of differences.

    Raises:
        LunarError: the point is nowhere on the body, or the grid is singular there.
    """

    def __init__(self, path: str, crs: Any, at: np.ndarray, pixel: np.ndarray) -> None:
        self._path, self._crs, self._at = path, crs, at
        body = re.search(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",([\d.eE+]+),([\d.eE+]+)', crs.to_wkt())
        if not body:
            raise LunarError(
                f"terrain.dem: the coordinate system of '{path}' names no body; set terrain.dem.resolution in m per "
                "pixel"
            )
        radius, flattening = float(body[1]), float(body[2])
        self._shape = f"+a={radius:.10g} +rf={flattening:.12g}" if flattening else f"+R={radius:.10g}"
        (self._lon,), (self._lat,) = self._transform(crs, f"+proj=longlat {self._shape}", at[:1], at[1:])
        self._local = f"+proj=aeqd +lat_0={self._lat:.17g} +lon_0={self._lon:.17g} {self._shape} +units=m +no_defs"
        around = self._transform(crs, self._local, *(at[:, None] + np.concatenate([pixel, -pixel], axis=1)))
        columns = (around[:, :2] - around[:, 2:]) / 2 @ np.linalg.inv(pixel)
        north = columns[:, 1] / np.hypot(*columns[:, 1])
        self._turn = np.array([[north[1], -north[0]], north])
        self.scale = self._turn @ columns
        """(2, 2) from the system's coordinates to m east and north by the grid."""
        if not np.isfinite(self.scale).all() or np.linalg.det(self.scale) <= 0:
            raise self.distorted()

    def from_ground(self, east: np.ndarray, north: np.ndarray) -> np.ndarray:
        """Points in m around here, any shape, to the system's coordinates (2, count).

        Raises:
            LunarError: the grid is bent by more than half of the distance on the way there.
        """
        local = self._turn.T @ np.stack([east.ravel(), north.ravel()])
        there = self._transform(self._local, self._crs, *local)
        if self._crs.is_geographic:
            turn = 2 * np.pi / self._crs.units_factor[1]
            there[0] += turn * np.round((self._at[0] - there[0]) / turn)
        straight = np.stack([east.ravel(), north.ravel()])
        bent = self.scale @ (there - self._at[:, None]) - straight
        if not np.hypot(*bent).max() <= 0.5 * np.hypot(*straight).max() + 1e-3:
            raise self.distorted()
        return there

    def distorted(self) -> LunarError:
        """With the command that mends the file."""
        return LunarError(
            f"terrain.dem: the grid of '{self._path}' is too distorted around the site; project it by gdalwarp "
            f"-r cubic -t_srs '+proj=stere +lat_0={self._lat:.6g} +lon_0={self._lon:.6g} {self._shape}' in out.tif"
        )

    def _transform(self, source: Any, target: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        from rasterio.crs import CRS
        from rasterio.warp import transform

        source, target = (CRS.from_string(c) if isinstance(c, str) else c for c in (source, target))
        try:
            result = np.array(transform(source, target, x.tolist(), y.tolist()))
        except Exception:  # rasterio's own errors have no public base
            result = np.array(np.nan)
        if not np.isfinite(result).all():
            raise LunarError(
                f"terrain.dem: '{self._path}' lies outside of what its coordinate system covers; mend its "
                "georeference, or set terrain.dem.resolution in m per pixel"
            )
        return result


def _plain_unit(file: Any) -> float:
    """m per unit of a map of no body; GDAL takes it for metres where a GeoTIFF's keys name a unit and no projection."""
    unit = 1.0 if file.crs is None else file.crs.units_factor[1]
    if file.driver == "GTiff" and unit == 1.0:
        keys = _geo_keys(file.name)
        for key, _, _, value in zip(*(keys[k::4] for k in range(4)), strict=False):
            if key == LINEAR_UNIT:
                return KEY_UNITS.get(value, unit)
    return unit


def _geo_keys(path: str) -> tuple[int, ...]:
    """The GeoTIFF keys of a TIFF or BigTIFF, of either byte order, that GDAL has opened."""
    with open(path, "rb") as stream:
        order = "<" if stream.read(2) == b"II" else ">"

        def take(code: str) -> tuple[int, ...]:
            return struct.unpack(order + code, stream.read(struct.calcsize(order + code)))

        big = take("H") == (43,)
        entries, entry = ("Q", "HHQ") if big else ("H", "HHL")
        offset = "Q" if big else "L"
        if big:
            stream.seek(8)
        stream.seek(*take(offset))
        for _ in range(*take(entries)):
            tag, _, count = take(entry)
            if tag == GEO_KEYS:
                stream.seek(*take(offset))
                return take(f"{count}H")
            take(offset)
    return ()
