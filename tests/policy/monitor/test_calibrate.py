"""Limits and distances against the results of public code (monitor.npz), and against what probability says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from policy.monitor.calibrate import band, share_of_trials, threshold, upper_rate
from policy.monitor.scores import mahalanobis
from sim.errors import LunarError

ORACLES = np.load(Path(__file__).with_name("monitor.npz"))


@pytest.mark.parametrize("case", ["m0", "m1", "m2", "m3"])
def test_the_distance_is_that_of_public_code(case: str) -> None:
    found = mahalanobis(ORACLES[f"{case}_nominal"], ORACLES[f"{case}_test"])
    assert found == pytest.approx(ORACLES[f"{case}_mahalanobis"], rel=1e-6)


@pytest.mark.parametrize("case", ["b0", "b1", "b2", "b3", "b4"])
def test_the_limit_is_that_of_the_exact_rank(case: str) -> None:
    scores, alpha = ORACLES[f"{case}_scores"], float(ORACLES[f"{case}_alpha"])
    assert threshold(scores, alpha) == pytest.approx(float(ORACLES[f"{case}_rank_threshold"]), abs=1e-6)


@pytest.mark.parametrize("width", ["const", "stdev", "tfunc"])
@pytest.mark.parametrize("case", ["b0", "b1", "b2", "b3", "b4"])
def test_the_band_is_that_of_public_code_with_the_exact_rank(case: str, width: str) -> None:
    train, calibration, alpha = (ORACLES[f"{case}_{part}"] for part in ("train", "calibration", "alpha"))
    lower, upper = band(train, calibration, float(alpha), width)
    assert lower == pytest.approx(ORACLES[f"{case}_{width}_lower"], abs=1e-6)
    assert upper == pytest.approx(ORACLES[f"{case}_{width}_upper"], abs=1e-6)


def test_a_band_holds_a_new_curve_as_often_as_was_asked() -> None:
    rng = np.random.default_rng(1)

    def left(width: str) -> bool:
        train, calibration, new = (np.cumsum(rng.normal(size=(n, 12)), axis=1) for n in (20, 19, 1))
        lower, upper = band(train, calibration, 0.1, width)
        return bool(((new < lower) | (new > upper)).any())

    for width in ("const", "stdev", "tfunc"):
        assert np.mean([left(width) for _ in range(3000)]) == pytest.approx(0.1, abs=0.02)


def test_a_new_trial_is_over_the_limit_as_rarely_as_was_asked() -> None:
    rng = np.random.default_rng(0)
    over = [rng.pareto(1.0) > threshold(rng.pareto(1.0, 39), 0.05) for _ in range(20_000)]
    assert np.mean(over) == pytest.approx(0.05, abs=0.006)


def test_too_few_trials_are_refused_with_the_number_that_it_takes() -> None:
    alpha = share_of_trials(1.0, 20.0)
    threshold(np.arange(181.0), alpha)
    with pytest.raises(LunarError, match="it takes 180 or more"):
        threshold(np.arange(179.0), alpha)


@pytest.mark.parametrize(("count", "hours"), [(0, 1.0), (3, 5.0), (12, 5.0), (100, 7.0)])
def test_the_bound_of_a_rate_is_where_so_few_events_are_that_improbable(count: int, hours: float) -> None:
    mean = upper_rate(count, hours) * hours
    below = sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(count + 1))
    assert below == pytest.approx(0.05, abs=1e-6)
