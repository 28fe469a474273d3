"""From rows of patches to what the benchmark says: shares at matched false alarms, rankings, claims."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.harness import show_table
from benchmarks.maps.calibrate import FALSE_ALARMS, missed_at, recommended, rock_threshold, rocks_found
from benchmarks.maps.degrade import NOISE, UNSEEN
from benchmarks.maps.rows import CLEAN, INVENTS, Row
from benchmarks.maps.tasks import SCORES, SIZES
from sim.terrain.cards import FilterCard
from sim.terrain.restore import FILTERS

RESAMPLES = 200
HEADLINE = (
    "unsafe_called_safe_nominal", "unsafe_called_safe_calibrated", "false_alarms", "false_alarms_nominal",
    "unsafe_missed", "rocks_found_12cm", "invented_per_100m2",
)  # fmt: skip
"""Scores of the recommended filter that stand beside its name."""
TASKS = {
    "unsafe_missed": -1, "rocks_found_12cm": 1, "crater_f1": 1, "kappa_035m": 1, "kappa_2m": 1, "plate_heave_mm": -1,
    "path_unsafe_per_100m": -1,
}  # fmt: skip
"""Scores at matched operating points, and whether more is better."""


def summarise(rows: Sequence[Row], cards: Mapping[str, FilterCard], seed: int) -> dict[str, Any]:
    """The benchmark's results but for the times, of rows of ``judged``."""
    clean_rows = [r for r in rows if r["noise"] == CLEAN]
    clean = clean_scores(clean_rows)
    table: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row["noise"] != CLEAN:
            table.setdefault(row["noise"], {}).setdefault(row["method"], []).append(row)
    scores = {n: {m: score(rs, clean, _rock(cards, m, n)) for m, rs in by.items()} for n, by in table.items()}
    chosen = recommended(cards)
    noise, held_out = dict[str, Any](), dict[str, Any]()
    for name, by in scores.items():
        shipped = {m: s for m, s in by.items() if m in cards}
        best = max(shipped, key=lambda m: shipped[m]["psnr"])
        mine = chosen[name] if chosen.get(name) in shipped else best
        a, b = by[mine], by[best]
        entry = {"recommended": mine, "psnr_best": best}
        entry |= {k: a[k] for k in HEADLINE} | {f"psnr_best_{k}": b[k] for k in HEADLINE}
        (noise if name in NOISE else held_out)[name] = entry
    methods = list(dict.fromkeys(m for by in scores.values() for m in by))
    invented = {m: _mean(scores[n][m]["invented_per_100m2"] for n in noise if m in scores[n]) for m in methods}
    return {
        "noise": noise, "held_out": held_out, "invented_per_100m2": invented,
        "clean": {k: v for k, v in clean.items() if not k.startswith("_")}, "scores": scores,
        "claims": claims(table, scores, cards, clean, seed),
    }  # fmt: skip


def clean_scores(rows: Sequence[Row]) -> dict[str, Any]:
    """The ceiling: tasks on the true maps, and the operating points of the rock and crater finders there."""
    rocks, area = _sum(rows, "rocks"), sum(r["area"] for r in rows)
    at = int(rock_threshold(rocks, area))
    hits, misses = (np.concatenate([np.array(r[k]) for r in rows]) for k in ("hits", "misses"))
    asked = sum(r["craters"] for r in rows)
    points = np.linspace(0.4, 1.0, 61)
    f1 = [_f1(hits, misses, asked, p) for p in points]
    return {
        "rock_recall_20cm": float(rocks_found(rocks, area, 0.20)), "rock_recall_12cm": float(rocks_found(rocks, area)),
        "crater_f1": float(np.max(f1)), "craters": asked, "rocks": int(rocks[1:].sum()), "area_m2": area,
        "_rock_at": at, "_crater_at": float(points[int(np.argmax(f1))]),
        "_false": float(rocks[0, at:].sum() / area * 100.0),
    }  # fmt: skip


def score(rows: Sequence[Row], clean: Mapping[str, Any], rock: int | None) -> dict[str, Any]:
    """A method's scores under a noise. ``rock`` is the index of the card's score for rocks, None without a card."""
    safe, unsafe = (sum(r[k] for r in rows) for k in ("safe", "unsafe"))
    nominal, own = _sum(rows, "nominal"), _sum(rows, "calibrated")
    histogram, rocks, area = _sum(rows, "histogram"), _sum(rows, "rocks"), sum(r["area"] for r in rows)
    hits, misses = (np.concatenate([np.array(r[k]) for r in rows]) for k in ("hits", "misses"))
    grades = np.sum([r["grades"] for r in rows], axis=0)
    at = clean["_rock_at"] if rock is None else rock
    path = sum(r["path"] for r in rows)
    found = {
        f"{low:g}": float(own_[at:].sum() / max(own_.sum(), 1)) for low, own_ in zip(SIZES, rocks[1:], strict=True)
    }
    return {
        "psnr": _mean(r["psnr"] for r in rows), "ssim": _mean(r["ssim"] for r in rows),
        "rmse_mm": 1e3 * float(np.sqrt(np.mean([r["rmse"] ** 2 for r in rows]))),
        "shift_mm": 1e3 * _mean(r["shift"] for r in rows),
        "unsafe_called_safe_nominal": float(nominal[0] / max(unsafe, 1)),
        "false_alarms_nominal": float(nominal[1] / safe),
        "unsafe_called_safe_calibrated": float(own[0] / max(unsafe, 1)), "false_alarms": float(own[1] / safe),
        "unsafe_missed": float(missed_at(histogram, FALSE_ALARMS)), "auroc": _auroc(histogram),
        "rocks_found_12cm": float(rocks_found(rocks, area)),
        "rocks_lost_12cm": 1.0 - float(rocks_found(rocks, area, at=at)), "rocks_found_by_size": found,
        "invented_per_100m2": float(rocks[0, at:].sum() / area * 100.0) - clean["_false"],
        "crater_f1": _f1(hits, misses, sum(r["craters"] for r in rows), clean["_crater_at"]),
        "kappa_035m": grades_agree(grades[0]), "kappa_2m": grades_agree(grades[1]), "false_gentle": _gentle(grades[0]),
        "plate_heave_mm": 1e3 * float(np.sqrt(np.mean([r["heave"] ** 2 for r in rows]))),
        "plate_tilt_deg": float(np.sqrt(np.mean([r["tilt"] ** 2 for r in rows]))),
        "over_reach": _mean(r["over_reach"] for r in rows),
        "over_reach_truly": _mean(r["over_reach_truly"] for r in rows),
        "path_unsafe_per_100m": 100.0 * sum(r["path_unsafe"] for r in rows) / path,
        "path_longer": path / sum(r["path_true"] for r in rows),
    }  # fmt: skip


def claims(
    table: Mapping[str, Mapping[str, Sequence[Row]]], scores: Mapping[str, Mapping[str, Mapping[str, Any]]],
    cards: Mapping[str, FilterCard], clean: Mapping[str, Any], seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """What papers on restoration take for granted, with what was measured."""
    out = []

    def resampled(task: str, rows: Sequence[Row], weights: np.ndarray) -> np.ndarray:
        return _resampled(task, rows, weights, clean)

    agree = rank_agreement(table, cards, TASKS, resampled, seed)
    for (look, task), (middle, low, high) in agree.items():
        out.append(claim(f"{look.upper()} ranks filters as {task} does (Spearman, matched, mean over noises)",
                          f"{middle:.2f} ({low:.2f} to {high:.2f})", low > 0.7))  # fmt: skip
    chosen = recommended(cards)
    pairs = [
        (scores[n][m], max((s for k, s in scores[n].items() if k in cards), key=lambda s: s["psnr"]))
        for n, m in chosen.items()
        if n in scores and m in scores[n]
    ]
    if pairs:
        ratios = [a["unsafe_called_safe_calibrated"] / max(b["unsafe_called_safe_nominal"], 1e-9) for a, b in pairs]
        alarms = max(a["false_alarms"] for a, _ in pairs)
        excess = 100.0 * max(a["unsafe_missed"] - b["unsafe_missed"] for a, b in pairs)
        more = sum(a["rocks_found_12cm"] >= b["rocks_found_12cm"] + 0.10 for a, b in pairs)
        made = max(a["invented_per_100m2"] for a, _ in pairs)
        out += [
            claim("calibrated limits bring unsafe ground called safe to 0.6 of what the PSNR-best filter has at the "
                   "nominal limits, in every class", f"at most {max(ratios):.2f}", max(ratios) <= 0.6),
            claim("false alarms stay within 12% on other seeds", f"at most {100 * alarms:.1f}%", alarms <= 0.12),
            claim("the recommended filter misses no more than the PSNR-best one, in any class",
                   f"at most {excess:+.1f} points", excess <= 0.5),
            claim("it finds 10 points more rocks than the PSNR-best one in two classes", f"in {more}", more > 1),
            claim("recommended filters invent at most 2 rocks per 100 m2 beyond the finder's own on true maps",
                   f"at most {made:.1f}", made <= 2.0),
        ]  # fmt: skip
    if inventing := [by[INVENTS]["invented_per_100m2"] for by in scores.values() if INVENTS in by]:
        out.append(claim("a method that invents relief on purpose is found out in every class",
                          f"at least {min(inventing):.0f} rocks per 100 m2", min(inventing) > 2.0))  # fmt: skip
    return out + learned_claims(scores, [m for m in cards if m not in FILTERS])


def other_ground_claim(noise: Mapping[str, Mapping[str, Any]], preset: str) -> dict[str, Any]:
    """Of all classes on patches of a preset that no limits were found on."""
    alarms = [100.0 * e["false_alarms"] for e in noise.values()]
    missed = max(100.0 * e["unsafe_called_safe_calibrated"] for e in noise.values())
    return claim(
        f"on {preset}, which no limits were found on, false alarms stay within 12%",
        f"{min(alarms):.0f} to {max(alarms):.0f}%, at most {missed:.0f}% of the unsafe ground called safe",
        max(alarms) <= 12.0,
    )


def learned_claims(
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]], learned: Sequence[str]
) -> list[dict[str, Any]]:
    """Of trained filters, by what they miss at matched false alarms, mean over classes; none without them."""

    def missed(methods: Sequence[str], noises: Sequence[str]) -> float:
        return _mean(min(scores[n][m]["unsafe_missed"] for m in methods) for n in noises if n in scores)

    trained = [m for m in learned if all(m in by for by in scores.values())]
    out = []
    if {"paired", "unpaired"} <= set(trained):
        a, b = (missed([m], list(scores)) for m in ("paired", "unpaired"))
        out.append(claim("training on pairs beats training without", f"{a:.3f} / {b:.3f} missed", a < b))
    if trained and set(UNSEEN) & set(scores):
        a, b = missed(trained, UNSEEN), missed([m for m in FILTERS if m in next(iter(scores.values()))], UNSEEN)
        out.append(
            claim("learned filters beat the others on noise that they never saw", f"{a:.3f} / {b:.3f} missed", a < b)
        )
    return out


def claim(what: str, measured: str, holds: bool) -> dict[str, Any]:
    """A claim, and whether it holds."""
    return {"claim": what, "measured": measured, "holds": bool(holds)}


def show_claims(claims_: Sequence[Mapping[str, Any]]) -> None:
    """Print them."""
    show_table("claims", ("holds", "measured", "claim"),
               [("yes" if c["holds"] else "no", c["measured"], c["claim"]) for c in claims_])  # fmt: skip


def rank_agreement(
    table: Mapping[str, Mapping[str, Sequence[Row]]], methods: Collection[str], tasks: Mapping[str, int],
    resampled: Callable[[str, Sequence[Row], np.ndarray], np.ndarray], seed: int,
) -> dict[tuple[str, str], tuple[float, float, float]]:  # fmt: skip
    """For each look and task Spearman's correlation over methods, mean over noises, with a bootstrap's 95% over
    patches.

    Args:
        table: rows of all patches, by noise and method.
        methods: those that are ranked.
        tasks: and whether more is better.
        resampled: a task's score (K,) over patches that count weights (K, P) times, of a method's rows.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    patches = len(next(iter(next(iter(table.values())).values())))
    weights = np.concatenate([np.ones((1, patches)), rng.multinomial(patches, [1 / patches] * patches, RESAMPLES)])
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for by in table.values():
        shipped = [rows for m, rows in by.items() if m in methods]
        looks = {k: _ranks([weights @ [r[k] for r in rows] for rows in shipped]) for k in ("psnr", "ssim")}
        for task, sign in tasks.items():
            does = _ranks([sign * resampled(task, rows, weights) for rows in shipped])
            for look, ranks in looks.items():
                found.setdefault((look, task), []).append(_correlation(ranks, does))
    out = {}
    for key, values in found.items():
        known = [v for v in values if np.isfinite(v).any()]
        if not known:  # no method differs from another
            continue
        means = np.nanmean(known, axis=0)
        low, high = np.nanpercentile(means[1:], [2.5, 97.5])
        out[key] = float(means[0]), float(low), float(high)
    return out


def _ranks(values: Sequence[np.ndarray]) -> np.ndarray:
    """(K, methods) centred ranks of values of each method (K,)."""
    ranks = rankdata(np.stack(values, axis=1), axis=1)
    return ranks - ranks.mean(1, keepdims=True)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K,) of centred ranks; NaN where all are equal."""
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.where(size > 0.0, (a * b).sum(1) / np.maximum(size, 1e-12), np.nan)


def _resampled(task: str, rows: Sequence[Row], weights: np.ndarray, clean: Mapping[str, Any]) -> np.ndarray:
    """(K,) one of ``TASKS`` over patches that count ``weights`` (K, P) times."""

    def total(key: str) -> np.ndarray:
        return np.tensordot(weights, np.array([r[key] for r in rows], float), 1)

    if task == "unsafe_missed":
        return missed_at(total("histogram"), FALSE_ALARMS)
    if task == "rocks_found_12cm":
        return rocks_found(total("rocks"), total("area"))
    if task == "crater_f1":
        found, false = (
            weights @ [(np.array(r[k]) >= clean["_crater_at"]).sum() for r in rows] for k in ("hits", "misses")
        )
        return 2.0 * found / np.maximum(found + false + total("craters"), 1)
    if task.startswith("kappa"):
        return np.array([grades_agree(t[int(task == "kappa_2m")]) for t in total("grades")])
    if task == "plate_heave_mm":
        return weights @ [r["heave"] ** 2 for r in rows]
    return total("path_unsafe") / total("path")


def _rock(cards: Mapping[str, FilterCard], method: str, noise: str) -> int | None:
    card = cards.get(method)
    if card is None or noise not in card.noise:
        return None
    return int(np.searchsorted(SCORES, card.noise[noise].rock * 0.999))


def _sum(rows: Sequence[Row], key: str) -> np.ndarray:
    return np.sum([r[key] for r in rows], axis=0)


def _mean(values: Any) -> float:
    values = [float(v) for v in values]
    return float(np.mean(values)) if values else float("nan")


def _f1(hits: np.ndarray, misses: np.ndarray, asked: int, at: float) -> float:
    found, false = int((hits >= at).sum()), int((misses >= at).sum())
    return 2.0 * found / max(found + false + asked, 1)


def grades_agree(table: np.ndarray) -> float:
    """Cohen's kappa with quadratic weights of a table of true and found classes."""
    n = len(table)
    weight = np.subtract.outer(np.arange(n), np.arange(n)) ** 2
    chance = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return 1.0 - float((weight * table).sum() / max((weight * chance).sum(), 1e-12))


def _gentle(table: np.ndarray) -> float:
    """Share of ground of the three steepest grades that is graded two or more too gentle."""
    return float(np.tril(table, -2).sum() / max(table[2:].sum(), 1))


def _auroc(histogram: np.ndarray) -> float:
    safe, unsafe = histogram / np.maximum(histogram.sum(1, keepdims=True), 1)
    return float((unsafe * (np.cumsum(safe) - safe / 2)).sum())
