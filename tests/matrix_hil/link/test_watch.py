"""A driver's own watchdog over a real pseudo-terminal, on an injected clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from matrix_hil.config import Platform, Treadmill
from matrix_hil.link import PLATFORM, TREADMILL, SerialDevice
from matrix_hil.link.order import CLOCK_TOLERANCE
from matrix_hil.link.watch import WatchedDevice
from matrix_hil.messages import PlatformCommand, PlatformState, TreadmillCommand
from matrix_hil.virtual.emulator import Lockstep
from matrix_hil.virtual.machines import PlatformEmulator, TreadmillEmulator

DT, TIMEOUT = 0.005, 0.06


class Bench:
    """A watched driver, its emulator and a clock of 5 ms."""

    def __init__(self, device: SerialDevice, emulator: object) -> None:
        self.watched = WatchedDevice(device, TIMEOUT)
        self.link = Lockstep(device, emulator)  # type: ignore[arg-type]
        self.emulator = emulator
        self.now = 0.0

    def run(self, seconds: float, command: object = None) -> None:
        for _ in range(round(seconds / DT)):
            self.now += DT
            self.link.poll_emulator(self.now)
            self.link.poll_device(self.now)
            if command is not None:
                self.watched.send(command(self.now), self.now)  # type: ignore[operator]
            self.watched.poll(self.now)


@pytest.fixture
def belt() -> Iterator[Bench]:
    with TreadmillEmulator(Treadmill(), 1) as emulator, SerialDevice(TREADMILL, emulator.port) as device:
        yield Bench(device, emulator)


@pytest.fixture
def plate() -> Iterator[Bench]:
    with PlatformEmulator(Platform(), 1) as emulator, SerialDevice(PLATFORM, emulator.port) as device:
        yield Bench(device, emulator)


def test_the_belt_stops_when_commands_stop_and_no_device_has_to_trip(belt: Bench) -> None:
    belt.run(1.0, lambda now: TreadmillCommand(now, 0.5))
    assert belt.emulator.actuated.speed == pytest.approx(0.5, abs=0.01)  # type: ignore[attr-defined]
    assert not belt.watched.tripped
    belt.run(TIMEOUT - DT)
    assert not belt.watched.tripped
    belt.run(2 * DT)
    assert belt.watched.tripped and belt.watched.trips == 1
    belt.run(0.6)
    assert belt.emulator.actuated.speed == 0.0 and belt.emulator.fault == 0  # type: ignore[attr-defined]
    belt.run(0.5, lambda now: TreadmillCommand(now, 0.3))  # commands come again: it obeys without a reset
    assert belt.emulator.actuated.speed == pytest.approx(0.3, abs=0.01)  # type: ignore[attr-defined]
    assert not belt.watched.tripped


def test_the_platform_freezes_once_where_it_was_measured(plate: Bench) -> None:
    plate.run(0.4, rising)
    plate.run(0.5)
    first = plate.emulator.last_command.pose  # type: ignore[attr-defined]
    plate.run(0.5)
    assert np.array_equal(plate.emulator.last_command.pose, first)  # type: ignore[attr-defined]
    assert 0.06 < first[2] <= 0.08


def test_a_platform_that_is_not_where_it_was_told_to_be_is_not_sent_where_a_sensor_says(plate: Bench) -> None:
    """A supervised platform follows within millimetres: a measurement 0.2 m away is a sensor's error."""
    plate.run(0.4, rising)
    device = plate.watched.device
    assert isinstance(device.state, PlatformState)
    device._state = PlatformState(plate.now, device.state.pose + 0.2, np.zeros(6))
    assert device.safe_command(plate.now) == PlatformCommand(plate.now, device._commanded.pose)  # type: ignore[union-attr]
    device._state = PlatformState(plate.now, np.full(6, np.nan), np.zeros(6))
    assert device.safe_command(plate.now).pose[2] == pytest.approx(0.08, abs=0.002)  # type: ignore[union-attr]


def rising(now: float) -> PlatformCommand:
    """At 0.2 m/s, which the platform follows."""
    return PlatformCommand(now, np.array([0.0, 0.0, 0.2 * now, 0.0, 0.0, 0.0]))


def test_an_old_command_is_refused(belt: Bench) -> None:
    belt.run(0.1)
    assert belt.watched.send(TreadmillCommand(belt.now - TIMEOUT, 0.5), belt.now)
    assert not belt.watched.send(TreadmillCommand(belt.now - TIMEOUT - 1e-6, 0.5), belt.now)
    assert not belt.watched.send(TreadmillCommand(float("nan"), 0.5), belt.now)


def test_a_command_from_the_future_is_refused_whose_clock_is_another(belt: Bench) -> None:
    """It would look young when its data have long been old."""
    belt.run(0.1)
    assert belt.watched.send(TreadmillCommand(belt.now + 0.9 * CLOCK_TOLERANCE, 0.5), belt.now)
    assert not belt.watched.send(TreadmillCommand(belt.now + 1.1 * CLOCK_TOLERANCE, 0.5), belt.now)


def test_a_command_that_comes_in_time_and_is_written_too_late_is_dropped(belt: Bench) -> None:
    belt.run(0.2, lambda now: TreadmillCommand(now, 0.3))
    before = belt.watched.device.stats.expired_commands
    assert belt.watched.send(TreadmillCommand(belt.now, 0.5, valid_for=0.002), belt.now)
    belt.watched.poll(belt.now + 0.005)
    assert belt.watched.device.stats.expired_commands == before + 1


def test_before_the_first_command_nothing_is_said(belt: Bench) -> None:
    belt.run(1.0)
    assert belt.emulator.commands == 0 and not belt.watched.tripped  # type: ignore[attr-defined]
