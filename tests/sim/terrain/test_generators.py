"""Presets, levels of difficulty, seeds, and the look-up of stacked levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sim.errors import LunarError
from sim.terrain.craters import CraterConfig
from sim.terrain.fractal import FractalConfig
from sim.terrain.generators import (
    LEVELS,
    TerrainConfig,
    build_terrain,
    load_terrain,
    make_levels,
    make_terrain,
    preset_names,
)
from sim.terrain.height_field import HeightField, stack
from sim.terrain.measure import slopes_at
from sim.terrain.rocks import RockConfig

SMALL = {"size": 16.0, "resolution": 0.1}
LUNAR = ["mare", "highland", "crater-field", "crater-rim", "blocky", "boulder", "polar-rough"]


@pytest.fixture(scope="module")
def blocky() -> HeightField:
    return make_levels(TerrainConfig(kind="blocky", **SMALL), seed=2)


def test_all_presets_make_a_finite_map_as_large_as_they_say():
    assert set(preset_names()) == {"flat", "rough", *LUNAR}
    for name in preset_names():
        field = make_terrain(TerrainConfig(kind=name, **SMALL), seed=0)
        np.testing.assert_allclose(field.extent, (-8.0, 8.0, -8.0, 8.0))
        assert np.isfinite(field.heights).all()
        assert field.is_flat == (name == "flat")


def test_presets_are_as_steep_as_their_names_say():
    def slope(name: str) -> float:
        return float(
            np.median(slopes_at(make_terrain(TerrainConfig(kind=name, resolution=0.1), seed=1).heights, 0.1, 17.0))
        )

    mare, highland, polar = slope("mare"), slope("highland"), slope("polar-rough")
    assert mare == pytest.approx(2.0, abs=0.6)
    assert highland == pytest.approx(7.5, abs=1.0)
    assert polar > highland + 2.0


def test_the_rim_lies_ahead_of_the_origin_and_a_low_level_is_gentle():
    cfg = replace(load_terrain("crater-rim"), rocks=RockConfig(coefficient=0.0), size=32.0, resolution=0.1)
    x = np.linspace(-4.0, 8.0, 241)
    profile = make_terrain(cfg, 0).height(x, np.zeros_like(x))
    assert 1.0 < x[np.argmax(profile)] < 3.0
    assert profile.max() - profile[-1] > 1.5
    for level, least, most in ((9, 28.0, 40.0), (2, 8.0, 15.0)):
        steepest = slopes_at(make_terrain(replace(cfg, level=level), 0).heights, 0.1, 0.4).max()
        assert least < steepest < most


def test_every_level_is_harder_than_the_one_below(blocky):
    relief = [np.ptp(blocky[level].heights) for level in range(LEVELS)]
    slopes = [np.median(slopes_at(blocky[level].heights, 0.1, 0.4)) for level in range(LEVELS)]
    rocks = [len(build_terrain(TerrainConfig(kind="blocky", level=k, **SMALL), 2).rocks.x) for k in range(LEVELS)]
    for measured in (relief, slopes, rocks):
        assert (np.diff(measured) > 0).all()
    assert slopes[0] < 1.0 < slopes[9]


def test_a_stacked_level_is_the_map_of_that_level(blocky):
    for level in (0, 4, 9):
        field = make_terrain(TerrainConfig(kind="blocky", level=level, **SMALL), 2)
        np.testing.assert_array_equal(blocky[level].heights, field.heights)
        assert blocky.extent == field.extent
    assert blocky.heights.dtype == np.float32 and len(blocky) == LEVELS


def test_each_point_is_looked_up_in_its_own_level(blocky):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-9.0, 9.0, (2, 50, 4))
    level = np.broadcast_to(rng.integers(0, LEVELS, (50, 1)), x.shape)
    z, normal = blocky.height_and_normal(x, y, level)
    np.testing.assert_array_equal(z, blocky.height(x, y, level))
    for k in range(LEVELS):
        here = level == k
        z_k, normal_k = blocky[k].height_and_normal(x[here], y[here])
        np.testing.assert_array_equal(z[here], z_k)
        np.testing.assert_array_equal(normal[here], normal_k)


def test_stacks_hold_maps_of_one_size_in_their_order(blocky):
    one = blocky[3]
    both = stack([one, blocky])
    assert len(one) == 1 and one[0] is one and len(both) == LEVELS + 1
    np.testing.assert_array_equal(both.heights, np.concatenate([one.heights[None], blocky.heights]))
    np.testing.assert_array_equal(one.height(1.5, -2.0, np.array([0])), one.height(1.5, -2.0))
    with pytest.raises(ValueError, match="at a level"):
        blocky.height(1.5, -2.0)
    for wrong in (LEVELS, -LEVELS - 1):
        with pytest.raises(IndexError):
            blocky[wrong]
    with pytest.raises(LunarError, match="one size"):
        stack([one, make_terrain(TerrainConfig(), 0)])


def test_tensors_are_looked_up_as_arrays_are(blocky):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-9.0, 9.0, (2, 50, 4))
    level = rng.integers(0, LEVELS, x.shape)
    tensors = HeightField(torch.as_tensor(blocky.heights), blocky.resolution, blocky.origin)
    found = tensors.height_and_slopes(torch.as_tensor(x), torch.as_tensor(y), torch.as_tensor(level))
    for ours, expected in zip(found, blocky.height_and_slopes(x, y, level), strict=True):
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


def test_the_surface_is_a_plane_on_a_plane_and_continues_flat_outside():
    axis = np.arange(41) * 0.1 - 2.0
    field = HeightField(0.3 * axis[None, :] - 0.2 * axis[:, None], 0.1, (-2.0, -2.0))
    x, y = np.random.default_rng(0).uniform(-2.0, 2.0, (2, 100))
    z, normal = field.height_and_normal(x, y)
    np.testing.assert_allclose(z, 0.3 * x - 0.2 * y, atol=1e-12)
    np.testing.assert_allclose(normal, np.broadcast_to([-0.3, 0.2, 1.0] / np.sqrt(1.13), (100, 3)), atol=1e-12)
    assert field.height(np.array(9.0), np.array(0.0)) == pytest.approx(0.6)


def test_seeds_repeat_and_layers_do_not_disturb_each_other():
    cfg = TerrainConfig(kind="mare", **SMALL)
    a, again, other = (make_terrain(cfg, seed).heights for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - other).max() > 0.05
    bare, rocky = (build_terrain(replace(cfg, rocks=RockConfig(coefficient=c)), 0) for c in (0.0, 0.002))
    np.testing.assert_array_equal(bare.craters.x, rocky.craters.x)
    assert (rocky.field.heights >= bare.field.heights).all()
    assert np.mean(rocky.field.heights > bare.field.heights) < 0.2


def test_a_layer_replaces_the_presets_and_a_file_may_build_on_a_preset(tmp_path):
    mare = load_terrain("mare")
    assert mare.fractal == FractalConfig(0.76, 2.0)
    own = tmp_path / "own.yaml"
    own.write_text("kind: mare\nlevel: 4\ncraters: {density: 0.0}\n")
    cfg = load_terrain(own)
    assert (cfg.level, cfg.fractal, cfg.craters) == (4, mare.fractal, CraterConfig(density=0.0))
    same = TerrainConfig(kind=str(own), level=4, **SMALL)
    np.testing.assert_array_equal(make_terrain(same, 0).heights, make_terrain(replace(cfg, **SMALL), 0).heights)


def test_an_edited_file_is_read_anew(tmp_path):
    own, base = tmp_path / "own.yaml", tmp_path / "base.yaml"
    own.write_text(f"kind: {base}\n")
    for angle in (0.0, 9.0):
        base.write_text(f"slope: {{angle: {angle}}}\n")
        assert load_terrain(own).slope.angle == angle
        assert make_terrain(TerrainConfig(kind=str(own), **SMALL), 0).heights.any() == (angle > 0.0)


def test_mistakes_are_named(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("fractal: {hurst: 0.8, median_slop: 2.0}\n")
    for cfg, message in [
        (TerrainConfig(kind="marre"), "did you mean 'mare'"),
        (TerrainConfig(kind=str(tmp_path / "none.yaml")), "none.yaml"),
        (TerrainConfig(kind=str(wrong)), "median_slop"),
        (TerrainConfig(kind="mare", level=10), "0 to 9"),
        (TerrainConfig(kind="mare", size=1000.0), "8193"),
    ]:
        with pytest.raises(LunarError, match=message):
            make_terrain(cfg, 0)
