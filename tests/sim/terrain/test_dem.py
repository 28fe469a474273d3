"""Elevation models: read as they stand, roughened below their resolution, refused when they cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from sim.errors import LunarError
from sim.terrain.dem import DemConfig, dem_relief
from sim.terrain.fractal import self_affine
from sim.terrain.measure import deviogram

AXIS = np.arange(401) * 0.1 - 20.0
PIXEL = 2.0


@pytest.fixture(scope="module")
def site() -> np.ndarray:
    """(51, 51) m, rows along +y: self-affine ground of 100 m, H 0.9, every 2 m."""
    return self_affine(0.9, 100.0, PIXEL, np.random.default_rng(5)).astype(np.float32)


def write(path: Path, north_up: np.ndarray, pixel: float = PIXEL, model: int = 1, nodata: str = "", **options) -> Path:
    """A GeoTIFF with the tags that GDAL writes."""
    keys = (1, 1, 0, 2, 1024, 0, 1, model, 1025, 0, 1, 1)
    tags = [(34735, "H", len(keys), keys, True)]
    if pixel:
        tags += [(33550, "d", 3, (pixel, pixel, 0.0), True), (33922, "d", 6, (0.0,) * 6, True)]
    if nodata:
        tags.append((42113, "s", len(nodata) + 1, nodata, True))
    tifffile.imwrite(path, north_up, extratags=tags, **options)
    return path


def relief(path: Path, seed: int = 0, **options) -> np.ndarray:
    return dem_relief(DemConfig(path=str(path), **options), AXIS, np.random.default_rng(seed))


@pytest.mark.parametrize("detail", [0.0, 1.0])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_map_passes_through_the_files_samples(tmp_path, site, detail, compression):
    z = relief(write(tmp_path / "a.tif", site[::-1], compression=compression), detail=detail)
    samples = site[15:36, 15:36]  # the 40 m around the middle pixel
    at_samples = z[::20, ::20]
    np.testing.assert_allclose(at_samples - at_samples.mean(), samples - samples.mean(), atol=1e-3)


def test_added_relief_continues_the_files_roughness(tmp_path):
    truth = self_affine(0.9, 100.0, 0.1, np.random.default_rng(7))
    path = write(tmp_path / "a.tif", truth[::20, ::20][::-1].astype(np.float32))
    crop = truth[300:701, 300:701]
    smooth, rough = (relief(path, detail=detail, hurst=0.9) for detail in (0.0, 1.0))
    for lag in (0.2, 0.5, 1.0):
        expected = deviogram(crop, 0.1, [lag])[0]
        assert deviogram(rough, 0.1, [lag])[0] == pytest.approx(expected, rel=0.2)
    short = [0.2]
    assert deviogram(smooth, 0.1, short)[0] < 0.93 * deviogram(rough, 0.1, short)[0]


def test_north_is_up_and_the_window_moves_east_and_north(tmp_path):
    ramp = 0.1 * PIXEL * np.arange(51)
    north = write(tmp_path / "n.tif", (ramp[:, None] + 0 * ramp[None, :])[::-1].astype(np.float32))
    z = relief(north, detail=0.0)
    np.testing.assert_allclose(z, np.broadcast_to(0.1 * AXIS[:, None], z.shape), atol=1e-4)
    bump = np.zeros((51, 51), np.float32)
    bump[25 + 3, 25 - 4] = 1.0  # 6 m north, 8 m west of the middle, rows along +y
    z = relief(write(tmp_path / "b.tif", bump[::-1]), detail=0.0, x=-2.0, y=1.0)
    row, col = np.unravel_index(np.argmax(z), z.shape)
    assert (AXIS[col], AXIS[row]) == pytest.approx((-6.0, 5.0))


def test_a_numpy_file_reads_the_same_and_integers_are_scaled(tmp_path, site):
    np.save(tmp_path / "a.npy", site)
    from_tiff = relief(write(tmp_path / "a.tif", site[::-1]))
    np.testing.assert_allclose(relief(tmp_path / "a.npy", resolution=PIXEL), from_tiff, atol=1e-6)
    whole = np.round(site / site.std() * 100).astype(np.int16)
    one, half = (relief(write(tmp_path / "i.tif", whole[::-1]), detail=0.0, scale=s) for s in (1.0, 0.5))
    np.testing.assert_allclose(half, one / 2, atol=1e-9)


def test_seeds_differ_only_below_the_resolution(tmp_path, site):
    path = write(tmp_path / "a.tif", site[::-1])
    a, b, again = (relief(path, seed) for seed in (0, 1, 0))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 0
    shift = (a - b)[::20, ::20]
    np.testing.assert_allclose(shift, shift.mean(), atol=1e-3)


def test_bad_files_are_named_with_a_remedy(tmp_path, site):
    good = write(tmp_path / "good.tif", site[::-1])
    text = tmp_path / "text.tif"
    text.write_text("not an image")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(good.read_bytes()[:300])
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    hole = site.copy()
    hole[25, 25] = -9999.0
    colour = np.zeros((51, 51, 3), np.uint8)
    cases = [
        (tmp_path / "none.tif", {}, "does not exist"),
        (text, {}, "cannot read"),
        (cut, {}, "cut.tif"),
        (tmp_path / "a.img", {}, "gdal_translate"),
        (objects, {"resolution": 1.0}, "cannot read"),
        (write(tmp_path / "degrees.tif", site, model=2), {}, "degrees"),
        (write(tmp_path / "mute.tif", site, pixel=0.0), {}, "dem.resolution"),
        (write(tmp_path / "hole.tif", hole, nodata="-9999"), {}, "1 pixels without data"),
        (write(tmp_path / "coarse.tif", site, pixel=60.0), {}, "too coarse"),
        (write(tmp_path / "colour.tif", colour, photometric="rgb"), {}, "one band"),
        (good, {"x": 40.0}, "edge"),
    ]
    for path, options, message in cases:
        with pytest.raises(LunarError, match=message):
            relief(path, **options)
    np.save(tmp_path / "a.npy", site)
    with pytest.raises(LunarError, match="metres per pixel"):
        relief(tmp_path / "a.npy")


def test_huge_compressed_files_are_refused_before_they_are_decoded(tmp_path, site, monkeypatch):
    monkeypatch.setattr("sim.terrain.dem.MOST_PIXELS", 1000)
    with pytest.raises(LunarError, match="2,601 pixels"):
        relief(write(tmp_path / "a.tif", site, compression="zlib"))
