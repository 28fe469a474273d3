"""One patch of ground under every noise and every filter: what each task gives, as counts that can be summed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import bar
from benchmarks.maps import find, tasks
from benchmarks.maps.degrade import HELD_OUT, NOISE
from benchmarks.maps.ground import patch
from sim.output import write_whole
from sim.terrain.cards import SHELF, FilterCard
from sim.terrain.danger import NOMINAL, Limits, danger, steepness
from sim.terrain.filters import apply, named_filter
from sim.terrain.restore import FILTERS, filled

CLEAN = "clean"
"""The true map itself, in place of a measured one."""
STEPS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Step limits over slope limits, in those of the true ground, among which the calibration chooses."""
PLAIN = 0.22
"""Score of a bump from which on it counts as a rock on a true map: about five false ones per 100 m^2."""
INVENTS = "texture"
"""A method that invents on purpose: relief below the measured map's, as ``terrain.dem`` adds it."""

Row = dict[str, Any]


def measured(truth: tasks.Truth, noise: str, seed: int) -> np.ndarray:
    """The patch as a sensor would map it, NaN where it does not know; the same for the same seed."""
    return measured_map(truth.heights, truth.resolution, noise, seed)


def measured_map(heights: np.ndarray, resolution: float, noise: str, seed: int) -> np.ndarray:
    """As ``measured``, of true heights (R, C) m with ``resolution`` m between samples."""
    if noise == CLEAN:
        return heights
    kinds = {**NOISE, **HELD_OUT}
    return kinds[noise](heights, resolution, np.random.default_rng([seed, list(kinds).index(noise)]))


def restored_by(method: str, heights: np.ndarray, resolution: float, seed: int) -> np.ndarray:
    """What a filter, or ``INVENTS``, makes of a measured map; still unknown samples filled from their neighbours."""
    if method == INVENTS:
        from sim.terrain.fractal import self_affine

        size = max(heights.shape) * resolution
        relief = self_affine(0.76, size + 2 * resolution, resolution, np.random.default_rng(seed))
        fine = relief - FILTERS["gauss2"](relief, resolution)
        rows, cols = heights.shape
        return FILTERS["gauss2"](heights, resolution) + 0.01 * fine[:rows, :cols] / fine.std()
    return filled(apply(named_filter(method, code=True, card=False), heights, resolution, f"filter '{method}'"))


def lost_and_invented(truth: tasks.Truth, restored: np.ndarray, score: float = PLAIN) -> tuple[np.ndarray, np.ndarray]:
    """Places (K, 2) in m of the rocks of at least 12 cm that a map does not show, and of those that it shows where none
    is, by a bump's score."""
    rocks, origin = truth.terrain.rocks, truth.terrain.field.origin
    found = find.rocks(restored, truth.resolution)
    found = found[found[:, 2] >= score][:, :2] + origin
    apart = np.hypot(found[:, 0, None] - rocks.x, found[:, 1, None] - rocks.y)
    near = apart < np.maximum(find.NEAR, 0.7 * rocks.diameter)
    seen = np.stack([rocks.x, rocks.y], axis=1)
    inside = np.abs(seen).max(1, initial=0.0) < truth.half - tasks.MARGIN
    lost = ~near.any(0) & (rocks.diameter >= 0.12) & inside & ~find.hidden(rocks)
    made = ~near.any(1) & (np.abs(found).max(1, initial=0.0) < truth.half - tasks.MARGIN)
    return seen[lost], found[made]


def judged(job: tuple[str, int, tuple[str, ...], tuple[str, ...], Mapping[str, FilterCard]]) -> list[Row]:
    """All rows of a patch: of preset and seed, each noise and each method, with the methods' limits."""
    preset, seed, noises, methods, cards = job
    truth = tasks.Truth(patch(preset, seed), seed)
    rows = [_row(truth, CLEAN, "fill", truth.heights, NOMINAL)]
    for noise in noises:
        map_ = measured(truth, noise, seed)
        for method in (m for m in methods if m != CLEAN):
            card = cards.get("gauss2" if method == INVENTS else method)
            limits = NOMINAL if card is None else card.limit(noise if noise in card.noise else "unknown").limits
            rows.append(_row(truth, noise, method, restored_by(method, map_, truth.resolution, seed), limits))
    return [row | {"preset": preset, "seed": seed} for row in rows]


def _row(truth: tasks.Truth, noise: str, method: str, restored: np.ndarray, limits: Limits) -> Row:
    row: Row = {"noise": noise, "method": method}
    row |= tasks.appearance(truth, restored) | tasks.footholds(truth, restored, limits)
    row |= tasks.rocks(truth, restored) | tasks.craters(truth, restored) | tasks.slopes(truth, restored)
    return row | tasks.plate(truth, restored) | tasks.plan(truth, restored, limits)


def calibrated(job: tuple[str, int, tuple[str, ...], tuple[str, ...], Mapping[str, FilterCard]]) -> list[Row]:
    """Rows from which limits are found: histograms of danger for each of ``STEPS``, rocks, and the looks."""
    preset, seed, noises, methods, _ = job
    truth = tasks.Truth(patch(preset, seed), seed)
    rows = [{"noise": CLEAN, "method": "fill"} | tasks.rocks(truth, truth.heights)]
    for noise in noises:
        map_ = measured(truth, noise, seed)
        for method in (m for m in methods if m != CLEAN):
            restored = restored_by(method, map_, truth.resolution, seed)
            steep = steepness(restored, truth.resolution)
            called = danger(*steep) > 1.0
            counts = [
                tasks.histogram(truth, danger(*steep, Limits(NOMINAL.slope, share * NOMINAL.step))).tolist()
                for share in STEPS
            ]
            row = {"noise": noise, "method": method, "histograms": counts, "safe": int((~truth.unsafe).sum()),
                   "unsafe": int(truth.unsafe.sum()), "nominal": int((truth.unsafe & ~called).sum())}  # fmt: skip
            rows.append(row | tasks.rocks(truth, restored) | tasks.appearance(truth, restored))
    return rows


def collect(
    what: Any,
    patches: Sequence[tuple[str, int]],
    noises: Sequence[str],
    methods: Sequence[str],
    cards: Mapping[str, FilterCard],
    out: Path,
    jobs: int,
    title: str,
) -> list[Row]:
    """``what`` (``judged`` or ``calibrated``) of all patches, by ``jobs`` processes; what was already found in ``out``
    of the same method, noises and limits is read there."""
    folders = {m: out / _folder(what.__name__, m, noises, cards.get(m)) for m in (CLEAN, *methods)}
    missing = {p: [m for m in folders if not (folders[m] / f"{p[0]}-{p[1]}.json").is_file()] for p in patches}
    work = [(preset, seed, tuple(noises), tuple(m), cards) for (preset, seed), m in missing.items() if m]
    with bar() as progress, ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        task = progress.add_task(title, total=len(patches), completed=len(patches) - len(work))
        for job, rows in zip(work, pool.map(what, work), strict=True):
            name = f"{job[0]}-{job[1]}.json"
            by = {m: [r for r in rows if m == (CLEAN if r["noise"] == CLEAN else r["method"])] for m in job[3]}
            write_whole({folders[m] / name: json.dumps(own) for m, own in by.items()})
            progress.advance(task)
    files = [folder / f"{p[0]}-{p[1]}.json" for folder in folders.values() for p in patches]
    return [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]


def _folder(what: str, method: str, noises: Sequence[str], card: FilterCard | None) -> str:
    limits = [] if card is None else [card.weights, *sorted((n, repr(e)) for n, e in card.noise.items())]
    name = method.rpartition(":")[0] or method
    file = Path(name) if name.endswith((".py", ".onnx")) else SHELF / f"{name}.onnx"  # of somebody's code, or a network
    code = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    told = json.dumps([method, sorted(noises), limits, code])
    return f"{what}-{Path(method).stem}-{hashlib.sha256(told.encode()).hexdigest()[:10]}"
