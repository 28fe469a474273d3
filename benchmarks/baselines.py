"""What a batch plan is measured against: one option for all, and rules that look at one segment at a time.

Each returns a choice (N,) within the problem's rows, or None where it finds none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from policy.traverse.assign import Problem, met, objective

STEPS = 101
"""Values of a swept weight or threshold."""


def constant(problem: Problem) -> np.ndarray | None:
    """The best option for all segments."""
    n, k = problem.quality.shape
    return _best(problem, (np.full(n, j) for j in range(k)))


def cheapest(problem: Problem) -> np.ndarray | None:
    """On each segment the cheapest option, by the first row, whose quality is over a threshold; the best threshold."""
    quality, cost = _shared(problem)
    order = np.quantile(quality[np.isfinite(quality)], np.linspace(0.0, 1.0, STEPS))
    best = np.where(np.isfinite(quality), quality, -np.inf).max(1, keepdims=True)
    masked = (np.where(quality >= np.minimum(threshold, best), cost, np.inf) for threshold in order)
    return _best(problem, (values.argmin(1) for values in masked))


def score(problem: Problem) -> np.ndarray | None:
    """On each segment the largest w · quality − (1 − w) · cost, both scaled to one; the best weight."""
    quality, cost = _shared(problem)
    ranges = [float(np.ptp(v[np.isfinite(quality)])) or 1.0 for v in (quality, cost)]
    scores = (w * quality / ranges[0] - (1.0 - w) * cost / ranges[1] for w in np.linspace(0.0, 1.0, STEPS))
    return _best(problem, (np.where(np.isfinite(quality), s, -np.inf).argmax(1) for s in scores))


def greedy(problem: Problem) -> np.ndarray | None:
    """From the cheapest on, the change of one segment that gains most per cost, as long as the rows allow it."""
    quality, cost = _shared(problem)
    usable = np.isfinite(quality)
    choice = np.where(usable, cost, np.inf).argmin(1)
    if not met(problem, choice):
        return None
    rows = np.arange(len(choice))
    while True:
        gain = np.where(usable, quality - quality[rows, choice][:, None], -np.inf)
        more = np.maximum(cost - cost[rows, choice][:, None], 1e-12)
        for place in np.argsort(-np.where(gain > 1e-12, gain / more, -np.inf), axis=None):
            i, j = np.unravel_index(place, quality.shape)
            if not gain[i, j] > 1e-12:
                return choice
            changed = choice.copy()
            changed[i] = j
            if met(problem, changed):
                choice = changed
                break
        else:
            return choice


BASELINES = {"constant": constant, "cheapest over threshold": cheapest, "per-segment score": score, "greedy": greedy}


def _shared(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Quality and the first row's use, both (N, K)."""
    use = problem.rows[0].use if problem.rows else np.zeros_like(problem.quality)
    return np.asarray(problem.quality, float), np.where(np.isfinite(problem.quality), use, np.inf)


def _best(problem: Problem, choices: Iterable[np.ndarray]) -> np.ndarray | None:
    feasible = [choice for choice in choices if met(problem, choice)]
    return max(feasible, key=lambda choice: objective(problem, choice), default=None)
