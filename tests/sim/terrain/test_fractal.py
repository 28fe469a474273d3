"""Self-affine ground has the slope and the Hurst exponent that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from sim.errors import LunarError
from sim.terrain.fractal import BASELINE, FractalConfig, fractal_ground
from sim.terrain.measure import hurst_exponent, slopes_at
from sim.terrain.slope import SlopeConfig, slope_plane

RESOLUTION = 0.1
MARE, HIGHLAND = FractalConfig(0.76, 2.0), FractalConfig(0.95, 7.5)


def ground(cfg: FractalConfig, seed: int, size: float = 48.0) -> np.ndarray:
    return fractal_ground(cfg, size, RESOLUTION, np.random.default_rng(seed))


@pytest.mark.parametrize("cfg", [MARE, HIGHLAND])
def test_slope_and_hurst_exponent_measured_on_the_map_are_those_of_rosenburg(cfg):
    maps = [ground(cfg, seed) for seed in range(6)]
    medians = [np.median(slopes_at(z, RESOLUTION, BASELINE)) for z in maps]
    exponents = [hurst_exponent(z, RESOLUTION, 0.4, 12.0) for z in maps]
    np.testing.assert_allclose(medians, cfg.median_slope, rtol=0.02)
    assert np.mean(exponents) == pytest.approx(cfg.hurst, abs=0.035)
    assert np.std(exponents) < 0.05


@pytest.mark.parametrize("cfg", [MARE, HIGHLAND])
def test_steepness_at_the_robots_scale_follows_the_exponent_on_every_map(cfg):
    expected = cfg.median_slope * (BASELINE / 0.4) ** (1.0 - cfg.hurst)
    for seed in range(4):
        assert np.median(slopes_at(ground(cfg, seed), RESOLUTION, 0.4)) == pytest.approx(expected, rel=0.2)


def test_no_direction_is_special():
    along_x, along_y = (
        np.mean([np.var(np.diff(ground(MARE, seed), axis=axis)) for seed in range(4)]) for axis in (0, 1)
    )
    assert along_x == pytest.approx(along_y, rel=0.05)


def test_a_small_map_is_the_middle_of_a_large_one():
    np.testing.assert_array_equal(ground(MARE, 1, size=16.0), ground(MARE, 1)[160:321, 160:321])


def test_no_slope_is_no_relief():
    assert np.ptp(ground(FractalConfig(0.8, 0.0), 0)) == 0.0


@pytest.mark.parametrize("cfg, field", [(FractalConfig(1.0, 2.0), "hurst"), (FractalConfig(0.8, -1.0), "median_slope")])
def test_impossible_values_are_named(cfg, field):
    with pytest.raises(LunarError, match=field):
        ground(cfg, 0)


def test_a_plane_rises_by_its_angle_towards_its_azimuth():
    axis = np.linspace(-5.0, 5.0, 11)
    z = slope_plane(SlopeConfig(angle=10.0, azimuth=90.0), axis)
    np.testing.assert_allclose(z, np.tan(np.radians(10.0)) * axis[:, None] * np.ones((1, 11)), atol=1e-12)
    with pytest.raises(LunarError, match=r"slope\.angle"):
        slope_plane(SlopeConfig(angle=50.0), axis)
