"""One pass over an MCAP file that may be cut, damaged or hostile: whole chunks come out, the rest is counted.

No length in the file is believed: a record longer than the file ends the pass, a chunk is unpacked only as far as its
size was announced, and a file that would grow beyond ``GROWTH`` times its size is refused.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Attachment, Channel, Chunk, Header, McapRecord, Metadata, Schema

from sim.errors import LunarError

EPOCH = "lunar_epoch"  # name of the metadata record that holds the Unix time of log time zero
GROWTH = 200
"""A log may unpack to this many times its size, and ``SLACK`` bytes. Logs of ``lunar hil`` stay below 20."""
SLACK = 64 * 2**20
MAGIC = bytes((137, 77, 67, 65, 80, 48, 13, 10))
BROKEN = (McapError, zstandard.ZstdError, struct.error, ValueError, OverflowError, MemoryError)
CHUNK_LIMIT = 256 * 2**20  # bytes of one chunk
OVERSIZE = f"say that they unpack to more than the {CHUNK_LIMIT >> 20} MiB that are read"
_HEAD = struct.Struct("<BQ")  # opcode and length of a record
_CHUNK = struct.Struct("<QQQII")  # first and last log time, unpacked size, checksum, letters of the compression's name
_COMPRESSIONS = ("", "zstd", "lz4")
_LZ4_RATIO = 255  # LZ4 cannot pack closer
_INDEX = struct.Struct("<HI")  # channel, bytes of (time, offset) pairs that follow
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
Row = tuple[int, int, int, int, bytes]
"""Channel, sequence, log time and publish time in ns, data."""
_KINDS: dict[int, Any] = {
    Opcode.HEADER: Header,
    Opcode.SCHEMA: Schema,
    Opcode.CHANNEL: Channel,
    Opcode.ATTACHMENT: Attachment,
    Opcode.METADATA: Metadata,
}
_OPCODES = {int(opcode) for opcode in Opcode}


@dataclass
class _Block:
    """A chunk, or a message outside of chunks."""

    opcode: int
    start: int  # offset of its content in the file
    length: int  # bytes
    size: int = 0  # bytes, unpacked
    index: list[tuple[int, bytes]] = field(default_factory=list)  # channel, (time, offset) pairs
    damaged: bool = False
    counted: bool = False  # among what the file unpacks to
    unread: str = ""  # why it is not read although it may be whole


class Scan:
    """What a file holds: definitions and attachments at once, messages as they are asked for, chunk by chunk.

    A message outside of chunks counts as a chunk of its own. Definitions inside a chunk are known once it was unpacked.

    Raises:
        LunarError: it cannot be read, is not MCAP, or unpacks to an absurd size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epoch: int | None = None
        """ns since the Unix epoch, log time zero; None when the file does not say."""
        self.profile = ""
        """What the file's header says of its conventions, such as ``ros2``."""
        self.kept: list[Attachment | Metadata] = []
        """Attachments and metadata in the file's order."""
        self.strange: Counter[int] = Counter()
        """Records of kinds that MCAP does not define, by opcode."""
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.good = 0
        """Offset behind the last whole record."""
        self.size = 0
        """Bytes of the file."""
        self.complete = False
        """The end of the data was seen."""
        self.closed = False
        """The file's last byte was seen."""
        self.hole = False
        """Where the records end the file goes on with a zero, which is no record, instead of being cut."""
        self.cut_chunk: tuple[int, int] | None = None
        """ns, first and last log time of the chunk that is cut."""
        self.last = 0
        """ns, newest log time."""
        self._blocks: list[_Block] = []
        self._unpacked = 0  # bytes so far
        with self._open() as stream:
            self._run(stream)

    def __len__(self) -> int:
        """Number of whole chunks."""
        return len(self._blocks)

    @property
    def damaged(self) -> int:
        """Bytes of chunks that are whole in length but not in content, among those that were unpacked."""
        return sum(block.length for block in self._blocks if block.damaged)

    @property
    def unread(self) -> dict[str, int]:
        """Bytes of chunks that may be whole and are not read, by reason."""
        found: dict[str, int] = {}
        for block in self._blocks:
            if block.unread:
                found[block.unread] = found.get(block.unread, 0) + block.length
        return found

    @property
    def attachments(self) -> dict[str, bytes]:
        """By name; the last of equal names."""
        return {record.name: record.data for record in self.kept if isinstance(record, Attachment)}

    def chunks(self) -> Iterator[list[Row]]:
        """The messages of each chunk, in the file's order."""
        return map(self.rows, range(len(self)))

    def rows(self, k: int) -> list[Row]:
        """The messages of the ``k``-th chunk; none if it is damaged or not read."""
        block, rows = self._blocks[k], []
        data = self._content(block)
        if data is None:
            return []
        try:
            for opcode, content in _inside(data) if block.opcode == Opcode.CHUNK else [(block.opcode, data)]:
                if opcode == Opcode.MESSAGE:
                    rows.append((*_MESSAGE.unpack_from(content), content[_MESSAGE.size :]))
                elif opcode in (Opcode.CHANNEL, Opcode.SCHEMA):
                    self._take(opcode, content)
        except BROKEN:
            block.damaged = True
            return []
        return rows

    def table(self, k: int) -> np.ndarray:
        """(messages, 3) uint64: channel, log time in ns and bytes of what the ``k``-th chunk holds; none if it is
        damaged or not read. From the file's index where that can be whole, without going through the chunk's records.
        """
        block = self._blocks[k]
        surely_whole = not block.unread and (k < len(self) - 1 or self.complete)
        if block.index and surely_whole and all(channel in self.channels for channel, _ in block.index):
            if self._content(block) is None:
                return np.zeros((0, 3), np.uint64)
            time, offset = np.frombuffer(b"".join(pairs for _, pairs in block.index), "<u8").reshape(-1, 2).T
            channel = np.repeat(
                np.array([c for c, _ in block.index], dtype=np.uint64), [len(pairs) // 16 for _, pairs in block.index]
            )
            order = np.argsort(offset, kind="stable")
            # a message reaches to the next one
            size = np.diff(offset[order].astype(np.float64), append=block.size) - _HEAD.size - _MESSAGE.size
            size = np.clip(size, 0.0, CHUNK_LIMIT).astype(np.uint64)
            return np.stack([channel[order], time[order], size], axis=1)
        rows = [(channel, time, len(data)) for channel, _, time, _, data in self.rows(k)]
        return np.array(rows, dtype=np.uint64).reshape(-1, 3)

    @contextlib.contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with open(self.path, "rb") as stream:
                yield stream
        except OSError as error:
            raise LunarError(f"log {self.path} cannot be read: {error.strerror or error}") from None

    def _run(self, stream: BinaryIO) -> None:
        self.size = stream.seek(0, 2)
        for opcode, start, length in _heads(stream, self.size, self.path):
            with contextlib.suppress(*BROKEN):  # a record whose content makes no sense; what needs it is skipped
                self._visit(stream, opcode, start, length)
            self.good = start + length
        self.closed = self.complete and self.size - self.good == len(MAGIC)
        stream.seek(self.good)
        head = stream.read(25)
        self.hole = not self.complete and len(head) >= _HEAD.size and not head[0]
        if not self.complete and len(head) == 25 and head[0] == Opcode.CHUNK:
            self.cut_chunk = struct.unpack("<QQ", head[9:25])

    def _visit(self, stream: BinaryIO, opcode: int, start: int, length: int) -> None:
        if opcode in (Opcode.CHUNK, Opcode.MESSAGE):
            block = _Block(opcode, start, length)
            self._blocks.append(block)
            if opcode == Opcode.CHUNK:
                _, last, block.size, _, letters = _CHUNK.unpack(stream.read(_CHUNK.size))
                compression = stream.read(min(letters, 40)).decode(errors="replace")
                if compression not in _COMPRESSIONS:
                    block.unread = f"are compressed with {compression!r}, and none, 'zstd' and 'lz4' are read"
                elif block.size > CHUNK_LIMIT:
                    block.unread = OVERSIZE
            else:
                _, _, last, _ = _MESSAGE.unpack(stream.read(_MESSAGE.size))
            self.last = max(self.last, last)
        elif opcode == Opcode.MESSAGE_INDEX and self._blocks and self._blocks[-1].opcode == Opcode.CHUNK:
            payload = stream.read(length)
            channel, size = _INDEX.unpack_from(payload)
            pairs = payload[_INDEX.size : _INDEX.size + size]
            if pairs and len(pairs) == size and not size % 16:
                self._blocks[-1].index.append((channel, pairs))
        elif opcode in _KINDS:
            self._take(opcode, stream.read(length))
        elif opcode in (Opcode.DATA_END, Opcode.FOOTER):
            self.complete = True
        elif opcode not in _OPCODES:
            self.strange[opcode] += 1

    def _content(self, block: _Block) -> bytes | None:
        """The records of a chunk, or a message; None if it is damaged, which is entered, or not read."""
        if block.unread:
            return None
        with self._open() as stream:
            stream.seek(block.start)
            payload = stream.read(block.length)
        try:
            return self._unpack(block, payload) if block.opcode == Opcode.CHUNK else payload
        except BROKEN:
            block.damaged = True
            return None

    def _unpack(self, block: _Block, payload: bytes) -> bytes:
        """The records of a chunk.

        Raises:
            ValueError, ZstdError and others of ``BROKEN``: it is damaged.
            LunarError: the file has unpacked to an absurd size.
        """
        chunk = Chunk.read(ReadDataStream(BytesIO(payload)))
        data, size = chunk.data, chunk.uncompressed_size
        # the libraries allocate what they are told or what the frame announces: so both must agree and be possible
        if chunk.compression == "zstd":
            announced = zstandard.get_frame_parameters(data).content_size
        elif chunk.compression == "lz4":
            announced = min(size, _LZ4_RATIO * len(data))
        else:
            announced = len(data)
        if announced not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise ValueError("two sizes for one chunk")
        self._unpacked += 0 if block.counted else size
        block.counted = True
        if self._unpacked > GROWTH * self.size + SLACK:
            raise LunarError(f"log {self.path} is refused: it would unpack to over {GROWTH} times its size")
        if chunk.compression == "zstd":
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
        elif chunk.compression == "lz4":
            try:
                data = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size)
            except RuntimeError as error:
                raise ValueError(str(error)) from None
        if len(data) != size or (chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc):
            raise ValueError("a chunk's checksum does not fit")
        return data

    def _take(self, opcode: int, content: bytes) -> None:
        record: McapRecord = _KINDS[opcode].read(ReadDataStream(BytesIO(content)))
        if isinstance(record, Channel):
            self.channels[record.id] = record
        elif isinstance(record, Schema):
            self.schemas[record.id] = record
        elif isinstance(record, Header):
            self.profile = record.profile
        elif isinstance(record, Attachment | Metadata):
            self.kept.append(record)
            if isinstance(record, Metadata) and record.name == EPOCH:
                text = record.metadata.get("nanoseconds", "")
                self.epoch = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _heads(stream: BinaryIO, size: int, path: Path) -> Iterator[tuple[int, int, int]]:
    """Opcode, offset of the content and its length in bytes of every whole record of a file; the stream stands at the
    content.

    Raises:
        LunarError: it is no MCAP file.
    """
    stream.seek(0)
    if stream.read(len(MAGIC)) != MAGIC:
        raise LunarError(f"{path} is not a log: it does not start like an MCAP file")
    at = len(MAGIC)
    while at + _HEAD.size <= size:
        stream.seek(at)
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        opcode, length = _HEAD.unpack(head)
        at += _HEAD.size
        if not opcode or length > size - at:
            return
        yield opcode, at, length
        at += length
        if opcode == Opcode.FOOTER:
            return


def _inside(data: bytes) -> Iterable[tuple[int, bytes]]:
    """Opcode and content of every record of a chunk."""
    at, size = 0, len(data)
    while at < size:
        opcode, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if not opcode or length > size - at:
            raise ValueError("a record reaches beyond its chunk")
        yield opcode, data[at : at + length]
        at += length
