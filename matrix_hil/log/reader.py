"""Reads a log into NumPy arrays, whole or cut: all messages up to the last whole chunk, and what is missing.

A log is data only: messages of known topics are decoded by this project's own definitions, nothing in a file is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from matrix_hil.log.recorder import CHUNK_TIME
from matrix_hil.log.scan import Scan, scan_log
from matrix_hil.log.topics import Codec, is_known
from sim.errors import LunarError


class Series:
    """Messages of one topic, sorted by log time. Every field of its dataclass is an attribute: an array whose first
    axis is the message, or an object array where shapes differ from message to message.

    ``time`` is when the value was measured or the command made, ``log_time`` when it was written, both in s since log
    time zero.
    """

    def __init__(self, log_time: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        self.log_time = log_time
        self.columns = columns

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.__dict__["columns"][name]
        except KeyError:
            raise AttributeError(f"a log series has no field '{name}'") from None

    def __len__(self) -> int:
        return len(self.log_time)


@dataclass(frozen=True)
class Lost:
    """What a cut or damaged file no longer holds."""

    bytes: int
    """Bytes of the file that could not be read."""
    seconds: float | None
    """s of log that they held; None when that is not known."""
    text: str
    """One sentence for people."""


@dataclass(frozen=True)
class Log:
    """A log in memory. ``log["/tracker/pose"].position`` has shape (messages, 3)."""

    path: Path
    """The MCAP file; the first of a log that was split."""
    series: dict[str, Series]
    """By topic; topics without a message are absent."""
    attachments: dict[str, bytes]
    start_wall_time: float
    """Unix time in s of log time zero. In ns: ``epoch``."""
    duration: float
    """s from the first to the last message."""
    messages: int
    lost: Lost | None = None
    """None when the file is whole."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Topics that could not be decoded, and why."""
    epoch: int = 0
    """ns since the Unix epoch, log time zero."""

    def __getitem__(self, topic: str) -> Series:
        try:
            return self.series[topic]
        except KeyError:
            raise LunarError(f"log {self.path} holds no messages on {topic}") from None

    def __contains__(self, topic: str) -> bool:
        return topic in self.series


def read_log(path: str | Path) -> Log:
    """Read the folder that a ``Recorder`` wrote, split or not, or one ``.mcap`` file.

    Raises:
        LunarError: there is no such log, it is empty, it is not MCAP, or not even its first chunk is whole.
    """
    scans = scan_log(path)
    rows: dict[str, list[tuple[int, bytes]]] = {}
    attachments: dict[str, bytes] = {}
    unknown: dict[str, str] = {}
    for scan in scans:
        attachments |= scan.attachments
        found: dict[int, list[tuple[int, bytes]]] = {}
        for chunk in scan.chunks():
            for number, _, stamp, _, data in chunk:
                found.setdefault(number, []).append((stamp, data))
        for number, messages in found.items():
            if channel := scan.channels.get(number):
                rows.setdefault(channel.topic, []).extend(messages)
        for channel in scan.channels.values():
            schema = scan.schemas.get(channel.schema_id)
            reason = is_known(channel.topic, schema.name, schema.data) if schema else "its type is missing"
            if reason:
                unknown[channel.topic] = reason
    if not rows:
        first, size = scans[0].path, sum(s.size for s in scans)
        what = "no message" if all(s.closed for s in scans) else "not one whole chunk"
        raise LunarError(f"log {first} holds {what} ({size} bytes); nothing can be replayed")
    times = [t for messages in rows.values() for t, _ in messages]
    begin, end = min(times), max(times)
    epoch = next((s.epoch for s in scans if s.epoch is not None), begin)
    series: dict[str, Series] = {}
    skipped: dict[str, str] = {}
    for topic, messages in rows.items():
        reason = unknown.get(topic, "")
        if not reason:
            try:
                series[topic] = _stack(Codec(topic, epoch), messages, epoch)
            except ValueError as error:
                reason = f"a message cannot be decoded: {error}"
        if reason:
            skipped[topic] = reason
    return Log(
        path=scans[0].path,
        series=series,
        attachments=attachments,
        start_wall_time=epoch * 1e-9,
        duration=(end - begin) * 1e-9,
        messages=len(times),
        lost=lost(scans),
        skipped=skipped,
        epoch=epoch,
    )


def lost(scans: Sequence[Scan]) -> Lost | None:
    """What the files no longer hold; None when all are whole."""
    found = [part for part in map(_lost, scans) if part is not None]
    if not found:
        return None
    seconds = [part.seconds for part in found if part.seconds is not None]
    known = sum(seconds) if len(seconds) == len(found) else None
    return Lost(sum(part.bytes for part in found), known, "; ".join(part.text for part in found))


def loss(lost: Lost | None) -> dict[str, Any]:
    """What is missing, as tools report it."""
    if lost is None:
        return {"lost_bytes": 0, "lost_s": 0.0, "lost": ""}
    return {"lost_bytes": lost.bytes, "lost_s": lost.seconds, "lost": lost.text}


def _lost(scan: Scan) -> Lost | None:
    name, bad = scan.path.name, scan.damaged + (0 if scan.complete else scan.size - scan.good)
    if scan.damaged:
        return Lost(bad, None, f"{name} is damaged: {bad} bytes could not be read")
    if scan.complete:
        return None
    if not bad:
        return Lost(0, None, f"{name} was not closed: what came in the last {CHUNK_TIME:g} s was not on the disk yet")
    seconds = None if scan.cut_chunk is None else max(0, scan.cut_chunk[1] - scan.last) * 1e-9
    known = "how many seconds they held is not known" if seconds is None else f"they held {seconds:.2f} s"
    return Lost(bad, seconds, f"{name} was cut off: its last {bad} bytes could not be read; {known}")


def _stack(codec: Codec, rows: list[tuple[int, bytes]], epoch: int) -> Series:
    log_time = np.array([t for t, _ in rows], dtype=np.uint64).astype(np.int64)
    order = np.argsort(log_time, kind="stable")
    seconds = (log_time[order] - epoch) * 1e-9
    columns = codec.decode_all([rows[i][1] for i in order])
    return Series(seconds, {"time": seconds, **columns})
