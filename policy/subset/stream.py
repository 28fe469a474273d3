"""A running choice of k rows out of a stream of any length: thresholded sieves (Badanidiyuru and others 2014).

f(S) = ln det (I + gamma Phi_S Phi_S^T) grows with S and has diminishing returns. One sieve per guess v of the best f
takes a row whose gain is at least (v / 2 - f(S)) / (k - |S|). The guesses are (1 + epsilon)^i between the largest
single gain so far and 2 k times that, so that the best sieve reaches (1/2 - epsilon) of the best choice of k rows in
hindsight. Memory is O(k log(k) / epsilon) rows and a (d, d) matrix per sieve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sim.errors import LunarError


@dataclass
class _Sieve:
    inverse: np.ndarray
    value: float = 0.0
    rows: list[int] = field(default_factory=list)


class Sieve:
    """Keeps up to ``k`` rows.

    Args:
        k: at most so many.
        gamma: as of ``greedy``.
        epsilon: distance of the guesses, between 0 and 1.
    """

    def __init__(self, k: int, gamma: float, epsilon: float = 0.2) -> None:
        if k < 1 or not gamma > 0.0 or not 0.0 < epsilon < 1.0:
            raise LunarError(f"k is {k}, gamma {gamma}, epsilon {epsilon}; they must be positive, epsilon below 1")
        self.k = k
        self._gamma = gamma
        self._base = math.log1p(epsilon)
        self._largest = 0.0
        self._sieves: dict[int, _Sieve] = {}

    def offer(self, row: int, phi: np.ndarray) -> None:
        """Take or leave the next row, number ``row`` with features (d,)."""
        single = math.log1p(self._gamma * float(phi @ phi))
        if single > self._largest:
            self._largest = single
            low = math.ceil(math.log(single) / self._base)
            high = math.floor(math.log(2.0 * self.k * single) / self._base)
            self._sieves = {i: self._sieves.get(i) or _Sieve(np.eye(len(phi))) for i in range(low, max(low, high) + 1)}
        for i, sieve in self._sieves.items():
            if len(sieve.rows) == self.k:
                continue
            direction = sieve.inverse @ phi
            factor = 1.0 + self._gamma * float(phi @ direction)
            gain = math.log(max(factor, 1.0))
            if gain >= (0.5 * math.exp(i * self._base) - sieve.value) / (self.k - len(sieve.rows)):
                sieve.inverse -= (self._gamma / factor) * np.outer(direction, direction)
                sieve.value += gain
                sieve.rows.append(row)

    @property
    def kept(self) -> list[int]:
        """Rows of the best sieve, in the order of the stream."""
        best = max(self._sieves.values(), key=lambda sieve: sieve.value, default=None)
        return [] if best is None else list(best.rows)

    @property
    def held(self) -> set[int]:
        """Rows that any sieve keeps: what else is known of others may be forgotten."""
        return {row for sieve in self._sieves.values() for row in sieve.rows}
