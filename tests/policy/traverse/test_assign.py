"""Assignment equals the published programs' exact values, keeps its limits, and says what is short by how much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.baselines import BASELINES, constant, greedy
from policy.traverse.assign import Assignment, Carry, Problem, Row, Shortfall, Slots, assign, met, objective, used
from sim.errors import LunarError

with np.load(Path(__file__).with_name("router.npz")) as _data:
    ROUTER = dict(_data)
CASES = range(13)


def case(i: int, name: str) -> np.ndarray:
    return ROUTER[f"c{i}_{name}"]


def published(i: int, quality: str, **changes: object) -> Problem:
    """The online program of case ``i``: the jobs of one batch, instances that already run."""
    jobs = case(i, "online_queries")
    a = case(i, quality)[jobs]
    cost = np.broadcast_to(case(i, "c"), case(i, "a").shape)[jobs]
    slots = Slots(np.zeros(len(jobs), dtype=int), case(i, "l"), case(i, "g"), instances=case(i, "instances"))
    return replace(Problem(a, (Row("cost", "", cost, float(case(i, "online_C"))),), slots=slots), **changes)


def allocation(i: int) -> Problem:
    a = case(i, "a")
    cost = np.broadcast_to(case(i, "c"), a.shape)
    slots = Slots(case(i, "batch"), case(i, "l"), case(i, "g"), float(case(i, "G")))
    return Problem(a, (Row("cost", "", cost, float(case(i, "C"))),), slots=slots)


def check(problem: Problem, value: float, mean: bool = True) -> None:
    found = assign(problem, time_limit=60.0)
    if np.isnan(value):
        assert isinstance(found, Shortfall) and found.rows
        return
    assert isinstance(found, Assignment)
    assert met(problem, found.choice) and found.gap < 1e-9
    assert found.value / (len(found.choice) if mean else 1) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("i", CASES)
def test_online_robust_and_allocation_are_as_published(i):
    check(published(i, "a"), float(case(i, "main_value")))
    check(published(i, "low"), float(case(i, "robust_value")))
    check(published(i, "a", slots=None), float(case(i, "cost_only_value")))
    check(allocation(i), float(case(i, "alloc_value")))


@pytest.mark.parametrize("i", CASES)
def test_the_worst_is_as_good_as_can_be(i):
    jobs = len(case(i, "online_queries"))
    check(published(i, "a", worst=np.arange(jobs)), float(case(i, "maxmin_value")), mean=False)


@pytest.mark.parametrize("i", [i for i in CASES if np.isnan(case(i, "alloc_value"))])
def test_what_is_short_is_enough_when_it_is_added(i):
    """The excess that is named makes the batch feasible, and half of it does not."""
    problem = allocation(i)
    found = assign(problem)
    assert isinstance(found, Shortfall)
    short = {name: by for name, by, _ in found.rows}
    assert set(short) <= {"cost", "cores"} and all(by > 0 for by in short.values())

    def given_more(share: float) -> Problem:
        row, slots = problem.rows[0], problem.slots
        rows = (replace(row, limit=row.limit + share * short.get("cost", 0.0) + 1e-12),)
        return replace(problem, rows=rows, slots=replace(slots, limit=slots.limit + share * short.get("cores", 0.0)))

    assert isinstance(assign(given_more(1.0)), Assignment)
    assert isinstance(assign(given_more(0.5)), Shortfall)


def energy(use: list[list[float]], limit: float) -> Row:
    return Row("battery", "kJ", np.array(use), limit)


def test_a_battery_that_is_too_small_is_named_with_what_is_missing():
    problem = Problem(np.zeros((2, 2)), (energy([[3.0, 5.0], [4.0, 9.0]], 5.5), Row("time", "s", np.ones((2, 2)), 9.0)))
    found = assign(problem)
    assert isinstance(found, Shortfall) and str(found) == "battery is 1.5 kJ short"


def test_a_segment_whose_options_are_all_closed_is_named():
    found = assign(Problem(np.array([[0.0, 1.0], [-np.inf, np.nan]])))
    assert isinstance(found, Shortfall) and "segment 2" in str(found)


def test_a_closed_option_is_never_taken():
    found = assign(Problem(np.array([[9.0, -np.inf], [-np.inf, 1.0]]), (energy([[1.0, np.inf], [np.nan, 1.0]], 2.0),)))
    assert found.choice.tolist() == [0, 1]


def test_a_robot_uses_only_what_it_carries():
    """Two robots of two segments: each has flash for one of two policies, of which the first is worth more to one."""
    quality = np.array([[5.0, 0.0], [0.0, 3.0], [1.0, 2.0], [0.0, 2.0]])
    carry = Carry(np.array([0, 0, 1, 1]), np.array([0, 1]), np.array([300.0, 400.0]), np.array([650.0, 650.0]))
    found = assign(Problem(quality, carry=(carry,)))
    assert found.choice.tolist() == [0, 0, 1, 1]
    short = assign(Problem(quality, carry=(replace(carry, limit=np.array([650.0, 250.0])),)))
    assert str(short) == "flash of robot 2 is 50 kB short"


def test_changes_are_made_where_they_pay():
    quality = np.array([[1.0, 0.0], [0.0, 0.3], [1.0, 0.0], [0.0, 2.0]])
    choices = [assign(Problem(quality, change=change)).choice.tolist() for change in (0.0, 0.2, 1.5, 5.0)]
    assert choices == [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1]]
    apart = Problem(quality[:2], change=5.0, follows=np.zeros(2, dtype=bool))
    assert assign(apart).choice.tolist() == [0, 1]


def test_the_worst_robot_counts_by_its_sum():
    quality = np.array([[-1.0, -4.0], [-1.0, -2.0], [-6.0, -8.0]])
    rows = (energy([[3.0, 1.0]] * 3, 5.0),)
    whole = assign(Problem(quality, rows))
    fair = assign(Problem(quality, rows, worst=np.array([0, 0, 1])))
    assert whole.value == -11.0 and fair.value == -6.0


def test_what_makes_no_sense_is_refused_by_name():
    for use, limit in (([[1.0, 2.0]], np.nan), ([[1.0, np.inf]], 1.0), ([[1.0]], 1.0)):
        with pytest.raises(LunarError, match="battery"):
            assign(Problem(np.zeros((1, 2)), (energy(use, limit),)))
    with pytest.raises(LunarError, match="nothing to plan"):
        assign(Problem(np.zeros((0, 2))))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4))
def test_no_choice_and_no_baseline_is_better(seed, n, k):
    """All k**n choices by brute force."""
    rng = np.random.default_rng(seed)
    rows = tuple(Row(name, "", u := rng.uniform(0.0, 1.0, (n, k)), float(rng.uniform(u.min(1).sum(), n)))
                 for name in ("battery", "time"))  # fmt: skip
    problem = Problem(rng.normal(size=(n, k)), rows, change=float(rng.uniform(0.0, 0.5)))
    every = [np.array(c) for c in np.ndindex(*[k] * n)]
    best = max((objective(problem, c) for c in every if met(problem, c)), default=None)
    found = assign(problem)
    if best is None:
        assert isinstance(found, Shortfall)
    else:
        assert found.value == pytest.approx(best, abs=1e-9)
    for rule in BASELINES.values():
        choice = rule(problem)
        assert choice is None or (met(problem, choice) and objective(problem, choice) <= best + 1e-9)


def test_baselines_find_what_they_are_for():
    problem = Problem(np.array([[3.0, 1.0], [2.0, 1.9]]), (energy([[4.0, 1.0], [4.0, 1.0]], 5.0),))
    assert constant(problem).tolist() == [1, 1]
    assert greedy(problem).tolist() == [0, 1] == assign(problem).choice.tolist()
    assert used(problem, np.array([0, 1])) == {"battery": 5.0}
    assert greedy(replace(problem, rows=(energy([[4.0, 1.0], [4.0, 1.0]], 1.0),))) is None
