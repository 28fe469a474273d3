"""``lunar bench faults``: every fault of the catalogue, and the host process stopped and killed, against the rig."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.faults.catalogue import Fault, catalogue
from benchmarks.faults.disobeys import disobedience, stopped_by
from benchmarks.faults.trial import COMMAND, Trial, rig_of
from benchmarks.faults.verdict import REACTION, Outcome, judge_machines, judge_robot
from matrix_hil.link import DEVICES
from matrix_hil.log import Recorder, read_log
from matrix_hil.rig import open_rig
from matrix_hil.virtual.unreal import Misbehaviour, ServerConfig, TwinServer
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.spec.command import HopCommand
from sim.terminal import Terminal
from sim.terrain.generators import TerrainConfig, make_terrain


@dataclass(frozen=True)
class FaultsConfig:
    """Break everything that can be broken, one thing at a time, and see whether the rig ends safe, in time."""

    policy: str = "policy/zoo/pronk"
    """Folder with policy.onnx and card.json."""
    terrain: TerrainConfig = field(default_factory=lambda: TerrainConfig(kind="crater-rim"))
    """Ground of the embedded twin. On flat ground a platform that is stuck has nothing to do."""
    command: HopCommand = COMMAND
    only: str = ""
    """Regular expression; faults whose name it does not match are left out."""
    processes: bool = True
    """Also stop and kill the host's process, in real time."""
    log: str = ""
    """Folder for one log per fault; empty keeps none."""
    seed: int = 0
    """Of terrain, sensor noise and of what is random in a fault."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """A dozen faults on the simulated clock."""


def run(cfg: FaultsConfig, console: Console | None = None) -> dict[str, Any]:
    """All faults; returns the results.

    Raises:
        LunarError: no fault has a name like ``only``, or the rig cannot be run at all.
    """
    console = console or Terminal()
    faults = [
        f for f in (*catalogue(cfg.seed), *disobedience()) if re.search(cfg.only, f.name) and (f.quick or not cfg.quick)
    ]
    outcomes: list[Outcome] = []
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(cfg.log or stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(TwinServer(make_terrain(cfg.terrain, cfg.seed), ServerConfig(port=0)))
        rows: list[tuple[str, Callable[[], Outcome]]] = [
            (f.name, partial(trial, cfg, f, server, folder)) for f in faults
        ]
        if cfg.processes and not cfg.quick:
            from benchmarks.faults.process import signals

            rows += [(s.name, partial(s.run, cfg, folder)) for s in signals() if re.search(cfg.only, s.name)]
        if not rows:
            raise LunarError(f"no fault's name matches --only '{cfg.only}'")
        advance = stack.enter_context(_progress(console, len(rows)))
        for _, execute in rows:
            outcomes.append(execute())
            advance(outcomes)
    failures = [{"fault": o.name, "reason": o.reason, "problems": list(o.problems)} for o in outcomes if o.problems]
    return {
        "injected": len(outcomes),
        "safe": len(outcomes) - len(failures),
        "failures": failures,
        "faults": [asdict(o) for o in outcomes],
        "wall_seconds": time.monotonic() - began,
    }


def trial(cfg: FaultsConfig, fault: Fault, server: TwinServer, folder: Path) -> Outcome:
    """Run one fault on the simulated clock and judge it."""
    log = folder / re.sub(r"\W+", "-", fault.name)
    shutil.rmtree(log, ignore_errors=True)
    subject = Trial(fault.inject, fault.when, server, fault.after)
    policy = _policy(cfg.policy, fault.policy, folder)
    setup = rig_of(server, fault.deadline, policy=policy, command=cfg.command, log=str(log), seed=cfg.seed)
    try:
        with open_rig(setup, record=lambda kept: Recorder(log, kept, time.time())) as rig:
            subject.run(rig)
    finally:
        server.misbehave(Misbehaviour("drop", times=0))
    assert rig.loop.last is not None
    reason = rig.loop.last.supervisor.reason
    harmless = bool(fault.disobeys) and not reason
    return judge(fault, subject, reason, [] if harmless else _log_problems(log, reason), setup.sync.mass)


def judge(fault: Fault, subject: Trial, reason: str, problems: list[str], mass: float) -> Outcome:
    """What a trial showed against what is documented."""
    never = float("nan")
    if subject.injected is None:
        missing = f"the robot never came to '{fault.when}'"
        return Outcome(fault.name, reason, never, fault.within, never, never, never, (missing, *problems))
    t0 = subject.injected
    tripped = never if subject.tripped is None else subject.tripped
    over = away = never
    if fault.disobeys:
        found, over, away = judge_robot(subject.recording, subject.apex)
        problems += found
    if subject.tripped is None:
        if not fault.disobeys:
            problems.append("nobody tripped")
        snap = safe = limit = never
    else:
        if reason[:3] not in fault.rules:
            problems.append(f"the reason is '{reason}', not one of {', '.join(fault.rules)}")
        if tripped - t0 > fault.within + 1e-9:
            problems.append(f"noticed {tripped - t0 - fault.within:.3f} s too late")
        since = {n: t0 + REACTION.watchdog if n in fault.cut else tripped for n in DEVICES if n != "tracker"}
        if fault.disobeys:
            since[fault.disobeys] += stopped_by(fault.disobeys, fault.disobeys in subject.silenced)
        found, safe, limit, snap = judge_machines(subject.recording, since, mass)
        problems += found
    return Outcome(
        fault.name, reason, tripped - t0, fault.within, safe - t0, limit - t0, snap, tuple(problems), over, away
    )


def _log_problems(folder: Path, reason: str) -> list[str]:
    """Whether the log can be read to its end and says why the rig stopped."""
    log = read_log(folder)
    problems = [] if log.lost is None and not log.skipped else ["the log is not whole"]
    reasons = log["/supervisor/state"].reason
    if not reason or set(reasons) != {"", reason}:
        problems.append("the log does not hold one reason, latched to its end")
    return problems


def _policy(folder: str, kind: str, scratch: Path) -> str:
    if kind != "nan":
        return folder
    from benchmarks.faults.broken_policy import write_broken

    return str(write_broken(Path(folder), scratch / "broken-policy"))


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    columns = (TextColumn("faults"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=total, state="")

        def advance(outcomes: Sequence[Outcome]) -> None:
            newest, failed = outcomes[-1], sum(bool(o.problems) for o in outcomes)
            if newest.problems:
                bar.console.print(f"{newest.name}: {'; '.join(newest.problems)} [{newest.reason}]", markup=False)
            bar.update(task, advance=1, state=f"{failed} not safe; {newest.name}")

        yield advance


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar bench faults``."""
    cfg = parse(FaultsConfig, argv, prog="lunar bench faults")
    console = Terminal()
    results = run(cfg, console)
    table = Table(
        "fault",
        "reason",
        "noticed",
        "safe",
        "pull",
        "over / away",
        "",
        title="s after the fault / limit; pull in robot weights; robot over its apex in m / away in m/s",
    )
    for o in results["faults"]:
        table.add_row(
            o["name"], o["reason"][:44], f"{o['detected']:.3f} / {o['detection_limit']:.3f}",
            f"{o['safe']:.3f} / {o['safe_limit']:.3f}", f"{o['snap']:.2f}", f"{o['over']:.2f} / {o['away']:.2f}",
            "; ".join(o["problems"]) or "safe",
        )  # fmt: skip
    console.print(table)
    console.print(f"{results['injected']} injected, {results['safe']} safe, {results['wall_seconds']:.0f} s")
    if cfg.json:
        write_results(cfg.json, "bench faults", cfg.seed, results, [cfg.policy])
    if results["failures"]:
        raise LunarError(f"{len(results['failures'])} faults did not end safe; the table says which")
