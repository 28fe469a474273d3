"""``lunar log diff``: compares two runs topic by topic, message by message.

Times count from each log's first message. Where a topic has the same number of messages in both, the k-th is compared
with the k-th, else each with the nearest in time, at most half a median interval away; the rest is unmatched. Two runs
are *the same* when they have the same topics, nothing is unmatched, and no value differs by more than
``tolerance + relative * |value in A|``. Of a serial line the bytes are compared, joined: into which pieces a computer
read them is no difference.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from matrix_hil.log.foreign import STAMP
from matrix_hil.log.info import wide_console
from matrix_hil.log.notes import end, sentences
from matrix_hil.log.reader import Log, Series, read_log
from matrix_hil.log.topics import WireBytes
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results


@dataclass(frozen=True)
class DiffConfig:
    """Compare two logs. Exit status 0 if they are the same within the tolerance, 1 if not, 2 if one cannot be read."""

    a: str = ""
    """Folder or .mcap file; may also be given as the first argument."""
    b: str = ""
    """The other; may also be given as the second argument."""
    tolerance: float = 0.0
    """Largest difference that counts as none, in the unit of each value."""
    relative: float = 0.0
    """The same as a fraction of the value in A; both are added."""
    topics: str = ""
    """Topics to compare, separated by commas, or beginnings of them such as /robot; all when empty."""
    ignore: str = "/sync/stamp"
    """Topics to leave out in the same form. How long a computer took is never twice the same."""
    json: str = ""
    """File for the results as data."""


def diff(
    a: Log, b: Log, tolerance: float = 0.0, relative: float = 0.0, topics: str = "", ignore: str = "/sync/stamp"
) -> dict[str, Any]:
    """Compare two logs; arguments as in ``DiffConfig``.

    Returns:
        ``same``; ``only_a`` and ``only_b``, topics that the other lacks; ``left_out``, topics that one of them has
        but cannot be read, and why; and by topic ``matched``, ``unmatched_a``, ``unmatched_b`` and ``fields``, each
        with ``largest`` and ``rms`` difference (None for what is no number), ``differing`` messages, and ``first_s``,
        when the first of them came.

    Raises:
        LunarError: a tolerance is negative or not a number, or there is no topic to compare.
    """
    if not (tolerance >= 0.0 and relative >= 0.0):
        raise LunarError("tolerance and relative must be zero or more")
    wanted, unwanted = _names(topics), _names(ignore)

    def chosen(topics: Iterable[str]) -> set[str]:
        named = {t for t in topics if not wanted or t.startswith(wanted)}
        return {t for t in named if not (unwanted and t.startswith(unwanted))}

    skipped = a.skipped | b.skipped
    left_out = {topic: skipped[topic] for topic in sorted(chosen(skipped))}
    in_a, in_b = (chosen(log.series) - set(left_out) for log in (a, b))
    if not in_a & in_b:
        has = [", ".join(sorted(chosen(log.series))[:6]) or "none" for log in (a, b)]
        why = "".join(f"; {line}" for line in sentences(None, left_out))
        raise LunarError(f"no topic compared: of those asked for A has {has[0]}, B has {has[1]}{why}")
    begin_a, begin_b = (min((float(s.log_time[0]) for s in log.series.values()), default=0.0) for log in (a, b))
    rows = {t: _topic(a[t], b[t], begin_a, begin_b, tolerance, relative) for t in sorted(in_a & in_b)}
    # what only one of them holds in a form that can be read is not the same in both
    apart = [t for t in left_out if (t in a.skipped) != (t in b.skipped)]
    same = in_a == in_b and not apart and not any(map(_differs, rows.values()))
    only = {"only_a": sorted(in_a - in_b), "only_b": sorted(in_b - in_a)}
    return {"same": same, **only, "left_out": left_out, "topics": rows}


def _differs(row: dict[str, Any]) -> bool:
    return bool(row["unmatched_a"] or row["unmatched_b"] or any(f["differing"] for f in row["fields"].values()))


def _names(text: str) -> tuple[str, ...]:
    return tuple(t for t in text.split(",") if t)


def _topic(a: Series, b: Series, begin_a: float, begin_b: float, tolerance: float, relative: float) -> dict[str, Any]:
    time_a, time_b = a.log_time - begin_a, b.log_time - begin_b
    if a.message is WireBytes is b.message:
        return _wire(a, b, time_a)
    at_a, at_b = _pairs(time_a, time_b)
    fields: dict[str, Any] = {}
    for name in {**a.columns, **b.columns}:
        if name not in a.columns or name not in b.columns:  # two definitions of the type
            fields[name] = {"largest": None, "rms": None, "differing": len(at_a), "first_s": float(time_a[0])}
            continue
        x, y = a.columns[name][at_a], b.columns[name][at_b]
        if name == STAMP or (name == "time" and a.message):
            x, y = x - begin_a, y - begin_b
        fields[name] = compare(x, y, time_a[at_a], tolerance, relative)
    return {
        "matched": len(at_a),
        "unmatched_a": len(time_a) - len(at_a),
        "unmatched_b": len(time_b) - len(np.unique(at_b)),
        "fields": fields,
    }


def _wire(a: Series, b: Series, time: np.ndarray) -> dict[str, Any]:
    """Compare the bytes of a line: a message of A differs where B's bytes at its place are others, or none."""
    whole = b"".join(b.data)
    ends = np.cumsum([len(piece) for piece in a.data])
    off = np.array([whole[at - len(piece) : at] != piece for at, piece in zip(ends.tolist(), a.data, strict=True)])
    more = max(0, len(whole) - int(ends[-1]))
    first = float(time[off][0]) if off.any() else None
    data = {"largest": None, "rms": None, "differing": int(off.sum()), "first_s": first}
    return {"matched": len(time), "unmatched_a": 0, "unmatched_b": more, "fields": {"data": data}}


def _pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of messages that belong together."""
    if len(a) == len(b):
        return np.arange(len(a)), np.arange(len(b))
    right = np.clip(np.searchsorted(b, a), 1, len(b) - 1) if len(b) > 1 else np.zeros(len(a), int)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(b[left] - a) <= np.abs(b[right] - a), left, right)
    window = 0.5 * float(np.median(np.diff(a))) if len(a) > 1 else np.inf
    near = np.flatnonzero(np.abs(b[nearest] - a) <= max(window, 1e-6))
    return near, nearest[near]


def compare(
    x: np.ndarray, y: np.ndarray, time: np.ndarray, tolerance: float = 0.0, relative: float = 0.0
) -> dict[str, Any]:
    """Compare values (n, ...) that belong together, of messages at ``time`` (n,) s; NaN equals NaN.

    Returns:
        ``largest`` and ``rms`` difference over all values, None for what is no number; ``differing`` messages, and
        ``first_s``, when the first of them came.
    """
    largest = rms = None
    if x.dtype == object or y.dtype == object or x.shape != y.shape:
        off = np.array([not np.array_equal(p, q) for p, q in zip(x, y, strict=True)], dtype=bool)
    else:
        x, y = x.astype(np.float64), y.astype(np.float64)
        with np.errstate(invalid="ignore"):
            away = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
            away = np.where(np.isnan(away), np.inf, away)  # a number against none
            beyond = away > tolerance + relative * np.nan_to_num(np.abs(x))
        off = beyond.reshape(len(x), -1).any(axis=1) if len(x) else np.zeros(0, bool)
        largest = float(away.max()) if away.size else 0.0
        rms = float(np.sqrt(np.mean(away**2))) if away.size else 0.0
    first = float(time[off][0]) if off.any() else None
    return {"largest": largest, "rms": rms, "differing": int(off.sum()), "first_s": first}


def main(argv: list[str]) -> None:
    """``lunar log diff A B [--tolerance X] [--relative X] [--topics ...] [--ignore ...] [--json FILE]``."""
    cfg = parse(DiffConfig, argv, "lunar log diff", first=("a", "b"))
    if not (cfg.a and cfg.b):
        raise LunarError("two logs are needed: lunar log diff A B")
    a, b = (read_log(path, every=True) for path in (cfg.a, cfg.b))
    results = diff(a, b, cfg.tolerance, cfg.relative, cfg.topics, cfg.ignore)
    _print(wide_console(), results)
    if cfg.json:
        write_results(cfg.json, "log diff", 0, results)
    lines = [f"{name}: {line}" for name, log in (("A", a), ("B", b)) for line in sentences(log.lost, {}, log.notes)]
    end(lines + sentences(None, results["left_out"]))
    if not results["same"]:
        sys.exit(1)


def _print(console: Console, results: dict[str, Any]) -> None:
    table = Table("topic", "field", title="differences of B from A")
    for name in ("messages", "largest", "rms", "first at s"):
        table.add_column(name, justify="right")
    for topic, row in results["topics"].items():
        for name, f in row["fields"].items():
            if f["differing"]:
                numbers = ["–" if f[k] is None else f"{f[k]:.3g}" for k in ("largest", "rms")]
                table.add_row(topic, name, f"{f['differing']} of {row['matched']}", *numbers, f"{f['first_s']:.3f}")
        for side in "ab":
            if row[f"unmatched_{side}"]:
                table.add_row(topic, f"only in {side.upper()}", str(row[f"unmatched_{side}"]), "–", "–", "–")
    for side in "ab":
        for topic in results[f"only_{side}"]:
            table.add_row(topic, f"only in {side.upper()}", "all", "–", "–", "–")
    if table.row_count:
        console.print(table, markup=False)
    compared = len(results["topics"])
    console.print(f"{compared} topics compared: {'the same' if results['same'] else 'different'}", highlight=False)
