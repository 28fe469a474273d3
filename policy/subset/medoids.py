"""Rows that stand for those around them."""

from __future__ import annotations

import numpy as np

from policy.subset.greedy import distances

_ROUNDS = 50  # it settles in ten
_TRIES = 1500  # rows that are tried in the place of a medoid


def k_medoids(features: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of least squared distance to the rows that are nearest to them: seeded as k-means++, improved by turns (Park
    and Jun 2009), the row nearest to each cluster's mean in place of its medoid, and then by swaps, as turns alone stay
    where the seeds were."""
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
    return _swapped(features, medoids, rng)


def _swapped(features: np.ndarray, medoids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows at random take the place of the medoid that is missed least, where that is a gain (Schubert and Rousseeuw
    2021)."""
    m, k = len(features), len(medoids)
    if k == m:
        return medoids
    medoids, every = medoids.copy(), np.arange(m)
    to = distances(features, features[medoids])
    stale = True
    for row in rng.permutation(m)[:_TRIES]:
        if row in medoids:
            continue
        if stale:
            own = to.argmin(1)
            first = to[every, own]
            second = np.partition(to, 1, axis=1)[:, 1] if k > 1 else np.full(m, np.inf)
        new = distances(features, features[row : row + 1])[:, 0]
        gained = np.maximum(first - new, 0.0).sum()
        lost = np.bincount(own, np.where(new < first, 0.0, np.minimum(second, new) - first), minlength=k)
        worst = int(lost.argmin())
        if stale := bool(lost[worst] < gained * (1.0 - 1e-9)):
            medoids[worst] = row
            to[:, worst] = new
    return medoids
