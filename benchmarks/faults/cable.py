"""A cable with a box in it: passes bytes between a driver and a device, and spoils them when told to."""

from __future__ import annotations

import contextlib
import os
import time
import tty
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.faults.alterations import Alteration
from matrix_hil.link import SerialDevice
from matrix_hil.link.framing import Frame, FrameDecoder
from matrix_hil.virtual.emulator import Emulator, Lockstep

Way = Literal["to_host", "to_device"]
_REMEMBERED = 200  # frames each way, about a second


class Cable:
    """Two ends of serial line joined by a box. Give the driver ``port``; the device's port is opened at once.

    Args:
        device_port: path of the device's terminal.
    """

    def __init__(self, device_port: str) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        """Path for the driver."""
        self._device = os.open(device_port, os.O_RDWR | os.O_NOCTTY)
        os.set_blocking(self._device, False)
        os.set_blocking(self._master, False)
        self.plugged = True
        self.read: dict[Way, int] = {"to_host": 0, "to_device": 0}
        """Bytes that came, by the way that they go."""
        self.written: dict[Way, int] = {"to_host": 0, "to_device": 0}
        """Bytes passed on."""
        self.recorded: dict[Way, deque[Frame]] = {w: deque(maxlen=_REMEMBERED) for w in self.read}
        """Newest frames that came."""
        self._decoders = {w: FrameDecoder() for w in self.read}
        self._alterations: dict[Way, Alteration] = {}

    def spoil(self, way: Way, alteration: Alteration | None) -> None:
        """From now on bytes going ``way`` are altered; None mends the cable."""
        if alteration is None:
            self._alterations.pop(way, None)
        else:
            self._alterations[way] = alteration

    def unplug(self) -> None:
        """Pull the plug at the host: its port reports an error from now on."""
        self.plugged = False
        for end in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(end)
        self._master = self._slave = -1

    def close(self) -> None:
        """Take the cable away."""
        self.unplug()
        with contextlib.suppress(OSError):
            os.close(self._device)

    def carry(self, way: Way, now: float, expected: int | None = None, timeout: float = 30.0) -> None:
        """Pass on what has come.

        Args:
            way: direction.
            now: s.
            expected: wait until this many bytes have come in total; None takes what is there.
            timeout: wall s to wait at most.
        """
        if not self.plugged:
            return
        if expected is not None and self.read[way] == expected and way not in self._alterations:
            return  # all that was written has passed
        source, sink = (self._device, self._master) if way == "to_host" else (self._master, self._device)
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(BlockingIOError):
                while data := os.read(source, 4096):
                    self.read[way] += len(data)
                    self._pass(way, sink, data, now)
            if expected is None or self.read[way] >= expected or time.monotonic() >= deadline:
                break
            time.sleep(50e-6)
        self._pass(way, sink, b"", now)  # what an alteration held back may be due

    def _pass(self, way: Way, sink: int, data: bytes, now: float) -> None:
        frames = self._decoders[way].feed(data)
        self.recorded[way].extend(frames)
        alteration = self._alterations.get(way)
        if alteration is not None:
            data = alteration(frames, now)
        if data:
            with contextlib.suppress(BlockingIOError):  # a reader that has gone loses bytes, as on a real line
                self.written[way] += os.write(sink, data)


@dataclass
class CableLockstep(Lockstep):
    """``Lockstep`` through a cable: nobody goes on before the bytes have passed the box."""

    cable: Cable = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sent = self.emulator.bytes_sent
        self._came = self.emulator.bytes_received - self.cable.written["to_device"]
        self._host = self.device.bytes_sent - self.cable.read["to_device"]
        self._back = self.device.bytes_received - self.cable.written["to_host"]

    def poll_emulator(self, now: float) -> int:
        """Poll the emulator once all that passed the box has come. Returns the states sent."""
        self.cable.carry("to_device", now, self.device.bytes_sent - self._host, self.timeout)
        return self.emulator.poll(now, self.timeout, self.cable.written["to_device"] + self._came)

    def poll_device(self, now: float) -> int:
        """Poll the driver once all that passed the box has come. Returns the new states."""
        self.cable.carry("to_host", now, self.emulator.bytes_sent - self._sent, self.timeout)
        if not self.cable.plugged:
            return self.device.poll(now)
        return self.device.poll(now, self.timeout, self.cable.written["to_host"] + self._back)


def lockstep_through(cable: Cable, device: SerialDevice, emulator: Emulator) -> CableLockstep:
    """Join a driver, which has ``cable.port`` open, and the emulator at its other end."""
    return CableLockstep(device, emulator, cable=cable)
