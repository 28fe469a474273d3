"""``lunar bench traverse``: plans of a traverse against one option for all and rules that look at one segment.

Falls per metre are fitted to the shipped table's maps of some seeds; others, and one ground, are held out. Traverses of
60 m over mixed grounds, bunched in every third, are planned by every planner for four batteries, and robots run every
plan that differs, in closed loop. Runs are kept below ``cache``, traverse by traverse: an interrupted one goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import bar, show_table
from benchmarks.traverse_score import score, show_runs
from benchmarks.traverse_trials import HELD_GROUND, by_trials, calibration, speed
from benchmarks.traverse_ways import STUDENT, TEACHER, Traverse, make_traverse
from policy.traverse.drive import Crew, drive, world_on
from policy.traverse.options import Computers, Gait, load_computers, options_of
from policy.traverse.table import Table, load, packed
from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import stack
from sim.terrain.segments import split

ROBOTS, TOGETHER = 8, 6
"""Of a round by plan, and traverses that are run in one world: many robots are stepped faster than few."""
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
        traverses = [make_traverse(cfg.seed, k, fitted, computers, options) for k in known]
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
    return score(table, traverses, runs) | {"switch_loss_points": switch} | trials


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
        for plans, old in zip((t.plans for t in traverses), known, strict=True)
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
        place = (traverse.plans[:, None] == known["plans"]).all(2).argmax(1)
        return {w: known[w][place] for w in SEEN}


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


def show(found: dict[str, Any]) -> None:
    """Print it."""
    if "arrivals" in found:
        show_runs(found)
    rows = [
        (f"{r['choice']}, {r['price']:g}", f"{r['metres']:.0f}", str(r["falls"]),
         f"{r['per_100_m']:.2f}", f"{r['expected']:.1f}", f"{r['joules_per_metre']:.1f}") for r in found["trials"]
    ]  # fmt: skip
    title = "trials on maps left out, of the options that would be chosen"
    show_table(title, ("choice, falls that a joule counts as", "m", "falls", "per 100 m", "expected", "J/m"), rows)
    rows = [(name, *(f"{v:.2f}" for v in values)) for name, values in found["calibration"].items()]
    show_table("expected over seen falls, held-out maps", ("estimate", "easy", "middle", "hard"), rows)
    show_table("solver", ("", "CPU time"), [("200 segments x 20 options, p95", f"{found['milp_p95_s']:.2f} s")])
