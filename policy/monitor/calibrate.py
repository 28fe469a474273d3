"""Limits for a budget of false trips per robot-hour, exact in finite samples."""

from __future__ import annotations

import math

import numpy as np

from sim.errors import LunarError


def share_of_trials(budget: float, seconds: float) -> float:
    """Share of healthy trials of ``seconds`` that may trip at a ``budget`` of trips per robot-hour."""
    return 1.0 - math.exp(-budget * seconds / 3600.0)


def threshold(scores: np.ndarray, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n ``scores``: a further one of the same distribution lies above it
    with a probability of at most ``alpha``, whatever the distribution is.

    Raises:
        LunarError: there are too few scores; a tail is not extrapolated.
    """
    n = len(scores)
    rank = math.ceil((n + 1) * (1.0 - alpha) - 1e-9)
    if rank > n:
        need = math.ceil(1.0 / alpha - 1.0 - 1e-9)
        raise LunarError(f"{n} healthy trials say nothing of a share of {alpha:.4g}: it takes {need} or more")
    return float(np.sort(scores)[rank - 1])


def upper_rate(count: int, hours: float, confidence: float = 0.95) -> float:
    """Upper bound of a Poisson rate per hour, one-sided, of which ``count`` events were seen in ``hours``."""
    low, high = 0.0, 10.0 * (count + 3.0)
    for _ in range(100):  # P(X <= count | mean) falls with the mean
        mean = 0.5 * (low + high)
        terms = np.cumsum([0.0, *(math.log(mean / k) for k in range(1, count + 1))])
        low, high = (mean, high) if np.exp(terms - mean).sum() > 1.0 - confidence else (low, mean)
    return high / hours
