"""What else picks k of m rows: chance, a stride, cover, distance, herding. Each returns (k,) rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policy.subset.greedy import distances


def random(m: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Without replacement."""
    return rng.choice(m, size=k, replace=False)


def every_nth(m: int, k: int) -> np.ndarray:
    """At even distances, each from the middle of its stretch."""
    return ((np.arange(k) + 0.5) * m / k).astype(np.int64)


def k_centre(features: np.ndarray, k: int) -> np.ndarray:
    """Farthest first (Gonzalez 1985), from the row nearest to the mean: the cover radius is at most twice the best."""
    first = int(np.argmin(distances(features, features.mean(0, keepdims=True))))
    return _farthest(lambda row: distances(features, features[row : row + 1])[:, 0], first, k)


def divprune(features: np.ndarray, k: int) -> np.ndarray:
    """DivPrune (arXiv 2503.02175): the largest least cosine distance between rows kept, greedily; the first is the row
    farthest from its own nearest neighbour."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    alone = np.zeros(len(unit))
    for begin in range(0, len(unit), 512):  # m x m would not fit
        block = 1.0 - unit[begin : begin + 512] @ unit.T
        block[np.arange(len(block)), begin + np.arange(len(block))] = np.inf
        alone[begin : begin + 512] = block.min(1)
    return _farthest(lambda row: 1.0 - unit @ unit[row], int(np.argmax(alone)), k)


def _farthest(distance: Callable[[int], np.ndarray], first: int, k: int) -> np.ndarray:
    order = np.full(k, first)
    least = distance(first)
    least[first] = -np.inf
    for step in range(1, k):
        order[step] = int(np.argmax(least))
        least = np.minimum(least, distance(int(order[step])))
        least[order[: step + 1]] = -np.inf
    return order


def herding(features: np.ndarray, k: int) -> np.ndarray:
    """Rows whose running mean stays nearest to the mean of all (Welling 2009), none twice."""
    mean = features.mean(0)
    wanted, free = mean.copy(), np.ones(len(features), dtype=bool)
    order = np.zeros(k, dtype=np.int64)
    for step in range(k):
        order[step] = row = int(np.argmax(np.where(free, features @ wanted, -np.inf)))
        free[row] = False
        wanted += mean - features[row]
    return order
