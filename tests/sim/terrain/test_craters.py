"""Craters follow their size law, have the shape of fresh ones, and wear down by diffusion."""

from __future__ import annotations

import numpy as np
import pytest

from sim.errors import LunarError
from sim.terrain.craters import (
    CraterConfig,
    Craters,
    PlacedCrater,
    aged_profiles,
    crater_density,
    crater_relief,
    depth_ratio,
    draw_craters,
    fresh_profile,
)

SIZE = 48.0


def on_map(cfg: CraterConfig, seeds: int) -> np.ndarray:
    """Diameters of the craters centred on the map, over several seeds."""
    drawn = [draw_craters(cfg, SIZE, 0.05, np.random.default_rng(seed)) for seed in range(seeds)]
    return np.concatenate([c.diameter[np.maximum(np.abs(c.x), np.abs(c.y)) < SIZE / 2] for c in drawn])


def single(diameter: float, age: float, axis: np.ndarray) -> np.ndarray:
    return crater_relief(Craters(np.zeros(1), np.zeros(1), np.array([diameter]), np.array([age])), axis)


@pytest.mark.parametrize("density", [0.5, 1.0])
def test_counts_at_every_size_are_those_of_the_law(density):
    cfg, seeds = CraterConfig(density=density), 12
    diameters = on_map(cfg, seeds)
    for size in (0.25, 0.5, 1.0, 2.0, 5.0):
        # the law of the VIPER site model per km^2, less what is larger than the largest drawn
        expected = density * 29174e-6 * (size**-1.92 - 24.0**-1.92) * SIZE**2 * seeds
        assert abs((diameters > size).sum() - expected) < 4 * np.sqrt(expected)
    exponent = len(diameters) / np.log(diameters / 0.25).sum()
    assert abs(exponent - 1.92) < 4 * 1.92 / np.sqrt(len(diameters))


def test_a_dense_field_stops_at_trasks_equilibrium():
    cfg, seeds = CraterConfig(density=50.0, smallest=0.5), 3
    diameters = on_map(cfg, seeds)
    expected = 10**-1.1 * (0.5**-2.0 - 24.0**-2.0) * SIZE**2 * seeds
    assert abs(len(diameters) - expected) < 4 * np.sqrt(expected)
    assert crater_density(cfg, np.array([1.0]))[0] == pytest.approx(10**-1.1)


@pytest.mark.parametrize("diameter, ratio", [(2.0, 0.10), (8.0, 0.10), (10.0, 0.11), (40.0, 0.13), (70.0, 0.14)])
def test_a_fresh_crater_is_as_deep_as_its_size_says(diameter, ratio):
    axis = np.linspace(-diameter, diameter, 801)
    z = single(diameter, 0.0, axis)
    middle = len(axis) // 2
    assert z.max() - z[middle, middle] == pytest.approx(ratio * diameter, rel=0.02)
    assert depth_ratio(np.array(diameter)) == pytest.approx(ratio)
    crest = np.abs(axis[np.argmax(z[middle])])
    assert crest == pytest.approx(diameter / 2, rel=0.03)


def test_a_crater_is_round_and_leaves_the_far_ground_alone():
    axis = np.linspace(-24.0, 24.0, 961)
    relief = single(10.0, 0.01, axis)
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for radius in (2.0, 4.0, 6.0):
        rows, cols = (np.round((radius * f(turn) + 24.0) / 0.05).astype(int) for f in (np.sin, np.cos))
        assert np.ptp(relief[rows, cols]) < 0.02
    assert np.abs(relief[:, :40]).max() < 1e-9


def test_ageing_makes_shallower_and_keeps_the_volume():
    ages = np.array([0.0, 0.0005, 0.002, 0.01, 0.03, 0.06])
    axis = np.linspace(-12.0, 12.0, 481)
    maps = [single(5.0, age, axis) for age in ages]
    depths = np.array([np.ptp(z) for z in maps])
    assert (np.diff(depths) < 0).all()
    assert depths[-1] == pytest.approx(depths[0] / 5, rel=0.15)
    np.testing.assert_allclose([z.sum() for z in maps], maps[0].sum(), rtol=0.01)
    steepest = [np.abs(np.diff(z, axis=1)).max() / 0.05 for z in maps]
    assert (np.diff(steepest) < 0).all()


def test_ageing_is_diffusion():
    """Against the heat kernel of the plane: a Gaussian of variance 2 kappa t convolved with the fresh shape."""
    diameter, age, step = 4.0, 0.01, 0.05
    axis = (np.arange(512) - 256) * step
    distance = np.hypot(axis[None, :], axis[:, None]) / (diameter / 2)
    fresh = diameter * fresh_profile(distance, np.array(diameter))
    k = 2 * np.pi * np.fft.fftfreq(512, step)
    kernel = np.exp(-(k[None, :] ** 2 + k[:, None] ** 2) * age * diameter**2)
    expected = np.fft.ifft2(np.fft.fft2(fresh) * kernel).real
    np.testing.assert_allclose(single(diameter, age, axis), expected, atol=0.004)


def test_ages_are_spread_between_the_youngest_and_the_oldest():
    ages = draw_craters(CraterConfig(), SIZE, 0.05, np.random.default_rng(0)).age
    assert 0.0002 <= ages.min() and ages.max() <= 0.06
    assert ages.mean() == pytest.approx(0.03, rel=0.1)
    depth = np.ptp(aged_profiles(np.full(len(ages), 1.0), ages), axis=1)
    assert 0.02 < np.median(depth) < 0.06


def test_a_coarse_map_leaves_out_what_it_cannot_show():
    assert draw_craters(CraterConfig(), SIZE, 0.2, np.random.default_rng(0)).diameter.min() >= 0.8


def test_a_placed_crater_lies_where_it_was_put():
    cfg = CraterConfig(density=0.0, placed=(PlacedCrater(3.0, -2.0, 6.0),))
    axis = np.linspace(-8.0, 8.0, 321)
    relief = crater_relief(draw_craters(cfg, 16.0, 0.05, np.random.default_rng(0)), axis)
    low = relief < relief.min() + 0.01
    assert axis[low.any(axis=0)].mean() == pytest.approx(3.0, abs=0.06)
    assert axis[low.any(axis=1)].mean() == pytest.approx(-2.0, abs=0.06)


@pytest.mark.parametrize(
    "cfg, field",
    [
        (CraterConfig(smallest=30.0), "smallest"),
        (CraterConfig(largest=100.0), "largest"),
        (CraterConfig(youngest=0.1), "youngest"),
        (CraterConfig(density=-1.0), "density"),
    ],
)
def test_impossible_values_are_named(cfg, field):
    with pytest.raises(LunarError, match=field):
        draw_craters(cfg, SIZE, 0.05, np.random.default_rng(0))
