"""Frames on a serial line: COBS between zero bytes, a header with sequence and time, CRC-32 at the end.

A zero byte never occurs inside a COBS block, so a reader that lost its place finds it again at the next zero. A frame
also starts with one, so that noise before it costs the noise alone. The layout is in docs/protocol.md.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

from cobs import cobs

VERSION = 1
MAX_PAYLOAD = 238
"""bytes. Keeps a frame's block within the 254 bytes that COBS codes with one byte of overhead."""

_HEADER = struct.Struct("<BBHQ")
_CRC = struct.Struct("<I")
_SMALLEST = _HEADER.size + _CRC.size
OVERHEAD = _SMALLEST + 3
"""bytes that a frame adds to its payload: header, checksum, two delimiters and COBS's one."""
MAX_ENCODED = cobs.max_encoded_length(_SMALLEST + MAX_PAYLOAD)
"""bytes. Longest COBS block; anything longer without a delimiter is noise."""


@dataclass(frozen=True)
class Frame:
    """One intact frame."""

    type: int
    sequence: int
    """0 to 65535, counts up by one per frame of a sender and wraps."""
    time: float
    """s, the sender's clock, whole microseconds."""
    payload: bytes


def encode(type: int, sequence: int, time: float, payload: bytes) -> bytes:
    """The bytes of one frame, both delimiters included.

    Args:
        type: message type, 0 to 255.
        sequence: taken modulo 65536.
        time: s, sender's clock; what is negative or not finite is sent as 0.
        payload: at most ``MAX_PAYLOAD`` bytes.

    Raises:
        ValueError: the payload is too long.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"payload of {len(payload)} bytes, at most {MAX_PAYLOAD} fit")
    micros = min(max(round(time * 1e6), 0), 2**64 - 1) if math.isfinite(time) else 0
    body = _HEADER.pack(VERSION, type, sequence & 0xFFFF, micros) + payload
    return b"\0" + cobs.encode(body + _CRC.pack(zlib.crc32(body))) + b"\0"


class FrameDecoder:
    """Finds the intact frames in a stream of bytes that may hold anything. Keeps at most ``MAX_ENCODED`` bytes."""

    def __init__(self) -> None:
        self.frames = 0
        """Intact frames so far."""
        self.crc_errors = 0
        """Blocks of a frame's shape whose checksum did not fit."""
        self.version_errors = 0
        """Intact frames of another protocol version, dropped."""
        self.garbage_bytes = 0
        """Bytes, delimiters included, that belonged to no intact frame of this version."""
        self._buffer = bytearray()
        self._overrun = False

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete, in order. Never raises on what is in them."""
        *blocks, rest = bytes(data).split(b"\0")
        found = []
        for block in blocks:
            self._keep(block)
            frame = self._close()
            if frame is not None:
                found.append(frame)
        self._keep(rest)
        self.frames += len(found)
        return found

    @property
    def pending(self) -> int:
        """Bytes held back because their delimiter has not come."""
        return len(self._buffer)

    def _keep(self, piece: bytes) -> None:
        if self._overrun or len(self._buffer) + len(piece) > MAX_ENCODED:
            self.garbage_bytes += len(self._buffer) + len(piece)
            self._buffer.clear()
            self._overrun = True
        else:
            self._buffer += piece

    def _close(self) -> Frame | None:
        """Judge the block that a delimiter has just ended."""
        block, overrun = bytes(self._buffer), self._overrun
        self._buffer.clear()
        self._overrun = False
        if not block and not overrun:
            return None  # The delimiter that opens a frame: nothing was lost.
        frame = None if overrun else self._parse(block)
        if frame is None:
            self.garbage_bytes += len(block) + 1
        return frame

    def _parse(self, block: bytes) -> Frame | None:
        try:
            body = cobs.decode(block)
        except cobs.DecodeError:
            return None
        if len(body) < _SMALLEST:
            return None
        (crc,) = _CRC.unpack_from(body, len(body) - _CRC.size)
        if crc != zlib.crc32(body[: -_CRC.size]):
            self.crc_errors += 1
            return None
        version, type, sequence, micros = _HEADER.unpack_from(body)
        if version != VERSION:
            self.version_errors += 1
            return None
        return Frame(type, sequence, micros * 1e-6, body[_HEADER.size : -_CRC.size])
