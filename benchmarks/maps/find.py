"""What a map shows: its rocks and its craters, by filters matched to their shapes. Neither is trained, so that no
restored map can look more like what a detector was trained on than another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

from sim.terrain.craters import Craters, aged_profiles
from sim.terrain.rocks import Rocks

WIDTHS = (0.04, 0.06, 0.09, 0.13, 0.2, 0.3, 0.45)
"""m. Of the bumps that are looked for."""
NEAR = 0.15
"""m within which a finding belongs to a rock."""
LEAST = 0.02
"""Score below which a bump is not kept."""
CRATER_GRID = 0.2
"""m between samples where craters are looked for."""
CRATERS = (2.0, 8.0)
"""m. Smallest and largest diameter that counts."""
CLEAR = 0.02
"""kappa t / D^2 up to which a crater is clear enough to be asked for; to find an older one is no mistake."""
_RADII = np.geomspace(0.8, 4.5, 16)
_AGES = (0.002, 0.008, 0.02)
_WINDOW = 1.6  # crater radii
_DEPTH = 0.06  # depth over diameter from which on a bowl counts in full


def rocks(heights: np.ndarray, resolution: float) -> np.ndarray:
    """Bumps of a map (R, C) m without NaN, as rows (x, y, score): m from the first sample, and how steep, 1.

    A bump is a peak over place and width of the difference between two Gaussians, over the width.
    """
    z = np.asarray(heights, float)
    edge = int(4.0 * 1.6 * WIDTHS[-1] / resolution) + 1
    padded = np.pad(z, edge, mode="edge")
    shape = tuple(fft.next_fast_len(n, real=True) for n in padded.shape)
    scores = fft.irfft2(fft.rfft2(padded, shape) * _bumps(resolution, shape), shape)
    scores = scores[:, edge : edge + z.shape[0], edge : edge + z.shape[1]]
    found = peaks(scores, np.array(WIDTHS) / resolution, LEAST)
    return found[:, [1, 0, 2]] * [resolution, resolution, 1.0]


def peaks(scores: np.ndarray, widths: np.ndarray, least: float) -> np.ndarray:
    """Peaks over place and width, rows (row, column, score): of scores (K, R, C) for ``widths`` (K,) in samples, above
    ``least``, none within 1.2 of its width from a better one."""
    best, which = np.max(scores, axis=0), np.argmax(scores, axis=0)
    row, col = np.nonzero((best == ndimage.maximum_filter(best, 5)) & (best > least))
    order = np.argsort(-best[row, col], kind="stable")
    found, taken = [], np.zeros(best.shape, bool)
    for r, c in zip(row[order], col[order], strict=True):
        if not taken[r, c]:
            found.append((r, c, best[r, c]))
            reach = max(1, round(1.2 * widths[which[r, c]]))
            taken[max(0, r - reach) : r + reach + 1, max(0, c - reach) : c + reach + 1] = True
    return np.array(found, float).reshape(-1, 3)


def match_rocks(
    found: np.ndarray, truth: Rocks, origin: tuple[float, float], half: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which rocks were found, and which findings are none.

    Args:
        found: of ``rocks``.
        truth: all rocks of the map.
        origin: (x, y) m of the map's first sample.
        half: m; only what lies within this of the middle along both axes counts.

    Returns:
        (K, 2) diameter (m) of each rock that is not hidden by a larger one, and the score of the best finding on it, 0
        for none; and (M,) scores of the findings that lie on no rock.
    """
    x, y, score = found[:, 0] + origin[0], found[:, 1] + origin[1], found[:, 2]
    apart = np.hypot(x[:, None] - truth.x, y[:, None] - truth.y)
    on = apart < np.maximum(NEAR, 0.7 * truth.diameter)
    asked = (np.maximum(np.abs(truth.x), np.abs(truth.y)) < half) & ~hidden(truth)
    near = apart < np.maximum(NEAR, 0.5 * truth.diameter)
    best = np.where(near, score[:, None], 0.0).max(0, initial=0.0)
    inside = np.maximum(np.abs(x), np.abs(y)) < half
    return np.stack([truth.diameter[asked], best[asked]], axis=1), score[inside & ~on.any(1)]


def hidden(rocks_: Rocks) -> np.ndarray:
    """(R,) which rocks lie on or in a larger one, where no map shows them apart."""
    between = np.hypot(rocks_.x[:, None] - rocks_.x, rocks_.y[:, None] - rocks_.y)
    return np.tril(between < 0.6 * rocks_.diameter, -1).any(1)  # largest first


def craters(heights: np.ndarray, resolution: float) -> np.ndarray:
    """Bowls of a map (R, C) m without NaN, as rows (x, y, diameter, score): m from the first sample, m, 0 to 1.

    A bowl is a peak, over place, radius and age, of the correlation with a crater's profile, less where it is shallow;
    of two that overlap by over a quarter the better one stays.
    """
    step = max(1, round(CRATER_GRID / resolution))
    z = ndimage.uniform_filter(np.asarray(heights, float), step, mode="nearest")[::step, ::step]
    grid = step * resolution
    pad = round(_WINDOW * _RADII[-1] / grid)
    z = np.pad(z - z.mean(), min(pad, min(z.shape) - 1), mode="reflect", reflect_type="odd")
    pad = min(pad, (min(z.shape) - 1) // 3)
    reach = max(0, len(_templates(grid)[-1][0][0]) // 2 - pad)  # of a template beyond what is cut off in the end
    shape = tuple(fft.next_fast_len(n + reach, real=True) for n in z.shape)
    spectrum, power_spectrum = fft.rfft2(z, shape), fft.rfft2(z * z, shape)
    inside = slice(pad, z.shape[0] - pad), slice(pad, z.shape[1] - pad)
    candidates: list[tuple[float, float, float, float]] = []
    for radius, (moments, profiles), kernels in zip(_RADII, _templates(grid), _spectra(grid, shape), strict=True):
        found = fft.irfft2(spectrum * kernels, shape)[:, *inside]
        power = fft.irfft2(power_spectrum * kernels[0], shape)[inside]
        for moment, part in zip(moments, found, strict=False):
            power = power - part**2 / (moment**2).sum()
        best = np.zeros_like(power)
        for (profile, depth), match in zip(profiles, found[len(moments) :], strict=True):
            size = (profile**2).sum()
            share = np.clip(match / size * depth / _DEPTH, 0.0, 1.0)
            best = np.maximum(best, match / np.sqrt(size * np.maximum(power, 1e-9)) * np.sqrt(share))
        row, col = np.nonzero((best == ndimage.maximum_filter(best, 3)) & (best > 0.4))
        middle = (step - 1) / 2 * resolution if step % 2 == 0 else 0.0
        candidates += [
            (float(best[r, c]), c * grid - middle, r * grid - middle, 2.0 * float(radius))
            for r, c in zip(row, col, strict=True)
        ]
    kept: list[tuple[float, float, float, float]] = []
    for score, x, y, diameter in sorted(candidates, reverse=True):
        if all(overlap((x, y, diameter), other[:3]) < 0.25 for other in kept):
            kept.append((x, y, diameter, score))
    return np.array(kept).reshape(-1, 4)


def overlap(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    """Intersection over union of two circles (x, y, diameter)."""
    r, s, d = a[2] / 2, b[2] / 2, float(np.hypot(a[0] - b[0], a[1] - b[1]))
    if d >= r + s:
        return 0.0
    if d <= abs(r - s):
        both = np.pi * min(r, s) ** 2
    else:
        alpha, beta = np.arccos((d * d + r * r - s * s) / (2 * d * r)), np.arccos((d * d + s * s - r * r) / (2 * d * s))
        both = r * r * (alpha - np.sin(2 * alpha) / 2) + s * s * (beta - np.sin(2 * beta) / 2)
    return float(both / (np.pi * (r * r + s * s) - both))


def match_craters(
    found: np.ndarray, truth: Craters, origin: tuple[float, float], half: float
) -> tuple[int, np.ndarray, np.ndarray]:
    """How many craters are asked for: 2 to 8 m wide, clear, and within ``half`` m of the middle along both axes; the
    scores of those found with an overlap of at least a half; and the scores of findings that are no crater at all."""
    asked = (np.maximum(np.abs(truth.x), np.abs(truth.y)) < half) & (truth.age <= CLEAR)
    asked &= (truth.diameter >= CRATERS[0]) & (truth.diameter <= CRATERS[1])
    open_, hits, false = set(np.flatnonzero(asked)), [], []
    for x, y, diameter, score in found:
        x, y = x + origin[0], y + origin[1]
        if max(abs(x), abs(y)) >= half:
            continue
        close = np.flatnonzero(np.hypot(truth.x - x, truth.y - y) < diameter)
        same = [k for k in close if overlap((x, y, diameter), (truth.x[k], truth.y[k], truth.diameter[k])) >= 0.5]
        if mine := [k for k in same if k in open_]:
            open_.discard(mine[0])
            hits.append(score)
        elif not same and diameter >= CRATERS[0]:
            false.append(score)
    return int(asked.sum()), np.array(hits), np.array(false)


@lru_cache(maxsize=2)
def _bumps(resolution: float, shape: tuple[int, int]) -> np.ndarray:
    """(K, ...) for each of ``WIDTHS`` what a map's spectrum is multiplied by for its scores."""

    def gaussian(sigma: float) -> np.ndarray:
        along = [ndimage.gaussian_filter1d(np.eye(1, n)[0], sigma / resolution, mode="wrap") for n in shape]
        return np.outer(fft.fft(along[0]).real, fft.rfft(along[1]).real)

    return np.array([(gaussian(0.8 * width) - gaussian(1.6 * width)) / width for width in WIDTHS])


@lru_cache(maxsize=2)
def _templates(grid: float) -> list[tuple[list[np.ndarray], list[tuple[np.ndarray, float]]]]:
    """For each radius: window and its two slopes, and profiles of zero mean with their depth over diameter."""
    out = []
    for radius in _RADII:
        n = int(np.ceil(_WINDOW * radius / grid))
        x, y = np.meshgrid(np.arange(-n, n + 1) * grid, np.arange(-n, n + 1) * grid)
        r = np.hypot(x, y) / radius
        window = (r <= _WINDOW).astype(float)
        profiles = []
        for aged in aged_profiles(np.full(len(_AGES), 2.0 * radius), np.array(_AGES)):
            rings = (np.arange(len(aged)) + 0.5) * 4.0 / len(aged)
            shape = np.interp(r, rings, aged) * 2.0 * radius
            profiles.append(((shape - shape[window > 0].mean()) * window, float(np.ptp(aged))))
        out.append(([window, x * window, y * window], profiles))
    return out


@lru_cache(maxsize=2)
def _spectra(grid: float, shape: tuple[int, int]) -> list[np.ndarray]:
    """For each radius (6, ...): what a map's spectrum is multiplied by to correlate it with each template."""
    out = []
    for moments, profiles in _templates(grid):
        kernels = np.array([*moments, *(profile for profile, _ in profiles)])
        n = kernels.shape[1] // 2
        wide = np.zeros((len(kernels), *shape))
        wide[:, : 2 * n + 1, : 2 * n + 1] = kernels
        out.append(np.conj(fft.rfft2(np.roll(wide, (-n, -n), (1, 2)))))
    return out
