"""What every emulated device has in common: a pseudo-terminal, a paced line, its own watchdog and an e-stop input.

An emulator speaks the same bytes as the real device and acts on an injected clock, in ticks, so that a seed and a
sequence of polls give the same bytes again. The machines themselves are in ``machines``.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from matrix_hil.config import LineConfig
from matrix_hil.link.devices import DeviceSpec
from matrix_hil.link.driver import SerialDevice
from matrix_hil.link.framing import OVERHEAD, FrameDecoder
from matrix_hil.link.order import FrameOrder
from matrix_hil.link.protocol import (
    FAULT_ESTOP,
    FAULT_LIMIT,
    FAULT_WATCHDOG,
    Heartbeat,
    Message,
    Reset,
    pack,
    unpack,
)
from matrix_hil.messages import is_finite

BITS_PER_BYTE = 10  # start bit, eight data bits, stop bit
COMMAND_AGE = 0.05
"""s that a command may have taken longer than the fastest frame of late; an older one is dropped."""


@dataclass
class Received:
    """A command on its way to the machine."""

    due: float
    """s, when its last bit has come in and the dead time is over."""
    command: Any


class Emulator:
    """One device on a pseudo-terminal. Subclasses add the machine.

    Order in simulated time: write the physics' values with ``measure``, ``poll(now)``, read ``actuated``.
    """

    spec: ClassVar[DeviceSpec]
    dead_time = 0.0
    transmit_buffer = 1024
    """bytes; a frame that does not fit is not sent."""

    def __init__(self, line: LineConfig, seed: int) -> None:
        self.line = line
        self.bytes_sent = 0
        self.bytes_received = 0
        self.commands = 0
        """Commands taken."""
        self.overruns = 0
        """Frames not sent because the line was full."""
        self.last_command: Any = None
        """The newest command decoded, before the machine's limits."""
        self.clock: Callable[[], float] | None = None
        """On the wall clock, what the ``now`` of ``poll`` was read from: a rig that was held up makes up its ticks one
        by one, and what it then reads has come now, not at the tick. None: at ``now``."""
        self._random = np.random.default_rng(seed)
        self._decoder = FrameDecoder()
        self._order = FrameOrder()
        self._queue: deque[Received] = deque()
        self._out = bytearray()
        self._credit = 0.0
        self._sequence = 0
        self._start: float | None = None
        self._ticks = 0
        self._states = 0
        self._time = 0.0
        self._polled = self._now = 0.0
        self._line_in = -math.inf
        self._heard: float | None = None  # None until the first command: a host may take its time to start
        self._estop_input = False
        self._latched = 0
        self._limit = False
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        """Path for pyserial."""

    # ---- used by a rig ------------------------------------------------------------------------------------------

    def poll(self, now: float, wait: float = 0.0, received: int | None = None) -> int:
        """Decode what has come, move the machine up to ``now``, send a state per period. Returns the states sent.

        Args:
            now: s, the injected clock; what does not lie after the last poll's moves nothing.
            wait: wall seconds to wait at most until ``bytes_received`` reaches ``received``.
            received: bytes in total that the host is known to have written.
        """
        if self._start is None:
            self._start = self._time = self._polled = now
        self._now = now
        self._read(wait, received)
        states, written = self._states, bytearray()
        while True:
            tick = self._start + (self._ticks + 1) * self.line.tick
            if tick > now + 1e-9:
                break
            self._ticks += 1
            self._time = tick
            self._credit += self.line.baud / BITS_PER_BYTE * self.line.tick
            written += self._drain()
            self._step(tick)
        self._polled = max(now, self._polled)
        self._put(bytes(written))
        return self._states - states

    @property
    def fault(self) -> int:
        """Fault bits as the next state carries them."""
        return self._latched | (FAULT_LIMIT if self._limit else 0)

    @property
    def is_safe(self) -> bool:
        """Whether the device keeps itself in its safe state, whatever the host says."""
        return self._heard is None or bool(self._latched)

    def estop(self, pressed: bool) -> None:
        """Press or release the e-stop input. Released, it stays latched until the host sends ``Reset``."""
        self._estop_input = pressed
        if pressed:
            self._trip(FAULT_ESTOP)

    def close(self) -> None:
        """Unplug: the host's port reports an error from now on."""
        for end in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(end)
        self._master = self._slave = -1

    def __enter__(self) -> Emulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- the machine, by subclass -------------------------------------------------------------------------------

    def _accept(self, command: Any) -> None:
        """Take a finite command whose dead time is over."""

    def _safe(self) -> None:
        """The device has just gone to its safe state."""

    def _advance(self, now: float, dt: float) -> None:
        """Move the machine by one tick."""

    def _state(self, now: float) -> Any:
        """What the device measures now; ``fault`` is filled in by the caller."""
        raise NotImplementedError

    # ---- line and firmware --------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        """Take bytes that have come in."""
        now = self._arrival()
        for frame in self._decoder.feed(data):
            self._line_in = max(self._line_in, self._polled)
            self._line_in += (len(frame.payload) + OVERHEAD) * BITS_PER_BYTE / self.line.baud
            message = unpack(frame)
            if isinstance(message, Reset):
                self._order.restart()  # a host may begin anew at any time
            sent = self._order.take(frame, now)
            if sent is not None and now - sent <= COMMAND_AGE:
                self._take(message)

    def _arrival(self) -> float:
        """When the bytes at hand came, s."""
        return self._now if self.clock is None else self.clock()

    def _report(self, now: float) -> None:
        """Say what is due: a state per period."""
        if now + 1e-9 >= self._start_time + (self._states + 1) * self.spec.period:
            self._states += 1
            self._send(replace(self._state(now), fault=self.fault))

    def _step(self, now: float) -> None:
        if self._heard is not None and now - self._heard > self.line.watchdog + 1e-9:
            self._trip(FAULT_WATCHDOG)
        while self._queue and self._queue[0].due <= now + 1e-9:
            command = self._queue.popleft().command
            if not self._latched:
                self._accept(command)
        self._advance(now, self.line.tick)
        self._report(now)

    @property
    def _start_time(self) -> float:
        assert self._start is not None
        return self._start

    def _trip(self, bit: int) -> None:
        fresh = not self._latched & bit
        self._latched |= bit
        self._queue.clear()
        if fresh:
            self._safe()

    def _read(self, wait: float, received: int | None) -> None:
        if received is not None and self.bytes_received == received:
            return  # all that was written has come
        deadline = time.monotonic() + wait if wait > 0.0 else 0.0
        while True:
            with contextlib.suppress(BlockingIOError):
                while (self.clock is None or self._at_hand()) and (data := os.read(self._master, 4096)):
                    self.bytes_received += len(data)
                    self._feed(data)
            if received is None or self.bytes_received >= received or time.monotonic() >= deadline:
                return
            time.sleep(50e-6)

    def _at_hand(self) -> bool:
        """Whether bytes have come. Reading none may take long, see ``SerialDevice``."""
        return int.from_bytes(fcntl.ioctl(self._master, termios.FIONREAD, bytes(4)), sys.byteorder) > 0

    def _take(self, message: Message | None) -> None:
        command_type = self.spec.command_type
        if isinstance(message, Reset):
            self._latched = FAULT_ESTOP if self._estop_input else 0
            self._queue.clear()
            self._heard = None
            self._safe()  # a new session starts from rest
        elif isinstance(message, Heartbeat):
            if self._heard is not None:
                self._heard = self._arrival()
        elif command_type is not None and isinstance(message, command_type):
            self.commands += 1
            self.last_command = message
            self._heard = self._arrival()
            if not self._latched and is_finite(message):
                self._queue.append(Received(self._line_in + self.dead_time, message))

    def _send(self, message: Message) -> None:
        data = pack(message, self._sequence)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._queue_out(data)

    def _queue_out(self, data: bytes) -> None:
        if len(self._out) + len(data) > self.transmit_buffer:
            self.overruns += 1
        else:
            self._out += data

    def _drain(self) -> bytes:
        """The bytes whose last bit has left by now, at the configured baud rate."""
        count = min(int(self._credit), len(self._out))
        data = bytes(self._out[:count])
        del self._out[:count]
        self._credit = self._credit - count if self._out else 0.0
        return data

    def _put(self, data: bytes) -> None:
        if not data:
            return
        # A host that does not read loses bytes, as on a real line.
        with contextlib.suppress(BlockingIOError):
            self.bytes_sent += os.write(self._master, data)


@dataclass
class Lockstep:
    """A driver and its emulator on one injected clock, each waiting for the bytes that the other has written.

    The kernel hands bytes through a pseudo-terminal in its own time; this makes a simulated run repeat exactly.
    """

    device: SerialDevice
    emulator: Emulator
    timeout: float = 30.0
    """wall s to wait at most: long, or a busy computer would let bytes come late in simulated time."""
    _to_device: int = field(init=False)
    _to_emulator: int = field(init=False)

    def __post_init__(self) -> None:
        self.device.let_writes_wait(self.timeout)  # else a busy computer would lose frames in simulated time
        self._to_device = self.emulator.bytes_sent - self.device.bytes_received
        self._to_emulator = self.device.bytes_sent - self.emulator.bytes_received

    def poll_emulator(self, now: float) -> int:
        """Poll the emulator once all that the driver wrote has come. Returns the states sent."""
        wanted = self.device.bytes_sent - self._to_emulator
        return self.emulator.poll(now, self.timeout, wanted)

    def poll_device(self, now: float) -> int:
        """Poll the driver once all that the emulator wrote has come. Returns the new states."""
        wanted = self.emulator.bytes_sent - self._to_device
        return self.device.poll(now, self.timeout, wanted)
