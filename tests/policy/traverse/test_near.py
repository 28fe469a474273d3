"""What is found by listing plans near the bound is what branching finds, and it says so where it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.traverse import assign as assignment
from policy.traverse import near
from policy.traverse.assign import Assignment, Problem, Row, Shortfall, assign, met, objective


def problem(seed: int, n: int = 24, k: int = 6, robots: int = 1) -> Problem:
    """Segments of some robots, each with a battery and a time that cannot both be spared; some options are closed."""
    rng = np.random.default_rng(seed)
    quality, use = -rng.exponential(0.02, (n, k)), rng.uniform(20.0, 60.0, (n, k))
    quality[rng.random((n, k)) < 0.1] = -np.inf
    quality[:, 0] = -0.03
    robot = np.arange(n) * robots // n
    rows = [
        Row(f"{name} {r}", "", (own := (robot == r)[:, None] * value), float(share * own.mean(1).sum()))
        for r in range(robots) for name, value, share in (("battery", use, 0.98), ("time", 100.0 / use, 0.98))
    ]  # fmt: skip
    return Problem(quality, rows, change=float(rng.choice([0.0, 0.003])), follows=np.append(False, np.diff(robot) == 0))


def branched(p: Problem) -> float | None:
    found = assignment._program(p)[0].solve(60.0)
    return None if found.x is None else -float(found.fun)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 1, 2]))
def test_as_good_as_branching(seed, robots):
    p = problem(seed, robots=robots)
    found, best = assign(p), branched(p)
    if best is None:
        assert isinstance(found, Shortfall)
        return
    assert isinstance(found, Assignment) and met(p, found.choice)
    assert found.value == pytest.approx(objective(p, found.choice)) == pytest.approx(best, abs=1e-7)


def chain(p: Problem) -> near.Chain:
    usable = np.isfinite(p.quality)
    use = np.array([np.where(usable, row.use, 0.0) for row in p.rows])
    change = p.change * p.follows
    return near.Chain(np.where(usable, -p.quality, np.inf), change, use, np.array([row.limit for row in p.rows]))


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_any_price_gives_the_same_choice(seed):
    """Bad prices make more plans lie near, and no worse one the best."""
    p = problem(seed, n=8, k=4)
    choices = [near.best_near(chain(p), np.array(price)) for price in ([0.0, 0.0], [1e-3, 0.0], [1e-3, 0.02])]
    values = [None if choice is None else objective(p, choice) for choice in choices]
    assert values == [values[0]] * 3 and values[0] == pytest.approx(assign(p).value)


def test_beyond_what_can_be_listed_branching_decides(monkeypatch):
    p = problem(1)
    best = assign(p).value
    monkeypatch.setattr(near, "MOST", 3)
    assert near.best_near(chain(p), np.zeros(2)) is None
    assert assign(p).value == pytest.approx(best, abs=1e-9)


def test_limits_that_no_choice_keeps_are_told():
    use = np.array([[[3.0, 1.0], [3.0, 1.0]], [[1.0, 3.0], [1.0, 3.0]]])  # by halves both limits would be met
    halves = near.Chain(np.zeros((2, 2)), np.zeros(2), use, np.array([3.9, 3.9]))
    assert near.best_near(halves, np.array([0.1, 0.1])) is None
