"""The best choice under a few shared rows: all plans that lie near the bound of the relaxation are listed.

With the relaxation's prices on what the rows share, segments are a chain: dynamic programming tells of every option on
every segment how far the best plan with it lies from the bound. Few plans lie near. They are listed further and further
off, as pairs of a beginning and an end that meet in the middle, until one keeps the limits and none that was not listed
can be better. Branching proves the same by hundreds of relaxations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 3_000_000
"""Plans listed, beyond which branching is left to find the best."""
_FIRST, _GROWTH = 1.1, 1.25  # options per segment that are near at first, and how much further off is near next
_ROUND, _WITHIN = 1e-12, 1e-9  # of the bound, and of a limit


@dataclass(frozen=True)
class Chain:
    """N segments and K options, of least cost and under R rows."""

    cost: np.ndarray
    """(N, K), infinity for a closed option."""
    change: np.ndarray
    """(N,) what another option than on the segment before costs."""
    use: np.ndarray
    """(R, N, K), 0 for a closed option."""
    limit: np.ndarray
    """(R,)."""


@dataclass(frozen=True)
class _Begun:
    """L beginnings of plans, over some segments."""

    value: np.ndarray
    """(L,) priced cost, the last segment's included."""
    use: np.ndarray
    """(R, L)."""
    steps: list[tuple[np.ndarray, np.ndarray]]
    """By segment, its option in each beginning up to there, and which of the beginnings before each continues."""

    def options(self, k: int) -> list[int]:
        """Of one, by segment."""
        found = []
        for option, before in reversed(self.steps):
            found.append(int(option[k]))
            k = before[k]
        return found[::-1]


def best_near(chain: Chain, price: np.ndarray) -> np.ndarray | None:
    """The best choice (N,), or None where none keeps the limits or too many plans lie too near one another to tell.

    Args:
        chain: what to choose from.
        price: (R,) of each row's use, 0 or more. Any will do; the relaxation's leave fewest plans.
    """
    priced = chain.cost + np.tensordot(price, chain.use, 1)
    back = Chain(chain.cost[::-1], np.append(0.0, chain.change[:0:-1]), chain.use[:, ::-1], chain.limit)
    own = np.where(np.isfinite(priced), priced, 0.0)
    after, before = _ahead(priced, chain.change) - own, (_ahead(priced[::-1], back.change))[::-1] - own
    through = before + priced + after
    least = float(through[0].min())
    rounding, bound = _ROUND * max(1.0, abs(least)), least - float(price @ chain.limit)
    off = np.sort(through[np.isfinite(through)]) - least
    near = float(off[min(round(_FIRST * len(priced)), len(off) - 1)])
    furthest = float((off.max() + 3.0 * chain.change.max()) * len(priced))  # no plan is farther off
    while True:
        near = min(max(near, rounding), furthest)
        most = least + near + rounding
        options = through <= most
        extra = np.cumsum(options.sum(1) - 1)
        middle = int(np.searchsorted(extra, 0.5 * extra[-1]))
        first = _begun(chain, priced, after, options, middle + 1, most)
        last = _begun(back, priced[::-1], before[::-1], options[::-1], len(priced) - middle, most)
        if first is None or last is None:
            return None
        found = _joined(chain, price, priced[middle], middle, first, last, most)
        if found is None:
            return None
        cost, choice = found
        if cost - bound <= near + rounding:
            return choice
        if near == furthest:
            return None
        near = min(cost - bound, _GROWTH * near)


def _ahead(priced: np.ndarray, change: np.ndarray) -> np.ndarray:
    """(N, K) the least from each segment and option to the end."""
    ahead = priced.copy()
    for i in range(len(priced) - 2, -1, -1):
        ahead[i] += np.minimum(ahead[i + 1], ahead[i + 1].min() + change[i + 1])
    return ahead


def _begun(
    chain: Chain, priced: np.ndarray, after: np.ndarray, options: np.ndarray, count: int, most: float
) -> _Begun | None:
    """The beginnings, over ``count`` segments by near ``options`` (N, K), of every plan of at most ``most``, priced;
    None beyond ``MOST``."""
    value, use, option = np.zeros(1), np.zeros((len(chain.limit), 1)), np.zeros(1, dtype=np.int16)
    steps = []
    for i in range(count):
        parts, size = [], 0
        for j in np.flatnonzero(options[i]):
            reached = value + priced[i, j] + (chain.change[i] * (option != j) if i else 0.0)
            kept = np.flatnonzero(reached + after[i, j] <= most).astype(np.int32)
            size += len(kept)
            if size > MOST:
                return None
            parts.append(
                (reached[kept], use[:, kept] + chain.use[:, i, j, None], np.full(len(kept), j, np.int16), kept)
            )
        value, use, option, before = (np.concatenate(columns, axis=-1) for columns in zip(*parts, strict=True))
        steps.append((option, before))
    return _Begun(value, use, steps)


def _joined(
    chain: Chain, price: np.ndarray, priced: np.ndarray, middle: int, first: _Begun, last: _Begun, most: float
) -> tuple[float, np.ndarray] | None:
    """Cost and choice (N,) of the best plan within the limits that begins as in ``first`` and, seen from its end, as in
    ``last``, both with segment ``middle``, whose options are ``priced`` (K,); infinity where there is none. None beyond
    ``MOST`` pairs."""
    best, choice, pairs = np.inf, np.zeros(0, dtype=int), 0
    for j in np.unique(first.steps[-1][0]):
        begins, ends = (np.flatnonzero(part.steps[-1][0] == j) for part in (first, last))
        ends = ends[np.argsort(last.value[ends], kind="stable")]
        counts = np.searchsorted(last.value[ends], most + priced[j] - first.value[begins], side="right")
        pairs += int(counts.sum())
        if pairs > MOST:
            return None
        begin = np.repeat(begins, counts)
        end = ends[np.arange(len(begin)) - np.repeat(np.cumsum(counts) - counts, counts)]
        use = first.use[:, begin] + last.use[:, end] - chain.use[:, middle, j, None]
        cost = first.value[begin] + last.value[end] - priced[j] - price @ use
        cost[(use > (chain.limit * (1.0 + _WITHIN))[:, None]).any(0)] = np.inf
        if len(cost) and cost.min() < best:
            k = int(cost.argmin())
            best = float(cost[k])
            choice = np.array(first.options(int(begin[k])) + last.options(int(end[k]))[-2::-1])
    return best, choice
