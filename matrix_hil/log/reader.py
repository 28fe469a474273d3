"""Reads a log into NumPy arrays, whole or cut: all messages up to the last whole chunk, and what is missing.

A log is data only: messages of known topics are decoded by this project's own definitions, nothing in a file is run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Attachment, Channel, Chunk, DataEnd, Footer, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk

from matrix_hil.log.recorder import CHUNK_TIME, EPOCH
from matrix_hil.log.topics import TOPICS, Codec, definition
from sim.errors import LunarError

_MAGIC = bytes((137, 77, 67, 65, 80, 48, 13, 10))
_RECORD_LIMIT = 256 * 2**20  # bytes; a length beyond this is damage, not data
_BROKEN = (McapError, CRCValidationError, zstandard.ZstdError, struct.error, ValueError, OverflowError, MemoryError)


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
    """The MCAP file."""
    series: dict[str, Series]
    """By topic; topics without a message are absent."""
    attachments: dict[str, bytes]
    start_wall_time: float
    """Unix time in s of log time zero."""
    duration: float
    """s from the first to the last message."""
    messages: int
    lost: Lost | None = None
    """None when the file is whole."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Topics that could not be decoded, and why."""

    def __getitem__(self, topic: str) -> Series:
        try:
            return self.series[topic]
        except KeyError:
            raise LunarError(f"log {self.path} holds no messages on {topic}") from None

    def __contains__(self, topic: str) -> bool:
        return topic in self.series


def read_log(path: str | Path) -> Log:
    """Read the folder that a ``Recorder`` wrote, or the ``.mcap`` file in it.

    Raises:
        LunarError: there is no such log, it is empty, it is not MCAP, or not even its first chunk is whole.
    """
    file = _find(Path(path))
    scan = _Scan(file)
    try:
        with open(file, "rb") as stream:
            scan.run(stream)
    except OSError as error:
        raise LunarError(f"log {file} cannot be read: {error.strerror or error}") from None
    return scan.result()


def _find(path: Path) -> Path:
    if path.is_dir():
        files = sorted(path.glob("*.mcap"))
        if len(files) != 1:
            remedy = "name one of them" if files else "'lunar hil' makes one"
            raise LunarError(f"log folder {path} holds {len(files) or 'no'} .mcap files; {remedy}")
        path = files[0]
    if not path.is_file():
        raise LunarError(f"log {path} does not exist; 'lunar hil' makes one")
    if path.stat().st_size == 0:
        raise LunarError(f"log {path} is empty; the run ended before its first message")
    return path


class _Scan:
    """One pass over a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epoch: int | None = None
        self.attachments: dict[str, bytes] = {}
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.rows: dict[str, list[tuple[int, bytes]]] = {}
        self.damaged = 0  # bytes of chunks that are whole in length but not in content
        self.good = 0  # offset behind the last whole record
        self.size = 0
        self.complete = False  # the data section's end was seen
        self.closed = False
        self.cut_chunk: tuple[int, int] | None = None  # first and last log time of the chunk that is cut, ns

    def run(self, stream: BinaryIO) -> None:
        self.size = stream.seek(0, 2)
        stream.seek(0)
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise LunarError(f"{self.path} is not a log: it does not start like an MCAP file")
        self.good = stream.tell()
        for record in self._records(stream):
            if isinstance(record, Chunk):
                self._chunk(record)
            else:
                self._take(record)
            if stream.tell() <= self.size:
                self.good = stream.tell()
        stream.seek(self.good)
        head = stream.read(25)
        if not self.complete and len(head) == 25 and head[0] == Opcode.CHUNK:
            self.cut_chunk = struct.unpack("<QQ", head[9:25])

    def _records(self, stream: BinaryIO) -> Iterator[McapRecord]:
        stream.seek(0)
        records = StreamReader(stream, emit_chunks=True, record_size_limit=_RECORD_LIMIT).records
        while True:
            try:
                record = next(records)
            except StopIteration:
                self.closed = True
                return
            except _BROKEN:
                return
            yield record

    def _chunk(self, chunk: Chunk) -> None:
        try:
            if chunk.compression not in ("", "zstd") or chunk.uncompressed_size > _RECORD_LIMIT:
                raise ValueError("not a chunk of ours")
            if chunk.compression:
                size = zstandard.get_frame_parameters(chunk.data).content_size
                if size > _RECORD_LIMIT:
                    raise ValueError("a chunk that would fill the memory")
            records = breakup_chunk(chunk, validate_crc=True)
        except _BROKEN:
            self.damaged += len(chunk.data)
            return
        for record in records:
            self._take(record)

    def _take(self, record: McapRecord) -> None:
        if isinstance(record, Message):
            channel = self.channels.get(record.channel_id)
            if channel is not None:
                self.rows.setdefault(channel.topic, []).append((record.log_time, record.data))
        elif isinstance(record, Channel):
            self.channels[record.id] = record
        elif isinstance(record, Schema):
            self.schemas[record.id] = record
        elif isinstance(record, Attachment):
            self.attachments[record.name] = record.data
        elif isinstance(record, Metadata) and record.name == EPOCH:
            text = record.metadata.get("nanoseconds", "")
            self.epoch = int(text) if text.isdigit() and len(text) < 20 else None
        elif isinstance(record, (DataEnd, Footer)):
            self.complete = True

    def result(self) -> Log:
        times = [t for rows in self.rows.values() for t, _ in rows]
        if not times:
            what = "no message" if self.closed else "not one whole chunk"
            raise LunarError(f"log {self.path} holds {what} ({self.size} bytes); nothing can be replayed")
        epoch = min(times) if self.epoch is None else self.epoch
        series: dict[str, Series] = {}
        skipped: dict[str, str] = {}
        schema_of = {c.topic: self.schemas.get(c.schema_id) for c in self.channels.values()}
        for topic, rows in self.rows.items():
            reason = _unknown(topic, schema_of[topic])
            if not reason:
                try:
                    series[topic] = _stack(Codec(topic, epoch), rows, epoch)
                except (ValueError, IndexError, AssertionError, struct.error, UnicodeDecodeError) as error:
                    reason = f"a message cannot be decoded: {error}"
            if reason:
                skipped[topic] = reason
        last = max(times)
        return Log(
            path=self.path,
            series=series,
            attachments=self.attachments,
            start_wall_time=epoch * 1e-9,
            duration=(last - min(times)) * 1e-9,
            messages=len(times),
            lost=self._lost(last),
            skipped=skipped,
        )

    def _lost(self, last: int) -> Lost | None:
        bad = self.damaged + (0 if self.complete else self.size - self.good)
        if self.damaged:
            return Lost(bad, None, f"{self.path.name} is damaged: {bad} bytes could not be read")
        if self.complete:
            return None
        if not bad:
            text = f"{self.path.name} was not closed: what came in the last {CHUNK_TIME:g} s was not on the disk yet"
            return Lost(0, None, text)
        seconds = None if self.cut_chunk is None else max(0, self.cut_chunk[1] - last) * 1e-9
        known = "how many seconds they held is not known" if seconds is None else f"they held {seconds:.2f} s"
        return Lost(bad, seconds, f"{self.path.name} was cut off: its last {bad} bytes could not be read; {known}")


def _unknown(topic: str, schema: Schema | None) -> str:
    """Why messages of ``topic`` cannot be decoded; empty if they can."""
    row = TOPICS.get(topic)
    if row is None:
        return "this project does not know the topic"
    if schema is None or schema.name != row.ros_type or schema.data != definition(row.ros_type):
        return f"its messages are not {row.ros_type} as this version defines it"
    return ""


def _stack(codec: Codec, rows: list[tuple[int, bytes]], epoch: int) -> Series:
    log_time = np.array([t for t, _ in rows], dtype=np.uint64).astype(np.int64)
    order = np.argsort(log_time, kind="stable")
    decoded = [codec.decode(rows[i][1]) for i in order]
    columns = {name: _column([row[name] for row in decoded]) for name in decoded[0]}
    return Series((log_time[order] - epoch) * 1e-9, columns)


def _column(values: list[Any]) -> np.ndarray:
    if isinstance(values[0], np.ndarray) and len({v.shape for v in values}) > 1:
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    return np.array(values)
