"""``lunar hil``: run a policy on the MATRIX rig, real or virtual, in simulated or in wall time."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from matrix_hil.config import HilConfig, RunPlan
from matrix_hil.link import HostClock
from matrix_hil.link.threads import real_time
from matrix_hil.log import Recorder
from matrix_hil.log.thin import PART_MB, WHOLE, Thinning
from matrix_hil.operate import calibrate
from matrix_hil.operate.keyboard import Keyboard
from matrix_hil.operate.panel import HELP, Panel, pace
from matrix_hil.rig import open_rig
from matrix_hil.run.clocks import drive
from matrix_hil.run.loop import Cycle, Loop
from matrix_hil.run.metrics import RunMetrics
from matrix_hil.run.robot import fitted
from matrix_hil.run.run_log import log_folder
from matrix_hil.run.way import along, names_of
from policy.runtime.starter import ENDS
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.terminal import LastingTerminal

_SHOW = 0.1  # s between updates of the progress bar


def run(
    cfg: HilConfig, console: Console | None = None, takers: Sequence[Callable[[Cycle], None]] = ()
) -> dict[str, Any]:
    """One run; returns the results.

    Args:
        cfg: the configuration.
        console: for the progress bar.
        takers: called with every cycle, after all has been sent.

    Raises:
        LunarError: policy missing or unfit, port absent, Unreal silent, or the rig cannot be armed; nothing has moved.
        KeyboardInterrupt: after one of ``policy.runtime.starter.ENDS``, once the rig is safe and the log closed.
    """
    if cfg.quick:
        cfg = replace(cfg, plan=replace(cfg.plan, duration=min(5.0, cfg.plan.duration)))
    cfg = along(fitted(cfg))
    console = console or LastingTerminal()
    wall = cfg.clock == "wall"
    began = time.monotonic()
    clock = HostClock(cfg.pace, began)
    if cfg.keep < 0 or (cfg.keep and cfg.split_mb):
        raise LunarError(f"keep is {cfg.keep}; it must be 0 or more, and goes without split_mb")
    folder = log_folder(cfg.log)
    thinning = Thinning(folder, cfg.keep, cfg.sync.mass) if cfg.keep else None

    def record(kept: dict[str, bytes]) -> Recorder:
        place, part = (folder / WHOLE, PART_MB) if thinning else (folder, cfg.split_mb)
        return Recorder(place, kept, time.time() - (clock() if wall else 0.0), part)

    with ExitStack() as stack:  # whatever is opened here is closed after the rig has been left safe
        stack.callback(_drop_if_empty, folder)
        if thinning is not None:
            stack.enter_context(thinning)
        interrupted = stack.enter_context(_asked_to_stop())
        if wall:
            stack.enter_context(real_time())
        live = keyboard = None
        if cfg.live or cfg.panel:
            from matrix_hil.operate.live import LiveView

            live = stack.enter_context(LiveView(cfg.rig, cfg.sync.heading, cfg.live_port, cfg.panel))
            keyboard = stack.enter_context(Keyboard())
            console.print(f"{'panel' if cfg.panel else 'live'}: {live.url}", soft_wrap=True)
            if keyboard.present:
                console.print(HELP)
        progress = stack.enter_context(_status(console) if cfg.panel else _progress(console, cfg.plan))
        rig = stack.enter_context(open_rig(cfg, record=record, operated=cfg.panel, clock=clock, show=console.print))
        loop, log, devices = rig.loop, rig.log, rig.devices
        metrics = RunMetrics(cfg.sync, rig.truth)
        rig.takers += [metrics.add, *takers]
        recorded = math.inf  # s until which the log has the run
        panel: Panel | None = None
        if live is not None:
            panel = Panel(live.desk, keyboard, devices, live.alive, time.monotonic)
            rig.takers.append(live.show)
        # nobody can operate what is over in seconds
        keep_pace = pace(rig.time) if cfg.panel and not wall else None

        def before(now: float) -> None:
            if rig.guide is not None and rig.guide.pilot.arrived and not cfg.panel:
                loop.stop(now)
            if interrupted():
                loop.stop(now)

        def after(now: float, duration: float, lateness: float) -> None:
            nonlocal recorded
            assert loop.last is not None and log is not None
            log.timed(loop.last, duration, lateness)
            if thinning is not None:
                thinning.closed(rig.recorder.path)
            if rig.recorder.warning and recorded == math.inf:
                recorded = now
                text = f"{rig.recorder.warning}, {now:.1f} s into the run, which goes on"
                console.print(text, style="bold red", markup=False, highlight=False, soft_wrap=True)
            metrics.timed(duration, lateness)
            metrics.wired({name: device.wired for name, device in devices.items()})
            progress(loop, now)
            if panel is not None:
                panel.timed(lateness)
                panel.step(loop, now)
            if keep_pace is not None:
                keep_pace(now)

        with rig.clock() as cycles:
            drive(loop, cycles, rig.ground, before, after)
        if interrupted():
            raise KeyboardInterrupt
    assert loop.last is not None
    stats = [device.stats for device in devices.values()]
    found = metrics.results(cfg.clock)
    if rig.guide is not None:
        found["traverse"] = rig.guide.results(found["run_seconds"])
    return found | {
        "reason": loop.last.supervisor.reason,
        "crc_errors": sum(s.crc_errors for s in stats),
        "sequence_gaps": sum(s.sequence_gaps for s in stats),
        "clock_offset_ms": {name: 1e3 * device.stats.clock_offset for name, device in devices.items()},
        "wall_seconds": time.monotonic() - began,
        "log": str(folder),
        "log_warning": rig.recorder.missing or (thinning.failure if thinning is not None else ""),
        "log_seconds": min(recorded, loop.last.time),
    }


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar hil``."""
    if argv[:1] == ["calibrate"]:
        calibrate.main(argv[1:])
        return
    cfg = parse(HilConfig, _with_rig_robot(argv), "lunar hil", default="hil/virtual.yaml", first=("policy",))
    console = LastingTerminal()
    results = run(cfg, console)
    _print(console, results)
    if cfg.json:
        write_results(cfg.json, "hil", along(cfg).seed, results, names_of(cfg))
    if results["log_warning"]:
        raise LunarError(f"the log of this run is not whole: {results['log_warning']}")


def _with_rig_robot(argv: Sequence[str]) -> list[str]:
    """``--robot NAME``, as other commands have it, is ``--rig.robot NAME``; a YAML file sets the robot's machine."""
    words = [word for given in argv for word in (given.split("=", 1) if given.startswith("--robot=") else [given])]
    for k, value in enumerate(words[1:]):
        if words[k] == "--robot" and not value.endswith((".yaml", ".yml")):
            words[k] = "--rig.robot"
    return words


def _drop_if_empty(folder: Path) -> None:
    """Of a run that did not come to recording."""
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turn ``ENDS``, such as Ctrl-C, into a question that the loop asks, so that no cycle and no log record is cut in
    two, and no machine is left to itself."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second time: out at once; drivers still send their safe commands
        asked.set()

    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    heard = [number for number in ENDS if not (nohup and number == signal.SIGHUP)]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- what the operator sees -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(console: Console, plan: RunPlan) -> Iterator[Callable[[Loop, float], None]]:
    """A bar over the run with hops so far and the time left."""
    columns = (TextColumn("hil"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    total = plan.stand + plan.duration + plan.down
    before = {"wait": 0.0, "stand": 0.0, "run": plan.stand, "down": plan.stand + plan.duration, "done": total}
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total, state="connecting")
        last = -1.0

        def show(loop: Loop, now: float) -> None:
            nonlocal last
            if now - last < _SHOW and not loop.done:
                return
            last = now
            done = before[loop.phase] + (loop.elapsed(now) if loop.phase in ("stand", "run", "down") else 0.0)
            hops = loop.last.info.hops if loop.last else 0
            bar.update(task, completed=min(done, total), state=f"{loop.phase}, {hops} hops")

        yield show


@contextlib.contextmanager
def _status(console: Console) -> Iterator[Callable[[Loop, float], None]]:
    """One line that says the state, for a run that has no end of its own."""
    with console.status("connecting") as line:
        last = -1.0

        def show(loop: Loop, now: float) -> None:
            nonlocal last
            if now - last < _SHOW or loop.last is None:
                return
            last = now
            state, info = loop.last.supervisor, loop.last.info
            line.update(escape(f"{state.state}  {state.reason}  {info.hops} hops, {now:.0f} s"))

        yield show


def _print(console: Console, results: dict[str, Any]) -> None:
    table = Table("hil", "value", title=f"{results['run_seconds']:.1f} s with the policy, {results['clock']} clock")
    late = results["lateness_us"]
    rows = {
        "hops": results["hops"],
        "pronks": results["pronks"],
        "trips": f"{results['trips']} {results['reason']}".strip(),
        **({"doubt": _doubt(results["doubt"])} if results["doubt"] else {}),
        "stale commands": results["stale_commands"],
        f"lateness, {results['lateness_kind']}": " / ".join(f"{late[k]:.0f}" for k in late) + " us (p50/p99/p99.9)",
        "log": results["log"],
    }
    if (way := results.get("traverse")) is not None:
        rows["traverse"] = (
            f"{'arrived' if way['arrived'] else 'not at the goal'}: {way['metres']:.1f} of {way['metres_planned']:.1f}"
            f" m, {way['changes']} changes of option; {way['seconds_expected']:.0f} s expected"
        )
    if results["log_warning"]:
        rows["log"] += f"\nINCOMPLETE after {results['log_seconds']:.1f} s: {results['log_warning']}"
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    console.print(table)


def _doubt(found: dict[str, Any]) -> str:
    """What the policy's monitor made of the run."""
    text = f"{found['largest']:.2f} of a trip at most"
    return f"{text}, advice for {found['advice_seconds']:.1f} s: {found['worst']}" if found["worst"] else text
