"""``lunar bench distill``: methods at equal teacher, student and steps, three seeds each; interrupted, it goes on.

Every run is a folder below ``out`` with the student and ``result.json``; what is there is not run again. ``--quick``
trains nothing: it tabulates what is there and measures teacher and shipped student once more, briefly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt

from benchmarks.distill_claims import COLUMNS, claim_rows, claims, variant_rows
from benchmarks.distill_core import CoreConfig, measure_core, show_core
from benchmarks.distill_runs import FORGETTING, METRICS, ROUGH, START, THRIFTY_STUDENT, BenchRun, runs_of
from benchmarks.distill_update import update_cost
from benchmarks.harness import show_table
from benchmarks.plots import draw_costs, draw_curves, save
from benchmarks.runs import Work, run_all
from policy.distill.teachers import Teacher, load_teacher
from policy.evaluation.cli import QUICK_ROBOTS, QUICK_SECONDS
from policy.evaluation.evaluate import evaluate
from policy.evaluation.metrics import summarise
from policy.evaluation.suites import load_suite, world_for
from policy.evaluation.trials import run_trials
from policy.networks.policy_file import ZOO, load_actor
from sim.config import ROOT
from sim.envs.world import PronkWorld

SUITES = ("baselines", "tip", "paced", "forgetting", "soda", "opsdc")
HOPPING = ("forgetting", "opsdc")
"""Suites whose students hop before they learn."""
TEACHER, STUDENT = ZOO / "dual", ROOT / START


@dataclass(frozen=True)
class Config:
    """Distillation: what each method's paper claims, measured on a robot; and the losses against plain torch."""

    suite: Literal["all", "core", "baselines", "tip", "paced", "forgetting", "soda", "opsdc"] = "all"
    """``core`` is the losses alone; the others train students, ``all`` does everything."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of the trainings; evaluation suites have seeds of their own."""
    jobs: int = 2
    """Trainings at a time, each on one thread."""
    robots: int = 128
    """Trials per evaluation suite."""
    out: str = "runs/distill"
    """Folder of all runs and the plots."""
    core: CoreConfig = field(default_factory=CoreConfig)
    seed: int = 0
    """Of the logits of ``core``; runs have ``seeds``."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Train nothing; tabulate the finished runs and measure teacher and shipped student on 64 robots for 5 s."""


def run(cfg: Config) -> dict[str, Any]:
    """``{rows, before, student, update, claims, core}``; of ``--suite core``, ``core`` alone."""
    results: dict[str, Any] = {}
    if cfg.suite in ("all", "core"):
        results["core"] = measure_core(replace(cfg.core, quick=cfg.core.quick or cfg.quick), cfg.seed)
    if cfg.suite == "core":
        return results
    out, suites = Path(cfg.out), SUITES if cfg.suite == "all" else (cfg.suite,)
    runs = runs_of(suites, cfg.seeds, cfg.robots, out)
    if not cfg.quick:
        _train(runs, cfg.jobs)
    teacher = load_teacher(TEACHER)
    assert isinstance(teacher, Teacher)
    rows = [found["row"] for r in runs if (found := r.result())]
    known = before(cfg)
    update = update_cost(teacher, cfg.seed)
    if rows:
        draw_costs([row for row in rows if row["suite"] not in HOPPING], out / "costs.png")
        _draw_curves([r for r in runs if r.result()], out / "curves.png")
    return results | {
        "rows": rows, "before": known, "student": shipped(cfg), "update": update,
        "claims": claims(rows, known, update),
    }  # fmt: skip


def _train(runs: Sequence[BenchRun], jobs: int) -> None:
    todo = [r for r in runs if r.result() is None]
    works = [Work(r.folder.name, r.start, r.folder / "run.log") for r in todo]
    run_all(works, jobs, len(todo), lambda: sum(r.result() is not None for r in todo))


def before(cfg: Config) -> dict[str, dict[str, dict[str, float]]]:
    """Policy, suite and metric of those that trainings start from: with economy 0, which is how OPSDC's are told too,
    and, of what OPSDC compresses, with economy 1."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for policy, suites in ((TEACHER, ROUGH), (ROOT / THRIFTY_STUDENT, ROUGH), (STUDENT, FORGETTING)):
        actor, card = load_actor(policy)
        for name in suites:
            suite = load_suite(name)
            robots, seconds = (QUICK_ROBOTS, QUICK_SECONDS) if cfg.quick else (cfg.robots, suite.duration)
            for economy in (0.0,) if policy == STUDENT else (0.0, 1.0):
                world_cfg = world_for(suite, card, robots)
                commands = replace(world_cfg.commands, economy=(economy, economy))
                world = PronkWorld(replace(world_cfg, commands=commands), suite.seed, restart=False)
                measured = summarise(run_trials(actor, world, seconds, card.estimates))
                told = "_economy_1" if economy else ""
                here = found.setdefault(policy.name, {}).setdefault(name, {})
                here |= {metric + told: measured[metric] for metric in METRICS}
    return found


def shipped(cfg: Config) -> dict[str, float]:
    """The small student of the zoo beside its teacher."""
    robots, seconds = (QUICK_ROBOTS, QUICK_SECONDS) if cfg.quick else (512, None)
    found = {p: evaluate(p, "mare", robots, duration=seconds)["mare"] for p in (TEACHER, STUDENT)}
    sizes = {p: sum(w.numel() for w in load_actor(p)[0].parameters()) for p in found}
    return {
        "params_ratio": sizes[STUDENT] / sizes[TEACHER],
        "pronks_ratio": found[STUDENT]["pronks"] / found[TEACHER]["pronks"],
        "survival_loss": found[TEACHER]["survival"] - found[STUDENT]["survival"],
    }


def _draw_curves(runs: Sequence[BenchRun], path: Path) -> None:
    """Pronks of the students that act themselves, against steps."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
    for axis, suite in zip(axes, ("baselines", "tip", "paced"), strict=True):
        files: dict[str, list[Path]] = {}
        for r in runs:
            if r.variant.suite == suite and r.variant.name != "bc":  # whose teacher acts
                files.setdefault(r.variant.name, []).append(r.folder / "progress.csv")
        labels = ("thousand environment steps", "pronks per 20 s while learning")
        draw_curves(axis, files, "steps", "pronks_per_20s", labels, unit=1e3, smooth=5)
        axis.set_title(suite)
    save(figure, path)


def show(results: dict[str, Any]) -> None:
    """The losses, the table, and whether each claim holds."""
    if "core" in results:
        show_core(results["core"])
    if "rows" not in results:
        return
    for suite in SUITES:
        if cells := variant_rows(results["rows"], suite):
            show_table(suite, COLUMNS, cells)
    kept = results["student"]
    caption = (
        f"The shipped student: {kept['params_ratio']:.3f} of its teacher's weights, {kept['pronks_ratio']:.3f} of its"
        f" pronks, {100 * kept['survival_loss']:.1f} points of survival fewer on mare."
    )
    show_table("Claims", ("claim", "measured ± spread", "holds"), claim_rows(results["claims"]), caption)
