"""A frame is taken once, in order, and its age is known whatever the sender's clock says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_hil.config import Treadmill
from matrix_hil.link import ROBOT, TREADMILL, SerialDevice
from matrix_hil.link.framing import Frame
from matrix_hil.link.order import CLOCK_JUMP, DRIFT, RESYNC, WINDOW, FrameOrder
from matrix_hil.messages import TreadmillCommand
from matrix_hil.virtual.machines import TreadmillEmulator

PERIOD = 0.005


def frame(sequence: int, sent: float) -> Frame:
    return Frame(0x20, sequence & 0xFFFF, sent, b"")


def steady(order: FrameOrder, count: int, start: int = 0, offset: float = 0.0) -> float:
    """Take ``count`` frames, 5 ms apart; returns the time of the last."""
    for k in range(start, start + count):
        assert order.take(frame(k, k * PERIOD + offset), k * PERIOD) == pytest.approx(k * PERIOD)
    return (start + count - 1) * PERIOD


@pytest.mark.parametrize("first", [0, 0xFFF0])
@pytest.mark.parametrize(
    ("ahead", "taken"), [(0, False), (1, True), (2, True), (WINDOW, True), (WINDOW + 1, False), (-1, False)]
)
def test_a_sequence_must_lie_a_little_ahead(first: int, ahead: int, taken: bool) -> None:
    order = FrameOrder()
    now = steady(order, 20, first)
    stamp = order.take(frame(first + 19 + ahead, now + PERIOD), now + PERIOD)
    assert (stamp is not None) is taken
    assert (order.refused, order.gaps) == (int(not taken), int(taken and ahead > 1))


@pytest.mark.parametrize(
    ("step", "taken"),
    [
        (PERIOD + CLOCK_JUMP - 1e-9, True), (PERIOD + CLOCK_JUMP + 1e-6, False),
        (-CLOCK_JUMP + 1e-9, True), (-CLOCK_JUMP - 1e-6, False),
    ],
)  # fmt: skip
def test_a_senders_clock_that_jumps_is_not_believed(step: float, taken: bool) -> None:
    order = FrameOrder()
    now = steady(order, 20, offset=64.0)
    stamp = order.take(frame(20, now + 64.0 + step), now + PERIOD)
    assert (stamp is not None) is taken


def test_frames_that_were_taken_are_not_taken_again() -> None:
    order = FrameOrder()
    now = steady(order, 200)
    for k in range(200):
        assert order.take(frame(k, k * PERIOD), now + k * 1e-4) is None
    assert order.take(frame(200, now + 0.02), now + 0.02) is not None
    assert order.refused == 200


def test_after_a_second_without_a_frame_the_sender_may_begin_anew() -> None:
    order = FrameOrder()
    now = steady(order, 200)
    assert order.take(frame(7, 0.5), now + RESYNC) is None
    assert order.take(frame(7, 0.5), now + RESYNC + 1e-6) == now + RESYNC + 1e-6
    assert order.gaps == 1
    order.restart()
    assert order.take(frame(9999, 0.0), now + 1.1) == now + 1.1, "told to, at once"


@given(st.floats(-1e4, 1e4), st.lists(st.floats(0.0, 0.3), min_size=1, max_size=50))
def test_what_waited_is_stamped_by_as_much(offset: float, delays: list[float]) -> None:
    order = FrameOrder()
    steady(order, 250, offset=offset)
    for k, delay in enumerate(sorted(delays, reverse=True), 250):  # never out of order: every frame is taken
        sent, now = k * PERIOD, k * PERIOD + delay + 0.3
        stamp = order.take(frame(k, sent + offset), max(now, order._received))
        assert stamp is None or stamp == pytest.approx(sent, abs=DRIFT * (0.6 + PERIOD * len(delays)) + 1e-9)
        assert stamp is None or stamp <= now + 0.3


def test_gaps_and_refusals_add_up() -> None:
    order = FrameOrder()
    now = steady(order, 20)
    for k, sequence in enumerate((25, 25, 20, 30, 31), 1):
        order.take(frame(sequence, now + k * PERIOD), now + k * PERIOD)
    assert (order.gaps, order.refused) == (2, 2)
    order.take(frame(5, 0.0), now + 2.0)
    order.take(frame(5, 0.0), now + 4.0)
    assert order.gaps == 4, "each time that it began anew"


def test_a_slow_clock_is_followed() -> None:
    """0.1% slow for 100 s: 0.1 s of offset, and no frame looks older than 2 ms."""
    order = FrameOrder()
    for k in range(20_000):
        now = k * PERIOD
        stamp = order.take(frame(k, now * 0.999), now)
        assert stamp is not None and now - stamp <= 0.0021
    assert order.offset == pytest.approx(0.1, abs=0.003)


@pytest.mark.parametrize(("growth", "seen_after"), [(0.020, 2.2), (0.002, 41.0)])
def test_a_delay_that_grows_is_seen(growth: float, seen_after: float) -> None:
    """By the robot's stale limit of 40 ms; however slowly it grows, but for what clocks may drift by."""
    order = FrameOrder()
    for k in range(int(seen_after / PERIOD)):
        sent = k * PERIOD
        now = sent * (1.0 + growth)
        stamp = order.take(frame(k, sent), now)
        assert stamp is not None
        if now - stamp > ROBOT.stale_limit:
            break
    assert now - stamp > ROBOT.stale_limit


@pytest.mark.parametrize("drift", [-500e-6, 500e-6])
def test_a_clock_that_drifts_as_crystals_do_never_looks_late(drift: float) -> None:
    """600 s, with 3 ms of jitter on the line."""
    order, random = FrameOrder(), np.random.default_rng(1)
    for k, jitter in enumerate(random.uniform(0.0, 0.003, 120_000).tolist()):
        now = k * PERIOD + jitter
        stamp = order.take(frame(k, k * PERIOD * (1.0 + drift)), now)
        assert stamp is not None and now - stamp <= 0.004


def test_the_offset_is_unknown_before_the_first_frame() -> None:
    assert math.isnan(FrameOrder().offset)


def test_a_command_is_sent_until_its_data_expire_and_not_after() -> None:
    with TreadmillEmulator(Treadmill(), 0) as emulator, SerialDevice(TREADMILL, emulator.port) as device:
        emulator.poll(0.0)
        emulator.poll(0.01)
        device.poll(0.01, wait=5.0)
        for now, valid_for, sent in ((0.02, 0.0, 1), (0.03, -1e-4, 0), (0.04, math.inf, 1), (0.05, math.nan, 0)):
            device.send(TreadmillCommand(now, 0.5, valid_for))
            before = device.stats
            device.poll(now)
            heartbeat = now in (0.02, 0.04)
            assert device.stats.sent - before.sent == sent + heartbeat
            assert device.stats.expired_commands - before.expired_commands == 1 - sent
        device.poll(0.06)
        assert device.stats.expired_commands == 2, "what expired is gone"


def test_whether_a_command_has_expired_is_judged_when_it_is_written() -> None:
    """A thread is held up for half a second between the start of its poll and the port."""
    with TreadmillEmulator(Treadmill(), 0) as emulator, SerialDevice(TREADMILL, emulator.port) as device:
        emulator.poll(0.0)
        emulator.poll(0.01)
        device.poll(0.01, wait=5.0)
        for held_up, sent in ((0.039, 1), (0.5, 0)):
            now = device._now + 0.01
            device.clock = lambda now=now, held_up=held_up: now + held_up  # type: ignore[misc]
            device.send(TreadmillCommand(now, 0.5, valid_for=0.04))
            before = device.stats.expired_commands
            device.wired = None
            device.poll(now)
            assert (device.wired is not None) == bool(sent)
            assert device.stats.expired_commands - before == 1 - sent


def test_a_rig_that_was_held_up_takes_the_commands_that_follow() -> None:
    """Wall time: the rig makes up 0.15 s tick by tick, and at the first of them reads what was written during all of
    it. What comes afterwards is not old, and the device does not trip."""
    clock = [0.0]
    with TreadmillEmulator(Treadmill(), 0) as belt, SerialDevice(TREADMILL, belt.port) as host:
        belt.clock = lambda: clock[0]
        held_up = range(1500, 1650)
        for k in range(3000):
            clock[0] = now = 0.001 * k
            if k % 5 == 0:
                host.send(TreadmillCommand(now, 0.1))
            host.poll(now)
            if k in held_up:
                continue
            first = k - len(held_up) if k == held_up.stop else k
            for tick in range(first, k + 1):
                belt.poll(0.001 * tick, 1.0, host.bytes_sent)
            if k == 1400:
                assert not belt.fault, "all was well before"
                taken = belt.commands
        assert not belt.fault
        assert belt.commands - taken > 250  # of 320
