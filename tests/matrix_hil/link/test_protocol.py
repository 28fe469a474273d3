"""A message that was sent is the message that arrives; docs/protocol.md tells firmware engineers the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_hil.link.c_header import golden
from matrix_hil.link.framing import Frame, FrameDecoder
from matrix_hil.link.protocol import LAYOUTS, ROBOT_MODES, Message, pack, unpack
from sim.config import ROOT

PAGE = (Path(ROOT) / "docs" / "protocol.md").read_text()


def same(a: Message, b: Message) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
    return type(a) is type(b) and all(
        x == y if isinstance(x, str) else np.array_equal(x, y, equal_nan=True) for x, y in pairs
    )


@st.composite
def messages(draw: st.DrawFn, kind: type) -> Message:
    values: dict[str, object] = {"time": draw(st.integers(0, 2**50)) * 1e-6}
    dtype = LAYOUTS[kind].payload
    for name in dtype.names or ():
        base, shape = dtype[name].base, dtype[name].shape
        number = st.floats(width=32) if base.itemsize == 4 else st.floats()
        if name == "mode":
            values[name] = draw(st.sampled_from(ROBOT_MODES))
        elif name == "brake":
            values[name] = draw(st.booleans())
        elif base.kind == "u":
            values[name] = draw(st.integers(0, 255))
        elif shape:
            values[name] = np.array(draw(st.lists(number, min_size=shape[0], max_size=shape[0])))
        else:
            values[name] = draw(number)
    return kind(**values)


@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_message_survives_the_line_in_any_pieces(kind: type, data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    sequence = data.draw(st.integers(0, 0xFFFF))
    raw = pack(message, sequence)
    cut = data.draw(st.integers(0, len(raw)))
    decoder = FrameDecoder()
    (frame,) = decoder.feed(raw[:cut]) + decoder.feed(raw[cut:])
    assert frame.sequence == sequence
    received = unpack(frame)
    assert received is not None and same(received, message)


@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda kind: kind.__name__)
@given(payload=st.binary(max_size=238), type=st.integers(0, 255))
def test_payloads_of_any_content_are_a_message_or_none(kind: type, payload: bytes, type: int) -> None:
    for number in (type, LAYOUTS[kind].type):
        message = unpack(Frame(number, 0, 0.0, payload))
        assert message is None or len(payload) == LAYOUTS[message.__class__].payload.itemsize


def test_flags_and_modes_that_do_not_exist_are_refused() -> None:
    raw = pack(example("RobotCommand"), 0)
    frame = FrameDecoder().feed(raw)[0]
    assert unpack(Frame(frame.type, 0, 0.0, frame.payload[:-1] + b"\x04")) is None
    assert unpack(Frame(0x31, 0, 0.0, bytes(4) + b"\x02")) is None


def test_what_float32_cannot_hold_arrives_as_infinite() -> None:
    message = example("TreadmillCommand")
    raw = pack(type(message)(1.0, 1e300), 0)  # type: ignore[call-arg, arg-type]
    assert unpack(FrameDecoder().feed(raw)[0]).speed == np.inf  # type: ignore[union-attr]


def example(name: str) -> Message:
    """The message of the golden frame of that name."""
    return golden(next(kind for kind in LAYOUTS if kind.__name__ == name))


@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda kind: kind.__name__)
def test_the_page_has_the_golden_frame_and_the_size_of_every_message(kind: type) -> None:
    name, layout = kind.__name__, LAYOUTS[kind]
    golden = re.search(rf"^{name}\s+((?:[0-9a-f]{{2,}}\s+)+)", PAGE, re.MULTILINE)
    assert golden, f"docs/protocol.md has no golden frame of {name}"
    raw = bytes.fromhex(golden[1])
    assert pack(example(name), 1) == raw
    assert same(unpack(FrameDecoder().feed(raw)[0]), example(name))  # type: ignore[arg-type]
    assert f"| 0x{layout.type:02x} | {name} | {layout.payload.itemsize} |" in PAGE
