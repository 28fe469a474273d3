"""Hops are counted as the definitions say, at and around each bound."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sim.spec.gravity import MOON
from sim.spec.hops import HopDetector, HopTable, longest_run

MASS, DT = 15.2, 0.005
WEIGHT = MASS * MOON


def hop(
    flight: float = 0.9,
    speed: float | None = None,
    lift_delay: float = 0.0,
    touch_delay: float = 0.0,
    peak: float = 5.0,
    ground_spread: float = 0.0,
    blip: float = 0.0,
) -> HopTable:
    """One ballistic hop between stances of 0.5 s.

    FL leaves ``lift_delay`` before and RR lands ``touch_delay`` after the others; the landing carries ``peak`` body
    weights for 40 ms; ``blip`` s of touch in mid-flight.
    """
    speed = MOON * flight / 2 if speed is None else speed
    detector = HopDetector(np.array([WEIGHT]), DT)
    for k in range(round((1.0 + flight + 1.0) / DT)):
        t = k * DT
        tau = t - 0.5
        in_air = 0 <= tau < flight
        force = np.full((1, 4), WEIGHT / 4)
        if in_air:
            force[:] = 0.0
        if -lift_delay <= tau < 0:
            force[0, 0] = 0.0
        if flight <= tau < flight + 0.04:
            force[:] = peak * WEIGHT / 4
        if flight <= tau < flight + touch_delay:
            force[0, 3] = 0.0
        if blip and flight / 2 <= tau < flight / 2 + blip:
            force[0, 1] = WEIGHT
        z = 0.3 + (speed * tau - MOON * tau * tau / 2 if in_air else 0.0)
        vz = speed - MOON * min(max(tau, 0.0), flight)
        detector.update(force, np.array([z]), np.array([vz]), np.array([0.1]), np.array([ground_spread]))
    return detector.table()


def test_a_ballistic_hop_is_measured():
    table = hop(flight=0.9)
    assert len(table) == 1 and table.pronk[0]
    assert table.flight_time[0] == pytest.approx(0.9, abs=0.011)
    assert table.apex_gain[0] == pytest.approx(MOON * 0.9**2 / 8, abs=0.01)
    assert table.touchdown_tilt[0] == pytest.approx(0.1)
    assert table.liftoff_spread[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("flight", "speed", "hops"), [(0.28, 0.6, 0), (0.32, 0.6, 1), (0.6, 0.30, 0), (0.6, 0.55, 1)])
def test_short_or_low_flights_are_no_hops(flight, speed, hops):
    assert len(hop(flight=flight, speed=speed)) == hops


@pytest.mark.parametrize(("delay", "pronk"), [(0.055, True), (0.065, False)])
def test_liftoffs_within_60_ms(delay, pronk):
    table = hop(lift_delay=delay)
    assert table.pronk.tolist() == [pronk]
    assert table.liftoff_spread[0] == pytest.approx(delay, abs=0.0051)


@pytest.mark.parametrize(("delay", "spread", "pronk"), [(0.095, 0.0, True), (0.105, 0.0, False), (0.105, 0.05, True)])
def test_touchdowns_within_100_ms_plus_the_grounds_share(delay, spread, pronk):
    table = hop(touch_delay=delay, ground_spread=spread)
    assert table.pronk.tolist() == [pronk]
    assert table.touchdown_spread[0] == pytest.approx(delay, abs=0.0051)


def test_a_touch_under_10_ms_does_not_end_a_flight():
    assert hop(blip=0.005).flight_time[0] == pytest.approx(0.9, abs=0.011)
    assert hop(blip=0.02).flight_time[0] < 0.5


def test_peak_force_is_the_20_ms_mean_in_body_weights():
    assert hop(peak=9.0).peak_force[0] == pytest.approx(9.0, rel=1e-6)


def test_standing_and_resetting_make_no_hops():
    detector = HopDetector(np.full(2, WEIGHT), DT)
    for _ in range(400):
        detector.update(np.full((2, 4), WEIGHT / 4), np.full(2, 0.3), np.zeros(2), np.zeros(2))
    detector.reset(np.array([0]))
    assert len(detector.table()) == 0


def test_longest_run_breaks_at_a_hop_that_is_no_pronk():
    n = 6
    zeros = np.zeros(n)
    table = HopTable(
        robot=np.array([0, 0, 0, 0, 1, 1]), liftoff_time=np.arange(n, dtype=float), flight_time=zeros, apex_gain=zeros,
        liftoff_spread=zeros, touchdown_spread=zeros, touchdown_tilt=zeros, touchdown_speed=zeros, peak_force=zeros,
        pronk=np.array([True, True, False, True, True, True]),
    )  # fmt: skip
    assert longest_run(table, 3).tolist() == [2, 2, 0]


def test_sampling_must_be_fine_enough():
    with pytest.raises(ValueError, match=r"0\.02"):
        HopDetector(np.array([WEIGHT]), 0.02)


@pytest.mark.parametrize("seed", range(6))
def test_samples_fed_at_once_give_what_they_give_one_by_one(seed):
    """Feet that load and unload at random times, robots that start anew, in blocks of any size."""
    rng = np.random.default_rng(seed)
    robots, total = 4, 1800
    weight = np.full(robots, 24.6)
    one, many = HopDetector(weight, 0.005), HopDetector(weight, 0.005)
    together = rng.random((total // 60, robots)) < 0.6
    phase = np.repeat(together, 60, axis=0)[:, :, None] & (rng.random((total, robots, 4)) < (0.98 if seed % 2 else 1.0))
    feet, height = 20.0 * phase, rng.normal(0.4, 0.2, (total, robots))
    speed, other = rng.normal(0.0, 1.0, (total, robots)), 10.0 * (rng.random((total, robots)) < 0.002)
    tilt, spread = np.abs(rng.normal(0.0, 0.1, (2, robots)))
    start = 0
    while start < total:
        block = slice(start, start + int(rng.integers(1, 9)))
        many.update_all(feet[block], height[block], speed[block], tilt, spread, other[block])
        for k in range(*block.indices(total)):
            one.update(feet[k], height[k], speed[k], tilt, spread, other[k])
        start = block.stop
    assert len(one.table()) > 3
    for f in fields(HopTable):
        np.testing.assert_allclose(getattr(many.table(), f.name), getattr(one.table(), f.name), atol=1e-9)
    np.testing.assert_array_equal(many.airborne, one.airborne)
