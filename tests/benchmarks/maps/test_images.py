"""Pictures in little light: light, noise, what is found in them, and what is said of methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.maps import images, protocol
from matrix_hil.virtual.unreal.render import towards
from sim.errors import LunarError


@pytest.fixture(scope="module")
def scene() -> images.Picture:
    return images.picture("blocky", 42)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return images.judged(("blocky", 43))


def test_a_scene_has_shadows_that_are_dark_and_ground_where_it_looks(scene):
    assert 0.1 < scene.hits.sunlit.mean() < 0.98
    assert scene.light[~scene.hits.sunlit].max() < 0.1 < scene.light[scene.hits.sunlit].mean()
    middle = scene.places[images.PIXELS // 2, images.PIXELS // 2]
    assert np.hypot(*middle) < 0.1
    assert scene.places[0, images.PIXELS // 2, 0] > 2.0  # ahead is up in the picture
    assert not np.allclose(scene.sun, images.picture("blocky", 42, earth=True).sun)


@pytest.mark.parametrize("name", images.LIGHTS)
def test_a_light_has_the_noise_of_its_photons_columns_and_counts(scene, name):
    a, b, other = (images.measured(scene, name, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != other).any()
    light = images.LIGHTS[name]
    error = a - scene.light / scene.light.mean()
    expected = np.sqrt(light.electrons + 1.0 + 2.0**2 + light.columns**2 + (light.full_well / 2**light.bits) ** 2 / 12)
    assert error.std() * light.electrons == pytest.approx(expected, rel=0.15)


def test_a_rock_is_found_where_it_is_lit_from_its_side_and_a_tone_curve_changes_nothing():
    """A bright and a dark half on grey, 5 pixels across, one towards the sun and one away from it."""
    image = np.full((90, 90), 0.5) + np.random.default_rng(0).normal(0.0, 0.02, (90, 90))
    row, col = np.mgrid[:90, :90]
    for at, way in ((30, 1.0), (60, -1.0)):
        near = np.hypot(row - at, col - 45) < 4.0
        image += np.where(near, 0.4 * way * np.sign(45 - col), 0.0)
    sun = towards(90.0, 10.0)  # to the left in the picture
    found = images.rocks_in(image, sun)
    best = found[np.argmax(found[:, 2])]
    assert np.hypot(best[0] - 30, best[1] - 45) < 2.0
    toned = images.rocks_in(np.exp(3.0 * image), sun)
    np.testing.assert_allclose(toned, found)
    other = images.rocks_in(image, towards(-90.0, 10.0))
    best = other[np.argmax(other[:, 2])]
    assert np.hypot(best[0] - 60, best[1] - 45) < 2.0


def test_shadows_are_missed_where_noise_hides_them(scene):
    clean, dim = (images.scored(scene, images.METHODS["gamma"](images.measured(scene, n, 0)))
                  for n in (images.CLEAN, "columns-4"))  # fmt: skip
    a, b = (images.score([r], 0.0)["shadow_missed"] for r in (clean, dim))
    assert a < 0.05 < b
    assert clean["psnr"] > dim["psnr"] + 5.0


def test_columns_that_are_off_are_levelled(scene):
    noisy = images.measured(scene, "columns-4", 0)
    off = [np.median(images.METHODS[m](noisy), axis=0).std() for m in ("nlm", "columns-nlm")]
    assert off[1] < off[0]


def test_grain_that_is_drawn_in_counts_as_invented(scene):
    noisy = images.measured(scene, "photons-20", 0)
    plain, drawn = (
        images.score([images.scored(scene, images.METHODS[m](noisy))], 0.0) for m in ("gauss", images.INVENTS)
    )
    assert drawn["false_per_100m2"] > plain["false_per_100m2"] + 20.0


def test_the_summary_has_every_light_and_method_and_states_its_claims(rows):
    found = images.summarise(rows, 0)
    assert list(found["noise"]) == [n for n in images.LIGHTS if n != images.CLEAN]
    assert all(set(by) == set(images.METHODS) for by in found["scores"].values())
    assert set(found["invented_per_100m2"]) == set(images.METHODS)
    for by in found["noise"].values():
        assert by["shadow_missed"] <= by["psnr_best_shadow_missed"]
        assert by["rocks_found_15cm"] >= by["psnr_best_rocks_found_15cm"]
        assert images.INVENTS not in (by["psnr_best"], by["best_by_rocks_found_15cm"])
    assert len(found["claims"]) >= 3 and all({"claim", "measured", "holds"} == set(c) for c in found["claims"])
    images.show({"scenes": 1} | found)


@pytest.mark.parametrize("option", ["method", "dem", "policy"])
def test_what_pictures_have_no_use_for_is_refused(option):
    with pytest.raises(LunarError, match=f"leave out --{option}"):
        protocol.run(protocol.Config(suite="images", **{option: "x"}))
