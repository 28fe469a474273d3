"""``lunar bench dhim``: internal models compared, the same task, steps and seeds for each; interrupted, it goes on.

Every run is a folder ``<out>/<variant>_<seed>`` as ``lunar train`` writes it. What is there is kept: a finished run is
not trained again, an unfinished one resumes from its checkpoint, and measured suites are read from ``eval.json``.
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from benchmarks.harness import spread
from benchmarks.horizons import draw_horizons
from benchmarks.plots import draw_curves, save
from benchmarks.runs import Work, run_all
from policy.evaluation.evaluate import evaluate
from policy.runtime.card import Card
from sim.config import ROOT
from sim.errors import LunarError
from sim.terminal import Terminal

METRICS = {
    "survival": "survival",
    "pronks": "pronks per 20 s",
    "apex_error": "apex error, m",
    "velocity_error": "velocity error, m/s",
    "yaw_rate_error": "yaw-rate error, rad/s",
    "touchdown_tilt_deg": "tilt at touch-down, degrees",
    "peak_force_lunar_bw": "peak force, lunar body weights",
    "vz_rmse": "vz RMSE, m/s",
    "vz_rmse_touchdown": "… before touch-down",
    "height_rmse": "height RMSE, m",
    "height_rmse_touchdown": "… before touch-down",
    "vxy_rmse": "vxy RMSE, m/s",
    "vxy_rmse_touchdown": "… before touch-down",
}
"""Metrics of the table and how they are written there."""
TRAIN = "import sys; from policy.training.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Config:
    """Train and measure internal models against each other; writes a table, learning curves and a picture of a hop."""

    variants: tuple[str, ...] = ("mlp", "him", "him_long", "dual")
    """Names of configs in configs/train/."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of the trainings; suites have seeds of their own."""
    suites: tuple[str, ...] = ("mare", "highland", "craters", "rim", "blocky")
    """Suites of configs/eval/."""
    steps: int = 8_000_000
    """Environment steps of each training."""
    jobs: int = 2
    """Trainings at a time, each on one thread."""
    robots: int = 512
    """Trials per suite."""
    out: str = "runs/dhim"
    """Folder of all runs, table.md, curves.png and horizons.png, a hop as the last variant's first policy sees it."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Tabulate the runs that are finished; train and measure nothing."""


@dataclass
class Run:
    """One training."""

    variant: str
    seed: int
    folder: Path

    def finished(self, steps: int) -> bool:
        """Whether its policy has been trained for as long as asked."""
        card = self.folder / "card.json"
        return card.is_file() and Card.load(card).training.get("steps", 0) >= steps

    def steps(self) -> int:
        """Environment steps so far."""
        path = self.folder / "progress.csv"
        if not path.is_file():
            return 0
        with path.open() as file:
            return max((int(float(row["time/steps"] or 0)) for row in csv.DictReader(file)), default=0)

    def start(self, steps: int) -> subprocess.Popen[bytes]:
        """Train, or go on training, in a process of its own that logs into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = ROOT / "configs" / "train" / f"{self.variant}.yaml"
        options = {"config": config, "seed": self.seed, "steps": steps, "threads": 1, "out": self.folder}
        if (self.folder / "checkpoint.pt").is_file():
            options["resume"] = self.folder
        arguments = [item for name, value in options.items() for item in (f"--{name}", str(value))]
        with (self.folder / "train.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-c", TRAIN, *arguments], stdout=log, stderr=log, cwd=ROOT)


def train_all(runs: Sequence[Run], steps: int, jobs: int) -> None:
    """Train what is not finished, ``jobs`` at a time.

    Raises:
        LunarError: a training failed; the others are stopped, and all can be resumed.
    """
    todo = [run for run in runs if not run.finished(steps)]
    works = [Work(run.folder.name, partial(run.start, steps), run.folder / "train.log") for run in todo]
    run_all(works, jobs, steps * max(len(todo), 1), lambda: sum(min(run.steps(), steps) for run in todo))


def measure(run: Run, suites: Sequence[str], robots: int) -> dict[str, dict[str, Any]]:
    """Metrics by suite, from ``eval.json`` where they were measured before with as many robots and steps."""
    path = run.folder / "eval.json"
    card = Card.load(run.folder / "card.json")
    key = {"robots": robots, "steps": card.training["steps"]}
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    results = known.get("suites", {}) if known.get("of") == key else {}
    for suite in suites:
        if suite not in results:
            results |= evaluate(run.folder, [suite], robots)
            path.write_text(json.dumps({"of": key, "suites": results}, indent=1), encoding="utf-8")
    return {suite: results[suite] for suite in suites}


def run(cfg: Config) -> dict[str, Any]:
    """Train, measure, tabulate: ``{rows, minutes, table}``."""
    out = Path(cfg.out)
    runs = [Run(v, s, out / f"{v}_{s}") for s in cfg.seeds for v in cfg.variants]
    if not cfg.quick:
        train_all(runs, cfg.steps, cfg.jobs)
    finished = [r for r in runs if r.finished(cfg.steps)]
    if not finished:
        raise LunarError(f"{out} holds no finished run of {cfg.steps} steps; leave out --quick to train them")
    rows: list[dict[str, Any]] = []
    for r in finished:
        measured = r.folder / "eval.json"
        if cfg.quick and not measured.is_file():
            continue
        suites = measure(r, cfg.suites, cfg.robots)
        minutes = Card.load(r.folder / "card.json").training["minutes"]
        rows += [{"variant": r.variant, "seed": r.seed, "suite": s, "minutes": minutes, **m} for s, m in suites.items()]
    table = markdown(rows, cfg.suites, cfg.variants)
    (out / "table.md").write_text(table, encoding="utf-8")
    files = {v: [r.folder / "progress.csv" for r in finished if r.variant == v] for v in cfg.variants}
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    panels = (("hops/pronks_per_20s", "pronks per 20 s, exploring"), ("hops/ends_per_20s", "ended trials per 20 s"))
    for axis, (column, words) in zip(axes, panels, strict=True):
        draw_curves(axis, files, "time/steps", column, ("million environment steps", words), unit=1e6, smooth=15)
    first = [r for r in rows if r["suite"] == cfg.suites[0]]
    pronks = {
        v: statistics.fmean(r["pronks"] for r in first if r["variant"] == v) for v in {r["variant"] for r in first}
    }
    if pronks:
        said = f"{min(pronks.values()):.0f} to {max(pronks.values()):.0f} pronks per 20 s on {cfg.suites[0]}"
        figure.suptitle(f"Trained, they make {said}; {max(pronks, key=lambda v: pronks[v])} most", x=0.01, ha="left")
    save(figure, out / "curves.png")
    estimating = [r for r in finished if Card.load(r.folder / "card.json").estimates]
    if estimating:
        shown = next(r for r in estimating if r.variant == estimating[-1].variant)
        draw_horizons(shown.folder, out / "horizons.png")
    minutes = {
        v: [r["minutes"] for r in rows if r["variant"] == v and r["suite"] == cfg.suites[0]] for v in cfg.variants
    }
    return {
        "rows": rows,
        "minutes": {v: statistics.median(m) for v, m in minutes.items() if m},
        "table": str(out / "table.md"),
    }


def markdown(rows: Sequence[Mapping[str, Any]], suites: Sequence[str], variants: Sequence[str]) -> str:
    """One table per suite: metrics down, variants across, mean and standard deviation over seeds."""
    parts = []
    for suite in suites:
        columns = {v: [r for r in rows if r["variant"] == v and r["suite"] == suite] for v in variants}
        columns = {v: found for v, found in columns.items() if found}
        parts.append(f"### {suite}\n")
        parts.append("| | " + " | ".join(f"{v} ({_seeds(found)})" for v, found in columns.items()) + " |")
        parts.append("|---|" + "---|" * len(columns))
        for metric, words in METRICS.items():
            cells = [spread(r.get(metric) for r in found) for found in columns.values()]
            parts.append(f"| {words} | " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    return "1 seed" if len(rows) == 1 else f"{len(rows)} seeds"


def show(results: dict[str, Any]) -> None:
    """The table that was written."""
    Terminal().print(Path(results["table"]).read_text(encoding="utf-8"), markup=False)
