"""Rocks follow their size law and stand half out of the ground."""

from __future__ import annotations

import numpy as np
import pytest

from sim.errors import LunarError
from sim.terrain.height_field import HeightField
from sim.terrain.rocks import RockConfig, draw_rocks, place_rocks

SIZE, RESOLUTION = 48.0, 0.05
AXIS = np.arange(961) * RESOLUTION - SIZE / 2
BLOCKY = RockConfig(coefficient=0.002, exponent=2.66)


def draw(cfg: RockConfig, seed: int, share: float = 1.0):
    return draw_rocks(cfg, SIZE, RESOLUTION, share, np.random.default_rng(seed))


@pytest.mark.parametrize("cfg", [RockConfig(), BLOCKY])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_counts_at_every_size_are_those_of_the_law(cfg, share):
    seeds = 10
    diameters = np.concatenate([draw(cfg, seed, share).diameter for seed in range(seeds)])
    assert diameters.min() >= 0.10
    for size in (0.10, 0.15, 0.25, 0.5):
        expected = share * cfg.coefficient * (size**-cfg.exponent - 2.0**-cfg.exponent) * SIZE**2 * seeds
        assert abs((diameters > size).sum() - expected) < 4 * np.sqrt(expected)
    exponent = len(diameters) / np.log(diameters / 0.10).sum()
    assert abs(exponent - cfg.exponent) < 4 * cfg.exponent / np.sqrt(len(diameters))


def test_a_smaller_share_is_part_of_a_larger_one():
    few, many = draw(BLOCKY, 0, 0.2), draw(BLOCKY, 0, 0.6)
    assert 0 < len(few.x) < len(many.x)
    assert set(few.x) <= set(many.x)


def test_rocks_stand_half_their_diameter_above_the_ground():
    heights = np.broadcast_to(0.1 * AXIS[None, :], (961, 961)).copy()
    rocks = place_rocks(draw(RockConfig(), 3), heights, AXIS)
    assert np.mean(rocks.height / rocks.diameter) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(rocks.ground, 0.1 * rocks.x, atol=0.003)
    top = HeightField(heights, RESOLUTION, (-SIZE / 2, -SIZE / 2)).height(rocks.x, rocks.y)
    inside = (np.maximum(np.abs(rocks.x), np.abs(rocks.y)) < SIZE / 2 - 0.1) & (rocks.diameter >= 0.15)
    np.testing.assert_allclose((top - rocks.ground)[inside] / rocks.height[inside], 1.0, atol=0.12)
    # and nothing of a rock lies beyond its own ellipse
    raised = heights - 0.1 * AXIS[None, :] > 1e-9
    footprint = np.pi / 4 * np.sum(rocks.diameter**2)
    assert raised.sum() * RESOLUTION**2 == pytest.approx(footprint, rel=0.15)


def test_ground_without_rocks_stays():
    heights = np.zeros((961, 961))
    rocks = place_rocks(draw(RockConfig(coefficient=0.0), 0), heights, AXIS)
    assert len(rocks.x) == 0 and np.ptp(heights) == 0.0


@pytest.mark.parametrize(
    "cfg, field", [(RockConfig(smallest=0.05), "smallest"), (RockConfig(coefficient=-1.0), "coefficient")]
)
def test_impossible_values_are_named(cfg, field):
    with pytest.raises(LunarError, match=field):
        draw(cfg, 0)
