"""How well a subset stands for all rows: Wasserstein distances, exact by POT and of Gaussians, and the cover radius."""

from __future__ import annotations

import numpy as np

from policy.subset.greedy import distances
from sim.errors import LunarError

_RIDGE = 1e-12  # added to both covariances, which may have no inverse
_ITERATIONS = 5_000_000  # of the network simplex


def gaussian_w2(points: np.ndarray, kept: np.ndarray) -> float:
    """Squared 2-Wasserstein (Bures) distance between Gaussians with the means and covariances of all and of the kept.

    Args:
        points: (m, d).
        kept: (k,) rows.
    """

    def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centred = rows - rows.mean(0)
        return rows.mean(0), centred.T @ centred / len(rows) + _RIDGE * np.eye(rows.shape[1])

    (mean, whole), (other, part) = moments(points), moments(points[kept])
    root = _root(whole)
    cross = np.trace(_root(root @ part @ root))
    return max(0.0, float(np.square(mean - other).sum() + np.trace(whole) + np.trace(part) - 2.0 * cross))


def exact_w2(points: np.ndarray, kept: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Squared 2-Wasserstein distance between uniform weights on all points and ``weights`` on the kept.

    Args:
        points: (m, d).
        kept: (k,) rows.
        weights: (k,) that sum to 1; uniform when absent.

    Raises:
        LunarError: POT is not installed, or does not converge.
    """
    try:
        import ot
    except ImportError:
        raise LunarError("exact transport needs POT: pip install 'lunar[dev]'") from None
    k = len(kept)
    share = np.full(k, 1.0 / k) if weights is None else np.asarray(weights, dtype=float)
    cost = distances(points, points[kept])
    value, log = ot.emd2(np.full(len(points), 1.0 / len(points)), share, cost, numItermax=_ITERATIONS, log=True)
    if log["warning"]:
        raise LunarError(f"exact transport of {len(points)} points did not converge: {log['warning']}")
    return float(value)


def cover_radius(points: np.ndarray, kept: np.ndarray) -> float:
    """Largest distance of a point to its nearest kept one."""
    return float(np.sqrt(distances(points, points[kept]).min(1).max()))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, turn = np.linalg.eigh(matrix)
    return np.asarray((turn * np.sqrt(np.maximum(values, 0.0))) @ turn.T)
