"""A running choice of k rows out of a stream of any length, in the memory of k rows.

A new row joins, and of the k + 1 the one leaves whose loss lowers ln det (I + gamma Phi Phi^T) least, which may be the
new one: the value never falls. Sieves with thresholds (Badanidiyuru and others 2014) guarantee one half of the best
choice in hindsight, in log(k) / epsilon times the memory; this guarantees nothing and is nearer to it
(docs/measured/keep.md).
"""

from __future__ import annotations

import numpy as np

from sim.errors import LunarError


class Running:
    """Keeps up to ``k`` rows.

    Args:
        k: at most so many.
        gamma: as of ``greedy``.
    """

    def __init__(self, k: int, gamma: float) -> None:
        if k < 1 or not gamma > 0.0:
            raise LunarError(f"k is {k} and gamma {gamma}; both must be positive")
        self.k = k
        self.kept: list[int] = []
        """Numbers of the rows that are kept."""
        self._gamma = gamma
        self._rows = np.zeros((0, 0))

    def offer(self, row: int, phi: np.ndarray) -> int | None:
        """Take or leave the next row, number ``row`` with features (d,).

        Returns:
            Number of the row that is not kept any more, or not at all; None while there is room.
        """
        rows = np.vstack([self._rows.reshape(-1, len(phi)), phi])
        numbers = [*self.kept, row]
        leaves = None
        if len(rows) > self.k:
            inverse = np.linalg.inv(np.eye(len(phi)) + self._gamma * rows.T @ rows)
            # without row i the determinant is 1 - gamma phi_i^T P phi_i of what it is; of equal ones the newest leaves
            lost = np.einsum("ij,jk,ik->i", rows, inverse, rows)
            at = len(rows) - 1 - int(np.argmin(lost[::-1]))
            leaves = numbers.pop(at)
            rows = np.delete(rows, at, axis=0)
        self.kept, self._rows = numbers, rows
        return leaves
