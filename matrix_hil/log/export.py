"""``lunar log export``: one Parquet or CSV file per topic, columns named with their units."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from matrix_hil.log.foreign import STAMP, plain
from matrix_hil.log.notes import end_of, sentences
from matrix_hil.log.reader import Log, Series, read_log
from matrix_hil.log.topics import Fault, FootContacts, ImuSample, JointSample, Pose, SyncStamp
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    TreadmillCommand,
    TreadmillState,
    TwinPatch,
)
from sim.config import parse
from sim.errors import LunarError
from sim.output import draft
from sim.spec.command import HopCommand
from sim.spec.joints import JOINT_NAMES

_FEET = ("FL", "FR", "RL", "RR")
_DEVICES = ("platform", "treadmill", "counterweight", "tracker", "robot")
_POSE = ("x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad")
_TWIST = ("x_m_per_s", "y_m_per_s", "z_m_per_s", "roll_rad_per_s", "pitch_rad_per_s", "yaw_rad_per_s")


def _each(names: Sequence[str], unit: str) -> tuple[str, ...]:
    return tuple(f"{name}_{unit}" if unit else name for name in names)


UNITS: dict[type, dict[str, str | tuple[str, ...]]] = {
    JointSample: {"position": _each(JOINT_NAMES, "rad"), "velocity": _each(JOINT_NAMES, "rad_per_s")},
    ImuSample: {"angular_velocity": _each("xyz", "rad_per_s"), "projected_gravity": ("x", "y", "z")},
    FootContacts: {"force": _each(_FEET, "N"), "loaded": _FEET},
    Pose: {"position": _each("xyz", "m"), "quaternion": ("w", "x", "y", "z")},
    SyncStamp: {"lateness": "s", "duration": "s", "age": _each(_DEVICES, "s")},
    PlatformState: {"pose": _POSE, "velocity": _TWIST},
    PlatformCommand: {"pose": _POSE},
    TreadmillState: {"speed": "m_per_s", "position": "m"},
    TreadmillCommand: {"speed": "m_per_s"},
    CounterweightState: {"tension": "N", "length": "m", "speed": "m_per_s"},
    CounterweightCommand: {"tension": "N"},
    RobotCommand: {"targets": _each(JOINT_NAMES, "rad"), "kp": "Nm_per_rad", "kd": "Nms_per_rad"},
    HopCommand: {"vx": "m_per_s", "vy": "m_per_s", "yaw_rate": "rad_per_s", "apex_gain": "m"},
    TwinPatch: {"origin": ("x_m", "y_m"), "resolution": "m", "heights": "m"},
    Fault: {},
}
"""By dataclass and field: the unit, or names of the components with theirs. What is absent has no unit."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a log as tables, one file per topic of any type, and its attachments beside them."""

    log: str = ""
    """Folder or .mcap file; may also be given as the first argument."""
    out: str = ""
    """Folder for the files; export/ beside the log when empty."""
    format: Literal["parquet", "csv"] = "parquet"
    topics: str = ""
    """Topics to write, separated by commas, or beginnings of them such as /robot; all when empty."""
    map: str = ""
    """``FROM:=TO,…``: names by which topics are read, e.g. /rig2:=/ or /go2/imu:=/robot/imu."""


def export(path: str | Path, out: str | Path = "", format: str = "parquet", topics: str = "") -> list[Path]:
    """``write_tables`` of the log at ``path``, of all topics whose definitions it holds.

    Raises:
        LunarError: the log cannot be read, none of ``topics`` can be exported, or a file cannot be written.
    """
    return write_tables(read_log(path, every=True), out, format, topics)


def write_tables(log: Log, out: str | Path = "", format: str = "parquet", topics: str = "") -> list[Path]:
    """Write the tables; returns the files, which have the topics' names in the log's files. ``time_s`` and
    ``log_time_s`` count from log time zero; in CSV a list (the heights of a map, row-major) is JSON and bytes are
    hexadecimal. Columns of a topic that this project does not know have the names of its definition.

    Args:
        log: read with ``every`` for all of its topics.
        out: folder for the files; export/ beside the log when empty.
        format: ``parquet`` or ``csv``.
        topics: as in ``ExportConfig``.

    Raises:
        LunarError: none of ``topics`` can be exported, or a file cannot be written.
    """
    folder = Path(out) if out else log.path.parent / "export"
    wanted = tuple(t for t in topics.split(",") if t)
    series = {log.origin.get(name, name): s for name, s in log.series.items()}
    chosen = {t: s for t, s in series.items() if not wanted or t.startswith(wanted)}
    if not chosen:
        why = "; ".join(sentences(None, {t: r for t, r in log.skipped.items() if not wanted or t.startswith(wanted)}))
        which = f"that starts with {topics}" if topics else "that can be exported"
        raise LunarError(f"log {log.path} has no topic {which}; {why or 'it has ' + ', '.join(series)}")
    taken: set[str] = set()
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for topic, rows in chosen.items():
            file = folder / file_name(f"{topic}.{format}", taken)
            table = table_of(rows)
            with draft(file) as partial:
                if format == "csv":
                    _write_csv(partial, table)
                else:
                    _write_parquet(partial, table)
            written.append(file)
        for name, data in log.attachments.items():
            file = folder / file_name(name, taken)
            with draft(file) as partial:
                partial.write_bytes(data)
            written.append(file)
    except OSError as error:
        raise LunarError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    return written


def table_of(series: Series) -> dict[str, Any]:
    """Columns by name: arrays (n,), or lists of lists, bytes, text or dictionaries."""
    message = series.message
    table: dict[str, Any] = {"log_time_s": series.log_time}
    for field, values in series.columns.items():
        if field == STAMP or (field == "time" and message):
            table[f"{field}_s"] = values
        elif values.dtype != object and values.ndim <= 2:
            parts = values.T if values.ndim == 2 else values[None]
            table.update(zip(columns(message, field, len(parts)), parts, strict=True))
        else:
            (name,) = columns(message, field, 1)
            maps = [v for v in values if isinstance(v, np.ndarray) and v.ndim == 2]
            if maps:
                table |= {f"{field}_rows": [m.shape[0] for m in maps], f"{field}_cols": [m.shape[1] for m in maps]}
            table[name] = [plain(v) for v in values]
    return table


def columns(message: type | None, field: str, count: int) -> list[str]:
    """Column names of a field of ``count`` components; 1 for a plain number."""
    known = UNITS.get(message, {}).get(field, "") if message else ""
    if isinstance(known, tuple) and len(known) == count:
        return [f"{field}_{name}" for name in known]
    unit = f"_{known}" if known and isinstance(known, str) else ""
    return [f"{field}{unit}"] if count == 1 else [f"{field}_{i}{unit}" for i in range(count)]


def file_name(text: str, taken: set[str]) -> str:
    """A name for a file made from ``text``, which may come from a stranger: no separators, no leading dot, never one
    that is ``taken``, in which it is entered; at most 100 letters."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-")[-100:].strip("._-") or "unnamed"
    stem, dot, ending = plain.rpartition(".")
    name, k = plain, 1
    while name.lower() in taken:
        k += 1
        name = f"{stem}_{k}.{ending}" if dot else f"{plain}_{k}"
    taken.add(name.lower())
    return name


def _write_parquet(file: Path, table: dict[str, Any]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise LunarError("Parquet needs pyarrow: pip install -e '.[hil]', or choose --format csv") from None
    pyarrow.parquet.write_table(pyarrow.table(table), file, compression="zstd")


def _write_csv(file: Path, table: dict[str, Any]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table)
        writer.writerows(zip(*(_cells(values) for values in table.values()), strict=True))


def _cells(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        return values.tolist()
    return [_cell(value) for value in values]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value, default=bytes.hex)
    return value.hex() if isinstance(value, bytes) else value


def main(argv: list[str]) -> None:
    """``lunar log export LOG [--out FOLDER] [--format csv] [--topics /robot,/tracker] [--map FROM:=TO]``."""
    cfg = parse(ExportConfig, argv, "lunar log export", first=("log",))
    log = read_log(cfg.log, cfg.map, every=True)
    files = write_tables(log, cfg.out, cfg.format, cfg.topics)
    print(f"{files[0].parent}: {len(files)} files, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB")
    end_of(log)
