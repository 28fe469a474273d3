"""What runs of traverses come to: arrivals by planner and battery, energy, promises, claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.harness import show_table
from benchmarks.traverse_ways import BUDGETS, PLANNERS, STUDENT, Traverse
from policy.traverse.assign import Assignment, Carry, assign
from policy.traverse.options import weights_of
from policy.traverse.table import Table


def score(table: Table, traverses: list[Traverse], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of traverses whose ``plans`` were run as ``runs`` say: arrays (U, R) by name."""

    def of(t: int, name: str, what: str) -> np.ndarray | None:
        """(R,) of a plan of traverse ``t``; None where there was none."""
        choice = traverses[t].choices.get(name)
        if choice is None:
            return None
        return runs[t][what][int(np.argmax((traverses[t].plans == choice).all(1)))]

    def arrivals(name: str, b: int, chosen: list[int]) -> np.ndarray:
        """(T,) share that arrives within the battery; nobody does without a plan."""
        shares = []
        for t in chosen:
            arrived, joules = (of(t, f"{name} {BUDGETS[b]:g}", what) for what in ("arrived", "joules"))
            within = None if arrived is None or joules is None else arrived & (joules <= traverses[t].budgets[b])
            shares.append(0.0 if within is None else float(within.mean()))
        return np.array(shares)

    everywhere = list(range(len(traverses)))
    shares = {name: np.array([arrivals(name, b, everywhere) for b in range(len(BUDGETS))]) for name in PLANNERS}
    gain = 100.0 * (shares["routed, robust"] - shares["constant"])  # (budgets, traverses)
    rng = np.random.default_rng(0)
    drawn = gain.mean(0)[rng.integers(len(traverses), size=(2000, len(traverses)))].mean(1)
    between = _between(traverses)
    bunched = [t for t in everywhere if traverses[t].bunched]
    kept_within = []
    for t, traverse in enumerate(traverses):
        for b, share in enumerate(BUDGETS):
            arrived, joules = (of(t, f"routed, robust {share:g}", what) for what in ("arrived", "joules"))
            if arrived is not None and joules is not None:
                kept_within += (joules[arrived] <= traverse.budgets[b]).tolist()
    special = {
        name: _special(of, name, everywhere) for name in ("teacher on board", "student on mcu", "routed, robust")
    }
    found: dict[str, Any] = {
        "traverses": len(traverses), "robots": runs[0]["fell"].shape[1], "budgets": BUDGETS,
        "arrivals": {name: (100.0 * values.mean(1)).tolist() for name, values in shares.items()},
        "gain_points": float(gain.mean()), "gain_points_low95": float(np.percentile(drawn, 2.5)),
        "gain_points_high95": float(np.percentile(drawn, 97.5)),
        "gain_between_constants": float(gain[between].mean()) if between.any() else None,
        "worst_loss_points": float(max(0.0, -gain.mean(1).min())),
        "unbudgeted": special, "energy_saved_mcu": 1.0 - special["routed, robust"]["joules_per_metre"]
        / special["teacher on board"]["joules_per_metre"],
        "within_battery": float(np.mean(kept_within)) if kept_within else None,
    }  # fmt: skip
    found |= _predicted(traverses, runs)
    return found | {"claims": _claims(shares, bunched, traverses, table, found)}


def _between(traverses: list[Traverse]) -> np.ndarray:
    """(budgets, T) bool: the best option for all is too dear there, and another is not."""
    rows = []
    for share in BUDGETS:
        pairs = [(t.choices.get(f"constant {share:g}"), t.choices.get(f"constant {max(BUDGETS):g}")) for t in traverses]
        rows.append([here is not None and free is not None and here[0] != free[0] for here, free in pairs])
    return np.array(rows)


def _predicted(traverses: list[Traverse], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What plans expected against what was seen: energy, falls by thirds of difficulty, arrivals that were promised."""
    errors, falls, promises, neither = [], [], [], []
    for traverse, run in zip(traverses, runs, strict=True):
        rows, robust = np.arange(len(traverse.ends) - 1), traverse.choices["routed, robust"]
        for k, plan in enumerate(traverse.plans):
            arrived, fell = run["arrived"][k], run["fell"][k]
            if arrived.any():
                joules = run["joules"][k][arrived].mean()
                errors.append(float(joules / traverse.ways.joules[rows, plan].sum() - 1.0))
            falls.append((len(fell) * (1.0 - np.exp(-traverse.ways.falls[rows, plan].sum())), fell.sum()))
            neither.append((~arrived & ~fell).mean())
            if (plan == robust).all():
                promised = float(np.exp(-traverse.ways.falls_high[rows, plan].sum()))
                promises.append((promised, arrived.mean(), binom.cdf(arrived.sum(), len(arrived), promised)))
    expected, seen = np.array(sorted(falls)).T
    parts = (np.array_split(values, 3) for values in (expected, seen))
    thirds = [(float(e.sum()), int(s.sum())) for e, s in zip(*parts, strict=True)]
    promised, arrived, chance = np.array(promises).T
    return {
        "energy_prediction_error": float(np.mean(np.abs(errors))), "energy_prediction_bias": float(np.mean(errors)),
        "falls_expected_over_seen": float(expected.sum()) / max(float(seen.sum()), 0.5), "falls_seen": int(seen.sum()),
        "falls_expected_and_seen_by_thirds": thirds, "neither_fell_nor_arrived": float(np.mean(neither)),
        "promise": {
            "promised": float(promised.mean()), "arrived": float(arrived.mean()),
            "kept": float((arrived >= promised).mean()), "not_refuted": float((chance >= 0.05).mean()),
        },
    }  # fmt: skip


def _special(of: Callable[[int, str, str], np.ndarray | None], name: str, chosen: list[int]) -> dict[str, float]:
    arrived, joules, metres = (
        np.concatenate([of(t, name, w) for t in chosen]) for w in ("arrived", "joules", "metres")
    )  # type: ignore[arg-type]
    return {"arrived": float(arrived.mean()), "joules_per_metre": float(joules[arrived].sum() / metres[arrived].sum())}


def _claims(
    shares: dict[str, np.ndarray], bunched: list[int], traverses: list[Traverse], table: Table,
    found: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """The papers' claims with what was measured."""

    def points(name: str, chosen: list[int] | slice = slice(None)) -> float:
        return 100.0 * float(shares[name][:, chosen].mean())

    robust, plain = points("routed, robust"), points("routed")
    rules = max(("per-segment score", "cheapest over threshold", "greedy"), key=points)
    hard = (points("routed, robust", bunched), points(rules, bunched)) if bunched else (float("nan"),) * 2
    own, first = _allocation(traverses, table)
    ratio = found["falls_expected_over_seen"]
    return [
        {"claim": "robust arrives as often as the expectation does", "measured": f"{robust:.1f} / {plain:.1f}%",
         "holds": robust >= plain},
        {"claim": f"the batch beats the best rule per segment ({rules})",
         "measured": f"{robust:.1f} / {points(rules):.1f}%", "holds": robust > points(rules)},
        {"claim": "and by 3 points or more where hard ground is bunched", "measured": f"{hard[0]:.1f} / {hard[1]:.1f}%",
         "holds": hard[0] >= hard[1] + 3.0},
        {"claim": "choosing what to carry in little flash helps (expected arrivals)",
         "measured": f"{100 * own:.1f} / {100 * first:.1f}%", "holds": own > first + 1e-9},
        {"claim": "falls add up along the way (expected over seen within 1.3)", "measured": f"{ratio:.2f}",
         "holds": 1 / 1.3 <= ratio <= 1.3},
    ]  # fmt: skip


def _allocation(traverses: list[Traverse], table: Table) -> tuple[float, float]:
    """Expected arrivals on microcontrollers whose flash holds one policy: the best chosen, and the smallest one."""
    gained = []
    for traverse in traverses:
        ways = traverse.ways
        here = np.array([o.computer == "mcu" for o in ways.options])
        names = sorted({table.gaits[o.gait].policy for o in ways.options})
        size = np.array([weights_of(name).kilobytes for name in names])
        part = np.array([names.index(table.gaits[o.gait].policy) for o in ways.options])
        problem = ways.problem(None, None, robust=False)
        problem = replace(problem, quality=np.where(here, problem.quality, -np.inf))
        limit = np.array([max(size[np.unique(part[here])])])
        robot = np.zeros(len(ways.length), dtype=int)
        chosen = assign(replace(problem, carry=(Carry(robot, part, size, limit),)))
        smallest = assign(
            replace(problem, quality=np.where(here & (part == names.index(STUDENT)), problem.quality, -np.inf))
        )
        gained.append([np.exp(a.value) if isinstance(a, Assignment) else 0.0 for a in (chosen, smallest)])
    own, first = np.mean(gained, axis=0)
    return float(own), float(first)


def show_runs(found: dict[str, Any]) -> None:
    """Print them."""
    rows = [(name, *(f"{v:.1f}" for v in values)) for name, values in found["arrivals"].items()]
    low, high = (found[f"gain_points_{end}95"] for end in ("low", "high"))
    show_table(
        f"arrivals within the battery, %: {found['traverses']} traverses, {found['robots']} robots each",
        ("battery", *(f"{b:g}" for b in found["budgets"])), rows,
        f"routed, robust, less constant: {found['gain_points']:+.1f} points (95%: {low:+.1f} to {high:+.1f})",
    )  # fmt: skip
    rows = [(n, f"{100 * v['arrived']:.1f}", f"{v['joules_per_metre']:.1f}") for n, v in found["unbudgeted"].items()]
    show_table("without a battery's limit", ("plan", "arrived %", "J/m"), rows)
    switch, lasted, promise = (found[k] for k in ("switch_loss_points", "within_battery", "promise"))
    rows = [
        ("energy, mean error (bias)",
         f"{100 * found['energy_prediction_error']:.1f}% ({100 * found['energy_prediction_bias']:+.1f}%)"),
        ("arrivals whose battery lasted", "–" if lasted is None else f"{100 * lasted:.1f}%"),
        ("energy saved against the teacher on the board", f"{100 * found['energy_saved_mcu']:.1f}%"),
        ("falls expected / seen, by thirds of difficulty",
         ", ".join(f"{e:.0f} / {s:.0f}" for e, s in found["falls_expected_and_seen_by_thirds"])),
        ("neither fell nor arrived", f"{100 * found['neither_fell_nor_arrived']:.1f}%"),
        ("robust plans: arrivals promised / seen",
         f"{100 * promise['promised']:.1f}% / {100 * promise['arrived']:.1f}%"),
        ("robust plans that keep theirs (within chance)",
         f"{100 * promise['kept']:.0f}% ({100 * promise['not_refuted']:.0f}%)"),
        ("points lost by changing policies on flat ground", "–" if switch is None else f"{switch:.1f}"),
    ]  # fmt: skip
    show_table("expected and seen", ("", "measured"), rows)
    claims = [("yes" if c["holds"] else "no", c["measured"], c["claim"]) for c in found["claims"]]
    show_table("claims", ("holds", "measured", "claim"), claims)
