"""Threads that poll drivers and emulators on the wall clock: they end cleanly, and say what went wrong in them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from matrix_hil.config import Treadmill
from matrix_hil.link import TREADMILL, PollThread, SerialDevice
from matrix_hil.link.threads import ordinary_time, real_time
from matrix_hil.log import Recorder
from matrix_hil.messages import TreadmillCommand
from matrix_hil.run.run_log import Background
from matrix_hil.virtual.machines import TreadmillEmulator
from sim.spec.command import HopCommand


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


def test_the_log_is_written_in_the_loops_class_whoever_starts_its_thread() -> None:
    """An ordinary thread would be put to sleep while it holds the interpreter that the loop waits for."""
    seen: list[int] = []
    with real_time():
        wanted = os.sched_getscheduler(0)
        with ordinary_time(), Background(10) as log:
            log(lambda: seen.append(os.sched_getscheduler(0)))
    assert seen == [wanted]


def test_a_disk_that_falls_behind_ends_the_recording_and_not_the_memory(tmp_path: Path) -> None:
    going, stuck = threading.Event(), threading.Event()
    with Recorder(tmp_path / "log", {}, 0.0) as recorder:
        with Background(5, lambda: recorder.stop("behind")) as log:
            log(lambda: (stuck.set(), going.wait()))  # type: ignore[arg-type, return-value]
            stuck.wait()
            for k in range(1000):
                log(lambda k=k: recorder.write("/hop_command", HopCommand(), 0.1 * k))  # type: ignore[misc]
            assert log._queue.qsize() == 5 and not recorder.warning
            going.set()
        assert recorder.warning.endswith(f"recording to {recorder.path} stopped: behind")
        assert recorder.messages == 0 and "is not in the log" in recorder.missing


def test_on_the_wall_clock_nobody_reads_where_nothing_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a read, or a look whether there is something to read or room to write, waits in the kernel for a worker of
    the ordinary class, for as long as other programs hold it up."""
    empty: list[tuple[int, int, int]] = []
    read, look = os.read, select.select

    def looked(*arguments: Any) -> Any:
        ports = {port for group in arguments[:3] for port in group}
        if device._serial.fileno() in ports and not device._serial.in_waiting:  # type: ignore[union-attr]
            empty.append((device._serial.fileno(), 0, 0))  # type: ignore[union-attr]
        return look(*arguments)

    def watched(port: int, size: int) -> bytes:
        there = int.from_bytes(fcntl.ioctl(port, termios.FIONREAD, bytes(4)), sys.byteorder)
        if not there or (port != emulator._master and size > there):
            empty.append((port, size, there))
        return read(port, size)

    with TreadmillEmulator(Treadmill(), 0) as emulator, SerialDevice(TREADMILL, emulator.port) as device:
        now = 0.0
        emulator.clock = device.clock = lambda: now
        monkeypatch.setattr(os, "read", watched)
        monkeypatch.setattr(select, "select", looked)
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline and emulator.actuated.speed < 0.2:
            now += 0.002
            emulator.poll(now)
            device.poll(now)
            device.send(TreadmillCommand(now, 0.5))
        monkeypatch.undo()
        assert emulator.actuated.speed >= 0.2 and device.stats.frames > 10
    assert not empty
