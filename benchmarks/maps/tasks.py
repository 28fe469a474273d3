"""What a robot does with a map, measured against the true ground: footholds, rocks, craters, slopes, the platform's
command, a path; and how the map looks (PSNR, SSIM)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from skimage.graph import route_through_array
from skimage.metrics import structural_similarity

from benchmarks.maps import find
from matrix_hil.control.platform import Ground, ground_under
from matrix_hil.control.stewart import PlatformLimits
from matrix_hil.messages import TwinPatch
from sim.terrain.danger import NOMINAL, Limits, danger, steepness
from sim.terrain.generators import Terrain
from sim.terrain.measure import slopes_at

BINS = np.geomspace(1e-2, 1e2, 401)
"""Of danger, for histograms."""
SCORES = np.geomspace(find.LEAST, 20.0, 301)
"""Of bumps, for histograms."""
SIZES = (0.10, 0.12, 0.15, 0.20, 0.30, 0.50)
"""m. Smallest diameter of each class of rocks."""
GRADES = (5.0, 10.0, 15.0, 22.0)
"""deg between the five classes of slope ..."""
BASELINES = (0.35, 2.0)
"""... over these, m."""
MARGIN = 0.3
"""m along the map's edge that is left out where rocks are counted; 0.5 m for craters."""
HOP, HOPS = 0.7, 20
"""m of a hop, and how many per map the platform is asked for."""
_AVOID = 50.0  # times the cost of safe ground


@dataclass(frozen=True)
class Truth:
    """A patch of true ground, with what every map of it is compared with."""

    terrain: Terrain
    seed: int

    @cached_property
    def heights(self) -> np.ndarray:
        """(R, C) m."""
        return np.asarray(self.terrain.field.heights, float)

    @property
    def resolution(self) -> float:
        """m between samples."""
        return self.terrain.field.resolution

    @property
    def half(self) -> float:
        """m, half the edge."""
        return -self.terrain.field.origin[0]

    @cached_property
    def unsafe(self) -> np.ndarray:
        """(R, C) where no foot should land."""
        return np.greater(danger(*steepness(self.heights, self.resolution)), 1.0)

    @cached_property
    def grades(self) -> list[np.ndarray]:
        """Classes of slope at both baselines."""
        return [_grades(self.heights, self.resolution, b) for b in BASELINES]

    @cached_property
    def hops(self) -> tuple[np.ndarray, np.ndarray]:
        """(HOPS, 3) take-offs x, y (m) and headings (rad), and the platform's commands there."""
        rng = np.random.default_rng(self.seed)
        reach = self.half - HOP - 0.4
        places = np.column_stack([rng.uniform(-reach, reach, (HOPS, 2)), rng.uniform(-np.pi, np.pi, HOPS)])
        return places, _commands(self, self.heights, places)

    @cached_property
    def path(self) -> float:
        """m, of the best path from edge to edge."""
        return _path(self, danger(*steepness(self.heights, self.resolution)))[0]


def appearance(truth: Truth, restored: np.ndarray) -> dict[str, float]:
    """PSNR (dB, of the patch's range of heights), SSIM, RMSE (m) and the shift of the mean (m)."""
    error = restored - truth.heights
    span, mse = float(np.ptp(truth.heights)), float(np.mean(error**2))
    similar = structural_similarity(truth.heights, restored, data_range=span)
    return {
        "psnr": 10.0 * math.log10(span**2 / max(mse, 1e-12)), "ssim": float(similar), "rmse": math.sqrt(mse),
        "shift": float(error.mean()),
    }  # fmt: skip


def footholds(truth: Truth, restored: np.ndarray, limits: Limits) -> dict[str, Any]:
    """Counts of safe and unsafe ground, of each how much is called the other at the nominal limits and at ``limits``,
    and two histograms of danger by ``limits``, for thresholds to be matched."""
    steep = steepness(restored, truth.resolution)
    out: dict[str, Any] = {"safe": int((~truth.unsafe).sum()), "unsafe": int(truth.unsafe.sum())}
    for name, own in (("nominal", NOMINAL), ("calibrated", limits)):
        called = danger(*steep, own) > 1.0
        out[name] = [int((truth.unsafe & ~called).sum()), int((~truth.unsafe & called).sum())]
    out["histogram"] = histogram(truth, danger(*steep, limits)).tolist()
    return out


def histogram(truth: Truth, ratio: np.ndarray) -> np.ndarray:
    """(2, B) counts of danger on safe and on unsafe ground."""
    clipped = np.clip(ratio, BINS[0], BINS[-1])
    return np.array([np.histogram(clipped[where], BINS)[0] for where in (~truth.unsafe, truth.unsafe)])


def rocks(truth: Truth, restored: np.ndarray) -> dict[str, Any]:
    """Counts by score, of findings on no rock and of rocks of each class of ``SIZES`` (len + 1, B); and the m^2 that
    were searched. A rock that is not found counts at the lowest score."""
    half = truth.half - MARGIN
    origin = truth.terrain.field.origin
    known, false = find.match_rocks(find.rocks(restored, truth.resolution), truth.terrain.rocks, origin, half)
    counts = [np.histogram(np.clip(false, SCORES[0], SCORES[-1]), SCORES)[0]]
    for low, high in zip(SIZES, (*SIZES[1:], np.inf), strict=True):
        own = known[(known[:, 0] >= low) & (known[:, 0] < high), 1]
        counts.append(np.histogram(np.clip(own, SCORES[0], SCORES[-1]), SCORES)[0])
    return {"rocks": np.array(counts).tolist(), "area": (2.0 * half) ** 2}


def craters(truth: Truth, restored: np.ndarray) -> dict[str, Any]:
    """How many craters are asked for, scores of those found, and scores of findings that are none."""
    found = find.craters(restored, truth.resolution)
    asked, hits, false = find.match_craters(found, truth.terrain.craters, truth.terrain.field.origin, truth.half - 0.5)
    return {"craters": asked, "hits": hits.round(4).tolist(), "misses": false.round(4).tolist()}


def slopes(truth: Truth, restored: np.ndarray) -> dict[str, Any]:
    """(5, 5) counts per baseline: true class, then the restored map's."""
    tables = []
    for true, baseline in zip(truth.grades, BASELINES, strict=True):
        pairs = 5 * true + _grades(restored, truth.resolution, baseline)
        tables.append(np.bincount(pairs, minlength=25).reshape(5, 5).tolist())
    return {"grades": tables}


def plate(truth: Truth, restored: np.ndarray) -> dict[str, Any]:
    """The platform's commands of hops on the restored map against those on the true one: RMS of the heave's error (m)
    and of the tilt's (deg), and the shares of hops that the map and the truth ask for beyond the platform's range."""
    places, right = truth.hops
    asked = _commands(truth, restored, places)
    heave, tilt = asked[:, 0] - right[:, 0], np.hypot(*np.arctan(asked[:, 1:]).T - np.arctan(right[:, 1:]).T)
    return {
        "heave": float(np.sqrt(np.mean(heave**2))), "tilt": float(np.degrees(np.sqrt(np.mean(tilt**2)))),
        "over_reach": _over_reach(asked), "over_reach_truly": _over_reach(right),
    }  # fmt: skip


def plan(truth: Truth, restored: np.ndarray, limits: Limits) -> dict[str, float]:
    """A path from edge to edge by the restored map, walked on the true ground: its length and how much of it is
    unsafe, and the length of the best path (all m)."""
    length, unsafe = _path(truth, danger(*steepness(restored, truth.resolution), limits))
    return {"path": length, "path_unsafe": unsafe, "path_true": truth.path}


def _grades(heights: np.ndarray, resolution: float, baseline: float) -> np.ndarray:
    return np.digitize(slopes_at(heights, resolution, baseline, points=heights.size), GRADES)


def _commands(truth: Truth, heights: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(HOPS, 3) rise (m) from take-off to landing, and slopes at the landing, as the platform follows them."""
    patch = TwinPatch(0.0, np.array(truth.terrain.field.origin), truth.resolution, heights)
    out = []
    for x, y, heading in places:
        there = x + HOP * math.cos(heading), y + HOP * math.sin(heading)
        start, end = (ground_under(patch, *at, heading) for at in ((x, y), there))
        assert isinstance(start, Ground) and isinstance(end, Ground)
        out.append((end.height - start.height, end.slope_x, end.slope_y))
    return np.array(out)


def _over_reach(commands: np.ndarray) -> float:
    limits, tilt = PlatformLimits(), np.arctan(np.abs(commands[:, 1:])).max(1)
    return float(np.mean((np.abs(commands[:, 0]) > limits.travel) | (tilt > limits.tilt)))


def _path(truth: Truth, ratio: np.ndarray) -> tuple[float, float]:
    """m of the cheapest path from the middle of the left edge to the middle of the right one, and how much of it lies
    on truly unsafe ground; samples 10 cm apart, each as dangerous as the worst of its four."""
    n, bad = ratio.shape[0] // 2 * 2, np.asarray(truth.unsafe)
    blocks = ratio[:n, :n].reshape(n // 2, 2, n // 2, 2).max((1, 3))
    unsafe: np.ndarray = bad[:n, :n].reshape(n // 2, 2, n // 2, 2).max((1, 3))
    cost = np.where(blocks > 1.0, _AVOID, 1.0)
    middle = n // 4
    route, _ = route_through_array(cost, (middle, 0), (middle, n // 2 - 1), geometric=True)
    at = np.array(route)
    steps = np.hypot(*np.diff(at, axis=0).T) * 2.0 * truth.resolution
    return float(steps.sum()), float(steps[unsafe[at[1:, 0], at[1:, 1]]].sum())
