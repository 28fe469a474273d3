"""Whatever grid a file has, the ground lies where it is: one surface in many coordinate systems reads the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from rasterio.crs import CRS
from rasterio.warp import transform

from sim.errors import LunarError
from sim.terrain.dem import DemConfig, dem_relief

AXIS = np.arange(201) * 1.0 - 100.0
MOON = "+R=1737400"
DEGREES, SOUTH, CYLINDER = (f"+proj={p} {MOON}" for p in ("longlat", "stere +lat_0=-90", "eqc"))
DEGREE = np.pi / 180 * 1737400
"""m."""


def surface(east: np.ndarray, north: np.ndarray) -> np.ndarray:
    return 6 * np.sin(east / 40) + 0.1 * east + 4 * np.cos(north / 30 + east / 60) - 0.2 * north


def write(path: Path, crs: str, lat: float, lon: float, pixel: np.ndarray, body: str = MOON, count: int = 161) -> Path:
    """``surface`` around (lat, lon) at the centres of pixels, which ``pixel`` (2, 2) turns into coordinates of ``crs``;
    its north is where the grid of ``crs`` has it."""
    system = CRS.from_string(crs)
    (x,), (y,) = transform(CRS.from_string(f"+proj=longlat {body}"), system, [lon], [lat])
    ground = CRS.from_string(f"+proj=aeqd +lat_0={lat} +lon_0={lon} {body}")
    index = np.arange(count) - (count - 1) / 2
    points = np.stack(np.meshgrid(index, index)).reshape(2, -1)
    across, along = pixel @ points + [[x], [y]]
    local = np.array(transform(system, ground, across.tolist(), along.tolist()))
    up = np.array(transform(system, ground, [x], [y + np.abs(pixel).max()])).ravel()
    up /= np.hypot(*up)
    heights = surface(up[1] * local[0] - up[0] * local[1], up @ local).reshape(1, count, count)
    offset = np.array([x, y]) - pixel @ [count / 2, count / 2]
    affine = rasterio.Affine(*pixel[0], offset[0], *pixel[1], offset[1])
    shape = {"count": 1, "height": count, "width": count, "dtype": "float64"}
    with rasterio.open(path, "w", driver="GTiff", crs=system, transform=affine, **shape) as file:
        file.write(heights)
    return path


def turned(pixel: float, angle: float) -> np.ndarray:
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[c, -s], [s, c]]) @ np.diag([pixel, -pixel])


def in_degrees(width: float, height: float, lat: float) -> np.ndarray:
    return np.diag([width / np.cos(np.radians(lat)), -height]) / DEGREE


def read(path: Path, **options: float) -> np.ndarray:
    return dem_relief(DemConfig(path=str(path), detail=0.0, **options), AXIS, np.random.default_rng(0))


def expected(east: float = 0.0, north: float = 0.0) -> np.ndarray:
    z = surface(AXIS[None, :] + east, AXIS[:, None] + north)
    return z - z.mean()


@pytest.mark.parametrize(
    "crs, lat, lon, pixel",
    [
        (SOUTH, -89.9, 10, np.diag([2, -2])),
        (SOUTH, -90, 0, np.diag([2, -2])),
        (SOUTH, -89.9, 10, np.diag([2, 2])),
        (SOUTH, -89.9, 10, turned(2, 30)),
        (SOUTH, -89.9, 10, turned(2, -4)),
        (SOUTH, -89.9, 10, turned(2, 90)),
        (SOUTH, -89.9, 10, turned(2, 180)),
        (SOUTH, -89.9, 10, np.diag([2, -3])),
        (SOUTH, -89.9, 10, np.diag([-3, 2])),
        (SOUTH, -60, 100, np.diag([2.2, -2.2])),
        (f"{SOUTH} +units=km", -89.9, 10, np.diag([2e-3, -2e-3])),
        (f"{SOUTH} +units=us-ft", -89.9, 10, turned(6, 10)),
        (DEGREES, 0, 40, in_degrees(2, 2, 0)),
        (DEGREES, -80, 40, in_degrees(2, 2, -80)),
        (DEGREES, -80, 40, np.diag([10, -3]) / DEGREE),
        (DEGREES, 20, 179.9999, in_degrees(2, 2, 20)),
        (CYLINDER, -80, 10, np.diag([8, -8])),
        (f"{CYLINDER} +lat_ts=-80", -80, 10, np.diag([2, -2])),
        (f"+proj=merc {MOON}", -60, 10, np.diag([4, -4])),
        ("IAU_2015:30135", -89.5, 15, np.diag([2, -2])),
    ],
    ids=str,
)  # fmt: skip
def test_the_ground_lies_where_it_is(tmp_path, crs, lat, lon, pixel):
    count = 1001 if abs(pixel[0, 0] * np.cos(np.radians(lat))) < 1.5 and crs == CYLINDER else 161
    path = write(tmp_path / "a.tif", crs, lat, lon, np.array(pixel, float), count=count)
    np.testing.assert_allclose(read(path), expected(), atol=0.05)
    np.testing.assert_allclose(read(path, x=12.0, y=-9.0), expected(12.0, -9.0), atol=0.05)


@pytest.mark.parametrize("pixel", [turned(2, 90), np.diag([2, -1.99])], ids=str)
@pytest.mark.parametrize("count", [100, 101, 103, 105])
def test_a_map_may_reach_to_the_edge_of_a_grid_that_is_resampled(tmp_path, pixel, count):
    path = write(tmp_path / "a.tif", SOUTH, -89.9, 10, pixel, count=count)
    size = np.hypot(*pixel).min()
    if (count - 1) / 2 < math.ceil(100 / size):  # a grid that is resampled has whole pixels around the map's centre
        with pytest.raises(LunarError, match="reaches over the edge"):
            read(path)
    else:
        np.testing.assert_allclose(read(path), expected(), atol=0.05)


def test_a_map_of_the_earth_is_read_too(tmp_path):
    path = write(tmp_path / "a.tif", "EPSG:4326", 45, 10, np.diag([2 / 78847, -2 / 111132]), "+ellps=WGS84")
    np.testing.assert_allclose(read(path), expected(), atol=0.05)


def test_a_map_in_feet_of_no_projection_is_in_feet(tmp_path):
    """GDAL takes such a map for one in metres; the unit is in the GeoTIFF keys."""
    index = (np.arange(121) - 60) * 2.0
    heights = surface(index[None, :], -index[:, None])
    for code, metres in ((9001, 1.0), (9002, 0.3048), (9003, 1200 / 3937)):
        tags = ImageFileDirectory_v2()
        for tag, kind, values in (
            (33550, 12, (2.0 / metres, 2.0 / metres, 0.0)),
            (33922, 12, (0.0, 0.0, 0.0, 1000.0, 2000.0, 0.0)),
            (34735, 3, (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32767, 3076, 0, 1, code)),
        ):
            tags.tagtype[tag] = kind
            tags[tag] = values
        for big in (False, True):
            Image.fromarray(heights.astype(np.float32)).save(tmp_path / "a.tif", tiffinfo=tags, big_tiff=big)
            np.testing.assert_allclose(read(tmp_path / "a.tif"), expected(), atol=0.05)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_the_geotiff_keys_are_found_in_either_byte_order(tmp_path, order, big):
    import tifffile

    index = (np.arange(121) - 60) * 2.0
    tags = [
        (33550, "d", 3, (2.0 / 0.3048, 2.0 / 0.3048, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 1000.0, 2000.0, 0.0), True),
        (34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 3072, 0, 1, 32767, 3076, 0, 1, 9002), True),
    ]
    heights = surface(index[None, :], -index[:, None]).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", heights, metadata=None, bigtiff=big, byteorder=order, extratags=tags)
    np.testing.assert_allclose(read(tmp_path / "a.tif"), expected(), atol=0.05)


def test_a_resolution_that_is_given_replaces_the_files_own(tmp_path):
    path = write(tmp_path / "a.tif", SOUTH, -89.9, 10, turned(7, 30))
    z = read(path, resolution=2.0)
    scaled = read(write(tmp_path / "b.tif", SOUTH, -89.9, 10, turned(7, 30)))
    assert np.ptp(z) > 1.5 * np.ptp(scaled) or not np.allclose(z, scaled)


@pytest.mark.parametrize("crs, lat, lon, pixel, message", [
    (DEGREES, -89.999, 0, in_degrees(2, 2, -89.999), r"distorted .* gdalwarp .*\+proj=stere"),
    (DEGREES, -80, 0, in_degrees(0.05, 2, -80), r"distorted .* gdalwarp .*\+lat_0=-80"),
    (SOUTH, -89.9, 10, turned(0.9, 30), "reaches over the edge"),
])  # fmt: skip
def test_what_cannot_be_mended_here_is_refused_with_the_remedy(tmp_path, crs, lat, lon, pixel, message):
    with pytest.raises(LunarError, match=message):
        read(write(tmp_path / "a.tif", crs, lat, lon, pixel, count=21))
