"""``lunar bench endure``: minutes of virtual HIL over one seed of ground after the other. Any trip? Does memory grow?

Each seed is a process of its own on the simulated clock, with its log, as ``lunar hil`` runs it. Memory is what the
system keeps in RAM for that process when the run ends over what it kept two minutes after the policy began to drive.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.harness import bar, show_table
from matrix_hil.config import HilConfig
from matrix_hil.operate.cli import run as hil
from matrix_hil.run.loop import Cycle
from sim.config import parse
from sim.terminal import Terminal

WARM = 120.0  # s with the policy after which memory must not grow; a third of a shorter run
_EVERY = 1.0  # s of the run between two looks at memory


@dataclass(frozen=True)
class Config:
    """Long runs of virtual HIL, over one seed of ground after the other."""

    policy: str = "policy/zoo/dual"
    """Folder with policy.onnx and card.json."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of terrain, sensor noise and the robot's first pose."""
    duration: float = 360.0
    """s with the policy, each."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """One seed, 10 s."""


def flown(policy: str, seed: int, duration: float) -> dict[str, Any]:
    """One run and what came of it."""
    cfg = parse(HilConfig, ["--policy", policy, "--seed", str(seed)], "lunar hil", default="hil/virtual.yaml")
    cfg = replace(cfg, plan=replace(cfg.plan, duration=duration))
    memory: list[tuple[float, int]] = []
    aside, began = 0.0, time.process_time()

    def look(cycle: Cycle) -> None:
        nonlocal aside
        if cycle.info.running and cycle.states.tracker is not None:
            aside = max(aside, abs(float(cycle.states.tracker.position[1])))
            if not memory or cycle.time - memory[-1][0] >= _EVERY:
                memory.append((cycle.time, resident()))

    with tempfile.TemporaryDirectory() as folder:
        found = hil(replace(cfg, log=str(Path(folder) / "log")), Terminal(quiet=True), [look])
    kept = ("hops", "pronks", "trips", "run_seconds", "belt_offset_max_m", "terrain_error_m", "reason")
    return {
        "seed": seed,
        **{name: found[name] for name in kept},
        "aside_max_m": aside,
        "memory_ratio": grown(memory, min(WARM, duration / 3.0)),
        "cpu_seconds": time.process_time() - began,
    }


def resident() -> int:
    """Bytes that this process has in RAM."""
    return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def grown(memory: Iterable[tuple[float, int]], warm: float) -> float:
    """Last of (s, bytes) over the first that is ``warm`` s after the beginning; NaN of a run that ended before."""
    rows = list(memory)
    later = [size for at, size in rows if at - rows[0][0] >= warm]
    return later[-1] / later[0] if later else math.nan


def run(cfg: Config) -> dict[str, Any]:
    """All seeds, one at a time; a process each, so that none inherits another's memory."""
    seeds, duration = (cfg.seeds[:1], min(cfg.duration, 10.0)) if cfg.quick else (cfg.seeds, cfg.duration)
    runs = []
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool,
        bar() as progress,
    ):
        task = progress.add_task("bench endure", total=len(seeds))
        for seed in seeds:
            runs.append(pool.submit(flown, cfg.policy, seed, duration).result())
            progress.advance(task)
    return {
        "duration": duration,
        "seeds": len(runs),
        "trips": sum(row["trips"] for row in runs),
        "memory_ratio": max(row["memory_ratio"] for row in runs),
        "aside_max_m": max(row["aside_max_m"] for row in runs),
        "runs": runs,
    }


def show(results: dict[str, Any]) -> None:
    """A row per seed."""
    rows = [
        [
            str(row["seed"]), f"{row['run_seconds']:.0f}", f"{row['hops']} ({row['pronks']})", str(row["trips"]),
            f"{row['aside_max_m']:.2f}", f"{row['belt_offset_max_m']:.2f}", f"{row['memory_ratio']:.3f}",
        ]
        for row in results["runs"]
    ]  # fmt: skip
    columns = (
        "seed", "with the policy, s", "hops (pronks)", "trips", "off the middle sideways, most, m",
        "along or across, most, m", "memory at the end over minute 2",
    )  # fmt: skip
    reasons = "; ".join(f"seed {row['seed']}: {row['reason']}" for row in results["runs"] if row["reason"])
    show_table("Virtual HIL", columns, rows, reasons)
