"""``lunar log export``: one Parquet or CSV file per topic, columns named with their units."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from matrix_hil.log.names import columns, file_name
from matrix_hil.log.reader import Series, read_log
from matrix_hil.log.topics import TOPICS
from sim.config import parse
from sim.errors import LunarError


@dataclass(frozen=True)
class ExportConfig:
    """Write a log as tables, one file per topic, and its attachments beside them."""

    log: str = ""
    """Folder or .mcap file; may also be given as the first argument."""
    out: str = ""
    """Folder for the files; export/ beside the log when empty."""
    format: Literal["parquet", "csv"] = "parquet"
    topics: str = ""
    """Topics to write, separated by commas, or beginnings of them such as /robot; all when empty."""


def export(path: str | Path, out: str | Path = "", format: str = "parquet", topics: str = "") -> list[Path]:
    """Write the tables; returns the files. ``time_s`` and ``log_time_s`` count from log time zero; in CSV a list (the
    heights of a map, row-major) is JSON and bytes are hexadecimal.

    Raises:
        LunarError: the log cannot be read, none of ``topics`` is in it, or a file cannot be written.
    """
    log = read_log(path)
    folder = Path(out) if out else log.path.parent / "export"
    wanted = tuple(t for t in topics.split(",") if t)
    chosen = {t: s for t, s in log.series.items() if not wanted or t.startswith(wanted)}
    if not chosen:
        raise LunarError(f"log {path} has no topic that starts with {topics}; it has {', '.join(log.series)}")
    taken: set[str] = set()
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for topic, series in chosen.items():
            file = folder / file_name(f"{topic}.{format}", taken)
            table = table_of(topic, series)
            if format == "csv":
                _write_csv(file, table)
            else:
                _write_parquet(file, table)
            written.append(file)
        for name, data in log.attachments.items():
            file = folder / file_name(name, taken)
            file.write_bytes(data)
            written.append(file)
    except OSError as error:
        raise LunarError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    return written


def table_of(topic: str, series: Series) -> dict[str, Any]:
    """Columns by name: arrays (n,), or lists of lists, bytes or text."""
    message = TOPICS[topic].message
    table: dict[str, Any] = {"log_time_s": series.log_time}
    for field, values in series.columns.items():
        if field == "time":
            table["time_s"] = values
        elif values.dtype != object and values.ndim <= 2:
            parts = values.T if values.ndim == 2 else values[None]
            table.update(zip(columns(message, field, len(parts)), parts, strict=True))
        else:
            (name,) = columns(message, field, 1)
            maps = [v for v in values if isinstance(v, np.ndarray) and v.ndim == 2]
            if maps:
                table |= {f"{field}_rows": [m.shape[0] for m in maps], f"{field}_cols": [m.shape[1] for m in maps]}
            table[name] = [v.ravel().tolist() if isinstance(v, np.ndarray) else v for v in values]
    return table


def _write_parquet(file: Path, table: dict[str, Any]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise LunarError("Parquet needs pyarrow: pip install -e '.[hil]', or choose --format csv") from None
    pyarrow.parquet.write_table(pyarrow.table(table), file, compression="zstd")


def _write_csv(file: Path, table: dict[str, Any]) -> None:
    with open(file, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table)
        writer.writerows(zip(*(_cells(values) for values in table.values()), strict=True))


def _cells(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        return values.tolist()
    return [v.hex() if isinstance(v, bytes) else json.dumps(v) if isinstance(v, list) else v for v in values]


def main(argv: list[str]) -> None:
    """``lunar log export LOG [--out FOLDER] [--format csv] [--topics /robot,/tracker]``."""
    cfg = parse(ExportConfig, argv, "lunar log export")
    files = export(cfg.log, cfg.out, cfg.format, cfg.topics)
    print(f"{files[0].parent}: {len(files)} files, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB")
