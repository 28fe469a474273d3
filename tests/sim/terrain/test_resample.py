"""Cubic interpolation passes through its samples, and follows straight lines and parabolas."""

from __future__ import annotations

import numpy as np
import pytest

from sim.terrain.resample import cubic_resample


@pytest.mark.parametrize("count", [2, 3, 9])
def test_straight_ground_stays_straight_to_the_border(count):
    samples = 2.0 * np.arange(count)[:, None] - 3.0 * np.arange(count) + 5.0
    at = np.linspace(0, count - 1, 37)
    np.testing.assert_allclose(cubic_resample(samples, at, at), 2.0 * at[:, None] - 3.0 * at + 5.0, atol=1e-12)


def test_samples_are_kept_and_parabolas_between_them():
    samples = np.random.default_rng(0).normal(size=(6, 7))
    np.testing.assert_array_equal(cubic_resample(samples, np.arange(6), np.arange(7)), samples)
    parabola = np.arange(9.0)[:, None] ** 2 + 0 * np.arange(9)
    at = np.linspace(1, 7, 25)  # a cell from the border: beyond it the ground goes on straight
    np.testing.assert_allclose(cubic_resample(parabola, at, at), np.repeat(at[:, None] ** 2, 25, axis=1), atol=1e-12)
