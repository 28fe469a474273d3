"""``lunar bench subset``: which choice of k of thousands of hops finds the rare, keeps averages, and stands for all.

Hops of a policy in ``PronkWorld`` are described by the features of ``lunar log keep``. In some, something rare is
planted for about one hop: twelve kinds that were looked at while the choice was made, and twelve that were not. One
hop in 400 of a draw is of each kind. Hops are simulated once and kept below ``cache``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rivals
from benchmarks.harness import bar, show_table, spread
from benchmarks.subset_hops import HELD, SHOWN, simulate
from benchmarks.transport import exact_w2
from matrix_hil.log.keep import calibrated, choose, scaled
from policy.runtime.card import Card
from policy.subset.greedy import PUBLISHED_GAMMA, SHARPNESS, greedy, nearest, scale_free, shares, squared
from policy.subset.medoids import k_medoids
from policy.subset.stream import Running
from sim.errors import LunarError
from sim.files import find_policy

RARE = 400  # hops of a draw of which one is of each kind
SIZES = (12, 24, 48, 96)
_K = 48  # at which the bars are
_AVERAGES = (
    "work", "peak_force", "apex_error", "flight_time", "pitch", "touchdown_spread", "velocity_x_error", "spin",
    "stance", "share_FL",
)  # fmt: skip
_FIRST = 32  # hops by which one pass knows what is usual
_SUBSETS = 60  # of a claim on rank correlation


@dataclass(frozen=True)
class Config:
    """Which choice of hops finds the rare and keeps averages."""

    policy: str = "policy/zoo/dual"
    """Folder of a policy, or a name in the zoo."""
    robots: int = 192
    """Trials per set of rare kinds."""
    seconds: float = 40.0
    """s of each."""
    hops: int = 4096
    """Of a draw; one in 400 is of each rare kind."""
    draws: int = 10
    """Draws of hops that each choice is tried on."""
    seed: int = 0
    """Of everything."""
    cache: str = "runs/bench/subset"
    """Folder for the hops that were simulated."""
    quick: bool = False
    """Two draws of the hops that are in ``cache``; nothing is simulated."""
    json: str = ""
    """File for the results as data."""


def draw(
    values: np.ndarray, kind: np.ndarray, hops: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """``hops`` hops of which one in ``RARE`` is of each kind, or all that there are."""
    rare = [rng.permutation(np.flatnonzero(kind == k))[: hops // RARE] for k in range(kind.max() + 1)]
    count = sum(map(len, rare))
    usual = rng.permutation(np.flatnonzero(kind < 0))[: hops - count]
    rows = np.sort(np.concatenate([*rare, usual]))
    return values[rows], kind[rows]


# ---- choices ---------------------------------------------------------------------------------------------------------


def methods(values: np.ndarray, features: np.ndarray) -> dict[str, Callable[[int, np.random.Generator], np.ndarray]]:
    """Rows that each choice takes, given k and what is random."""
    m, phi = len(features), squared(features)
    energy = float(np.square(phi).sum(1).mean())
    return {
        "random": lambda k, rng: rivals.random(m, k, rng),
        "every n-th": lambda k, _: rivals.every_nth(m, k),
        "k-medoids": lambda k, rng: k_medoids(features, k, rng),
        "herding": lambda k, _: rivals.herding(features, k),
        "k-centre": lambda k, _: rivals.k_centre(features, k),
        "DivPrune": lambda k, _: rivals.divprune(features, k),
        "OTPrune as published": lambda k, _: greedy(phi, k, PUBLISHED_GAMMA).order,
        "OTPrune, scale-free": lambda k, _: greedy(phi, k, SHARPNESS / energy).order,
        "log-det": lambda k, _: greedy(features, k, scale_free(features)).order,
        "log-det, one pass": lambda k, _: _one_pass(features, k),
        "lunar log keep": lambda k, _: np.array([kept.row for kept in choose(values, k).kept]),
    }


def _one_pass(features: np.ndarray, k: int) -> np.ndarray:
    """As ``lunar hil --keep``, which knows what is usual from the first hops."""
    running = Running(k, scale_free(features[:_FIRST]))
    for row, phi in enumerate(features):
        running.offer(row, phi)
    return np.array(running.kept)


def run(cfg: Config) -> dict[str, Any]:
    """Simulate what the cache lacks, choose and measure.

    Raises:
        LunarError: ``quick`` and nothing in the cache.
    """
    card = Card.load(Path(find_policy(cfg.policy)) / "card.json")
    kept = Path(cfg.cache, f"{card.weights[:12]}-{cfg.robots}x{cfg.seconds:g}-{cfg.seed}")
    sets = {}
    for number, (name, kinds) in enumerate((("shown", SHOWN), ("held out", HELD))):
        path = kept / f"{name}.npz"
        if not path.is_file():
            if cfg.quick:
                raise LunarError(f"{path} is not there: run 'lunar bench subset' without --quick first")
            values, kind = simulate(cfg.policy, cfg.robots, cfg.seconds, kinds, cfg.seed + number)
            kept.mkdir(parents=True, exist_ok=True)
            np.savez(path, values=values, kind=kind)
        sets[name] = np.load(path)
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    draws = 2 if cfg.quick else cfg.draws
    with bar() as progress:
        task = progress.add_task("subset", total=len(sets) * draws)
        for name, hops in sets.items():
            for seed in range(draws):
                rng = np.random.default_rng((cfg.seed, seed))
                values, kind = draw(hops["values"], hops["kind"], cfg.hops, rng)
                rows += _measure(name, seed, values, kind, rng)
                if seed == 0 and name == "held out":
                    claims = _claims(values, rng)
                progress.advance(task)
    mean = {key: _mean(rows, key) for key in ("rare", "mean_error", "w2_weighted")}
    found = {method: mean["rare"][("held out", method, _K)] for method in ("log-det", "random", "k-centre", "DivPrune")}
    claims.append({
        "claim": "log-det finds more rare kinds than DivPrune",
        "measured": found["log-det"] - found["DivPrune"], "holds": found["log-det"] > found["DivPrune"],
    })  # fmt: skip
    w2 = mean["w2_weighted"]
    return {
        "rare_found": found["log-det"],
        "rare_found_shown": mean["rare"][("shown", "log-det", _K)],
        "rare_random": found["random"],
        "rare_k_centre": found["k-centre"],
        "mean_error_deviations": mean["mean_error"][("held out", "lunar log keep", _K)],
        "w2_over_random": w2[("held out", "k-medoids", _K)] / w2[("held out", "random", _K)],
        "select_8000_s": _time_of_8000(sets["held out"]["values"]),
        "hops": {name: len(hops["kind"]) for name, hops in sets.items()},
        "claims": claims,
        "rows": rows,
    }


def _measure(
    name: str, seed: int, values: np.ndarray, kind: np.ndarray, rng: np.random.Generator
) -> list[dict[str, Any]]:
    features, used, _ = scaled(values)
    averages = [used.index(feature) for feature in _AVERAGES if feature in used]
    rows = []
    for method, take in methods(values, features).items():
        for k in SIZES:
            begin = time.process_time()
            chosen = take(k, rng)
            seconds = time.process_time() - begin
            share = shares(features, chosen)
            row = {"set": name, "seed": seed, "method": method, "k": k, "seconds": seconds}
            row |= {"rare": len(set(kind[chosen].tolist()) - {-1})}
            for key, weights in (("mean_error", calibrated(features, chosen, share)), ("mean_error_shares", share)):
                off = np.abs(weights @ features[chosen] - features.mean(0))[averages]
                row[key] = float(off.mean())
            row["w2_weighted"] = float(np.square(features - features[chosen][nearest(features, chosen)]).sum(1).mean())
            row["w2"] = exact_w2(features, chosen) if k == _K else None
            rows.append(row)
    return rows


def _claims(values: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    """What the paper says of its choice."""
    features = scaled(values)[0]
    phi = squared(features)
    energy = np.argsort(-np.square(phi).sum(1))[:_K]
    same = len(np.intersect1d(greedy(phi, _K, PUBLISHED_GAMMA).order, energy)) / _K
    surrogate, distance = [], []
    for _ in range(_SUBSETS):
        rows = rivals.random(len(features), _K, rng)
        kernel = np.eye(_K) + PUBLISHED_GAMMA * phi[rows] @ phi[rows].T
        surrogate.append(float(np.linalg.slogdet(kernel)[1]))
        distance.append(exact_w2(features, rows))
    ranks = [np.argsort(np.argsort(v)) for v in (surrogate, distance)]
    rho = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return [
        {"claim": "a larger surrogate means a smaller W2 (rank correlation below -0.5)", "measured": rho,
         "holds": rho < -0.5},
        {"claim": "the published gamma chooses otherwise than by energy (half or more differ)", "measured": 1.0 - same,
         "holds": same <= 0.5},
    ]  # fmt: skip


def _time_of_8000(values: np.ndarray) -> float:
    """s of computing for ``lunar log keep`` to choose 200 of 8000 hops."""
    rng = np.random.default_rng(0)
    many = values[rng.integers(len(values), size=8000)] * rng.normal(1.0, 1e-6, (8000, 1))
    begin = time.process_time()
    choose(many, 200)
    return time.process_time() - begin


def _mean(rows: list[dict[str, Any]], key: str) -> dict[tuple[str, str, int], float]:
    groups: dict[tuple[str, str, int], list[float]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["method"], row["k"]), []).append(row[key])
    return {group: float(np.mean(values)) for group, values in groups.items()}


def show(results: dict[str, Any]) -> None:
    """Print tables."""
    rows = results["rows"]
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = []
        for method in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if (row["set"], row["method"]) == (name, method)]
            at = {k: [row for row in mine if row["k"] == k] for k in SIZES}
            cells.append([
                method, *(spread(row["rare"] for row in at[k]) for k in SIZES),
                *(spread(row[key] for row in at[_K]) for key in ("mean_error", "w2_weighted", "w2")),
                f"{np.mean([row['seconds'] for row in at[_K]]):.2f}",
            ])  # fmt: skip
        columns = ["choice", *(f"of 12, k = {k}" for k in SIZES), "mean error", "W2² weighted", "W2²", "CPU s"]
        show_table(f"rare kinds found, {name}; errors in deviations at k = {_K}", columns, cells)
    show_table(
        "claims", ["claim", "measured", "holds"],
        [[c["claim"], f"{c['measured']:.2f}", "yes" if c["holds"] else "no"] for c in results["claims"]],
        f"200 of 8000 hops chosen in {results['select_8000_s']:.1f} s of computing",
    )  # fmt: skip
