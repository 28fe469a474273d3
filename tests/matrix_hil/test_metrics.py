"""Gravity in flight from a series of speeds, and percentiles."""

from __future__ import annotations

import numpy as np
import pytest

from matrix_hil.metrics import _flight_gravity, percentiles

DT = 0.005


def test_rising_and_falling_are_told_apart() -> None:
    """Two flights that rise at 1.7 and fall at 1.5 m/s^2 between stances of noise."""
    time = np.arange(600) * DT
    speed = np.random.default_rng(0).normal(0.0, 3.0, 600)
    flying = np.zeros(600, dtype=bool)
    for begin in (50, 350):
        t = np.arange(200) * DT
        up = 0.8 - 1.7 * t
        speed[begin : begin + 200] = np.where(up > 0.0, up, -1.5 * (t - 0.8 / 1.7))
        flying[begin : begin + 200] = True
    assert _flight_gravity(time, flying, speed) == pytest.approx((1.7, 1.5), rel=1e-6)


def test_without_flight_gravity_is_unknown() -> None:
    nothing = _flight_gravity(np.arange(10) * DT, np.zeros(10, dtype=bool), np.zeros(10))
    assert np.isnan(nothing).all()


def test_percentiles_are_microseconds() -> None:
    assert percentiles([1e-3] * 100)["p99"] == pytest.approx(1000.0)
    assert np.isnan(percentiles([])["p50"])
