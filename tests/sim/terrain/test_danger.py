"""Slopes, steps and what counts as unsafe."""

from __future__ import annotations

import numpy as np
import pytest

from sim.terrain.danger import Limits, danger, steepness


@pytest.mark.parametrize("resolution", [0.025, 0.05, 0.2])
def test_a_plane_has_its_slope_everywhere_inside(resolution):
    y, x = np.mgrid[:20, :30] * resolution
    slope, _ = steepness(0.3 * x + 0.4 * y, resolution)
    np.testing.assert_allclose(slope[4:-4, 4:-4], 0.5)


@pytest.mark.parametrize(("height", "unsafe"), [(0.049, False), (0.051, True)])
def test_a_wall_is_unsafe_from_five_centimetres_on(height, unsafe):
    z = np.zeros((20, 20))
    z[:, 10:] = height
    slope, step = steepness(z, 0.05)
    assert (danger(np.zeros_like(slope), step) > 1.0).any() == unsafe


@pytest.mark.parametrize(("degrees", "unsafe"), [(21.9, False), (22.1, True)])
def test_a_slope_is_unsafe_beyond_its_limit(degrees, unsafe):
    z = np.tan(np.radians(degrees)) * np.arange(20) * 0.02 + np.zeros((20, 1))
    assert (danger(*steepness(z, 0.02))[3:-3, 3:-3] > 1.0).all() == unsafe


def test_unknown_ground_is_in_danger_and_lower_limits_call_more_of_it_unsafe():
    z = np.random.default_rng(0).normal(0.0, 0.01, (40, 40))
    z[5, 5] = np.nan
    steep = steepness(z, 0.05)
    assert danger(*steep)[5, 4] == np.inf
    nominal, low = (danger(*steep, limits) > 1.0 for limits in (Limits(), Limits(11.0, 0.025)))
    assert low.sum() > nominal.sum()
    assert low[nominal].all()
