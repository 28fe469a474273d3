"""What ``lunar bench distill`` trains: suites of variants, each a name and what differs from the suite's config.

The teacher is the shipped policy, the student the small one; all act on the ground of configs/env/distill.yaml.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.distill_adversarial import Adversarial
from policy.distill.config import DistillConfig
from policy.distill.distill import distill
from policy.distill.job import Job
from policy.evaluation.evaluate import evaluate
from sim.config import ROOT, parse

STEPS = 150_000
"""Environment steps of a run: 25 updates, where students still differ."""
SHORT = 24_000
"""Of SODA's log: ten minutes of one robot are 30 000."""
HOUR = 180_000
"""Of a longer log."""
LONG = 600_000
"""Of OPSDC, whose first sixth measures the success rate before and whose teacher is renewed once; and of PACED, whose
cells take 40 updates to have their trials."""
METRICS = ("pronks", "survival", "power_w", "peak_force_lunar_bw")
NOISE = 0.3
"""Of a log whose teacher is disturbed: 0.1 rad of a joint's target."""
ROUGH = ("mare", "craters", "blocky")
"""Mixed ground, on which PACED is judged, and OPSDC on easy and hard."""
EASY = ("flat", "mare", "rim")
"""Ground on which the shipped student survives: where a training that starts from it has something to lose."""
FORGETTING = (*EASY, "craters", "blocky", "recover")
START = "policy/zoo/student_small"
THRIFTY_STUDENT = "policy/zoo/student_medium"
"""That OPSDC compresses besides ``dual``: its spread depends on the state."""


@dataclass(frozen=True)
class Variant:
    """One row of the table, once per seed."""

    suite: str
    name: str
    overrides: dict[str, Any]
    """Options of ``lunar distill`` that differ from its config."""
    suites: tuple[str, ...] = ("mare",)
    """Evaluation suites."""
    config: str = "on_policy"
    """File in configs/distill/."""
    seeds: int = 3
    """At most: controls that fail plainly are run once."""
    rival: Callable[[Job], None] | None = None
    """A method that ``lunar distill`` does not offer."""


def _tip(name: str, score: str, rho: float) -> Variant:
    return Variant("tip", name, {"positions.score": score, "positions.rho": rho}, config="tip")


def _paced(name: str, **cells: Any) -> Variant:
    return Variant("paced", name, {"steps": LONG, **{f"cells.{k}": v for k, v in cells.items()}}, ROUGH, "paced")


def _forgetting(name: str, **cells: Any) -> Variant:
    """From a student that is good on easy ground, where a third of the trials start in trouble."""
    options = {"start": START, "world.resets.trouble_fraction": 0.3, **{f"cells.{k}": v for k, v in cells.items()}}
    return Variant("forgetting", name, options, FORGETTING, "paced")


def _opsdc(name: str, options: dict[str, Any], seeds: int = 3) -> Variant:
    return Variant("opsdc", name, {"steps": LONG, **options}, ROUGH, "opsdc", seeds)


def _tokens(name: str, **options: Any) -> Variant:
    head = {"student.head": "tokens", "student.bins": 32, "positions.score": "all"}
    return Variant("tip", f"tokens, {name}", {**head, **options}, config="tip")


VARIANTS: tuple[Variant, ...] = (
    Variant("baselines", "mse", {}, config="mse"),
    Variant("baselines", "reverse_kl", {}),
    Variant("baselines", "forward_kl", {"divergence.kind": "forward_kl"}),
    Variant("baselines", "bc", {}, config="bc"),
    Variant("baselines", "dagger", {}, config="dagger"),
    _tip("all", "all", 1.0),
    _tip("entropy 0.5", "entropy", 0.5),
    _tip("soft_or 0.5", "soft_or", 0.5),
    _tip("soft_or 0.2", "soft_or", 0.2),
    _tip("random 0.2", "random", 0.2),
    _tip("divergence 0.5", "divergence", 0.5),
    _tip("random 0.5", "random", 0.5),
    _tip("q3 0.1", "q3", 0.1),
    _tip("divergence 0.1", "divergence", 0.1),
    _tip("random 0.1", "random", 0.1),
    _tokens("all"),
    _tokens("neighbours", **{"divergence.neighbours": 1.0}),
    _tokens(
        "neighbours, single 0.5",
        **{
            "divergence.neighbours": 1.0,
            "positions.score": "soft_or",
            "positions.unit": "token",
        },
    ),
    _paced("paced", rule="paced"),
    _paced("paced sampler", rule="paced", use="sampler"),
    _paced("hard filter", rule="hard_filter"),
    _paced("uniform", rule="uniform"),
    Variant("soda", "soda", {"steps": SHORT}, config="soda"),
    Variant("soda", "soda, own late", {"steps": SHORT, "soda.snapshot": 1.0}, config="soda"),
    Variant("soda", "soda, noise", {"steps": SHORT, "noise": NOISE, "soda.snapshot": 1.0}, config="soda"),
    Variant("soda", "soda, long and noise", {"steps": HOUR, "noise": NOISE, "soda.snapshot": 1.0}, config="soda"),
    Variant("soda", "bc, as few steps", {"steps": SHORT, "learning.epochs": 40}, config="bc"),
    Variant("soda", "bc, noise", {"steps": SHORT, "learning.epochs": 40, "noise": NOISE}, config="bc"),
    Variant("soda", "bc, long", {"steps": HOUR, "learning.epochs": 40}, config="bc"),
    Variant("soda", "bc, long and noise", {"steps": HOUR, "learning.epochs": 40, "noise": NOISE}, config="bc"),
    Variant("soda", "adversarial", {"steps": SHORT + STEPS}, config="soda", rival=Adversarial()),
    _forgetting("paced", rule="paced"),
    _forgetting("paced sampler", rule="paced", use="sampler"),
    _forgetting("hard filter", rule="hard_filter"),
    _forgetting("uniform", rule="uniform"),
    _opsdc("opsdc", {}),
    _opsdc("opsdc M=1", {"opsdc.refresh": 1}, 1),
    _opsdc("opsdc forward KL", {"divergence.kind": "forward_kl"}, 1),
    _opsdc("student", {"teacher": THRIFTY_STUDENT}),
    _opsdc("student, forward KL", {"teacher": THRIFTY_STUDENT, "divergence.kind": "forward_kl"}),
    _opsdc("student, M=1", {"teacher": THRIFTY_STUDENT, "opsdc.refresh": 1}, 1),
)


@dataclass(frozen=True)
class BenchRun:
    """One training and its measurement."""

    variant: Variant
    seed: int
    robots: int
    """Trials per evaluation suite."""
    folder: Path

    @property
    def argv(self) -> list[str]:
        """Of ``lunar distill``."""
        options = {
            "config": ROOT / "configs" / "distill" / f"{self.variant.config}.yaml", "steps": STEPS,
            **self.variant.overrides, "seed": self.seed, "threads": 1, "out": self.folder, "overwrite": True,
        }  # fmt: skip
        return [text for name, value in options.items() for text in (f"--{name}", str(value))]

    @property
    def key(self) -> dict[str, Any]:
        """What the result depends on, paths apart."""
        options = {**self.variant.overrides, "seed": self.seed}
        return {"options": options, "config": self.variant.config, "suites": list(self.variant.suites),
                "robots": self.robots, "steps": options.get("steps", STEPS)}  # fmt: skip

    def result(self) -> dict[str, Any] | None:
        """What was measured before, if it was measured like this."""
        path = self.folder / "result.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return known if known.get("key") == json.loads(json.dumps(self.key)) else None

    def start(self) -> subprocess.Popen[bytes]:
        """Train and measure in a process of its own, so that its memory can be told."""
        self.folder.mkdir(parents=True, exist_ok=True)
        code = "import sys; from benchmarks.distill_runs import work; work(*sys.argv[1:])"
        place = f"{self.variant.suite}/{self.variant.name}"
        arguments = [place, str(self.seed), str(self.robots), str(self.folder)]
        with (self.folder / "run.log").open("wb") as log:
            return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=log, stderr=log, cwd=ROOT)


def runs_of(suites: Sequence[str], seeds: Sequence[int], robots: int, out: Path) -> list[BenchRun]:
    """All runs of these suites, seed by seed."""
    chosen = [(v, seed) for k, seed in enumerate(seeds) for v in VARIANTS if v.suite in suites and k < v.seeds]
    return [BenchRun(v, seed, robots, out / f"{v.suite}_{_plain(v.name)}_{seed}") for v, seed in chosen]


def work(place: str, seed: str, robots: str, folder: str) -> None:
    """One run: train, measure, write result.json. Called in a process of its own."""
    variant = next(v for v in VARIANTS if f"{v.suite}/{v.name}" == place)
    run = BenchRun(variant, int(seed), int(robots), Path(folder))
    cfg = parse(DistillConfig, run.argv, "lunar bench distill")
    trained = distill(cfg, f"lunar bench distill --suite {variant.suite}", method=variant.rival)
    measured = evaluate(run.folder, variant.suites, run.robots)
    row = {
        "suite": variant.suite, "variant": variant.name, "method": cfg.method, "divergence": cfg.divergence.kind,
        "positions": "all" if cfg.positions.score == "all" else f"{cfg.positions.score} {cfg.positions.rho:g}",
        "cells": f"{cfg.cells.rule} {cfg.cells.use}", "seed": run.seed,
        **{name: trained[name] for name in ("steps", "cpu_s", "peak_mb", "parameters")},
        **{name: measured["mare"][name] for name in METRICS},
        "by_suite": {name: {m: found[m] for m in METRICS} for name, found in measured.items()},
    }  # fmt: skip
    (run.folder / "result.json").write_text(json.dumps({"key": run.key, "row": row}, indent=1), encoding="utf-8")


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
