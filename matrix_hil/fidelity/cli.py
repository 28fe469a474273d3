"""``lunar fidelity``: ways to take weight off a robot, each measured against the same robot on the Moon."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from matrix_hil.config import RigSetup, RunPlan
from matrix_hil.fidelity.closed_loop import run_scheme
from matrix_hil.fidelity.measures import HEADINGS, Outcome, find_hops, measure, relative_errors, scheme_rows
from matrix_hil.fidelity.open_loop import throw
from matrix_hil.fidelity.schemes import SCHEMES, Scheme, chosen
from sim.config import parse
from sim.errors import LunarError
from sim.output import write_whole
from sim.results import write_results
from sim.spec.command import HopCommand
from sim.terminal import Terminal
from sim.terrain.generators import TerrainConfig, make_terrain

_SHOW = 0.1  # s of simulated time between updates of the progress bar
_QUICK = 8.0  # s with the policy


@dataclass(frozen=True)
class FidelityConfig(RigSetup):
    """Compare ways to take weight off a robot with the robot on the Moon: thrown up, and hopping with a policy."""

    policy: str = "policy/zoo/pronk"
    """Folder with policy.onnx and card.json."""
    schemes: str = ",".join(SCHEMES)
    """Names, separated by commas; ``moon`` is always among them."""
    command: HopCommand = field(default_factory=lambda: HopCommand(vx=0.2))
    """The command to the robot. It is thrown up as for a hop of this apex gain."""
    plan: RunPlan = field(default_factory=lambda: RunPlan(stand=1.0, down=0.1))
    settle: float = 3.0
    """s with the policy before hops count."""
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    """Virtual ground; the platform follows it in every scheme, on the Moon too."""
    seed: int = 0
    """Of terrain, sensor noise and the robot's first pose."""
    json: str = ""
    """File for the results as data."""
    report: str = "runs/fidelity.html"
    """File for a page with table and plots; empty writes none."""
    quick: bool = False
    """8 s with the policy."""


def compare(cfg: FidelityConfig, console: Console) -> list[Outcome]:
    """Run every scheme; the Moon's outcome comes first.

    Raises:
        LunarError: policy, robot or scheme missing or unfit, or a rig that cannot be armed.
    """
    schemes = chosen(cfg.schemes)
    if cfg.plan.traverse:
        raise LunarError("plan.traverse: schemes are compared with one policy and one command; leave it out")
    plan = replace(cfg.plan, duration=min(_QUICK, cfg.plan.duration)) if cfg.quick else cfg.plan
    ground = make_terrain(cfg.terrain, cfg.seed)
    outcomes: list[Outcome] = []
    with _progress(console, schemes, plan) as show:
        for scheme in schemes:
            flight = throw(scheme, cfg.rig, cfg.trim, cfg.counterweight, cfg.command.apex_gain, cfg.seed)
            recording = run_scheme(scheme, cfg, cfg.policy, cfg.command, plan, ground, cfg.seed, show(scheme))
            hops = find_hops(recording, cfg.settle)
            moon = outcomes[0] if outcomes else None
            theory = scheme.theory(cfg.rig, recording.mass)
            figures = {
                "flight_accel_up": flight.rising,
                "flight_accel_down": flight.falling,
                "theory_accel_up": theory[0],
                "theory_accel_down": theory[1],
            } | measure(recording, hops, (moon.recording, moon.hops) if moon else None)
            figures |= relative_errors(figures, moon.figures if moon else figures)
            outcomes.append(Outcome(scheme, flight, recording, hops, figures))
    return outcomes


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar fidelity``."""
    cfg = parse(FidelityConfig, argv, "lunar fidelity", default="hil/fidelity.yaml", first=("policy",))
    console = Terminal()
    outcomes = compare(cfg, console)
    results = {o.scheme.name: o.figures for o in outcomes}
    _print(console, results)
    if cfg.report:
        from matrix_hil.fidelity.report import fidelity_page  # plotly is slow to import

        c = cfg.command
        intro = (
            f"{cfg.policy}, commanded {c.vx:g} m/s and an apex gain of {c.apex_gain:g} m on {cfg.terrain.kind} ground. "
            "Every scheme starts from the same state with the same commands; brackets hold the error against the Moon."
        )
        path = Path(cfg.report)
        write_whole({path: fidelity_page(intro, outcomes)})
        console.print(f"report: {path}")
    if cfg.json:
        write_results(cfg.json, "fidelity", cfg.seed, results, [cfg.policy])


@contextlib.contextmanager
def _progress(
    console: Console, schemes: Sequence[Scheme], plan: RunPlan
) -> Iterator[Callable[[Scheme], Callable[[float], None]]]:
    """A bar over all schemes with the time left; gives a function of the simulated time for each scheme."""
    columns = (TextColumn("fidelity"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    each = plan.stand + plan.duration + plan.down
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=each * len(schemes), state="")

        def begin(scheme: Scheme) -> Callable[[float], None]:
            done, last = each * schemes.index(scheme), -_SHOW

            def tick(now: float) -> None:
                nonlocal last
                if now - last >= _SHOW:
                    last = now
                    bar.update(task, completed=done + min(now, each), state=scheme.name)

            return tick

        yield begin
        bar.update(task, completed=each * len(schemes), state="done")


def _print(console: Console, results: dict[str, dict[str, Any]]) -> None:
    title = "Against the robot on the Moon; below each figure its relative error"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True)
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if i else "left", no_wrap=not i)
    for name, *cells in scheme_rows(results):  # under each other, so that all fits 80 columns
        table.add_row(name, *(cell.rstrip(")").replace(" (", "\n") for cell in cells))
    console.print(table)
    for name, figures in results.items():
        if figures["reason"]:
            console.print(f"{name} ended early: {figures['reason']}")
