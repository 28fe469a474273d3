"""Elevation models: read as they stand, roughened below their resolution, refused when they cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim.errors import LunarError
from sim.terrain.dem import DemConfig, dem_relief
from sim.terrain.fractal import self_affine
from sim.terrain.measure import deviogram

AXIS = np.arange(401) * 0.1 - 20.0
PIXEL = 2.0
SOUTH = "+proj=stere +lat_0=-90 +R=1737400"
"""Polar stereographic on the Moon, in m."""


@pytest.fixture(scope="module")
def site() -> np.ndarray:
    """(51, 51) m, rows along +y: self-affine ground of 100 m, H 0.9, every 2 m."""
    return self_affine(0.9, 100.0, PIXEL, np.random.default_rng(5)).astype(np.float32)


def write(path: Path, bands: np.ndarray, transform: tuple = (PIXEL, 0, 0, 0, -PIXEL, 0), **options) -> Path:
    """A raster written by GDAL.

    Args:
        path: of the file.
        bands: (rows, cols), or (bands, rows, cols).
        transform: six numbers from columns and rows to eastings and northings; by default the rows run south. None
            leaves the file without.
        options: of the file, and the bands' ``scale``, ``offset`` and ``unit``.
    """
    import rasterio

    bands = bands.reshape(-1, *bands.shape[-2:])
    scale, offset, unit = (options.pop(name, None) for name in ("scale", "offset", "unit"))
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    options = {"driver": "GTiff", "crs": SOUTH, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        place = {"transform": rasterio.Affine(*transform)} if transform else {}
        with rasterio.open(path, "w", **place, **shape, **options) as file:
            file.write(bands)
            for name, value in (("scales", scale), ("offsets", offset), ("units", unit)):
                if value is not None:
                    setattr(file, name, [value] * len(bands))
    return path


def relief(path: Path, seed: int = 0, **options) -> np.ndarray:
    return dem_relief(DemConfig(path=str(path), **options), AXIS, np.random.default_rng(seed))


@pytest.mark.parametrize("detail", [0.0, 1.0])
@pytest.mark.parametrize("compression", [None, "DEFLATE"])
def test_the_map_passes_through_the_files_samples(tmp_path, site, detail, compression):
    z = relief(write(tmp_path / "a.tif", site[::-1], compress=compression), detail=detail)
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


@pytest.mark.parametrize(
    "packing",
    [
        {"compress": "LZW"}, {"compress": "ZSTD"}, {"compress": "DEFLATE", "predictor": 3}, {"compress": "LERC_ZSTD"},
        {"compress": "LZW", "tiled": True, "blockxsize": 16, "blockysize": 16}, {"driver": "COG"},
    ],
    ids=lambda p: "-".join(str(v) for v in p.values()),
)  # fmt: skip
def test_every_packing_reads_the_same(tmp_path, site, packing):
    plain = relief(write(tmp_path / "a.tif", site[::-1]))
    np.testing.assert_allclose(relief(write(tmp_path / "b.tif", site[::-1], **packing)), plain, atol=1e-6)


def test_the_files_own_directions_and_units_are_followed(tmp_path, site):
    expected = relief(write(tmp_path / "a.tif", site[::-1]), detail=0.0)
    whole = np.round(site[::-1] / 0.25).astype(np.int16)
    foot, survey = 0.3048, 1200 / 3937
    cases = {
        "rows run north": {"bands": site, "transform": (PIXEL, 0, 0, 0, PIXEL, 0)},
        "columns run west": {"bands": site[::-1, ::-1], "transform": (-PIXEL, 0, 0, 0, -PIXEL, 0)},
        "map in US feet": {"transform": (PIXEL / survey, 0, 0, 0, -PIXEL / survey, 0), "crs": "EPSG:2264"},
        "map in km": {"transform": (0.002, 0, 0, 0, -0.002, 0), "crs": "+proj=stere +lat_0=-90 +R=1737400 +units=km"},
        "heights in feet": {"bands": site[::-1] / np.float32(foot), "unit": "feet"},
        "heights in km": {"bands": site[::-1] / np.float32(1000), "unit": "kilometres"},
        "named metre": {"unit": "metre"},
    }
    for name, case in cases.items():
        path = write(tmp_path / "b.tif", **{"bands": site[::-1], **case})
        np.testing.assert_allclose(relief(path, detail=0.0), expected, atol=1e-3, err_msg=name)
    scaled = write(tmp_path / "c.tif", whole, scale=0.25)
    quarters = relief(scaled, detail=0.0)
    np.testing.assert_allclose(quarters, expected, atol=0.3)
    np.testing.assert_allclose(relief(scaled, detail=0.0, scale=0.125), quarters / 2, atol=1e-9)
    for bad, message in (
        ({"transform": (1.6, 1.2, 0, 3.2, 2.4, 0)}, "degenerate"),
        ({"unit": "fathom"}, "'fathom'; give m per unit by terrain.dem.scale"),
        ({"bands": site.astype(np.complex64)}, "complex64"),
    ):
        with pytest.raises(LunarError, match=message):
            relief(write(tmp_path / "d.tif", **{"bands": site[::-1], **bad}))


def test_a_band_is_chosen_and_never_guessed(tmp_path, site):
    path = write(tmp_path / "a.tif", np.stack([np.zeros_like(site), site[::-1], np.ones_like(site)]))
    expected = relief(write(tmp_path / "b.tif", site[::-1]))
    np.testing.assert_allclose(relief(path, band=2), expected, atol=1e-6)
    for band in (0, -1, 4):
        with pytest.raises(LunarError, match=r"bands 1, 2, 3; name one band by terrain\.dem\.band"):
            relief(path, band=band)
    with pytest.raises(LunarError, match="bands 1; name"):
        relief(tmp_path / "b.tif", band=2)


def test_holes_are_found_however_they_are_marked_and_zero_is_a_height(tmp_path, site):
    import rasterio

    for dtype, value in ((np.float32, -9999.9), (np.float32, np.nan), (np.int16, -32768), (np.uint16, 0)):
        bands = (np.round(site[::-1]) + 1000).astype(dtype)
        bands[25, 25] = value
        with pytest.raises(LunarError, match="1 pixels without data"):
            relief(write(tmp_path / "a.tif", bands, nodata=value))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(tmp_path / "b.tif", site[::-1])
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.arange(51 * 51).reshape(51, 51) != 25 * 51 + 25)
    with pytest.raises(LunarError, match="1 pixels without data"):
        relief(path)
    whole = np.round(site[::-1] - site[25, 25]).astype(np.int16)
    assert (whole == 0).any()
    np.testing.assert_allclose(
        relief(write(tmp_path / "c.tif", whole, scale=1.0, unit="metre")),
        relief(write(tmp_path / "d.tif", whole)), atol=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("internal", [True, False], ids=["inside", "beside"])
def test_a_mask_is_read_inside_the_file_and_beside_it(tmp_path, site, internal):
    import rasterio

    path = write(tmp_path / "a.tif", site[::-1])
    for at, hole in ((0, False), (25 * 51 + 25, True)):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
            file.write_mask(np.arange(51 * 51).reshape(51, 51) != at)
        assert (tmp_path / "a.tif.msk").exists() != internal
        if hole:
            with pytest.raises(LunarError, match="1 pixels without data"):
                relief(path)
        else:
            relief(path)


def test_an_alpha_band_marks_holes_and_is_no_height(tmp_path, site):
    alpha = np.full_like(site, 255)
    path = write(tmp_path / "a.tif", np.stack([site[::-1], alpha]), alpha="YES")
    np.testing.assert_array_equal(relief(path), relief(write(tmp_path / "b.tif", site[::-1])))
    with pytest.raises(LunarError, match="bands 1; name"):
        relief(path, band=2)
    alpha[25, 25] = 0
    with pytest.raises(LunarError, match="1 pixels without data"):
        relief(write(tmp_path / "c.tif", np.stack([site[::-1], alpha]), alpha="YES"))


@pytest.mark.parametrize(
    "dtype, value, message",
    [
        (np.float32, -9999.0, "4 of them of -9999, which the file does not declare"),
        (np.float64, -9999.9, "4 of them of -9999.9"),
        (np.float32, -32768.0, "4 of them of -32768"),
        (np.int16, -32768, "4 of them of -32768"),
        (np.uint16, 65535, "4 of them of 65535"),
        (np.float32, -3.4028234663852886e38, "4 pixels without data"),
        (np.float32, np.nan, "4 pixels without data"),
        (np.float32, -600.0, r"steps by .* mark holes"),
        (np.int32, -(2**31), r"steps by .* mark holes"),
    ],
)  # fmt: skip
def test_holes_that_a_file_forgets_to_declare_are_refused(tmp_path, site, dtype, value, message):
    pit = (site[::-1] - site.min()).astype(dtype)
    pit[24:26, 25:27] = value
    with pytest.raises(LunarError, match=message):
        relief(write(tmp_path / "a.tif", pit))
    np.save(tmp_path / "a.npy", pit)
    with pytest.raises(LunarError, match=message):
        relief(tmp_path / "a.npy", resolution=PIXEL)


def test_a_height_may_have_the_value_of_a_sentinel(tmp_path):
    slope = (-9999 + np.arange(51)[:, None] - np.arange(51)).astype(np.int16)  # of half metres
    z = relief(write(tmp_path / "a.tif", slope, scale=0.5), detail=0.0)
    assert np.ptp(z) == pytest.approx(20.0)


@pytest.mark.parametrize("driver, name", [
    ("ISIS3", "a.cub"), ("ISIS3", "a.lbl"), ("PDS4", "a.xml"), ("HFA", "a.img"),
])  # fmt: skip
def test_labels_of_planetary_archives_are_read(tmp_path, site, driver, name):
    path = write(tmp_path / name, site[::-1], driver=driver)
    np.testing.assert_allclose(relief(path), relief(write(tmp_path / "b.tif", site[::-1])), atol=1e-6)


def test_a_png_is_read_from_the_north_when_it_is_given_its_sizes(tmp_path, site):
    grey = np.round((site - site.min()) * 10).astype(np.uint16)
    Image.fromarray(np.ascontiguousarray(grey[::-1])).save(tmp_path / "a.png")
    for given in ({}, {"resolution": PIXEL}, {"scale": 0.1}):
        with pytest.raises(LunarError, match=r"PNG .* set terrain\.dem\.resolution .* terrain\.dem\.scale"):
            relief(tmp_path / "a.png", **given)
    np.save(tmp_path / "a.npy", grey)
    given = {"resolution": PIXEL, "scale": 0.1}
    np.testing.assert_array_equal(relief(tmp_path / "a.png", **given), relief(tmp_path / "a.npy", **given))


def test_a_packed_file_may_be_larger_than_what_is_held_of_it(tmp_path, monkeypatch):
    ground = np.random.default_rng(0).random((400, 400)).astype(np.float32)
    path = write(tmp_path / "a.tif", ground, compress="DEFLATE", tiled=True, blockxsize=16, blockysize=16)
    plain = relief(write(tmp_path / "b.tif", ground))
    monkeypatch.setattr("sim.terrain.dem.MOST_PIXELS", 40**2)
    np.testing.assert_allclose(relief(path), plain, atol=1e-6)
    monkeypatch.setattr("sim.terrain.dem.MOST_PIXELS", 36**2)
    with pytest.raises(LunarError, match="covers 1,"):
        relief(path)


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
    own = tmp_path / "own.vrt"
    own.write_text(f"<VRTDataset><SourceFilename>{good}</SourceFilename></VRTDataset>")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(good.read_bytes()[:300])
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    hole = site.copy()
    hole[25, 25] = -9999.0
    colour = np.zeros((3, 51, 51), np.uint8)
    Image.new("P", (51, 51)).save(tmp_path / "table.png")
    Image.fromarray(site).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.fromarray(site)])
    np.savez(tmp_path / "a.npz", site)
    cases = [
        (tmp_path / "none.tif", {}, "does not exist"),
        (text, {}, "cannot read"),
        (cut, {}, "cut.tif"),
        (own, {}, "gdal_translate"),
        (objects, {"resolution": 1.0}, "cannot read"),
        (write(tmp_path / "mute.tif", site, None), {}, "dem.resolution"),
        (write(tmp_path / "hole.tif", hole, nodata=-9999), {}, "1 pixels without data"),
        (write(tmp_path / "coarse.tif", site, (60, 0, 0, 0, -60, 0)), {}, "too coarse"),
        (write(tmp_path / "colour.tif", colour, photometric="rgb"), {}, "one band"),
        (good, {"x": 40.0}, "edge"),
        (good, {"x": np.nan}, r"dem\.x is nan"),
        (good, {"resolution": -1.0}, r"dem\.resolution is -1"),
        (good, {"hurst": 3.0}, "hurst 3"),
        (tmp_path / "table.png", {"resolution": 1.0, "scale": 1.0}, "table of colours"),
        (tmp_path / "pages.tif", {"resolution": 1.0}, r"2 images; .* gdal_translate GTIFF_DIR:1:"),
        (tmp_path / "a.npz", {"resolution": 1.0}, r"numpy\.save"),
        (write(tmp_path / "degrees.tif", site, (6e-5, 0, 0, 0, -6e-5, 0), crs=None), {}, "degrees perhaps"),
    ]
    for path, options, message in cases:
        with pytest.raises(LunarError, match=message):
            relief(path, **options)
    np.save(tmp_path / "a.npy", site)
    with pytest.raises(LunarError, match="metres per pixel"):
        relief(tmp_path / "a.npy")


def test_huge_compressed_files_are_refused_before_they_are_decoded(tmp_path, site, monkeypatch):
    monkeypatch.setattr("sim.terrain.raster.MOST_PIXELS", 1000)
    with pytest.raises(LunarError, match="2,601 pixels"):
        relief(write(tmp_path / "a.tif", site, compress="DEFLATE", blockysize=51))
