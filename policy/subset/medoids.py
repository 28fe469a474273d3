"""Rows that stand for those around them."""

from __future__ import annotations

import numpy as np

from policy.subset.greedy import distances

_ROUNDS = 50  # it settles in ten


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
