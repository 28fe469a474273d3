"""What a log holds, from its index alone: a summary of a 10-minute run in a second or two, without unpacking it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mcap.opcode import Opcode

from matrix_hil.log.scan import BROKEN, MESSAGE, Scan, inside
from matrix_hil.log.topics import Codec, is_known

_LOOSE = -1
_BATCH = 500  # chunks whose index is sorted at once
_CHUNK = struct.Struct("<QQQ")  # first and last log time, unpacked size
_RECORD = struct.Struct("<BQ")
_INDEX = struct.Struct("<HI")  # channel, bytes of (time, offset) pairs that follow


@dataclass
class Channel:
    """One topic of one file."""

    times: np.ndarray
    """(n,) uint64, ns since the Unix epoch, log times in the file's order."""
    chunks: np.ndarray
    """(n,) number of the chunk that holds the message; -1 when it lies outside of chunks."""
    offsets: np.ndarray
    """(n,) bytes, where in the unpacked chunk; outside of chunks the number of the message."""
    bytes: int
    """Of the messages."""


@dataclass
class _Chunk:
    start: int  # offset of its content in the file
    length: int  # bytes
    size: int  # bytes, unpacked
    index: list[tuple[int, bytes]] = field(default_factory=list)  # channel, (time, offset) pairs


class Index(Scan):
    """A ``Scan`` that leaves chunks packed where the file has an index of them. Their content is not checked."""

    def __init__(self, path: Path) -> None:
        self._chunks: list[_Chunk] = []
        super().__init__(path)
        self.by_topic: dict[str, Channel] = {}
        """What lies on each topic."""
        self._file = path
        self._open_chunk: tuple[int, bytes] = (-1, b"")
        self._unpack_unindexed()
        self._sort()

    def _visit(self, stream: BinaryIO, opcode: int, start: int, length: int) -> None:
        if opcode == Opcode.CHUNK and length >= _CHUNK.size:
            stream.seek(start)
            _, last, size = _CHUNK.unpack(stream.read(_CHUNK.size))
            self.last = max(self.last, last)
            self._chunks.append(_Chunk(start, length, size))
        elif opcode == Opcode.MESSAGE_INDEX and self._chunks and length >= _INDEX.size:
            stream.seek(start)
            payload = stream.read(length)
            channel, count = _INDEX.unpack_from(payload)
            pairs = payload[_INDEX.size : _INDEX.size + count]
            if len(pairs) == count and not count % 16:
                self._chunks[-1].index.append((channel, pairs))
        else:
            super()._visit(stream, opcode, start, length)

    def message(self, topic: str, k: int) -> dict:
        """Decode the ``k``-th message on ``topic``; empty when that cannot be done."""
        row = self.by_topic[topic]
        number, offset = int(row.chunks[k]), int(row.offsets[k])
        try:
            if number == _LOOSE:
                return Codec(topic, self.epoch or 0).decode(self.rows[offset][-1])
            if self._open_chunk[0] != number:
                self._open_chunk = (number, self.unpack(self._packed(self._chunks[number])))
            data = self._open_chunk[1]
            opcode, length = _RECORD.unpack_from(data, offset)
            start = offset + _RECORD.size + MESSAGE.size
            if opcode != Opcode.MESSAGE or length < MESSAGE.size:
                return {}
            return Codec(topic, self.epoch or 0).decode(data[start : offset + _RECORD.size + length])
        except BROKEN:
            return {}

    def known(self, topic: str) -> bool:
        """Whether messages on ``topic`` can be decoded."""
        channel = next((c for c in self.channels.values() if c.topic == topic), None)
        schema = self.schemas.get(channel.schema_id) if channel else None
        return schema is not None and not is_known(topic, schema.name, schema.data)

    def _packed(self, chunk: _Chunk) -> bytes:
        with open(self._file, "rb") as stream:
            stream.seek(chunk.start)
            return stream.read(chunk.length)

    def _unpack_unindexed(self) -> None:
        """Index chunks that have no index, or whose index may be cut. Unpacking also finds the channels in them."""
        for number, chunk in enumerate(self._chunks):
            last = number == len(self._chunks) - 1 and not self.complete
            if chunk.index and not last and number:
                continue
            chunk.index = []
            try:
                pairs = self._scan_chunk(self.unpack(self._packed(chunk)))
            except BROKEN:
                self.damaged += chunk.length
                continue
            chunk.index = [(c, np.array(p, dtype="<u8").tobytes()) for c, p in pairs.items()]

    def _scan_chunk(self, data: bytes) -> dict[int, list[int]]:
        """Time and offset of every message by channel, one after the other."""
        pairs: dict[int, list[int]] = {}
        at = 0
        for opcode, payload in inside(data):
            if opcode == Opcode.MESSAGE:
                channel, _, stamp, _ = MESSAGE.unpack_from(payload)
                pairs.setdefault(channel, []).extend((stamp, at))
            elif opcode in (Opcode.CHANNEL, Opcode.SCHEMA):
                self._keep([(opcode, payload)])
            at += _RECORD.size + len(payload)
        return pairs

    def _sort(self) -> None:
        """Fill ``by_topic``. A message's size is the distance to the next one in its chunk."""
        found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        sizes: dict[int, float] = {}
        for first in range(0, len(self._chunks), _BATCH):
            batch = self._chunks[first : first + _BATCH]
            parts = [(n, c, np.frombuffer(p, "<u8").reshape(-1, 2)) for n, k in enumerate(batch) for c, p in k.index]
            if not parts:
                continue
            counts = [len(p) for _, _, p in parts]
            chunk = np.repeat(np.array([n for n, _, _ in parts]), counts)
            channel = np.repeat(np.array([c for _, c, _ in parts]), counts)
            pairs = np.concatenate([p for _, _, p in parts])
            total = np.array([k.size for k in batch], dtype=np.float64)
            order = np.lexsort((pairs[:, 1], chunk))
            chunk, channel, pairs = chunk[order], channel[order], pairs[order]
            here = pairs[:, 1].astype(np.float64)
            after = np.append(here[1:], 0.0)
            ends = np.append(chunk[1:] != chunk[:-1], True)
            after[ends] = total[chunk[ends]]
            weight = np.maximum(after - here - _RECORD.size - MESSAGE.size, 0.0)
            for number, size in enumerate(np.bincount(channel, weight)):
                mine = channel == number
                if mine.any():
                    sizes[number] = sizes.get(number, 0.0) + float(size)
                    found.setdefault(number, []).append((pairs[mine, 0], chunk[mine] + first, pairs[mine, 1]))
        for k, (number, _, stamp, _, data) in enumerate(self.rows):  # messages outside of chunks
            sizes[number] = sizes.get(number, 0.0) + len(data)
            found.setdefault(number, []).append((np.array([stamp], "<u8"), np.array([_LOOSE]), np.array([k])))
        for number, rows in found.items():
            if number in self.channels:
                times, chunks, offsets = (np.concatenate(column) for column in zip(*rows, strict=True))
                row = Channel(times, chunks, offsets, round(sizes[number]))
                topic = self.channels[number].topic
                self.by_topic[topic] = _joined(self.by_topic[topic], row) if topic in self.by_topic else row


def _joined(a: Channel, b: Channel) -> Channel:
    """Two publishers of one topic."""
    times, chunks, offsets = (np.append(getattr(a, n), getattr(b, n)) for n in ("times", "chunks", "offsets"))
    return Channel(times, chunks, offsets, a.bytes + b.bytes)
