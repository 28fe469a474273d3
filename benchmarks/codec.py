"""``lunar bench codec``: ten million bytes of noise with whole frames in it. Every one must be found, none invented."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from matrix_hil.link.framing import MAX_ENCODED, MAX_PAYLOAD, FrameDecoder, encode
from matrix_hil.link.protocol import unpack
from sim.errors import LunarError
from sim.terminal import Terminal


@dataclass(frozen=True)
class Config:
    """Feed the decoder noise and frames in pieces of any size."""

    size: int = 10_000_000
    """bytes."""
    seed: int = 0
    """Of noise, frames and pieces."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """A tenth of the bytes."""


@dataclass(frozen=True)
class FuzzResult:
    """What became of the frames."""

    bytes: int
    frames: int
    """Whole frames in the stream."""
    found: int
    """Of them found, in order."""
    invented: int
    """Frames found that nobody sent."""
    crc_errors: int
    held_bytes: int
    """Most bytes that the decoder held back at a time."""
    bytes_per_second: float


def noise(random: np.random.Generator) -> bytes:
    """Up to some hundred bytes of what lines carry: anything, one byte over and over, frames cut, spoilt or spliced."""
    size = int(random.integers(1, 400))
    kind = int(random.integers(6))
    if kind == 0:
        return random.bytes(size)
    if kind == 1:
        return bytes([int(random.choice([0, 1, 254, 255]))]) * size
    whole, other = some_frame(random), some_frame(random)
    cut = int(random.integers(7, len(whole) - 5))  # so much is missing that chance cannot make up for it
    if kind == 2:
        return whole[:cut]
    if kind == 3:
        return whole[cut:-1]
    if kind == 4:
        return whole[:cut] + other[int(random.integers(7, len(other) - 5)) : -1]
    spoilt = bytearray(whole)
    for at in random.integers(1, len(whole) - 1, int(random.integers(1, 4))):
        spoilt[at] = (spoilt[at] + int(random.integers(1, 256))) & 0xFF
    return bytes(spoilt)


def some_frame(random: np.random.Generator) -> bytes:
    """A frame of any type and length; half of them full of zeros or of 0xff, which COBS finds hardest."""
    size = int(random.integers(0, MAX_PAYLOAD + 1))
    payload = random.bytes(size) if random.random() < 0.5 else bytes([int(random.choice([0, 255]))]) * size
    return encode(int(random.integers(256)), int(random.integers(1 << 16)), float(random.uniform(0, 1e9)), payload)


def stream(size: int, seed: int) -> Iterator[tuple[bytes, bool]]:
    """(bytes, whether they are a whole frame), at least ``size`` bytes in all."""
    random = np.random.default_rng(seed)
    sent = 0
    while sent < size:
        frame = bool(random.random() < 0.4)
        data = some_frame(random) if frame else noise(random)
        sent += len(data)
        yield data, frame


def fuzz(size: int, seed: int) -> FuzzResult:
    """Feed ``size`` bytes to a decoder; raises whatever the decoder or ``unpack`` raises."""
    random = np.random.default_rng(seed + 1)
    decoder = FrameDecoder()
    expected: deque[bytes] = deque()
    total = frames = found = invented = held = 0
    seconds = 0.0
    pending = bytearray()
    for data, whole in stream(size, seed):
        total += len(data)
        pending += data
        if whole:
            frames += 1
            expected.append(data)
        piece = int(random.integers(1, 2000))
        while len(pending) >= piece:
            found, invented, seconds = _feed(decoder, pending[:piece], expected, found, invented, seconds)
            held = max(held, decoder.pending)
            del pending[:piece]
    found, invented, seconds = _feed(decoder, pending, expected, found, invented, seconds)
    return FuzzResult(total, frames, found, invented, decoder.crc_errors, held, total / seconds)


def _feed(
    decoder: FrameDecoder, data: bytearray, expected: deque[bytes], found: int, invented: int, seconds: float
) -> tuple[int, int, float]:
    began = time.perf_counter()
    frames = decoder.feed(bytes(data))
    for frame in frames:
        unpack(frame)
    seconds += time.perf_counter() - began
    for frame in frames:
        if expected and encode(frame.type, frame.sequence, frame.time, frame.payload) == expected[0]:
            expected.popleft()
            found += 1
        else:
            invented += 1
    return found, invented, seconds


def run(cfg: Config) -> dict[str, Any]:
    """The fields of ``FuzzResult``."""
    return asdict(fuzz(cfg.size // 10 if cfg.quick else cfg.size, cfg.seed))


def show(results: dict[str, Any]) -> None:
    """One line; raises LunarError when the decoder failed."""
    r = FuzzResult(**results)
    Terminal().print(
        f"{r.bytes} bytes: {r.found} of {r.frames} frames found, {r.invented} invented, "
        f"{r.crc_errors} checksum errors, at most {r.held_bytes} bytes held, {r.bytes_per_second / 1e6:.0f} MB/s"
    )
    if r.found != r.frames or r.invented or r.held_bytes > MAX_ENCODED:
        raise LunarError("the decoder lost or invented frames, or held too much; the line above says how many")
