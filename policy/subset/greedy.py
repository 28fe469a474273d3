"""Greedy search for the k rows of the largest log-det (MAP of a determinantal point process), in O(m k d).

The kernel is K = I + gamma Phi Phi^T for features Phi (m, d). It is never formed: the gain of a row is
1 + gamma phi^T P phi with P the inverse of I + gamma sum of the kept phi phi^T, a (d, d) matrix that one product per
step keeps up to date. The O(m^2) form, a Cholesky factor of K that grows by a row per step, takes the same rows.

``gamma`` has the unit of the kernel's inverse. A constant one means something else for every m, d and scale of the
features: the 0.01 of OTPrune (arXiv 2602.20205) leaves the off-diagonal part of K far below 1 where d <= 100, so that
ln det K is gamma times the trace and the search is a ranking by energy. ``scale_free`` fixes gamma relative to the mean
squared length of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.errors import LunarError

PUBLISHED_GAMMA = 0.01
"""OTPrune's, for the squared kernel of ``squared``."""
SHARPNESS = 100.0
"""gamma times the mean squared length of the features, as measured for hops (docs/measured/keep.md)."""


@dataclass(frozen=True)
class Chosen:
    """What a greedy search took."""

    order: np.ndarray
    """(k,) rows in the order in which they were taken."""
    gains: np.ndarray
    """(k,) by which factor each raised det K, at least 1."""

    @property
    def logdet(self) -> float:
        """ln det of K over the rows taken."""
        return float(np.log(self.gains).sum())


def greedy(features: np.ndarray, k: int, gamma: float, given: Sequence[int] | np.ndarray = ()) -> Chosen:
    """The ``k`` rows that one after the other raise ln det (I + gamma Phi Phi^T) most; of equal ones the first.

    Args:
        features: (m, d), finite.
        k: rows to take, at most m less those given.
        gamma: positive, in the features' unit to the power of -2.
        given: rows that are kept already: what they show is not looked for again, and they are not taken.

    Raises:
        LunarError: ``k``, ``gamma`` or the features make no sense.
    """
    phi = _checked(features)
    m, d = phi.shape
    if not 0 < k <= m - len(given):
        raise LunarError(f"{k} rows cannot be taken of {m - len(given)}")
    if not gamma > 0.0:
        raise LunarError(f"gamma is {gamma}; it must be positive")
    inverse = np.eye(d)
    gains = 1.0 + gamma * np.einsum("ij,ij->i", phi, phi)
    free = np.ones(m, dtype=bool)

    def take(row: int) -> None:
        nonlocal inverse
        direction, gain = inverse @ phi[row], gains[row]
        inverse -= (gamma / gain) * np.outer(direction, direction)
        gains[:] -= (gamma * gamma / gain) * np.square(phi @ direction)
        free[row] = False

    for row in given:
        take(int(row))
    order, taken = np.zeros(k, dtype=np.int64), np.zeros(k)
    for step in range(k):
        row = int(np.argmax(np.where(free, gains, -np.inf)))
        order[step], taken[step] = row, gains[row]
        take(row)
    return Chosen(order, taken)


def squared(features: np.ndarray) -> np.ndarray:
    """Phi (m, d) with Phi Phi^T = S S^T for S = U U^T, U the features with every column scaled to unit length.

    A column of zeros stays one.
    """
    values = _checked(features)
    length = np.linalg.norm(values, axis=0)
    u = values / np.where(length > 0.0, length, 1.0)
    scale, turn = np.linalg.eigh(u.T @ u)
    return np.asarray(u @ (turn * np.sqrt(np.maximum(scale, 0.0))))


def otprune(features: np.ndarray, ratio: float, gamma: float = PUBLISHED_GAMMA) -> Chosen:
    """OTPrune as published: a ``ratio`` of the rows, at least one, by the squared kernel."""
    return greedy(squared(features), max(1, round(ratio * len(features))), gamma)


def scale_free(features: np.ndarray, sharpness: float = SHARPNESS) -> float:
    """gamma for features (m, d) at which the mean row's gain is 1 + ``sharpness``, whatever their scale.

    Raises:
        LunarError: all features are zero.
    """
    energy = float(np.square(_checked(features)).sum(1).mean())
    if energy <= 0.0:
        raise LunarError("all rows are the same: there is nothing to choose by")
    return sharpness / energy


def effective_dimension(features: np.ndarray, gamma: float) -> float:
    """Directions that K tells from noise: the sum over the eigenvalues l of Phi Phi^T of gamma l / (1 + gamma l)."""
    values = gamma * np.maximum(np.linalg.eigvalsh(features.T @ features), 0.0)
    return float((values / (1.0 + values)).sum())


def nearest(features: np.ndarray, kept: Sequence[int] | np.ndarray) -> np.ndarray:
    """(m,) place in ``kept`` of the kept row that each row is nearest to; of equally near ones the first."""
    return np.asarray(np.argmin(distances(features, features[np.asarray(kept)]), axis=1))


def shares(features: np.ndarray, kept: Sequence[int] | np.ndarray) -> np.ndarray:
    """(k,) weights that sum to 1: the share of all rows that each kept one is nearest to."""
    return np.bincount(nearest(features, kept), minlength=len(kept)) / len(features)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(len(a), len(b)) squared distances between rows."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2.0 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))


def _checked(features: np.ndarray) -> np.ndarray:
    values = np.asarray(features, dtype=float)
    if values.ndim != 2 or not values.size:
        raise LunarError(f"features have shape {np.shape(features)}; rows and columns are needed")
    if not np.isfinite(values).all():
        raise LunarError("features hold a NaN or infinity; drop or fill it first")
    return values
