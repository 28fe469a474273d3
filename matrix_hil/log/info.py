"""``lunar log info``: what a log holds, how regularly it came, what is missing, and what tripped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from matrix_hil.log.index import Index
from matrix_hil.log.reader import lost
from matrix_hil.log.scan import scan_log
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results

_GAP = 2.5  # medians of the interval; a longer one is a gap
_IRREGULAR = 0.75  # medians by which a tenth of the intervals may differ on a topic that has a rate at all
_MOST_TRIPS = 50
_SUPERVISOR = "/supervisor/state"


@dataclass(frozen=True)
class InfoConfig:
    """Summarise a log."""

    log: str = ""
    """Folder or .mcap file; may also be given as the first argument."""
    json: str = ""
    """File for the results as data."""


def info(path: str | Path) -> dict[str, Any]:
    """Summary of a log as data; times in s since its first message.

    Reads the index; messages and chunks are not checked, ``recover`` does that.

    Raises:
        LunarError: there is no such log, or it holds no message.
    """
    files = scan_log(Path(path), Index)
    topics = sorted({t for f in files for t in f.by_topic})
    if not topics:
        raise LunarError(f"log {path} holds no message")
    times = {t: np.sort(np.concatenate([f.by_topic[t].times for f in files if t in f.by_topic])) for t in topics}
    begin = min(int(t[0]) for t in times.values())
    end = max(int(t[-1]) for t in times.values())
    gone = lost(files)
    return {
        "files": [f.path.name for f in files],
        "bytes": sum(f.size for f in files),
        "start_unix_s": begin * 1e-9,
        "duration_s": (end - begin) * 1e-9,
        "messages": sum(len(t) for t in times.values()),
        "lost_bytes": gone.bytes if gone else 0,
        "lost_s": gone.seconds if gone else 0.0,
        "lost": gone.text if gone else "",
        "attachments": {name: len(data) for f in files for name, data in f.attachments.items()},
        "trips": _trips(files, begin),
        "topics": {
            t: {
                "type": _type(files, t),
                **timing((times[t] - np.uint64(begin)).astype(np.float64) * 1e-9),
                "bytes": sum(f.by_topic[t].bytes for f in files if t in f.by_topic),
            }
            for t in topics
        },
    }


def timing(times: np.ndarray) -> dict[str, Any]:
    """How regularly messages came.

    Args:
        times: (n,) s, sorted.

    Returns:
        ``count``, ``first_s``, ``last_s``, and ``rate_hz`` without the gaps. For topics that have a rate also ``gaps``,
        intervals over 2.5 medians, ``longest_gap_s``, and ``jitter_ms``, by which 99% of the other intervals differ at
        most from the median; None elsewhere.
    """
    row: dict[str, Any] = {"count": len(times), "first_s": float(times[0]), "last_s": float(times[-1])}
    row |= {"rate_hz": None, "gaps": None, "longest_gap_s": None, "jitter_ms": None}
    steps = np.diff(times)
    median = float(np.median(steps)) if len(steps) else 0.0
    if median <= 0.0:
        return row
    off = np.abs(steps - median)
    if np.quantile(off, 0.9) > _IRREGULAR * median:
        return row | {"rate_hz": (len(times) - 1) / float(times[-1] - times[0])}
    gap = steps > _GAP * median
    return row | {
        "rate_hz": int((~gap).sum()) / float(steps[~gap].sum()),
        "gaps": int(gap.sum()),
        "longest_gap_s": float(steps[gap].max()) if gap.any() else 0.0,
        "jitter_ms": 1e3 * float(np.quantile(off[~gap], 0.99)),
    }


def _type(files: list[Index], topic: str) -> str:
    for file in files:
        for channel in file.channels.values():
            if channel.topic == topic and channel.schema_id in file.schemas:
                return file.schemas[channel.schema_id].name
    return ""


def _trips(files: list[Index], begin: int) -> list[dict[str, Any]]:
    """When the supervisor tripped and why. Its counter only grows, so that few messages must be unpacked."""
    trips: list[dict[str, Any]] = []
    counted = 0
    for file in files:
        row = file.by_topic.get(_SUPERVISOR)
        if row is None or not file.known(_SUPERVISOR):
            continue
        total = file.message(_SUPERVISOR, len(row.times) - 1).get("trips", 0)
        low = 0
        while counted < total and len(trips) < _MOST_TRIPS:
            high = len(row.times) - 1
            while low < high:
                middle = (low + high) // 2
                if file.message(_SUPERVISOR, middle).get("trips", 0) > counted:
                    high = middle
                else:
                    low = middle + 1
            state = file.message(_SUPERVISOR, low)
            counted = max(int(state.get("trips", 0)), counted + 1)
            trips.append({"time_s": (int(row.times[low]) - begin) * 1e-9, "reason": state.get("reason", "")})
    return trips


def main(argv: list[str]) -> None:
    """``lunar log info LOG [--json FILE]``."""
    cfg = parse(InfoConfig, argv, "lunar log info")
    results = info(cfg.log)
    _print(wide_console(), results)
    if cfg.json:
        write_results(cfg.json, "log info", 0, results)


def wide_console() -> Console:
    """The terminal, or 140 letters where there is none: tables in a file are not squeezed."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def _print(console: Console, results: dict[str, Any]) -> None:
    table = Table("topic", title=", ".join(results["files"]))
    for name in ("messages", "Hz", "gaps", "longest s", "jitter ms", "first s", "last s", "kB"):
        table.add_column(name, justify="right")
    for topic, row in results["topics"].items():
        table.add_row(
            topic, f"{row['count']}", _number(row["rate_hz"], 1),
            _number(row["gaps"], 0), _number(row["longest_gap_s"], 3), _number(row["jitter_ms"], 2),
            f"{row['first_s']:.2f}", f"{row['last_s']:.2f}", f"{row['bytes'] / 1e3:.0f}",
        )  # fmt: skip
    console.print(table, markup=False)
    kept = ", ".join(f"{name} ({size} bytes)" for name, size in results["attachments"].items()) or "none"
    lines = [
        f"{results['duration_s']:.2f} s, {results['messages']} messages, {results['bytes'] / 1e6:.1f} MB",
        f"attachments: {kept}",
        *[f"trip at {trip['time_s']:.2f} s: {trip['reason']}" for trip in results["trips"]],
        f"lost: {results['lost'] or 'nothing'}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
