"""What a box in a cable does to the bytes, and that without a fault it does nothing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.faults import alterations as alter
from benchmarks.faults.cable import Cable, lockstep_through
from matrix_hil.config import Treadmill
from matrix_hil.link import TREADMILL, SerialDevice
from matrix_hil.link.framing import Frame, FrameDecoder
from matrix_hil.link.protocol import FAULT_ESTOP, pack, unpack
from matrix_hil.messages import PlatformCommand, TreadmillCommand, TreadmillState
from matrix_hil.virtual.machines import TreadmillEmulator

DT = 0.005


def frames(count: int, start: int = 0) -> list[Frame]:
    states = [TreadmillState(k * DT, 0.5 + 0.01 * k, 0.1 * k) for k in range(start, start + count)]
    return FrameDecoder().feed(b"".join(pack(state, k) for k, state in enumerate(states, start)))


def decoded(data: bytes) -> tuple[list[Frame], FrameDecoder]:
    decoder = FrameDecoder()
    return decoder.feed(data), decoder


def test_silence_garbage_and_bit_errors_leave_no_frame() -> None:
    sent = frames(50)
    assert alter.silence()(sent, 0.0) == b""
    noise = alter.garbage(1)(sent, 0.0)
    assert len(noise) == len(alter.bytes_of(sent)) and decoded(noise)[0] == []
    spoilt, decoder = decoded(alter.bit_errors(1)(sent, 0.0))
    assert spoilt == [] and decoder.crc_errors > 10


def test_sequence_clock_and_payload_are_changed_and_nothing_else() -> None:
    sent = frames(20)
    wrong, _ = decoded(alter.wrong_sequence(1)(sent, 0.0))
    assert [(f.time, f.payload) for f in wrong] == [(f.time, f.payload) for f in sent]
    assert sum(f.sequence != g.sequence for f, g in zip(wrong, sent, strict=True)) > 15
    late, _ = decoded(alter.clock_jump(3600.0)(sent, 0.0))
    assert [f.time for f in late] == pytest.approx([f.time + 3600.0 for f in sent])
    assert [(f.sequence, f.payload) for f in late] == [(f.sequence, f.payload) for f in sent]
    fixed, _ = decoded(alter.stuck()(sent, 0.0))
    assert {f.payload for f in fixed} == {sent[0].payload}
    assert [f.sequence for f in fixed] == [f.sequence for f in sent]
    begun, _ = decoded(alter.rebooted()(frames(5, 300), 0.0))
    assert [f.sequence for f in begun] == list(range(5)) and begun[0].time == 0.0
    again, _ = decoded(alter.replayed(sent[:3])(frames(7, 90), 0.0))
    assert [f.sequence for f in again] == [0, 1, 2, 0, 1, 2, 0]


def test_fields_are_changed_by_name() -> None:
    sent = frames(3)
    fast = [unpack(f) for f in decoded(alter.field("speed", lambda v: v + 8.0)(sent, 0.0))[0]]
    assert [m.speed for m in fast] == pytest.approx([8.5, 8.51, 8.52])  # type: ignore[union-attr]
    assert [m.position for m in fast] == pytest.approx([0.0, 0.1, 0.2])  # type: ignore[union-attr]
    pressed = [unpack(f) for f in decoded(alter.estop_bit()(sent, 0.0))[0]]
    assert all(m.fault == FAULT_ESTOP for m in pressed)  # type: ignore[union-attr]
    assert decoded(alter.field("pose", np.negative)(sent, 0.0))[0] == sent, "no such field, no change"


def test_one_component_of_what_is_obeyed_changes_with_the_time_since_the_fault() -> None:
    poses = [PlatformCommand(k * DT, np.arange(6.0)) for k in range(3)]
    sent = FrameDecoder().feed(b"".join(pack(pose, k) for k, pose in enumerate(poses)))
    change = alter.obeyed("pose", 2, lambda v, t: v + 100.0 * t)
    told = [unpack(decoded(change([frame], 5.0 + k))[0][0]) for k, frame in enumerate(sent)]
    assert [m.pose.tolist() for m in told] == [[0, 1, 2 + 100 * k, 3, 4, 5] for k in range(3)]  # type: ignore[union-attr]
    halved = [unpack(f) for f in decoded(alter.obeyed("speed", None, lambda v, t: 0.5 * v)(frames(2), 0.0))[0]]
    assert [m.speed for m in halved] == pytest.approx([0.25, 0.255])  # type: ignore[union-attr]


def test_what_is_delayed_comes_later_in_order() -> None:
    delay, sent = alter.delayed(0.02), frames(6)
    out = [decoded(delay([frame], k * DT))[0] for k, frame in enumerate(sent)]
    assert [len(o) for o in out] == [0, 0, 0, 0, 1, 1]
    assert out[4] + out[5] == sent[:2]
    assert decoded(delay([], 1.0))[0] == sent[2:]


def test_a_sound_cable_changes_nothing_and_a_pulled_plug_is_noticed() -> None:
    with TreadmillEmulator(Treadmill(), 0) as emulator:
        cable = Cable(emulator.port)
        with SerialDevice(TREADMILL, cable.port) as device:
            link = lockstep_through(cable, device, emulator)

            def run(cycles: int, start: int) -> None:
                for k in range(start, start + cycles):
                    link.poll_emulator(k * DT)
                    link.poll_device(k * DT)
                    device.send(TreadmillCommand(k * DT, 0.4))
                    device.poll(k * DT)

            run(100, 0)
            assert emulator.actuated.speed == pytest.approx(0.4, abs=0.01)
            assert device.stats.crc_errors == device.stats.garbage_bytes == device.stats.refused_frames == 0
            assert cable.read == cable.written and min(cable.read.values()) > 1000
            cable.spoil("to_device", alter.silence())
            run(40, 100)
            assert device.state.fault == 2, "the device noticed that it hears nothing"
            cable.unplug()
            run(2, 140)
            assert not device.stats.connected
        cable.close()
