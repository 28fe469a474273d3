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
    rank = _rank(n, alpha)
    if rank > n:
        need = math.ceil(1.0 / alpha - 1.0 - 1e-9)
        raise LunarError(f"{n} healthy trials say nothing of a share of {alpha:.4g}: it takes {need} or more")
    return float(np.sort(scores)[rank - 1])


def _rank(n: int, alpha: float) -> int:
    return math.ceil((n + 1) * (1.0 - alpha) - 1e-9)


def band(train: np.ndarray, calibration: np.ndarray, alpha: float, width: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper curve (L,), between which a further curve lies from end to end with a probability of at least
    1 - ``alpha``.

    Args:
        train: (n, L) curves, from which middle and shape of the band come.
        calibration: (m, L) others, from which its size comes.
        alpha: share of curves that may leave it.
        width: of the band along the curve: ``const``; ``stdev``, as the curves of ``train`` spread; or ``tfunc``, as
            far as those of them reach that are not among the ``alpha`` farthest.

    Raises:
        LunarError: too few curves.
    """
    middle = train.mean(0)
    apart = np.abs(train - middle)
    shape = np.ones(train.shape[1])
    if width == "stdev":
        shape = train.std(0)
    elif width == "tfunc":
        farthest = apart.max(1)
        usual = min(_rank(len(train), alpha), len(train))  # the shape decides nothing but how tight the band is
        shape = apart[farthest <= np.sort(farthest)[usual - 1]].max(0)
    shape = np.maximum(shape, 1e-8)
    half = threshold((np.abs(calibration - middle) / shape).max(1), alpha) * shape
    return middle - half, middle + half


def upper_rate(count: int, hours: float, confidence: float = 0.95) -> float:
    """Upper bound of a Poisson rate per hour, one-sided, of which ``count`` events were seen in ``hours``."""
    low, high = 0.0, 10.0 * (count + 3.0)
    for _ in range(100):  # P(X <= count | mean) falls with the mean
        mean = 0.5 * (low + high)
        terms = np.cumsum([0.0, *(math.log(mean / k) for k in range(1, count + 1))])
        low, high = (mean, high) if np.exp(terms - mean).sum() > 1.0 - confidence else (low, mean)
    return high / hours
