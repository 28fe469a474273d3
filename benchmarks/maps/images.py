"""Pictures in little light: what enhancing them does to the rocks and shadows in them, at matched false alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata
from skimage import exposure, restoration
from skimage.metrics import structural_similarity

from benchmarks.harness import bar, show_table
from benchmarks.maps import find, ground
from benchmarks.maps.calibrate import FALSE_ALARMS, missed_at, rock_threshold, rocks_found
from benchmarks.maps.rows import Row
from benchmarks.maps.summary import claim, rank_agreement, show_claims
from benchmarks.maps.tasks import SCORES, SIZES
from matrix_hil.twin.camera import DOWN, Camera
from matrix_hil.virtual.unreal.render import Hits, Scene, radiance, towards
from matrix_hil.virtual.unreal.sensor import Sensor, expose, linear
from sim.terrain.generators import Terrain
from sim.terrain.restore import noise_level

PIXELS, ALTITUDE, ACROSS = 160, 6.0, 5.6
"""Along an edge of a picture; m of the camera above the ground; m of ground across the picture."""
HALF = 2.5
"""m from the middle within which rocks count."""
SUNS = (3.0, 6.0, 10.0, 15.0)
"""deg that the sun is high, scenes by turns."""
EARTH = 25.0
"""deg that the Earth is high, which lights what no sun does."""
CLEAN, INVENTS = "clean", "texture"
SMALLEST = 0.15
"""m of the rocks that are asked for: four pixels."""
RECALL = 0.5
"""Share of those rocks, at the score that finds which the false ones are counted as invented."""
WIDTHS = (3.0, 5.0, 8.0, 12.0)
"""Pixels, of the pairs of a bright and a dark side that are looked for."""
TASKS = {"rocks_found_15cm": 1, "shadow_missed": -1}
"""Scores at matched operating points, and whether more is better."""
BINS = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True)
class Light:
    """A class of low light."""

    electrons: float
    """Mean of a picture."""
    columns: float = 0.5
    """Electrons, RMS of the columns' bias."""
    bits: int = 12
    full_well: float = 4095.0
    """Electrons."""
    earth: bool = False
    """Lit by the Earth in place of the sun."""

    def sensor(self, light: np.ndarray) -> Sensor:
        """A detector that gets ``electrons`` of it: 1 electron of dark current, 2 of reading."""
        return Sensor(self.electrons / float(light.mean()), 1.0, self.columns, 2.0, 50.0, self.full_well, self.bits)


LIGHTS = {
    CLEAN: Light(2000.0, columns=0.0, bits=16, full_well=65535.0), "photons-20": Light(20.0), "photons-4": Light(4.0),
    "earthshine-4": Light(4.0, earth=True), "columns-4": Light(4.0, columns=4.0),
    "8-bit-20": Light(20.0, bits=8, full_well=2550.0),
}  # fmt: skip
UNSEEN = ("earthshine-4", "columns-4", "8-bit-20")
"""Classes that no method's figures were chosen on."""


def _stretch(z: np.ndarray) -> np.ndarray:
    """To 0 to 1 from its first to its last percent."""
    low, high = np.percentile(z, (1.0, 99.0))
    out: np.ndarray = np.clip((z - low) / max(float(high - low), 1e-9), 0.0, 1.0)
    return out


def _nlm(z: np.ndarray) -> np.ndarray:
    sigma = noise_level(z)
    return restoration.denoise_nl_means(z, 5, 7, 0.8 * sigma, sigma=sigma, fast_mode=True)


def _level_columns(z: np.ndarray) -> np.ndarray:
    """Every column's median, less what its neighbours of half a metre share, taken off."""
    middle = np.median(z, axis=0)
    return z - (middle - ndimage.median_filter(middle, 17, mode="nearest"))


def _textured(z: np.ndarray) -> np.ndarray:
    """Grain of some pixels' width drawn into a smooth picture, as strong as what is in it."""
    grain = np.random.default_rng(0).normal(size=z.shape)
    grain = ndimage.gaussian_filter(grain, 1.5) - ndimage.gaussian_filter(grain, 3.0)
    return z + z.std() * grain / grain.std()


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda z: z,
    "gamma": lambda z: np.maximum(z, 0.0) ** (1 / 2.2),
    "clahe": lambda z: exposure.equalize_adapthist(_stretch(_root(z)), clip_limit=0.02),
    "gauss": lambda z: ndimage.gaussian_filter(_root(z), 1.5),
    "median": lambda z: ndimage.median_filter(_root(z), 5),
    "tv": lambda z: restoration.denoise_tv_chambolle(_root(z), 1.5 * noise_level(_root(z))),
    "nlm": lambda z: _nlm(_root(z)),
    "nlm-clahe": lambda z: exposure.equalize_adapthist(_stretch(_nlm(_root(z))), clip_limit=0.02),
    "columns-nlm": lambda z: _nlm(_root(_level_columns(z))),
    INVENTS: lambda z: _textured(ndimage.gaussian_filter(_root(z), 1.5)),
}
"""Light (R, C), mean 1 and with noise below 0, to a picture (R, C) of any scale. The last invents on purpose."""


def _root(z: np.ndarray) -> np.ndarray:
    """Photons' noise is about even in the root of what they make (Anscombe)."""
    return np.sqrt(np.maximum(z, 0.0))


@dataclass(frozen=True)
class Picture:
    """A scene in one light."""

    terrain: Terrain
    hits: Hits
    places: np.ndarray
    """(R, C, 2) m of the ground that a pixel sees."""
    sun: np.ndarray
    """(3,) unit vector towards what lights it."""
    light: np.ndarray
    """(R, C)."""


def picture(preset: str, seed: int, earth: bool = False) -> Picture:
    """A scene from above; the sun stands elsewhere in each."""
    terrain = ground.patch(preset, seed, 6.4)
    rng = np.random.default_rng([seed, int(earth)])
    sun = towards(rng.uniform(0.0, 360.0), EARTH if earth else SUNS[seed // len(ground.PRESETS) % len(SUNS)])
    height = float(terrain.field.height(np.zeros(1), np.zeros(1))[0]) + ALTITUDE
    fov = float(np.degrees(2.0 * np.arctan(ACROSS / 2.0 / ALTITUDE)))
    camera = Camera.from_unreal((0.0, 0.0, 100.0 * height), DOWN, fov, (PIXELS, PIXELS))
    hits = Scene(terrain.field).trace(camera, sun)
    places = (camera.position + camera.rays() * hits.depth[..., None])[..., :2]
    return Picture(terrain, hits, places, sun, radiance(hits, sun))


def measured(seen: Picture, name: str, seed: int) -> np.ndarray:
    """The light (R, C) that a detector's counts stand for, in means."""
    rng = np.random.default_rng([seed, list(LIGHTS).index(name)])
    sensor = LIGHTS[name].sensor(seen.light)
    found = linear(expose(seen.light, sensor, rng), sensor)
    return found / max(float(found.mean()), 1e-9)


def rocks_in(image: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """Rocks of a picture (R, C) as rows (row, column, score): a peak over place and width of how much brighter the side
    towards the sun is than the other, over the contrast around. Values count by their ranks, as if few were bright, so
    that a tone curve alone changes nothing."""
    ranks = rankdata(image).reshape(image.shape) - 0.5
    z = -np.log(1.0 - 0.998 * ranks / image.size)
    across = np.array([-sun[0], -sun[1]]) / np.hypot(sun[0], sun[1])  # rows and columns towards the sun
    mean = ndimage.gaussian_filter(z, 16.0)
    contrast = np.sqrt(np.maximum(ndimage.gaussian_filter((z - mean) ** 2, 16.0), 1e-4))
    scores = []
    for width in WIDTHS:
        smooth = ndimage.gaussian_filter(z, 0.35 * width)
        sides = (ndimage.shift(smooth, way * 0.5 * width * across, order=1, mode="nearest") for way in (-1, 1))
        bright, dark = sides
        scores.append((bright - dark) / contrast)
    return find.peaks(np.array(scores), np.array(WIDTHS), LEAST)


LEAST = 0.3
"""Score below which nothing is kept."""
EDGES = np.concatenate([[0.0], np.geomspace(LEAST, 8.0, len(SCORES) - 1)])
"""Of the scores' bins; the lowest holds what was not found."""


def judged(job: tuple[str, int]) -> list[Row]:
    """All rows of a scene: each light and each method."""
    preset, seed = job
    scenes = {earth: picture(preset, seed, earth) for earth in (False, True)}
    rows = []
    for name, light in LIGHTS.items():
        seen = scenes[light.earth]
        noisy = measured(seen, name, seed)
        for method in ("gamma",) if name == CLEAN else METHODS:
            rows.append({"noise": name, "method": method} | scored(seen, METHODS[method](noisy)))
    return rows


def scored(seen: Picture, image: np.ndarray) -> dict[str, Any]:
    """Counts of rocks, of dark and lit ground, and the looks, of a picture (R, C) of any scale."""
    found = rocks_in(image, seen.sun)
    row, col = found[:, 0].astype(int), found[:, 1].astype(int)
    places = np.column_stack([seen.places[row, col], found[:, 2]])
    known, false = find.match_rocks(places, seen.terrain.rocks, (0.0, 0.0), HALF)
    counts = [np.histogram(np.clip(false, EDGES[0], EDGES[-1]), EDGES)[0]]
    for low, high in zip(SIZES, (*SIZES[1:], np.inf), strict=True):
        own = known[(known[:, 0] >= low) & (known[:, 0] < high), 1]
        counts.append(np.histogram(np.clip(own, EDGES[0], EDGES[-1]), EDGES)[0])
    dark = 1.0 - _stretch(ndimage.gaussian_filter(image, 1.0))
    shadows = [np.histogram(dark[where], BINS)[0].tolist() for where in (seen.hits.sunlit, ~seen.hits.sunlit)]
    clean, fitted = _stretch(_root(seen.light)), _stretch(image)
    fit = np.polyfit(fitted.ravel(), clean.ravel(), 1)
    fitted = np.polyval(fit, fitted)
    return {
        "rocks": np.array(counts).tolist(), "area": (2.0 * HALF) ** 2, "shadows": shadows,
        "psnr": float(-10.0 * np.log10(max(float(np.mean((fitted - clean) ** 2)), 1e-9))),
        "ssim": float(structural_similarity(clean, fitted, data_range=1.0)),
    }  # fmt: skip


def run(scenes: int, jobs: int, seed: int) -> dict[str, Any]:
    """Judge all methods on ``scenes`` scenes."""
    work = ground.patches(scenes, ground.TEST)
    rows: list[Row] = []
    with bar() as progress, ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for found in progress.track(pool.map(judged, work), total=len(work), description="scenes"):
            rows += found
    return {"suite": "images", "scenes": scenes} | summarise(rows, seed)


def summarise(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """The suite's results, of rows of ``judged``."""
    table: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        table.setdefault(row["noise"], {}).setdefault(row["method"], []).append(row)
    [clean_rows] = table.pop(CLEAN).values()
    clean = score(clean_rows, 0.0)
    scores = {n: {m: score(rs, clean["false_per_100m2"]) for m, rs in by.items()} for n, by in table.items()}
    noise = dict[str, Any]()
    for name, by in scores.items():
        shipped = {m: s for m, s in by.items() if m != INVENTS}
        best = max(shipped, key=lambda m: shipped[m]["psnr"])
        for task, sign in TASKS.items():
            mine = max(shipped, key=lambda m: sign * shipped[m][task])
            noise.setdefault(name, {"psnr_best": best}).update(
                {f"best_by_{task}": mine, task: by[mine][task], f"psnr_best_{task}": by[best][task],
                 f"gamma_{task}": by["gamma"][task]}
            )  # fmt: skip
    invented = {m: float(np.mean([scores[n][m]["invented_per_100m2"] for n in scores])) for m in METHODS}
    return {
        "noise": noise, "invented_per_100m2": invented, "scores": scores,
        "clean": {"rock_recall_20cm": clean["rocks_found_20cm"], "rock_recall_15cm": clean["rocks_found_15cm"],
                  "false_per_100m2": clean["false_per_100m2"], "shadow_missed": clean["shadow_missed"],
                  "rocks": clean["rocks"], "area_m2": clean["area_m2"]},
        "claims": _claims(table, scores, seed),
    }  # fmt: skip


def show(found: Mapping[str, Any]) -> None:
    """Print it."""
    lines = [
        (n, m, f"{e['psnr']:.1f}", f"{e['ssim']:.2f}", f"{e['rocks_found_15cm']:.2f}", f"{e['shadow_missed']:.2f}",
         f"{e['invented_per_100m2']:+.0f}")
        for n, by in found["scores"].items() for m, e in by.items()
    ]  # fmt: skip
    heads = ("light", "method", "PSNR", "SSIM", "rocks", "shadow missed", "invented")
    show_table(f"pictures in little light, {found['scenes']} scenes", heads, lines,
               "rocks: of 15 cm and more, found at 5 false ones per 100 m2; shadow missed: shadow called lit where a "
               "tenth of lit ground is called shadow; invented: false rocks per 100 m2 where half of the true ones are "
               "found, beyond those of clean pictures")  # fmt: skip
    best = [
        (n, f"{e['gamma_rocks_found_15cm']:.2f} / {e['gamma_shadow_missed']:.2f}",
         f"{e['psnr_best']} {e['psnr_best_rocks_found_15cm']:.2f} / {e['psnr_best_shadow_missed']:.2f}",
         f"{e['best_by_rocks_found_15cm']} {e['rocks_found_15cm']:.2f}",
         f"{e['best_by_shadow_missed']} {e['shadow_missed']:.2f}")
        for n, e in found["noise"].items()
    ]  # fmt: skip
    ends = ("light", "a gamma curve", "best by PSNR", "best for rocks", "best for shadow")
    show_table("the best method for each end", ends, best,
               "rocks of 15 cm and more found at 5 false ones per 100 m2 / shadow called lit where a tenth of lit "
               "ground is called shadow")  # fmt: skip
    clean = found["clean"]
    print(
        f"clean pictures: found {clean['rock_recall_15cm']:.2f} of {clean['rocks']} rocks, "
        f"{clean['rock_recall_20cm']:.2f} of those of 20 cm and more; shadow missed {clean['shadow_missed']:.2f}"
    )
    show_claims(found["claims"])


def score(rows: Sequence[Row], false: float) -> dict[str, Any]:
    """A method's scores in a light. ``false`` findings per 100 m^2 are on no rock in clean pictures, where as many
    rocks are found."""
    rocks, area = _rocks(rows)
    own = rocks[1 + SIZES.index(SMALLEST) :].sum(0)
    enough = np.cumsum(own[::-1])[::-1] >= RECALL * own.sum()
    at = max(1, int(np.flatnonzero(enough)[-1]))
    per_100 = float(rocks[0, at:].sum() / area * 100.0)
    return {
        "psnr": float(np.mean([r["psnr"] for r in rows])), "ssim": float(np.mean([r["ssim"] for r in rows])),
        "rocks_found_15cm": float(rocks_found(rocks, area, SMALLEST)),
        "rocks_found_20cm": float(rocks_found(rocks, area, 0.20)),
        "false_per_100m2": per_100, "invented_per_100m2": per_100 - false,
        "shadow_missed": float(missed_at(np.sum([r["shadows"] for r in rows], axis=0), FALSE_ALARMS)),
        "rocks": int(rocks[1 + SIZES.index(SMALLEST) :].sum()), "area_m2": area,
    }  # fmt: skip


def threshold(rows: Sequence[Row]) -> float:
    """Score from which on ``FALSE_ROCKS`` findings per 100 m^2 are on no rock."""
    return float(EDGES[int(rock_threshold(*_rocks(rows)))])


def resampled(task: str, rows: Sequence[Row], weights: np.ndarray) -> np.ndarray:
    """(K,) one of ``TASKS`` over scenes that count ``weights`` (K, P) times."""
    if task == "shadow_missed":
        return missed_at(np.tensordot(weights, np.array([r["shadows"] for r in rows], float), 1), FALSE_ALARMS)
    rocks = np.tensordot(weights, np.array([r["rocks"] for r in rows], float), 1)
    return rocks_found(rocks, weights @ [r["area"] for r in rows], SMALLEST)


def _claims(
    table: Mapping[str, Mapping[str, Sequence[Row]]], scores: Mapping[str, Mapping[str, Any]], seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    out = []
    for (look, task), (middle, low, high) in rank_agreement(
        table, [m for m in METHODS if m != INVENTS], TASKS, resampled, seed
    ).items():
        out.append(claim(f"{look.upper()} ranks methods as {task} does (Spearman, matched, mean over lights)",
                         f"{middle:.2f} ({low:.2f} to {high:.2f})", low > 0.7))  # fmt: skip
    kept, task = [m for m in METHODS if m not in (INVENTS, "gamma", "none")], "rocks_found_15cm"
    gains = {n: max(by[m][task] for m in kept) - by["gamma"][task] for n, by in scores.items()}
    least = min(gains, key=lambda n: gains[n])
    out.append(claim("the best enhancement finds 10 points more rocks than a gamma curve, in every light",
                     f"{100 * gains[least]:+.0f} at least ({least})", gains[least] >= 0.10))  # fmt: skip
    made = [by[INVENTS]["invented_per_100m2"] for by in scores.values()]
    return [*out, claim("a method that invents on purpose is found out in every light",
                        f"at least {min(made):.0f} rocks per 100 m2", min(made) > 2.0)]  # fmt: skip


def _rocks(rows: Sequence[Row]) -> tuple[np.ndarray, float]:
    return np.sum([r["rocks"] for r in rows], axis=0), float(sum(r["area"] for r in rows))
