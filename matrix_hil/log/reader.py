"""Reads a log into NumPy arrays, whole or cut: all messages up to the last whole chunk, and what is missing.

A log is data only: messages of known topics are decoded by this project's own definitions, others on request by the
file's; nothing in a file is run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.records import Channel, Schema

from matrix_hil.log.bag import METADATA
from matrix_hil.log.folder import Bag, open_bag
from matrix_hil.log.foreign import columns_of, ros_type
from matrix_hil.log.names import Names, parse_map, resolve
from matrix_hil.log.recorder import CHUNK_TIME
from matrix_hil.log.scan import OVERSIZE, Scan
from matrix_hil.log.topics import TOPICS, Codec, is_known
from sim.errors import LunarError

_ZSTD = b"\x28\xb5\x2f\xfd"  # first bytes of what is compressed


class Series:
    """Messages of one topic, sorted by log time. Every field of its dataclass is an attribute: an array whose first
    axis is the message, or an object array where shapes differ from message to message. ``message`` is that dataclass,
    None where the file's own definition was read instead; its fields are ``columns`` by flattened name then.

    ``time`` is when the value was measured or the command made, ``log_time`` when it was written, both in s since log
    time zero.
    """

    def __init__(self, log_time: np.ndarray, columns: dict[str, np.ndarray], message: type | None = None) -> None:
        self.log_time = log_time
        self.columns = columns
        self.message = message

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.__dict__["columns"][name]
        except KeyError:
            raise AttributeError(f"a log series has no field '{name}'") from None

    def __len__(self) -> int:
        return len(self.log_time)


@dataclass(frozen=True)
class Lost:
    """What of a log cannot be read: cut, damaged, of an unknown compression, or in a file that is missing."""

    bytes: int
    """Bytes of the files that could not be read."""
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
    """By the name that a topic is read by; topics without a message are absent."""
    attachments: dict[str, bytes]
    start_wall_time: float
    """Unix time in s of log time zero. In ns: ``epoch``."""
    duration: float
    """s from the first to the last message."""
    messages: int
    lost: Lost | None = None
    """None when the file is whole."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Topics that were not decoded, by the names that they would be read by, and why."""
    epoch: int = 0
    """ns since the Unix epoch, log time zero."""
    origin: dict[str, str] = field(default_factory=dict)
    """The name in the file by the name that a topic is read by."""
    begin: float = 0.0
    """s of log time, first message."""
    notes: tuple[str, ...] = ()
    """Sentences on what is odd about the files, and on what was renamed without being asked for."""

    def __getitem__(self, topic: str) -> Series:
        try:
            return self.series[topic]
        except KeyError:
            if reason := self.skipped.get(topic):
                raise LunarError(f"log {self.path} holds {topic}, but {reason}") from None
            raise LunarError(f"log {self.path} holds no messages on {topic}") from None

    def __contains__(self, topic: str) -> bool:
        return topic in self.series


def read_log(path: str | Path | Bag, topic_map: str = "", every: bool = False, only: Collection[str] = ()) -> Log:
    """Read the folder that a ``Recorder`` or ``ros2 bag record`` wrote, split or not, or one ``.mcap`` file.

    Args:
        path: folder or file, or one that was opened.
        topic_map: ``FROM:=TO,…``, by which names topics are read; see ``names``.
        every: also read topics that are not among ``TOPICS``, by the file's definitions.
        only: names of topics to read, others are passed over; all when empty.

    Raises:
        LunarError: there is no such log, it is not MCAP, nothing of it can be read, or ``topic_map`` does not fit it.
    """
    bag = path if isinstance(path, Bag) else open_bag(path)
    found: dict[str, list[_Messages]] = {}
    nameless = 0
    for scan in bag.scans:
        mine: dict[int, list[tuple[int, bytes]]] = {}
        for chunk in scan.chunks():
            for number, _, stamp, _, data in chunk:
                mine.setdefault(number, []).append((stamp, data))
        for number, messages in mine.items():
            if channel := scan.channels.get(number):
                schema = scan.schemas.get(channel.schema_id)
                found.setdefault(channel.topic, []).append(_Messages(channel, schema, messages))
            else:
                nameless += len(messages)
    if not found:
        raise LunarError(f"log {bag.scans[0].path} {nothing(bag)}")
    times = [t for parts in found.values() for part in parts for t, _ in part.rows]
    begin, end = min(times), max(times)
    epoch = next((s.epoch for s in bag.scans if s.epoch is not None), begin)
    names = names_of({topic: parts[0].schema for topic, parts in found.items()}, topic_map, every)
    series: dict[str, Series] = {}
    skipped: dict[str, str] = {}
    raw: list[str] = []
    for topic, parts in found.items():
        name = names.by_topic[topic]
        if only and name in TOPICS and name not in only:
            continue
        try:
            series[name], reason = _series(name, parts, epoch, every)
            if reason and name in TOPICS:
                raw.append(f"{topic} is read field by field, not as a rig's: {reason}")
        except ValueError as error:
            skipped[name or topic] = str(error)
    return Log(
        path=bag.scans[0].path,
        series=series,
        attachments={name: data for scan in bag.scans for name, data in scan.attachments.items()},
        start_wall_time=epoch * 1e-9,
        duration=(end - begin) * 1e-9,
        messages=len(times),
        lost=lost(bag),
        skipped=skipped,
        epoch=epoch,
        begin=(begin - epoch) * 1e-9,
        origin={name: topic for topic, name in names.by_topic.items() if name},
        notes=(*oddities(bag), *names.notes, *raw, *([f"{nameless} messages name no topic"] if nameless else [])),
    )


def names_of(schemas: Mapping[str, Schema | None], topic_map: str, every: bool = False) -> Names:
    """The names by which topics with these types are read, all of them or those of a rig.

    Raises:
        LunarError: ``topic_map`` does not fit them.
    """
    return resolve({topic: ros_type(s) if s else "" for topic, s in schemas.items()}, parse_map(topic_map), every)


def nothing(bag: Bag) -> str:
    """Why no message of a log can be read, as the second half of a sentence."""
    size = sum(scan.size for scan in bag.scans)
    if unread := next((reason for scan in bag.scans for reason in scan.unread), ""):
        return f"holds {'not one whole chunk' if unread == OVERSIZE else 'nothing'} that is read: its chunks {unread}"
    if all(scan.closed and not scan.damaged for scan in bag.scans):
        return f"holds no message ({size} bytes); nothing can be replayed"
    return f"holds not one whole chunk ({size} bytes); nothing can be replayed"


def oddities(bag: Bag) -> list[str]:
    """Sentences on what is odd about the files of a log but takes nothing from it."""
    found = list(bag.notes)
    for scan in bag.scans:
        if scan.strange:
            kinds = ", ".join(f"0x{opcode:02x}" for opcode in sorted(scan.strange)[:4])
            count = sum(scan.strange.values())
            found.append(
                f"{scan.path.name} has {count} records that MCAP does not define ({kinds}); they are passed over"
            )
    return found


def lost(bag: Bag) -> Lost | None:
    """What of a log cannot be read; None when all can."""
    found = [Lost(0, None, text) for text in bag.missing]
    found += [part for part in map(_lost, bag.scans) if part is not None]
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
    name, rest = scan.path.name, 0 if scan.complete else scan.size - scan.good
    texts = [f"{size} bytes of {name} are not read: its chunks {reason}" for reason, size in scan.unread.items()]
    if scan.damaged:
        texts.append(f"{name} is damaged: {scan.damaged} bytes of chunks do not unpack to what their checksums say")
    if scan.hole:
        texts.append(f"{name} is damaged: its last {rest} bytes are no records")
    if texts:
        if rest and not scan.hole:
            texts.append(f"{name} was cut off: its last {rest} bytes could not be read")
        return Lost(sum(scan.unread.values()) + scan.damaged + rest, None, "; ".join(texts))
    if scan.complete:
        return None
    if not rest:
        return Lost(0, None, f"{name} was not closed: what came in the last {CHUNK_TIME:g} s was not on the disk yet")
    seconds = None if scan.cut_chunk is None else max(0, scan.cut_chunk[1] - scan.last) * 1e-9
    known = "how many seconds they held is not known" if seconds is None else f"they held {seconds:.2f} s"
    return Lost(rest, seconds, f"{name} was cut off: its last {rest} bytes could not be read; {known}")


@dataclass(frozen=True)
class _Messages:
    """What one file holds of one channel."""

    channel: Channel
    schema: Schema | None
    rows: list[tuple[int, bytes]]
    """Log time in ns, and data."""


def _series(name: str, parts: Sequence[_Messages], epoch: int, every: bool) -> tuple[Series, str]:
    """The messages of a topic that is read by ``name``, and why they were read by the file's definition if they were.

    Raises:
        ValueError: why they are left out.
    """
    if not name:
        raise ValueError("another topic is read by its name")
    rows = [row for part in parts for row in part.rows]
    schemas = {(ros_type(p.schema), p.schema.data): p.schema for p in parts if p.schema}
    for encoding in {part.channel.message_encoding for part in parts} - {"cdr"}:
        raise ValueError(f"its messages are {encoding[:20]!r}, and ROS 2's 'cdr' is read")
    if any(part.schema is None for part in parts):
        raise ValueError("its type is missing")
    if rows[0][1][:4] == _ZSTD:
        raise ValueError(
            f"its messages are compressed one by one; 'rosbags-convert' of the folder with its {METADATA} unpacks them"
        )
    reason = next(filter(None, (is_known(name, kind, text) for kind, text in schemas)), "")
    if not reason:
        try:
            return _stack(Codec(name, epoch), rows, epoch), ""
        except ValueError as error:
            reason = f"a message cannot be decoded: {error}"
    if not every:
        raise ValueError(reason)
    schema, *others = schemas.values()
    if others:
        raise ValueError("it has several definitions")
    log_time, order = _sorted(rows, epoch)
    return Series(log_time, columns_of(schema, [rows[i][1] for i in order], epoch)), reason


def _sorted(rows: Sequence[tuple[int, bytes]], epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Log times (n,) in s since ``epoch``, sorted, and the order that sorts them."""
    log_time = np.array([t for t, _ in rows], dtype=np.uint64).astype(np.int64)
    order = np.argsort(log_time, kind="stable")
    return (log_time[order] - epoch) * 1e-9, order


def _stack(codec: Codec, rows: Sequence[tuple[int, bytes]], epoch: int) -> Series:
    seconds, order = _sorted(rows, epoch)
    columns = codec.decode_all([rows[i][1] for i in order])
    return Series(seconds, {"time": seconds, **columns}, codec.topic.message)
