"""Whatever is thrown at the decoder, it finds the intact frames and nothing else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.codec import fuzz
from matrix_hil.link import framing
from matrix_hil.link.framing import MAX_ENCODED, MAX_PAYLOAD, OVERHEAD, Frame, FrameDecoder, encode

times = st.integers(0, 2**50).map(lambda micros: micros * 1e-6)
frames = st.builds(
    Frame, st.integers(0, 255), st.integers(0, 0xFFFF), times, st.binary(max_size=MAX_PAYLOAD)
)  # fmt: skip


def bytes_of(frame: Frame) -> bytes:
    return encode(frame.type, frame.sequence, frame.time, frame.payload)


def feed_in_pieces(decoder: FrameDecoder, data: bytes, cuts: list[int]) -> list[Frame]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [f for a, b in itertools.pairwise(edges) for f in decoder.feed(data[a:b])]


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 10**6), max_size=12))
def test_frames_survive_any_chunking(sent: list[Frame], cuts: list[int]) -> None:
    decoder = FrameDecoder()
    assert feed_in_pieces(decoder, b"".join(map(bytes_of, sent)), cuts) == sent
    assert decoder.frames == len(sent)
    assert (decoder.crc_errors, decoder.garbage_bytes, decoder.version_errors, decoder.pending) == (0, 0, 0, 0)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.binary(max_size=400), frames), max_size=5), st.lists(st.integers(0, 10**6), max_size=12))
def test_noise_between_frames_costs_the_noise_alone(mixed: list[tuple[bytes, Frame]], cuts: list[int]) -> None:
    decoder = FrameDecoder()
    stream = b"".join(noise + bytes_of(frame) for noise, frame in mixed)
    assert feed_in_pieces(decoder, stream, cuts) == [frame for _, frame in mixed]
    assert decoder.garbage_bytes <= sum(len(noise) + 1 for noise, _ in mixed)  # + the delimiter that ends it


@given(frames, st.data())
def test_a_flipped_bit_never_yields_another_frame(frame: Frame, data: st.DataObject) -> None:
    good = bytearray(bytes_of(frame))
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    good[bit // 8] ^= 1 << bit % 8
    decoder = FrameDecoder()
    found = decoder.feed(bytes(good) + b"\0" + bytes_of(frame))
    # A flip in a delimiter leaves the frame whole; anything else destroys it. The one behind always arrives.
    assert found in ([frame], [frame, frame])
    assert bit // 8 in (0, len(good) - 1) or found == [frame]


def test_noise_alone_is_no_frame_and_memory_stays_bounded() -> None:
    random = np.random.default_rng(3)
    decoder = FrameDecoder()
    total = 0
    for size in random.integers(1, 5000, 400):
        data = random.integers(0, 256, size, dtype=np.uint8).tobytes()
        total += size
        assert decoder.feed(data) == []
        assert decoder.pending <= MAX_ENCODED
    assert decoder.frames == 0
    assert decoder.crc_errors > 0
    assert total * 0.9 < decoder.garbage_bytes <= total


def test_a_stream_without_delimiter_is_dropped_and_the_next_frame_found() -> None:
    decoder = FrameDecoder()
    for _ in range(100):
        decoder.feed(b"\x55" * 1000)
    assert decoder.pending <= MAX_ENCODED
    assert decoder.feed(encode(1, 2, 3.0, b"x")) == [Frame(1, 2, 3.0, b"x")]
    assert decoder.garbage_bytes == 100_001


def test_another_version_is_counted_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "VERSION", 2)
    other = encode(1, 2, 3.0, b"x")
    monkeypatch.undo()
    decoder = FrameDecoder()
    assert decoder.feed(other) == []
    assert (decoder.version_errors, decoder.crc_errors) == (1, 0)


def test_a_payload_that_is_too_long_is_refused() -> None:
    assert len(encode(1, 1, 0.0, bytes(MAX_PAYLOAD))) == MAX_PAYLOAD + OVERHEAD
    with pytest.raises(ValueError, match="at most 238"):
        encode(1, 1, 0.0, bytes(MAX_PAYLOAD + 1))


def test_the_longest_frame_survives() -> None:
    for payload in (bytes(MAX_PAYLOAD), b"\xff" * MAX_PAYLOAD):
        assert FrameDecoder().feed(encode(1, 1, 2.0, payload)) == [Frame(1, 1, 2.0, payload)]


def test_errors_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    good = encode(1, 1, 2.0, b"payload")
    bad = good[:-3] + bytes([good[-3] ^ 0x55]) + good[-2:]
    decoder = FrameDecoder()
    assert decoder.feed(bad + good + bad + bad) == [Frame(1, 1, 2.0, b"payload")]
    assert (decoder.crc_errors, decoder.frames) == (3, 1)
    monkeypatch.setattr(framing, "VERSION", 9)
    assert decoder.feed(good + good) == []
    assert (decoder.version_errors, decoder.crc_errors, decoder.frames) == (2, 3, 1)


def test_a_time_beyond_the_field_is_the_latest_that_fits() -> None:
    body = cobs.decode(encode(1, 1, 1e30, b"")[1:-1])
    assert body[4:12] == b"\xff" * 8


@pytest.mark.parametrize(("time", "read"), [(math.nan, 0.0), (-1.0, 0.0), (math.inf, 0.0), (1.5, 1.5)])
def test_times_that_cannot_be_sent_are_zero(time: float, read: float) -> None:
    assert FrameDecoder().feed(encode(1, 1, time, b""))[0].time == read


def test_ten_million_bytes_of_noise_hide_no_frame_and_make_none() -> None:
    result = fuzz(10_000_000, seed=1)
    assert result.frames > 20_000
    assert (result.found, result.invented) == (result.frames, 0)
    assert result.crc_errors > 1000, "noise came near to frames"
    assert result.held_bytes <= MAX_ENCODED
