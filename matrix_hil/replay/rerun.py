"""``lunar replay rerun``: a log's inputs through this policy, sync and safety again; every difference is reported.

Sync and supervisor are pure functions of the inputs of a cycle (``/sync/input``), their configuration and the policy.
So the same code and settings on their own log give the same commands bit by bit, and a difference is a change.
The loop is open: what the machines did stays as logged, also where other commands would have moved them elsewhere.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from matrix_hil.config import RunPlan
from matrix_hil.control.sync import Sync
from matrix_hil.link.calibration import SOUND, from_document
from matrix_hil.log import Log, read_log
from matrix_hil.log.cycle_input import machine_states
from matrix_hil.log.diff import compare
from matrix_hil.log.notes import end, refuse_unknown, sentences
from matrix_hil.messages import MachineCommands, TwinPatch
from matrix_hil.replay.logged import logged_config
from matrix_hil.replay.look.page import table_page
from matrix_hil.replay.look.plots import Plot, curves
from matrix_hil.run.loop import ORDERS, Wish, give_order, wish
from matrix_hil.run.traverse import Guide, attached, policies_of
from matrix_hil.run.way import PLAN_FILE
from matrix_hil.safety.supervisor import Supervisor, SupervisorState
from policy.runtime.monitor import Verdict
from sim.config import with_names
from sim.errors import LunarError
from sim.output import write_whole
from sim.results import write_results
from sim.spec.command import HopCommand
from sim.terminal import Terminal

CHANNELS: tuple[tuple[str, str, str], ...] = (
    ("/hop_command", "vx", "m/s"),
    ("/hop_command", "vy", "m/s"),
    ("/hop_command", "yaw_rate", "rad/s"),
    ("/platform/command", "pose", "m, rad"),
    ("/treadmill/command", "speed", "m/s"),
    ("/counterweight/command", "tension", "N"),
    ("/counterweight/command", "brake", ""),
    ("/robot/command", "targets", "rad"),
    ("/robot/command", "kp", "N*m/rad"),
    ("/robot/command", "kd", "N*m*s/rad"),
    ("/robot/command", "mode", ""),
    ("/policy/doubt", "doubt", "1"),
    ("/policy/doubt", "trip", ""),
    ("/policy/doubt", "channel", ""),
    ("/policy/doubt", "deviations", "1"),
    ("/supervisor/state", "state", ""),
    ("/supervisor/state", "reason", ""),
    ("/supervisor/state", "trips", ""),
    ("/supervisor/state", "stale_commands", ""),
    ("/world/base_pose", "position", "m"),
)
"""Topic, field and unit of what is compared."""
RECOMPUTED = ("policy", "monitor", "rig", "sync", "safety", "platform")
"""Parts of a log's configuration that decide what is computed again."""


@dataclass(frozen=True)
class Difference:
    """One channel of the log against the same channel run again."""

    channel: str
    unit: str
    compared: int
    """Cycles that both have."""
    differing: int
    """Cycles in which any bit differs."""
    first: float | None
    """s since the log's first cycle, of the first difference."""
    largest: float | None
    """Largest magnitude over the channel's components; None for text."""
    rms: float | None
    """Over cycles and components; None for text."""


@dataclass(frozen=True)
class Rerun:
    """What sync and supervisor decide now."""

    time: np.ndarray
    """(cycles,) s of log time; NaN-free, as the log's headers have it."""
    columns: dict[tuple[str, str], np.ndarray]
    """(cycles, ...) by topic and field, as in ``CHANNELS``."""
    seconds: float
    """s that it took."""


def rerun(log: Log, sync: Sync, supervisor: Supervisor, guide: Guide | None = None) -> Rerun:
    """Give a log's inputs to ``sync`` and ``supervisor``, both new, and to who followed a plan with it.

    Raises:
        LunarError: the log holds no inputs, or an order that this version does not know.
    """
    if "/sync/input" not in log and "/sync/input" not in log.skipped:
        raise LunarError(
            f"log {log.path} holds no /sync/input, without which no cycle can be run again; record a new one"
        )
    inputs = log["/sync/input"]
    unknown = {order for orders in inputs.orders for order in orders} - set(ORDERS)
    if unknown:
        raise LunarError(f"log {log.path} holds an order '{min(unknown)}', which this version does not know")
    patches = _patches(log)
    now, patch_time, commands = inputs.now.tolist(), inputs.patch_time.tolist(), inputs.command.tolist()
    decided: list[_Decision] = []
    newest: Wish | None = None
    began = time.perf_counter()
    for k in range(len(inputs)):
        for order in inputs.orders[k]:
            give_order(order, sync, supervisor, now[k])
        states = machine_states(inputs, k)
        patch = patches(patch_time[k])
        if guide is not None and newest is not None:
            guide.step(sync, newest[1], newest[2])  # for the policy in use; what it asked for was logged
        newest, failure = wish(sync, states, patch, HopCommand(*commands[k]), now[k], newest)
        proposed, world, info = newest
        sent, judged = supervisor.step(states, proposed, now[k], patch, failure, info.doubt)
        decided.append((sent, judged, info.command, world, info.verdict))
    seconds = time.perf_counter() - began
    columns = {(topic, name): np.array([_pick(d, topic, name) for d in decided]) for topic, name, _ in CHANNELS}
    return Rerun(inputs.time, columns, seconds)


def differences(log: Log, again: Rerun) -> list[Difference]:
    """Compare channel by channel, cycles being matched by their time stamps."""
    return [_compare(log, again, *row) for row in CHANNELS if row[0] in log]


def _compare(log: Log, again: Rerun, topic: str, name: str, unit: str) -> Difference:
    logged, new, at = matched(log, again, topic, name)
    found = compare(logged, new, at - again.time[0])
    largest, rms = (found["largest"], found["rms"]) if new.dtype.kind in "fiu" else (None, None)
    return Difference(f"{topic[1:]}.{name}", unit, len(at), found["differing"], found["first_s"], largest, rms)


def matched(log: Log, again: Rerun, topic: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logged and new values (n, ...) of the cycles that both have, and their times (n,) in s of log time."""
    series = log[topic]
    place = np.minimum(np.searchsorted(again.time, series.time), len(again.time) - 1)
    both = again.time[place] == series.time
    return getattr(series, name)[both], again.columns[topic, name][place[both]], series.time[both]


_Decision = tuple[MachineCommands, SupervisorState, HopCommand, np.ndarray, Verdict]


def _pick(decided: _Decision, topic: str, name: str) -> Any:
    sent, judged, command, world, verdict = decided
    sources = {"/supervisor/state": judged, "/hop_command": command, "/policy/doubt": verdict}
    if topic == "/world/base_pose":
        return world
    return getattr(sources.get(topic) or getattr(sent, topic.split("/")[1]), name)


def _patches(log: Log) -> Callable[[float], TwinPatch | None]:
    """Finds the ground by its time, as exact as a cycle had it; stamps in the log are rounded to ns."""
    series = log["/twin/patch"] if "/twin/patch" in log else None

    @functools.lru_cache(maxsize=1)
    def patch(at: float) -> TwinPatch | None:
        if np.isnan(at):
            return None
        k = int(np.abs(series.time - at).argmin()) if series is not None else -1
        if series is None or abs(series.time[k] - at) > 1e-6:
            raise LunarError(f"log {log.path} lacks the ground of {at:.3f} s that a cycle used; it is not whole")
        return TwinPatch(at, series.origin[k], float(series.resolution[k]), np.asarray(series.heights[k], dtype=float))

    return patch


# ---- command line ----------------------------------------------------------------------------------------------------

_USAGE = """usage: lunar replay rerun LOG [--out FILE] [--json FILE] [--policy DIR] [--map FROM:=TO] [--config FILE]
       [--KEY VALUE …]

Feeds the inputs of a log through policy, sync and safety again and reports every difference to what was logged.
Settings are the log's own unless named here: all of 'lunar hil', e.g. --safety.belt_speed 1.0.
--out writes an HTML page; --map /rig2:=/ says by which names topics are read."""


def run(
    log_path: str, argv: Sequence[str] = (), out: str = "", console: Console | None = None, topic_map: str = ""
) -> dict[str, Any]:
    """Run a log again; returns the results.

    Args:
        log_path: folder of the log.
        argv: settings that differ from the log's, as for ``lunar hil``.
        out: HTML file to write; none when empty.
        console: shows the table.
        topic_map: ``FROM:=TO,…``, by which names topics are read.

    Raises:
        LunarError: the log or the policy cannot be read, or they do not fit.
    """
    began = time.perf_counter()
    log = read_log(log_path, topic_map)
    refuse_unknown(log)
    cfg = logged_config(log, RECOMPUTED, argv, "lunar replay rerun")
    notes = sentences(log.lost, log.skipped, log.notes)
    kept = log.attachments.get("calibration.json")
    calibration = from_document(kept.decode(), f"calibration.json of {log.path.name}") if kept else SOUND
    plan = log.attachments.get(PLAN_FILE)
    if plan is not None and not any(word.partition("=")[0] == "--policy" for word in argv):
        policy, guide = policies_of(cfg, attached(plan, log.path.name))
    else:
        policy, guide = policies_of(replace(cfg, plan=RunPlan()))
    supervisor = Supervisor(cfg.safety, calibration, cfg.platform, policy.card.joints)
    sync = Sync(cfg.sync, policy, cfg.platform, cfg.monitor == "trip")
    if log.attachments.get("policy.sha256", b"").decode() != policy.card.weights:
        notes.append(f"{policy.folder} does not hold the weights that were logged")
    again = rerun(log, sync, supervisor, guide)
    found = differences(log, again)
    if missing := int((np.diff(log["/sync/input"].cycle.astype(int)) - 1).sum()):
        notes.append(f"{missing} cycles are missing in the log; what came after them need not be the same")
    duration = float(again.time[-1] - again.time[0])
    results = {
        "cycles": len(again.time),
        "duration_s": duration,
        "identical": not any(d.differing for d in found),
        "differing_channels": sum(d.differing > 0 for d in found),
        "rerun_s": again.seconds,
        "realtime_factor": duration / again.seconds,
        "realtime_factor_with_reading": duration / (time.perf_counter() - began),
        "notes": notes,
        "channels": [vars(d) for d in found],
    }
    _show(console or Terminal(), log, found, results)
    if out:
        page = table_page(
            f"re-run · {log.path.stem}",
            "What was logged (blue) and what the same inputs give now (orange); channels that differ.",
            notes,
            _HEADINGS,
            [_cells(d) for d in found],
            _curves(log, again, found),
        )
        write_whole({Path(out): page})
    return results


_HEADINGS = ("channel", "unit", "cycles", "differing", "first, s", "largest", "RMS")


def _cells(d: Difference) -> tuple[str, ...]:
    first = "" if d.first is None else f"{d.first:.3f}"
    values = ["" if v is None or not d.differing else f"{v:.3g}" for v in (d.largest, d.rms)]
    return (d.channel, d.unit, str(d.compared), str(d.differing), first, *values)


def _show(console: Console, log: Log, found: list[Difference], results: dict[str, Any]) -> None:
    what = "identical, bit by bit" if results["identical"] else f"{results['differing_channels']} channels differ"
    title = (
        f"{log.path.name}: {results['cycles']} cycles run again, {results['realtime_factor']:.0f} x real time: {what}"
    )
    table = Table(Column(_HEADINGS[0], no_wrap=True), *_HEADINGS[1:], padding=0, title=title)
    for d in found:
        table.add_row(*_cells(d), style="bold" if d.differing else "dim")
    console.print(table)
    end(results["notes"])


def _curves(log: Log, again: Rerun, found: list[Difference]) -> list[Plot]:
    """The component of every differing channel that differs most; text becomes its number in order of appearance."""
    plots = []
    for (topic, name, unit), d in zip([c for c in CHANNELS if c[0] in log], found, strict=True):
        if not d.differing:
            continue
        logged, new, at = matched(log, again, topic, name)
        label = d.channel
        if new.dtype.kind not in "fiub":
            words = sorted({*logged.tolist(), *new.tolist()})
            logged, new = (np.array([words.index(w) for w in v.tolist()], dtype=float) for v in (logged, new))
            label += ": " + ", ".join(f"{i} = {w or 'none'}" for i, w in enumerate(words))
        elif new.ndim > 1:
            worst = int(np.nanargmax(np.abs(new - logged).max(axis=0)))
            logged, new, label = logged[:, worst], new[:, worst], f"{label}[{worst}]"
        values = {"logged": logged.astype(float), "again": new.astype(float)}
        plots.append(curves(label, unit, at - again.time[0], values))
    return plots


def main(argv: Sequence[str]) -> None:
    """``lunar replay rerun LOG …``."""
    parser = argparse.ArgumentParser(
        prog="lunar replay rerun", usage=argparse.SUPPRESS, add_help=False, allow_abbrev=False
    )
    for name in ("--log", "--out", "--json", "--map"):
        parser.add_argument(name, default="")
    argv = with_names(argv, ("log",))
    if {"-h", "--help"} & set(argv):
        print(_USAGE)
        return
    try:
        own, settings = parser.parse_known_args(argv)
    except SystemExit:
        raise LunarError("--log, --out, --json and --map each need a value behind them") from None
    results = run(own.log, settings, own.out, topic_map=own.map)
    if own.json:
        write_results(own.json, "replay rerun", 0, results)
