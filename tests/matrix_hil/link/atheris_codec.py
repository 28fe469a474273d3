"""Coverage-guided fuzzing of the codec, by hand: ``pip install atheris`` and run this file with ``-runs=2000000``.

Whatever bytes come, in two pieces, decoding raises nothing, holds little, and a frame behind them is found. Every frame
that is found says the same when it is sent again.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from matrix_hil.link.framing import MAX_ENCODED, FrameDecoder, encode
    from matrix_hil.link.order import FrameOrder
    from matrix_hil.link.protocol import pack, unpack

LAST = encode(0x20, 7, 3.0, b"the last")


def one(data: bytes) -> None:
    """One input."""
    decoder, order = FrameDecoder(), FrameOrder()
    half = len(data) // 2
    frames = decoder.feed(data[:half]) + decoder.feed(data[half:])
    assert decoder.pending <= MAX_ENCODED
    for k, frame in enumerate(frames):
        stamp = order.take(frame, 0.001 * k)
        assert stamp is None or stamp <= 0.001 * k
        again = FrameDecoder().feed(encode(frame.type, frame.sequence, frame.time, frame.payload))
        assert [(f.type, f.sequence, f.payload) for f in again] == [(frame.type, frame.sequence, frame.payload)]
        message = unpack(frame)
        if message is not None:
            pack(message, frame.sequence)
    assert decoder.feed(LAST)[-1].payload == b"the last"


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
