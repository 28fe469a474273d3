"""Limits of filters: for each class of noise those that call a tenth of the safe ground unsafe, and miss least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.maps.rows import STEPS, Row
from benchmarks.maps.tasks import BINS, SCORES, SIZES
from sim.terrain.cards import FilterCard, Limit
from sim.terrain.danger import NOMINAL, Limits

FALSE_ALARMS = 0.10
"""Share of safe ground that may be called unsafe: the operating point at which filters are compared."""
FALSE_ROCKS = 5.0
"""Findings on no rock per 100 m^2, likewise."""
CLOSE = 0.01
"""Shares of missed ground so near one another that the rocks decide; but never for more than the PSNR-best filter's."""


def cards(rows: Sequence[Row], about: str, weights: Mapping[str, str]) -> dict[str, FilterCard]:
    """A card for every method of ``rows`` (of ``rows.calibrated``).

    Args:
        rows: of all patches.
        about: what they are.
        weights: digests of the networks' files, by method.
    """
    groups: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if "histograms" in row:
            groups.setdefault(row["method"], {}).setdefault(row["noise"], []).append(row)
    out = {
        method: FilterCard(method, about, weights.get(method, ""), {n: _limit(r) for n, r in by_noise.items()}, ())
        for method, by_noise in groups.items()
    }
    found = {(n, m): rocks_found(np.sum([r["rocks"] for r in rs], axis=0), sum(r["area"] for r in rs))
             for m, by in groups.items() for n, rs in by.items()}  # fmt: skip
    for noise in dict.fromkeys(n for by in groups.values() for n in by):
        known = [m for m in out if noise in out[m].noise]
        missed = {m: out[m].noise[noise].missed for m in known}
        most = min(min(missed.values()) + CLOSE, missed[max(known, key=lambda m: out[m].noise[noise].psnr)])
        close = [m for m in known if missed[m] <= most]
        best = max(close, key=lambda m: float(found[noise, m]))
        out[best] = replace(out[best], recommended=(*out[best].recommended, noise))
    return out


def recommended(cards_: Mapping[str, FilterCard]) -> dict[str, str]:
    """The filter of each class of noise."""
    return {noise: method for method, card in cards_.items() for noise in card.recommended}


def threshold(counts: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """(...,) index of the lowest edge of bins from which on at most ``share`` (...,) of all ``counts`` (..., B) lie."""
    return np.argmax(_from_top(counts) <= np.expand_dims(share * counts.sum(-1), -1), axis=-1)


def missed_at(histogram: np.ndarray, share: float) -> np.ndarray:
    """(...,) share of unsafe ground below the threshold at which ``share`` of the safe ground lies above; of counts
    (..., 2, B)."""
    return 1.0 - _share_from(histogram[..., 1, :], threshold(histogram[..., 0, :], share))


def rock_threshold(rocks: np.ndarray, area: float | np.ndarray) -> np.ndarray:
    """(...,) index of the lowest score from which on at most ``FALSE_ROCKS`` findings per 100 m^2 are on no rock."""
    allowed = np.expand_dims(FALSE_ROCKS * np.asarray(area) / 100.0, -1)
    at = np.argmax(_from_top(rocks[..., 0, :]) <= allowed, axis=-1)
    return np.maximum(1, at)  # the lowest bin holds what was not found


def rocks_found(
    rocks: np.ndarray, area: float | np.ndarray, smallest: float = 0.12, at: int | np.ndarray | None = None
) -> np.ndarray:
    """(...,) share of rocks of at least ``smallest`` m that are found at ``FALSE_ROCKS``, or from score index ``at``;
    of counts (..., len(SIZES) + 1, B) on ``area`` (...,) m^2."""
    own = rocks[..., 1 + SIZES.index(smallest) :, :].sum(-2)
    return _share_from(own, rock_threshold(rocks, area) if at is None else np.asarray(at))


def _from_top(counts: np.ndarray) -> np.ndarray:
    """(..., B + 1) sums of each bin and all above it."""
    sums = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([sums, np.zeros_like(sums[..., :1])], axis=-1)


def _share_from(counts: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(...,) share of counts (..., B) in the bins from index ``at`` (...,) on."""
    above = np.take_along_axis(_from_top(counts), np.expand_dims(at, -1), axis=-1)[..., 0]
    return above / np.maximum(counts.sum(-1), 1)


def _limit(rows: Sequence[Row]) -> Limit:
    safe, unsafe = (sum(r[k] for r in rows) for k in ("safe", "unsafe"))
    best: tuple[float, float, Limits] | None = None
    for share, histogram in zip(STEPS, np.sum([r["histograms"] for r in rows], axis=0), strict=True):
        at = threshold(histogram[0], FALSE_ALARMS)
        factor = float(BINS[at])
        slope = float(np.degrees(np.arctan(factor * np.tan(np.radians(NOMINAL.slope)))))
        missed = float(histogram[1, :at].sum() / max(unsafe, 1))
        if best is None or missed < best[0]:
            best = missed, float(histogram[0, at:].sum() / safe), Limits(slope, factor * share * NOMINAL.step)
    assert best is not None
    missed, false_alarms, limits = best
    rocks, area = np.sum([r["rocks"] for r in rows], axis=0), sum(r["area"] for r in rows)
    return Limit(
        limits, float(SCORES[rock_threshold(rocks, area)]), missed, false_alarms,
        sum(r["nominal"] for r in rows) / max(unsafe, 1), float(np.mean([r["psnr"] for r in rows])),
    )  # fmt: skip
