"""``lunar log info``: what a log holds, how regularly it came, what is missing, and what tripped."""

from __future__ import annotations

import bisect
import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from matrix_hil.log.folder import open_bag
from matrix_hil.log.foreign import ros_type
from matrix_hil.log.notes import end, sentences
from matrix_hil.log.reader import loss, lost, names_of, nothing, oddities
from matrix_hil.log.scan import BROKEN, Scan
from matrix_hil.log.topics import Codec, is_known
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.terminal import Terminal

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

    Checks every chunk but goes by the index: messages are not looked at.

    Raises:
        LunarError: there is no such log, or it holds no message.
    """
    bag = open_bag(path)
    found: dict[str, list[np.ndarray]] = {}
    types: dict[str, str] = {}
    trips: list[tuple[int, int, str]] = []
    for scan in bag.scans:
        tables = [scan.table(k) for k in range(len(scan))]
        table = np.concatenate([np.zeros((0, 3), np.uint64), *tables])
        names = names_of({c.topic: scan.schemas.get(c.schema_id) for c in scan.channels.values()}, "").by_topic
        for channel in scan.channels.values():
            if (mine := table[table[:, 0] == channel.id, 1:]).size:
                found.setdefault(channel.topic, []).append(mine)
                schema = scan.schemas.get(channel.schema_id)
                types.setdefault(channel.topic, schema.name if schema else "")
                name = names[channel.topic]
                if name == _SUPERVISOR and schema and not is_known(name, ros_type(schema), schema.data):
                    held = [k for k, t in enumerate(tables) if channel.id in t[:, 0]]
                    trips += _trips(scan, channel.id, held, trips[-1][0] if trips else 0)
    if not found:
        raise LunarError(f"log {path} {nothing(bag)}")
    topics = {topic: np.concatenate(parts) for topic, parts in sorted(found.items())}
    begin = min(int(t[:, 0].min()) for t in topics.values())
    end = max(int(t[:, 0].max()) for t in topics.values())
    return {
        "files": [scan.path.name for scan in bag.scans],
        "bytes": sum(scan.size for scan in bag.scans),
        "start_unix_s": begin * 1e-9,
        "duration_s": (end - begin) * 1e-9,
        "messages": sum(len(t) for t in topics.values()),
        **loss(lost(bag)),
        "notes": oddities(bag),
        "attachments": {name: len(data) for scan in bag.scans for name, data in scan.attachments.items()},
        "trips": [{"time_s": (time - begin) * 1e-9, "reason": reason} for _, time, reason in trips[:_MOST_TRIPS]],
        "topics": {
            topic: {
                "type": types[topic],
                **timing(np.sort(t[:, 0] - np.uint64(begin)).astype(np.float64) * 1e-9),
                "bytes": int(t[:, 1].sum()),
            }
            for topic, t in topics.items()
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


def _trips(scan: Scan, channel: int, chunks: list[int], counted: int) -> list[tuple[int, int, str]]:
    """Count, time in ns and reason of each trip after the first ``counted`` ones. The supervisor's count only grows, so
    that few of ``chunks`` must be unpacked."""
    codec = Codec(_SUPERVISOR, scan.epoch or 0)

    @functools.cache
    def states(k: int) -> list[tuple[int, int, str]]:
        found = []
        for number, _, time, _, data in scan.rows(k):
            with contextlib.suppress(*BROKEN):
                if number == channel:
                    state = codec.decode(data)
                    found.append((state["trips"], time, state["reason"]))
        return found

    def most(k: int) -> int:
        return max((count for count, _, _ in states(k)), default=0)

    trips: list[tuple[int, int, str]] = []
    while len(trips) < _MOST_TRIPS and (at := bisect.bisect_right(chunks, counted, key=most)) < len(chunks):
        trips.append(next(state for state in states(chunks[at]) if state[0] > counted))
        counted = trips[-1][0]
    return trips


def main(argv: list[str]) -> None:
    """``lunar log info LOG [--json FILE]``."""
    cfg = parse(InfoConfig, argv, "lunar log info", first=("log",))
    results = info(cfg.log)
    _print(wide_console(), results)
    if cfg.json:
        write_results(cfg.json, "log info", 0, results)


def wide_console() -> Console:
    """The terminal, or 140 letters where there is none: tables in a file are not squeezed."""
    console = Terminal()
    return console if console.is_terminal else Terminal(width=140)


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
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    end([f"lost: {results['lost'] or 'nothing'}", *sentences(None, {}, results["notes"])])


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
