"""``lunar bench traverse``: plans of a traverse against one option for all and rules that look at one segment.

Falls per metre are fitted to the shipped table's maps of some seeds; others, and one ground, are held out. Traverses of
60 m over mixed grounds, bunched in every third, are planned by every planner for four batteries, and robots run every
plan that differs, in closed loop. Runs are kept below ``cache``, traverse by traverse: an interrupted one goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.baselines import BASELINES
from benchmarks.harness import bar, show_table
from benchmarks.traverse_trials import HELD_GROUND, by_trials, calibration, speed
from policy.traverse.assign import Assignment, Carry, Problem, assign
from policy.traverse.config import PlanConfig
from policy.traverse.drive import Crew, drive, world_on
from policy.traverse.estimate import estimate
from policy.traverse.make import Ways, ways_of
from policy.traverse.options import Computers, Gait, load_computers, options_of, weights_of
from policy.traverse.table import Table, load, packed
from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField, stack
from sim.terrain.segments import features, split, survey

BUDGETS = (0.6, 0.75, 0.9, 1.1)
"""Of what the teacher on the board takes, hopping fast and high."""
BLOCKS, BLOCK, BLEND = 6, 12.0, 3.0
"""Grounds along a traverse, m of each, and m over which one becomes the next."""
WIDTH, START, LENGTH = 12.0, 6.0, 60.0
"""m."""
ROBOTS, TOGETHER = 8, 6
"""Of a round by plan, and traverses that are run in one world: many robots are stepped faster than few."""
EASY = (("mare", 6), ("highland", 6), ("mare", 9))
HARD = (("crater-field", 9), ("blocky", 9), ("polar-rough", 9))
TEACHER, STUDENT = "dual", "student_small"
PLANNERS = ("routed, robust", "routed", *BASELINES)
CHANGE, PRICE, RESERVE = PlanConfig.change, PlanConfig.energy, PlanConfig.reserve
"""Expected falls that a change and a joule count as, and share of the battery that every planner leaves."""
SEEN = ("arrived", "fell", "joules", "metres")
"""Of a robot: whether it arrived or fell, J from the battery, m of progress."""


@dataclass(frozen=True)
class Config:
    """Plans of a traverse against one option for all."""

    traverses: int = 24
    """Of 60 m each; 0 runs none, and only scores the table's trials."""
    rounds: int = 8
    """Of 8 robots each, by which every plan is run; a run with fewer is added to by one with more."""
    train: int = 4
    """Seeds of the table that are fitted to; the rest, and polar-rough, are held out."""
    seed: int = 100
    """Of grounds and robots."""
    cache: str = "runs/bench/traverse"
    """Folder for the runs."""
    quick: bool = False
    """Score what is in ``cache``, and run nothing."""
    json: str = ""
    """File for the results as data."""


@dataclass(frozen=True)
class Traverse:
    """One way and what there is to choose on it."""

    ground: HeightField
    ends: np.ndarray
    ways: Ways
    budgets: tuple[float, ...]
    bunched: bool
    choices: dict[str, np.ndarray]
    """By plan, (S,) options; absent where a planner found none."""


def run(cfg: Config) -> dict[str, Any]:
    """Plan, run what the cache lacks, and score.

    Raises:
        LunarError: ``quick`` and nothing in the cache.
    """
    table, computers = load(), load_computers()
    trials = {
        "trials": by_trials(table, computers), "calibration": calibration(table, cfg.train),
        "milp_p95_s": speed(4 if cfg.quick else 20),
    }  # fmt: skip
    if not cfg.traverses:
        return trials
    fitted = table.on(lambda c: c.seed <= cfg.train and c.ground != HELD_GROUND)
    options = options_of(table.gaits, computers)
    kept = cache(cfg, table)
    known = [k for k in range(cfg.traverses) if not cfg.quick or (kept / f"{k}-0.npz").is_file()]
    if not known:
        raise LunarError(f"{kept} holds no runs: run 'lunar bench traverse' without --quick first")
    with bar() as progress:
        task = progress.add_task("traverse", total=cfg.rounds * len(known))
        traverses = [_traverse(cfg, k, fitted, computers, options) for k in known]
        rounds: list[list[dict[str, np.ndarray]]] = [[] for _ in known]
        for turn, first in itertools.product(range(cfg.rounds), range(0, len(known), TOGETHER)):
            group = slice(first, first + TOGETHER)
            paths = [kept / f"{k}-{turn}.npz" for k in known[group]]
            _complete(traverses[group], paths, table.gaits, computers, (cfg.seed, turn, first), cfg.quick)
            for traverse, path, found in zip(traverses[group], paths, rounds[group], strict=True):
                found.append(_kept(traverse, path))
                progress.advance(task)
        switch = _switching(table, kept / "switch.npz", cfg)
    runs = [{w: np.concatenate([r[w] for r in found], axis=1) for w in SEEN} for found in rounds]
    return _score(cfg, table, traverses, runs) | {"switch_loss_points": switch} | trials


def cache(cfg: Config, table: Table) -> Path:
    """Where the runs of these policies and grounds are kept, round by round."""
    return Path(cfg.cache, f"{table.digests[0][:8]}-{cfg.train}-{cfg.seed}")


def _complete(
    traverses: Sequence[Traverse], paths: Sequence[Path], gaits: tuple[Gait, ...], computers: Computers,
    seed: tuple[int, ...], quick: bool,
) -> None:  # fmt: skip
    """Run what the files of a round lack of the traverses' plans, and add it to them."""
    known = [dict(np.load(path)) if path.is_file() else {} for path in paths]
    lacking = [
        plans[~(plans[:, None] == old["plans"]).all(2).any(1)] if old else plans
        for plans, old in zip(map(_plans, traverses), known, strict=True)
    ]
    if any(map(len, lacking)):
        if quick:
            raise LunarError(f"{paths[0].parent} lacks plans of now: run 'lunar bench traverse' without --quick")
        more = _run(traverses, lacking, gaits, computers, int(np.random.SeedSequence(seed).generate_state(1)[0]))
        write_whole({
            path: packed({w: np.concatenate([old[w], new[w]]) if old else new[w] for w in new})
            for path, old, new in zip(paths, known, more, strict=True)
        })  # fmt: skip


def _kept(traverse: Traverse, path: Path) -> dict[str, np.ndarray]:
    """``SEEN`` of the traverse's plans, in their order."""
    with np.load(path) as known:
        place = (_plans(traverse)[:, None] == known["plans"]).all(2).argmax(1)
        return {w: known[w][place] for w in SEEN}


def _ground(rng: np.random.Generator, bunched: bool) -> HeightField:
    """A strip of six grounds that pass into each other; hard ones side by side where they are ``bunched``."""
    hard = 3
    kinds = [EASY[k] for k in rng.integers(len(EASY), size=BLOCKS - hard)]
    kinds += [HARD[k] for k in rng.integers(len(HARD), size=hard)]
    if not bunched:
        kinds = [kinds[k] for k in rng.permutation(BLOCKS)]
    resolution, long = 0.05, BLOCKS * BLOCK
    x = np.arange(round(long / resolution) + 1) * resolution
    heights, weights = np.zeros((round(WIDTH / resolution) + 1, len(x))), np.zeros(len(x))
    side = BLOCK + 2 * BLEND
    for k, (kind, level) in enumerate(kinds):
        part = make_terrain(TerrainConfig(kind=kind, level=level, size=side), int(rng.integers(2**31)))
        begin = k * BLOCK - BLEND
        inside = (x >= begin) & (x <= begin + side)
        weight = np.clip((0.5 * side - np.abs(x[inside] - begin - 0.5 * side)) / (2.0 * BLEND), 0.0, 1.0)
        rows = part.heights.shape[0] // 2 + np.arange(heights.shape[0]) - heights.shape[0] // 2
        columns = np.round((x[inside] - begin) / resolution).astype(int)
        cut = part.heights[np.ix_(rows, columns)]
        heights[:, inside] += weight * (cut - cut.mean())
        weights[inside] += weight
    return HeightField((heights / weights).astype(np.float32), resolution, (0.0, -WIDTH / 2))


def _traverse(cfg: Config, k: int, fitted: Table, computers: Computers, options: list[Any]) -> Traverse:
    bunched = k % 3 == 2
    ground = _ground(np.random.default_rng([cfg.seed, k]), bunched)
    ends = split([[START, 0.0], [START + LENGTH, 0.0]])
    found = estimate(fitted, features(survey(ground), ends[:-1], ends[1:]), cfg.seed)
    ways = ways_of(found, np.hypot(*np.diff(ends, axis=0).T), options, computers)
    gaits = fitted.gaits

    def best(policy: str, computer: str) -> np.ndarray:
        """The best of that policy's gaits for all segments."""
        own = [j for j, o in enumerate(options) if gaits[o.gait].policy == policy and o.computer == computer]
        return np.full(len(ends) - 1, min(own, key=lambda j: (ways.falls_high + PRICE * ways.joules)[:, j].sum()))

    reference = next(
        j for j, o in enumerate(options) if gaits[o.gait] == Gait(TEACHER, 0.55, 0.35) and o.computer == "board"
    )
    budgets = tuple(share * float(ways.joules[:, reference].sum()) for share in BUDGETS)
    choices = {"teacher on board": best(TEACHER, "board"), "student on mcu": best(STUDENT, "mcu")}
    for share, budget in zip(BUDGETS, budgets, strict=True):
        for name in PLANNERS:
            problem = ways.problem(budget, None, name != "routed", CHANGE, PRICE, RESERVE)
            choice = _choice(name, problem)
            if choice is not None:
                choices[f"{name} {share:g}"] = choice
    choices["routed, robust"] = _choice("routed, robust", ways.problem(None, None, True, CHANGE, PRICE))  # type: ignore[assignment]
    return Traverse(ground, ends, ways, budgets, bunched, choices)


def _choice(name: str, problem: Problem) -> np.ndarray | None:
    if name in BASELINES:
        return BASELINES[name](problem)
    found = assign(problem)
    return found.choice if isinstance(found, Assignment) else None


def _plans(traverse: Traverse) -> np.ndarray:
    """(U, S) plans that differ."""
    return np.unique(np.array(list(traverse.choices.values())), axis=0)


def _run(
    traverses: Sequence[Traverse], plans: Sequence[np.ndarray], gaits: tuple[Gait, ...], computers: Computers, seed: int
) -> list[dict[str, np.ndarray]]:
    """By traverse, ``SEEN`` of its ``plans`` (U, S), (U, ROBOTS) each, and the plans."""
    options = traverses[0].ways.options
    gait = np.array([o.gait for o in options])
    watts = np.array([computers.computers[o.computer].watts for o in options])
    place = np.repeat(np.arange(len(plans)), [len(p) * ROBOTS for p in plans])
    choice = np.repeat(np.concatenate(list(plans)), ROBOTS, axis=0)
    seconds = [t.ways.seconds[np.arange(p.shape[1]), p].sum(1) for t, p in zip(traverses, plans, strict=True)]
    crew = Crew(gaits)
    world = world_on(crew, stack([t.ground for t in traverses]), len(choice), seed)
    world.physics.level[:] = torch.as_tensor(place)
    points = np.array([t.ends for t in traverses])[place]
    seen, _ = drive(crew, world, points, gait[choice], 1.5 * float(np.concatenate(seconds).max()))
    joules = (seen.joules / computers.joint_efficiency + watts[choice] * seen.seconds).sum(1)
    found = {"arrived": seen.arrived, "fell": seen.fell >= 0, "joules": joules, "metres": seen.metres.sum(1)}
    return [
        {"plans": p} | {what: values[place == k].reshape(len(p), ROBOTS) for what, values in found.items()}
        for k, p in enumerate(plans)
    ]


def _switching(table: Table, path: Path, cfg: Config) -> float | None:
    """Points of survival that changing the policy on every segment of flat ground costs, against none."""
    if not path.is_file():
        if cfg.quick:
            return None
        gaits = [Gait(TEACHER, 0.55, 0.35), Gait(STUDENT, 0.55, 0.35)]
        crew, ends = Crew(gaits), split([[0.0, 0.0], [20.0, 0.0]])
        alternating = np.arange(len(ends) - 1) % 2
        plans = [alternating, 1 - alternating, 0 * alternating, 0 * alternating + 1]
        choice = np.repeat(plans, cfg.rounds * ROBOTS, axis=0)
        world = world_on(crew, stack([make_terrain(TerrainConfig(), 0)]), len(choice), cfg.seed)
        seen, _ = drive(crew, world, np.repeat(ends[None], len(choice), axis=0), choice, 90.0)
        write_whole({path: packed({"upright": (seen.fell < 0).reshape(2, -1)})})
    with np.load(path) as data:
        switched, constant = data["upright"].mean(1)
    return 100.0 * float(constant - switched)


def _score(cfg: Config, table: Table, traverses: list[Traverse], runs: list[dict[str, Any]]) -> dict[str, Any]:
    def of(t: int, name: str, what: str) -> np.ndarray | None:
        """(R,) of a plan of traverse ``t``; None where there was none."""
        choice = traverses[t].choices.get(name)
        if choice is None:
            return None
        return runs[t][what][int(np.argmax((_plans(traverses[t]) == choice).all(1)))]

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
    errors, kept_within, expected, seen = [], [], 0.0, 0.0
    for t, traverse in enumerate(traverses):
        rows = np.arange(len(traverse.ends) - 1)
        for plan, arrived, joules, fell in zip(
            _plans(traverse), *(runs[t][w] for w in ("arrived", "joules", "fell")), strict=True
        ):
            if arrived.any():
                errors.append(float(joules[arrived].mean() / traverse.ways.joules[rows, plan].sum() - 1.0))
            expected += len(fell) * (1.0 - float(np.exp(-traverse.ways.falls[rows, plan].sum())))
            seen += float(fell.sum())
        for b, share in enumerate(BUDGETS):
            arrived, joules = (of(t, f"routed, robust {share:g}", what) for what in ("arrived", "joules"))
            if arrived is not None and joules is not None:
                kept_within += (joules[arrived] <= traverse.budgets[b]).tolist()
    special = {
        name: _special(of, name, everywhere) for name in ("teacher on board", "student on mcu", "routed, robust")
    }
    found: dict[str, Any] = {
        "traverses": len(traverses), "robots": cfg.rounds * ROBOTS, "budgets": BUDGETS,
        "arrivals": {name: (100.0 * values.mean(1)).tolist() for name, values in shares.items()},
        "gain_points": float(gain.mean()), "gain_points_low95": float(np.percentile(drawn, 2.5)),
        "gain_between_constants": float(gain[between].mean()) if between.any() else None,
        "worst_loss_points": float(max(0.0, -gain.mean(1).min())),
        "unbudgeted": special, "energy_saved_mcu": 1.0 - special["routed, robust"]["joules_per_metre"]
        / special["teacher on board"]["joules_per_metre"],
        "energy_prediction_error": float(np.mean(np.abs(errors))),
        "within_battery": float(np.mean(kept_within)) if kept_within else None,
        "falls_expected_over_seen": expected / max(seen, 0.5), "falls_seen": seen,
    }  # fmt: skip
    return found | {"claims": _claims(cfg, shares, bunched, traverses, table, found)}


def _between(traverses: list[Traverse]) -> np.ndarray:
    """(budgets, T) bool: the best option for all is too dear there, and another is not."""
    rows = []
    for share in BUDGETS:
        pairs = [(t.choices.get(f"constant {share:g}"), t.ways.falls_high.sum(0).argmin()) for t in traverses]
        rows.append([choice is not None and choice[0] != free for choice, free in pairs])
    return np.array(rows)


def _special(of: Callable[[int, str, str], np.ndarray | None], name: str, chosen: list[int]) -> dict[str, float]:
    arrived, joules, metres = (
        np.concatenate([of(t, name, w) for t in chosen]) for w in ("arrived", "joules", "metres")
    )  # type: ignore[arg-type]
    return {"arrived": float(arrived.mean()), "joules_per_metre": float(joules[arrived].sum() / metres[arrived].sum())}


def _claims(
    cfg: Config, shares: dict[str, np.ndarray], bunched: list[int], traverses: list[Traverse], table: Table,
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


def show(found: dict[str, Any]) -> None:
    """Print it."""
    if "arrivals" in found:
        _show_runs(found)
    rows = [
        (f"{r['choice']}, a joule counts {r['price']:g} falls", f"{r['metres']:.0f}", str(r["falls"]),
         f"{r['per_100_m']:.2f}", f"{r['expected']:.1f}", f"{r['joules_per_metre']:.1f}") for r in found["trials"]
    ]  # fmt: skip
    title = "trials on maps left out, of the options that would be chosen"
    show_table(title, ("choice", "m", "falls", "per 100 m", "expected", "J/m"), rows)
    rows = [(name, *(f"{v:.2f}" for v in values)) for name, values in found["calibration"].items()]
    show_table("expected over seen falls, held-out maps", ("estimate", "easy", "middle", "hard"), rows)
    show_table("", ("", ""), [("200 segments x 20 options, p95", f"{found['milp_p95_s']:.2f} s")])


def _show_runs(found: dict[str, Any]) -> None:
    rows = [(name, *(f"{v:.1f}" for v in values)) for name, values in found["arrivals"].items()]
    title = (
        f"arrivals within the battery, %: {found['traverses']} traverses, {found['robots']} robots each; gain over the "
        f"best constant option {found['gain_points']:.1f} points (95%: at least {found['gain_points_low95']:.1f})"
    )
    show_table(title, ("planner", *(f"battery {b:g}" for b in found["budgets"])), rows)
    rows = [(n, f"{100 * v['arrived']:.1f}", f"{v['joules_per_metre']:.1f}") for n, v in found["unbudgeted"].items()]
    show_table("without a battery's limit", ("plan", "arrived %", "J/m"), rows)
    switch, lasted = found["switch_loss_points"], found["within_battery"]
    rows = [
        ("energy, mean error of prediction", f"{100 * found['energy_prediction_error']:.1f}%"),
        ("arrivals whose battery lasted", "–" if lasted is None else f"{100 * lasted:.1f}%"),
        ("energy saved against the teacher on the board", f"{100 * found['energy_saved_mcu']:.1f}%"),
        ("changing policies on flat ground costs", "–" if switch is None else f"{switch:.1f} points"),
    ]  # fmt: skip
    show_table("", ("", ""), rows)
    claims = [(c["claim"], c["measured"], "yes" if c["holds"] else "no") for c in found["claims"]]
    show_table("claims", ("claim", "measured", "holds"), claims)
