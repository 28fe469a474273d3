"""Threads that poll drivers and emulators on the wall clock: they end cleanly, and say what went wrong in them."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from matrix_hil.config import Treadmill
from matrix_hil.link import TREADMILL, PollThread, SerialDevice
from matrix_hil.messages import TreadmillCommand
from matrix_hil.virtual.machines import TreadmillEmulator


@pytest.mark.wall_clock
def test_threads_poll_on_the_wall_clock_and_end_cleanly() -> None:
    with TreadmillEmulator(Treadmill(), 0) as emulator:
        device = SerialDevice(TREADMILL, emulator.port)
        polled = PollThread("treadmill", device.poll, device.poll_period)
        with PollThread("emulator", emulator.poll, 0.002), device, polled:
            deadline = time.monotonic() + 20.0
            while time.monotonic() < deadline and emulator.actuated.speed < 0.2:
                device.send(TreadmillCommand(time.monotonic(), 0.5))
                time.sleep(0.002)
            assert emulator.actuated.speed >= 0.2
            assert device.state.speed > 0.0
        assert not device.stats.connected
        assert not [t for t in threading.enumerate() if t.name in ("emulator", "treadmill")]


def test_an_error_in_a_thread_is_raised_where_it_is_stopped() -> None:
    def fail(now: float) -> None:
        raise ValueError("broken")

    thread = PollThread("broken", fail, 0.001)
    thread.start()
    with contextlib.suppress(RuntimeError):
        thread._thread.join(10.0)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="broken"):
        thread.stop()
