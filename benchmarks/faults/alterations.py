"""What a box in a cable can do to the frames that pass it. Every alteration is a function of (frames, now) -> bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from matrix_hil.link.framing import Frame, encode
from matrix_hil.link.protocol import FAULT_ESTOP, LAYOUTS

Alteration = Callable[[Sequence[Frame], float], bytes]
"""Takes the whole frames that have just come, and the time in s; returns what is passed on."""

_LAYOUT = {layout.type: layout.payload for layout in LAYOUTS.values()}


def bytes_of(frames: Iterable[Frame]) -> bytes:
    """The frames as they are sent."""
    return b"".join(encode(f.type, f.sequence, f.time, f.payload) for f in frames)


def silence() -> Alteration:
    """Nothing passes."""
    return lambda frames, now: b""


def garbage(seed: int) -> Alteration:
    """Random bytes, as many as there were."""
    random = np.random.default_rng(seed)
    return lambda frames, now: random.bytes(len(bytes_of(frames)))


def bit_errors(seed: int) -> Alteration:
    """One bit of every frame is wrong, not in its delimiters."""
    random = np.random.default_rng(seed)

    def alter(frames: Sequence[Frame], now: float) -> bytes:
        spoilt = []
        for frame in frames:
            data = bytearray(bytes_of([frame]))
            data[random.integers(1, len(data) - 1)] ^= 1 << int(random.integers(8))
            spoilt.append(bytes(data))
        return b"".join(spoilt)

    return alter


def wrong_sequence(seed: int) -> Alteration:
    """Sequence numbers at random."""
    random = np.random.default_rng(seed)
    return _each(lambda f, now: replace(f, sequence=int(random.integers(1 << 16))))


def replayed(recorded: Sequence[Frame]) -> Alteration:
    """Instead of every frame one recorded before, from the first on, over and over."""
    position = 0

    def alter(frames: Sequence[Frame], now: float) -> bytes:
        nonlocal position
        old = [recorded[(position + k) % len(recorded)] for k in range(len(frames))]
        position += len(frames)
        return bytes_of(old)

    return alter


def stuck() -> Alteration:
    """Frames go on, each type with the payload that it had first."""
    first: dict[int, bytes] = {}
    return _each(lambda f, now: replace(f, payload=first.setdefault(f.type, f.payload)))


def delayed(seconds: float) -> Alteration:
    """Every frame waits for ``seconds``."""
    held: deque[tuple[float, Frame]] = deque()

    def alter(frames: Sequence[Frame], now: float) -> bytes:
        held.extend((now + seconds, f) for f in frames)
        due = []
        while held and held[0][0] <= now + 1e-9:
            due.append(held.popleft()[1])
        return bytes_of(due)

    return alter


def clock_jump(seconds: float) -> Alteration:
    """The sender's clock reads ``seconds`` more."""
    return _each(lambda f, now: replace(f, time=f.time + seconds))


def rebooted() -> Alteration:
    """The sender began anew: sequence and clock from zero."""
    first: list[tuple[int, float]] = []

    def alter(frame: Frame, now: float) -> Frame:
        if not first:
            first.append((frame.sequence, frame.time))
        return replace(frame, sequence=(frame.sequence - first[0][0]) & 0xFFFF, time=frame.time - first[0][1])

    return _each(alter)


def field(name: str, change: Callable[[np.ndarray], Any]) -> Alteration:
    """A field of every message that has it becomes ``change(value)``."""

    def alter(frame: Frame, now: float) -> Frame:
        layout = _LAYOUT.get(frame.type)
        if layout is None or name not in (layout.names or ()):
            return frame
        record = np.frombuffer(frame.payload, layout).copy()
        record[name][0] = change(record[name][0])
        return replace(frame, payload=record.tobytes())

    return _each(alter)


def obeyed(name: str, index: int | None, change: Callable[[float, float], float]) -> Alteration:
    """A field of every message, or one component of it, becomes ``change(value, s since the first message)``."""
    began: list[float] = []

    def alter(frame: Frame, now: float) -> Frame:
        layout = _LAYOUT.get(frame.type)
        if layout is None or name not in (layout.names or ()):
            return frame
        began.append(now) if not began else None
        record = np.frombuffer(frame.payload, layout).copy()
        values = record[name].reshape(-1)
        at = 0 if index is None else index
        values[at] = change(float(values[at]), now - began[0])
        return replace(frame, payload=record.tobytes())

    return _each(alter)


def estop_bit() -> Alteration:
    """Every state says that the e-stop is pressed."""
    return field("fault", lambda bits: bits | FAULT_ESTOP)


def _each(change: Callable[[Frame, float], Frame]) -> Alteration:
    return lambda frames, now: bytes_of(change(f, now) for f in frames)
