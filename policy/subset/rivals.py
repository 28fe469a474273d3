"""What else picks k of m rows: chance, a stride, cover, medoids, distance, herding. Each returns (k,) rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policy.subset.greedy import distances

_ROUNDS = 50  # of k-medoids; it settles in ten


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


def k_medoids(features: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of least squared distance to the rows that are nearest to them: seeded as k-means++, then improved by turns
    (Park and Jun 2009), the row nearest to each cluster's mean in place of its medoid."""
    m = len(features)
    medoids = np.full(k, int(rng.integers(m)))
    least = distances(features, features[medoids[:1]])[:, 0]
    for step in range(1, k):
        total = least.sum()
        # rows that are all alike leave nothing to draw by
        left = np.setdiff1d(np.arange(m), medoids[:step])
        medoids[step] = rng.choice(m, p=least / total) if total > 0.0 else rng.choice(left)
        least = np.minimum(least, distances(features, features[medoids[step] : medoids[step] + 1])[:, 0])
        least[medoids[: step + 1]] = 0.0
    for _ in range(_ROUNDS):
        cluster = np.argmin(distances(features, features[medoids]), axis=1)
        cluster[medoids] = np.arange(k)
        better = medoids.copy()
        for c in range(k):
            rows = np.flatnonzero(cluster == c)
            better[c] = rows[np.argmin(distances(features[rows], features[rows].mean(0, keepdims=True)))]
        if (better == medoids).all():
            break
        medoids = better
    return medoids


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
