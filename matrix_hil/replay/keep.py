"""``lunar log keep``: the few hops of many logs that stand for all or differ from them, as data, logs and a page."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matrix_hil.log.keep import Choice, DayLog, choose, document, read_day, windows_of, write_excerpts
from matrix_hil.log.notes import end
from matrix_hil.replay.keep_page import keep_page
from matrix_hil.replay.look.cli import ReplayConfig, write_report
from sim.config import parse
from sim.errors import LunarError
from sim.output import write_whole
from sim.results import write_results
from sim.robots.identity import identify
from sim.robots.load import robot_model

_HOPS = 24  # kept when nothing else is asked for
_DOCUMENT, _PAGE = "keep.json", "keep.html"


@dataclass(frozen=True)
class KeepConfig:
    """Keep few hops of many logs: half of them stand for all, half differ from the others; trips always."""

    logs: tuple[str, ...] = ()
    """Folders or .mcap files; may also be given as the first arguments."""
    hops: int | None = None
    """So many; 24 when neither this nor ``share`` nor ``megabytes`` is given."""
    share: float | None = None
    """So large a part of all hops, between 0 and 1, at least one hop."""
    megabytes: float | None = None
    """As many as fit into so many MB (10^6 bytes) of logs; trips are counted extra."""
    out: str = ""
    """New folder for the kept logs, keep.json and keep.html; ``kept`` beside the first log when empty."""
    mixed: bool = False
    """Let logs of different robots be compared with each other."""
    map: str = ""
    """``FROM:=TO,…``: names by which topics are read, e.g. /rig2:=/ or /go2/imu:=/robot/imu."""
    robot: str = "go2"
    """Name of an MJCF in sim/robots/, or the path of the one that was on the rig."""
    json: str = ""
    """Another file for the results as data, beside keep.json."""


def run(cfg: KeepConfig) -> dict[str, Any]:
    """Choose, write logs, their reports, keep.json and the page; return what keep.json says.

    Raises:
        LunarError: nothing or too much is asked for, a log cannot be read, there is no hop, or nothing can be written.
    """
    asked = [name for name in ("hops", "share", "megabytes") if getattr(cfg, name) is not None]
    if len(asked) > 1:
        raise LunarError(f"{' and '.join(asked)} are given; one of them says how much to keep")
    for name in asked:
        value = getattr(cfg, name)
        if not (math.isfinite(value) and value > 0 and (name != "share" or value <= 1.0)):
            raise LunarError(f"{name} is {value}; it must be above 0" + (" and at most 1" if name == "share" else ""))
    if not cfg.logs:
        raise LunarError("no log is named; give the folders that 'lunar hil' wrote")
    model = robot_model(cfg.robot)
    out = Path(cfg.out) if cfg.out else Path(cfg.logs[0]).resolve().parent / "kept"
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise LunarError(f"{out} is there already; choose another folder with --out")
    days = [read_day(path, cfg.map, float(model.body_mass.sum())) for path in cfg.logs]
    _refuse_mixed(days, cfg.mixed)
    for path, day in zip(cfg.logs, days, strict=True):
        if not cfg.mixed and day.robot and day.robot != identify(cfg.robot).digest:
            raise LunarError(f"{path} is of another robot than '{cfg.robot}'; name its file with --robot")
    total = sum(len(day.hops) for day in days)
    if not total:
        raise LunarError(f"no hop in {len(days)} logs: {', '.join(cfg.logs[:6])}")
    values = np.concatenate([day.hops.values for day in days])
    k = cfg.hops or _HOPS if cfg.share is None else max(1, round(cfg.share * total))
    if cfg.megabytes is not None:
        choice, outs, size = _within_budget(days, values, 1e6 * cfg.megabytes, out)
    else:
        choice = choose(values, k)
        outs, size = _write(days, choice, out)
    starts = [0.0] * len(days)
    for number, folder in enumerate(outs):
        if folder:
            _, log, _ = write_report(ReplayConfig(log=str(out / folder), map=cfg.map, robot=cfg.robot))
            starts[number] = min(float(series.log_time[0]) for series in log.series.values())
    before = sum(scan.size for day in days for scan in day.bag.scans)
    results = document(days, choice, outs, starts) | {"megabytes": 1e-6 * size, "megabytes_before": 1e-6 * before}
    results["notes"] = _notes(days, choice, k if cfg.megabytes is None else 0, total)
    write_results(out / _DOCUMENT, "log keep", 0, results)
    write_whole({out / _PAGE: keep_page(days, results, choice, model)})
    if cfg.json:
        write_results(cfg.json, "log keep", 0, results)
    return results | {"out": str(out)}


def _refuse_mixed(days: Sequence[DayLog], mixed: bool) -> None:
    robots = {day.robot: day.path for day in days if day.robot}
    if len(robots) > 1 and not mixed:
        first, second = list(robots.values())[:2]
        raise LunarError(
            f"{first} and {second} are of different robots by their policies' cards; their hops differ for that alone. "
            "Keep of each robot's logs by themselves, or give --mixed"
        )


def _write(days: Sequence[DayLog], choice: Choice, out: Path) -> tuple[list[str], int]:
    """Write the excerpts.

    Returns:
        For each log the folder in ``out`` that was written, empty where nothing of it is kept; and the bytes of all.
    """
    rows = np.array([kept.row for kept in choice.kept])
    first, size = 0, 0
    outs: list[str] = []
    for day in days:
        mine = rows[(rows >= first) & (rows < first + len(day.hops))] - first
        first += len(day.hops)
        windows, name = windows_of(day, mine.tolist()), day.path.resolve().stem
        names = itertools.chain([name], (f"{name}-{k}" for k in itertools.count(2)))
        outs.append(next(free for free in names if free not in outs) if windows else "")
        if windows:
            size += write_excerpts(day, {out / outs[-1]: windows})
    return outs, size


def _within_budget(
    days: Sequence[DayLog], values: np.ndarray, budget: float, out: Path
) -> tuple[Choice, list[str], int]:
    """As many hops as fit into ``budget`` bytes, as far as fewer and fewer are tried.

    Raises:
        LunarError: not even one fits.
    """
    files = sum(scan.size for day in days for scan in day.bag.scans)
    lasting = sum(float((day.hops.end - day.hops.start).sum()) for day in days)
    each = files / max(sum(day.duration for day in days), 1e-9) * lasting / len(values)
    k = min(len(values), max(1, int(budget / max(each, 1.0))))
    bare = _trips_only(days, out)
    while True:
        choice = choose(values, k)
        outs, size = _write(days, choice, out)
        if size - bare <= budget:
            return choice, outs, size
        shutil.rmtree(out)
        if k == 1:
            raise LunarError(f"one hop takes {(size - bare) / 1e6:.2f} MB; megabytes is {budget / 1e6:g}")
        k = min(k - 1, max(1, int(k * budget / (size - bare))))


def _trips_only(days: Sequence[DayLog], out: Path) -> int:
    """Bytes that the trips take, whatever else is kept."""
    if not any(day.trips for day in days):
        return 0
    size = sum(write_excerpts(day, {out / str(k): windows_of(day, [])}) for k, day in enumerate(days) if day.trips)
    shutil.rmtree(out)
    return size


def _notes(days: Sequence[DayLog], choice: Choice, k: int, total: int) -> list[str]:
    notes = [f"{day.path}: {line}" for day in days for line in day.notes]
    notes += [f"{day.path}: no hop" for day in days if not len(day.hops)]
    if k > total:
        notes.append(f"{k} hops are asked for and there are {total}: all are kept")
    elif len(choice.kept) < min(k, total):
        notes.append(
            f"only {len(choice.kept)} hops differ from each other; the others are the same, and counted with them"
        )
    return notes


def main(argv: list[str]) -> None:
    """``lunar log keep LOG… [--hops N | --share X | --megabytes X] [--out FOLDER] [--json FILE]``."""
    count = next((k for k, word in enumerate(argv) if word.startswith("-")), len(argv))
    named = [f"--logs={json.dumps(argv[:count])}"] if count else []
    results = run(parse(KeepConfig, [*named, *argv[count:]], "lunar log keep LOG …"))
    differ = sum(hop["half"] == "differs" for hop in results["kept"])
    print(f"{Path(results['out']) / _PAGE}")
    print(
        f"{len(results['kept'])} of {results['hops']} hops kept: {differ} differ, {len(results['kept']) - differ} are "
        f"usual; {len(results['trips'])} trips; {results['megabytes']:.1f} MB of {results['megabytes_before']:.1f}"
    )
    notes = list(results["notes"])
    if results["dropped"]:
        notes.append(f"features not looked at: {', '.join(f'{k} ({why})' for k, why in results['dropped'].items())}")
    end([f"note: {note}" for note in notes])
