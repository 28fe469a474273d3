"""Fit the monitor's scores to healthy trials; and the distances of other monitors, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from policy.monitor.nominal import Feed
from policy.runtime.monitor import Watch
from policy.runtime.monitor_file import SCORES, Fitted

CLUSTERS = 12
RIDGE = 1e-4
"""Of the mean square of an input."""
_SAMPLE = 40_000  # states that clusters are made of


def fit(feeds: Sequence[Feed], channels: int, seed: int = 0) -> Fitted:
    """A monitor whose limits are not calibrated yet.

    Args:
        feeds: healthy trials.
        channels: measured ones, at the beginning of a frame.
        seed: of the clusters' first centres.
    """
    rng = np.random.default_rng(seed)
    seen = np.concatenate([_seen(feed)[feed.healthy] for feed in feeds])
    centres = clusters(rng.permutation(seen)[:_SAMPLE].astype(float), CLUSTERS, rng)
    gram, cross = None, None
    for feed in feeds:
        inputs, target = _pairs(feed, channels)
        gram = inputs.T @ inputs + (0.0 if gram is None else gram)
        cross = inputs.T @ target + (0.0 if cross is None else cross)
    assert gram is not None and cross is not None
    weights = np.linalg.solve(gram + RIDGE * np.diag(np.diag(gram) + 1e-9), cross)
    blank = Fitted(weights, centres, np.ones((len(centres), channels)), np.ones(len(SCORES)), 1.0, 1.0)
    residual, cluster = [], []
    for feed in feeds:
        inputs, target = _pairs(feed, channels)
        residual.append(target - inputs @ weights)
        cluster.append(blank.cluster(_seen(feed)[:-1][feed.healthy[1:]].astype(float)))
    r, k = np.concatenate(residual), np.concatenate(cluster)
    fitted = replace(blank, deviation=np.array([r[k == i].std(0) for i in range(len(centres))]).clip(min=1e-6))
    return replace(fitted, top=np.concatenate([peaks(fitted, feed) for feed in feeds], axis=1).max(1))


def _seen(feed: Feed) -> np.ndarray:
    """(T, N, L) what clusters are made of."""
    return feed.latent if feed.latent.shape[2] else feed.frame


def _pairs(feed: Feed, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of the prediction, one row for each healthy step with a successor."""
    good = feed.healthy[1:]
    parts = [part[:-1][good] for part in (feed.hidden, feed.frame, feed.action)]
    rows = np.concatenate([*parts, np.ones((len(parts[0]), 1))], axis=1, dtype=float)
    return rows, feed.frame[1:, :, :channels][good].astype(float)


def clusters(points: np.ndarray, count: int, rng: np.random.Generator, rounds: int = 30) -> np.ndarray:
    """(count, L) centres of ``points`` (n, L) by k-means."""
    centres = points[rng.choice(len(points), count, replace=False)]
    for _ in range(rounds):
        nearest = np.argmin((centres**2).sum(1) - 2.0 * points @ centres.T, axis=1)
        centres = np.array([points[nearest == i].mean(0) if (nearest == i).any() else centres[i] for i in range(count)])
    return centres


def trace(fitted: Fitted, feed: Feed) -> tuple[np.ndarray, np.ndarray]:
    """Scores (T, scores, N), and the worst channel (T, N)."""
    watch = Watch(fitted, feed.frame.shape[1])
    scores, worst = [], []
    for row in zip(feed.frame, feed.hidden, feed.action, feed.latent, strict=True):
        scores.append(watch.step(*row))
        worst.append(watch.worst()[0])
    return np.array(scores), np.array(worst)


def peaks(fitted: Fitted, feed: Feed) -> np.ndarray:
    """(scores, N) the greatest of each trial while it is healthy."""
    scores = trace(fitted, feed)[0]
    return np.where(feed.healthy[:, None], scores, 0.0).max(0)


def mahalanobis(nominal: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(m,) distance of ``test`` (m, d) from the mean of ``nominal`` (n, d), by its covariance's pseudo-inverse."""
    nominal, test = nominal.astype(float), test.astype(float)
    apart = test - nominal.mean(0)
    inverse = np.linalg.pinv(np.cov(nominal, rowvar=False))
    return np.sqrt(np.maximum(((apart @ inverse) * apart).sum(1), 0.0))
