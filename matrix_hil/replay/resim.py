"""``lunar replay resim``: the simulator from a log's states with a log's actions; how far it goes astray, and why.

Over and over a stretch begins in the logged state, the robot gets the logged commands, platform and belt move as they
were measured to, and winch and rope are simulated. What differs after a while is the sim-to-log gap. ``--fit`` looks
for the mass, friction, motor strength and delay that shrink it and writes ranges to train with.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Column, Table

from matrix_hil.log import Log, read_log
from matrix_hil.log.notes import end_of, refuse_unknown
from matrix_hil.replay.identify import UNKNOWNS, Fit, fit
from matrix_hil.replay.logged import logged_config
from matrix_hil.replay.look.page import table_page
from matrix_hil.replay.look.plots import curves
from matrix_hil.replay.plants import (
    Body,
    Motion,
    RigPlant,
    Robots,
    Setup,
    logged,
)
from matrix_hil.replay.trajectory import DT, Trajectory, trajectory, windows
from sim.config import parse
from sim.errors import LunarError
from sim.output import write_whole
from sim.results import write_results
from sim.terminal import Terminal

CHANNELS = {
    "base_height": "m",
    "base_place": "m",
    "attitude": "rad",
    "joint_position": "rad",
    "joint_velocity": "rad/s",
    "tension": "N",
}
"""Unit by channel; of joints the RMS over the twelve."""


@dataclass(frozen=True)
class ResimConfig:
    """Simulate a HIL log again from its own states and report the gap."""

    log: str = ""
    """Folder that ``lunar hil`` wrote, or the .mcap file in it; may also be given as the first argument."""
    map: str = ""
    """``FROM:=TO,…``: names by which topics are read, e.g. /rig2:=/ or /go2/imu:=/robot/imu."""
    out: str = ""
    """HTML file with plots; none when empty."""
    json: str = ""
    """File for the results as data; none when empty."""
    window: float = 0.5
    """s. Length of a stretch."""
    body: Body = field(default_factory=Body)
    """The robot that is simulated, and where a fit begins."""
    fit: bool = False
    """Fit the robot to the log."""
    fit_window: float = 0.2
    """s. Stretches of a fit: short, as errors of a start grow with every contact."""
    fit_windows: int = 48
    """Stretches of a fit at most, evenly over the log."""
    ranges: str = ""
    """YAML file for the fitted randomisation ranges, as ``world.randomisation`` takes them; none when empty."""
    quick: bool = False
    """At most 8 stretches."""


@dataclass(frozen=True)
class Gap:
    """How far simulation and log are apart."""

    starts: np.ndarray
    """(W,) samples."""
    motion: Motion
    """Simulated, (W, samples)."""
    channels: dict[str, np.ndarray]
    """(W, samples), by channel."""

    def rms(self, channel: str, after: float) -> float:
        """Over all stretches, ``after`` s from their starts."""
        return float(np.sqrt(np.mean(self.channels[channel][:, round(after / DT)] ** 2)))


def simulate(path: Trajectory, setup: Setup, body: Body, starts: np.ndarray, count: int) -> Motion:
    """``count`` samples from each of ``starts`` (W,) on: leading axes (W, count + 1)."""
    if path.on_rig:
        plant = RigPlant(setup, body)
        each = [plant.simulate(path, int(start), count) for start in starts]
        return Motion(*(np.stack([vars(m)[name] for m in each]) for name in vars(each[0])))
    motion = Robots(path, setup).simulate(starts, count, [body])
    return Motion(*(values[0] for values in vars(motion).values()))


def gap(path: Trajectory, setup: Setup, body: Body, starts: np.ndarray, length: float) -> Gap:
    """Simulate stretches of ``length`` s from ``starts`` (W,) on and compare."""
    count = round(length / DT)
    motion, truth = simulate(path, setup, body, starts, count), logged(path, starts, count)
    place = motion.base_position - truth.base_position
    alike = np.abs(np.sum(motion.base_quaternion * truth.base_quaternion, axis=-1))
    channels = {
        "base_height": np.abs(place[..., 2]),
        "base_place": np.hypot(place[..., 0], place[..., 1]),
        "attitude": 2.0 * np.arccos(np.clip(alike, 0.0, 1.0)),
        "joint_position": _rms(motion.joint_position - truth.joint_position),
        "joint_velocity": _rms(motion.joint_velocity - truth.joint_velocity),
    }
    if path.on_rig:
        channels["tension"] = np.abs(motion.tension - truth.tension)
    return Gap(starts, motion, channels)


def setup_of(log: Log) -> Setup:
    """The rig as the log's configuration describes it; the default one if it holds none."""
    if "config.json" not in log.attachments:
        return Setup()
    cfg = logged_config(log, ("rig", "trim", "counterweight"), prog="lunar replay resim")
    return Setup(cfg.rig, cfg.trim, cfg.counterweight)


def run(cfg: ResimConfig, console: Console | None = None) -> dict[str, Any]:
    """Simulate, fit if asked for, and report; returns the results.

    Raises:
        LunarError: the log cannot be read or lacks what is needed, or a file cannot be written.
    """
    if not (4 * DT <= cfg.window <= 10.0 and 4 * DT <= cfg.fit_window <= 2.0):
        raise LunarError("window must lie between 0.02 and 10 s, fit_window between 0.02 and 2 s")
    if cfg.ranges and not cfg.fit:
        raise LunarError("ranges come from a fit; add --fit")
    log = read_log(cfg.log, cfg.map)
    refuse_unknown(log)
    path, setup = trajectory(log), setup_of(log)
    starts = _spread(windows(path, cfg.window), 8 if cfg.quick else len(path))
    began = time.perf_counter()
    gaps = {"model": gap(path, setup, cfg.body, starts, cfg.window)}
    seconds = {"gap_s": time.perf_counter() - began}
    found: Fit | None = None
    if cfg.fit:
        began = time.perf_counter()
        chosen = _spread(windows(path, cfg.fit_window), 8 if cfg.quick else cfg.fit_windows)
        found = fit(Robots(path, setup), chosen, cfg.fit_window, cfg.body)
        seconds["fit_s"] = time.perf_counter() - began
        gaps["fitted"] = gap(path, setup, found.body, starts, cfg.window)
    results: dict[str, Any] = {
        "stretches": len(starts),
        "window_s": cfg.window,
        "on_rig": path.on_rig,
        "state_age_s": path.age,
        **seconds,
        "gap": {name: _table(g, cfg.window) for name, g in gaps.items()},
    }
    if found is not None:
        results["fit"] = {
            "body": vars(found.body),
            "deviation": found.deviation,
            "identified": found.identified,
            "cost_before": found.cost_before,
            "cost": found.cost,
            "ranges": found.ranges(),
        }
    _show(console or Terminal(), log, results, found)
    if found is not None and cfg.ranges:
        write_ranges(cfg.ranges, found, log)
    if cfg.out:
        write_whole({Path(cfg.out): _page(log, path, gaps, results, found)})
    if cfg.json:
        write_results(cfg.json, "replay resim", 0, results)
    end_of(log)
    return results


def write_ranges(file: str | Path, found: Fit, log: Log) -> None:
    """Write what was identified as a YAML file for ``sim.mdp.events.RandomisationConfig``."""
    head = f"# Fitted by 'lunar replay resim --fit' to {log.path.name}; two standard deviations, or the least margin.\n"
    text = yaml.safe_dump(found.ranges(), default_flow_style=None, sort_keys=False)
    write_whole({Path(file): head + text})


def _rms(gap: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(gap**2, axis=-1))


def _spread(starts: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of them, evenly."""
    return starts[np.unique(np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int))]


def _moments(window: float) -> tuple[float, ...]:
    return (0.2 * window, 0.5 * window, window)


def _table(found: Gap, window: float) -> dict[str, Any]:
    """RMS of every channel after a fifth, a half and the whole of a stretch."""
    return {c: {f"{t:.3g} s": found.rms(c, t) for t in _moments(window)} for c in found.channels}


def _rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    names, first = list(results["gap"]), next(iter(results["gap"].values()))
    moments = list(next(iter(first.values())))
    headings = ["channel", "unit", *(f"{name} {t}" for name in names for t in moments)]
    rows = [[c, CHANNELS[c], *(f"{results['gap'][n][c][t]:.3g}" for n in names for t in moments)] for c in first]
    return headings, rows


def _fit_rows(found: Fit) -> list[list[str]]:
    units = {"added_mass": "kg", "friction": "", "strength": "", "delay": "s"}
    rows = []
    for name in UNKNOWNS:
        known = name in found.identified
        spread = found.ranges()[name] if known else "the log does not tell"
        rows.append(
            [name, units[name], f"{getattr(found.body, name):.4g}", f"{found.deviation[name]:.2g}", str(spread)]
        )
    return rows


_FIT_HEADINGS = ["parameter", "unit", "value", "deviation", "range to train with"]


def _show(console: Console, log: Log, results: dict[str, Any], found: Fit | None) -> None:
    headings, rows = _rows(results)
    table = Table(
        Column(headings[0], no_wrap=True),
        *headings[1:],
        padding=0,
        title=f"{log.path.name}: gap, RMS over {results['stretches']} stretches",
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if found is not None:
        table = Table(*_FIT_HEADINGS, title=f"fit: loss {found.cost_before:.3g} to {found.cost:.3g}")
        for row in _fit_rows(found):
            table.add_row(*row)
        console.print(table)


def _page(log: Log, path: Trajectory, gaps: dict[str, Gap], results: dict[str, Any], found: Fit | None) -> str:
    headings, rows = _rows(results)
    window = results["window_s"]
    lag = np.arange(round(window / DT) + 1) * DT
    lines = {"logged": path.base_position[:, 2]}
    for name, g in gaps.items():
        line = np.full(len(path), np.nan)
        for start, height in zip(g.starts, g.motion.base_position[:, :, 2], strict=True):
            line[start : start + len(height) - 1] = height[:-1]
        lines[name] = line
    plots = [curves("Base height; the simulation starts anew every stretch", "m", path.time, lines)]
    ends = path.time[gaps["model"].starts] + window
    for channel in gaps["model"].channels:
        values = {name: np.sqrt(np.mean(g.channels[channel] ** 2, axis=0)) for name, g in gaps.items()}
        plots.append(curves(f"Gap over a stretch: {channel}", CHANNELS[channel], lag, values))
    for channel in gaps["model"].channels:
        values = {name: g.channels[channel][:, -1] for name, g in gaps.items()}
        plots.append(curves(f"Gap at the end of every stretch: {channel}", CHANNELS[channel], ends, values))
    notes = [f"Device states are taken as {1e3 * path.age:.1f} ms old when the loop read them"]
    if found is not None:
        notes += [f"{r[0]}: {r[2]} {r[1]} ± {r[3]}; range {r[4]}" for r in _fit_rows(found)]
    intro = f"The simulator from {len(gaps['model'].starts)} logged states with the logged actions; RMS after a while."
    return table_page(f"re-simulation · {log.path.stem}", intro, notes, headings, rows, plots)


def main(argv: Sequence[str]) -> None:
    """``lunar replay resim LOG [--fit] [--out FILE] [--json FILE] [--ranges FILE]``."""
    run(parse(ResimConfig, argv, "lunar replay resim", first=("log",)))
