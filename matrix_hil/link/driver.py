"""The host's end of a serial line: one driver for all five devices, and a thread that polls one on the wall clock."""

from __future__ import annotations

import contextlib
import math
import os
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Generic

import serial
from serial import rfc2217

from matrix_hil.link.devices import C, DeviceSpec, S
from matrix_hil.link.framing import FrameDecoder
from matrix_hil.link.order import FrameOrder
from matrix_hil.link.protocol import HEARTBEAT_PERIOD, HOST_SILENCE, Heartbeat, Message, Reset, pack, unpack
from sim.errors import LunarError

BAUD = 921600
SAFE_REPEATS = 3
"""The safe command on exit is sent this often, so that one bad bit cannot lose it."""
_PIECE = 4096  # bytes that are read at once
_WRITE_TIMEOUT = 0.05  # s. A port that takes no bytes must not hold the loop; pyserial spins for ever at 0.
_SLACK = 1e-6  # s. Rounding of a clock that counts in periods.
_EARLY = 0.1  # of a period by which a command may come early: a loop's jitter must not hold it up until the next poll


@dataclass(frozen=True)
class LinkStats:
    """How a line is doing since ``connect``."""

    connected: bool = False
    """False after an unplugged cable, until the next ``connect``."""
    frames: int = 0
    """Intact frames received."""
    sent: int = 0
    """Frames written."""
    crc_errors: int = 0
    sequence_gaps: int = 0
    """Times that a frame did not follow the one before it."""
    refused_frames: int = 0
    """Intact frames that were not taken: repeated, out of order, or from a clock that jumped."""
    garbage_bytes: int = 0
    unknown_frames: int = 0
    """Intact frames that are no message this device sends."""
    expired_commands: int = 0
    """Commands not sent because what they were made from had become too old."""
    write_timeouts: int = 0
    clock_offset: float = math.nan
    """s, host's clock minus the device's, the shortest transit included."""
    error: str = ""
    """What ended the connection."""


class SerialDevice(Generic[S, C]):
    """Driver of one device on any port that pyserial opens (``/dev/tty*``, ``socket://``, ``rfc2217://``, ``loop://``).

    Behind ``rfc2217://`` a peer that takes no bytes for 50 ms ends the connection, where a serial line only counts it.

    ``poll`` is the whole of it: it never blocks (unless told to wait), never raises for what a cable or a device does,
    and is called once per period by a loop or a ``PollThread``. As a context manager it connects, and on the way
    out, also after an error, sends the device's safe command and closes the port.
    """

    def __init__(self, spec: DeviceSpec[S, C], port: str, baud: int = BAUD) -> None:
        self.spec = spec
        self.port = port
        self.baud = baud
        self.bytes_received = 0
        self.bytes_sent = 0
        self.tap: Callable[[str, bytes, float], None] | None = None
        """Told of all bytes read (``rx``) and written (``tx``), with the time of the ``poll`` and in its thread."""
        self.clock: Callable[[], float] | None = None
        """On the wall clock, what the ``now`` of ``poll`` was read from: a thread may be held up between there and the
        port, and what is read and written is stamped afterwards. None: at ``now``."""
        self.wired: tuple[float, float] | None = None
        """s, host clock, of the newest command written: when it was made, and when it was written."""
        self._serial: serial.SerialBase | None = None
        self._write_timeout = _WRITE_TIMEOUT
        self._clear()

    def _clear(self) -> None:
        self._decoder = FrameDecoder()
        self._order = FrameOrder()
        self._state: S | None = None
        self._pending: C | None = None
        self._commanded: C | None = None
        self._silent = False
        self._left = False  # its safe command was the last word
        self._reset_wanted = self._restarted = True
        self._now = 0.0
        self._vouched = -math.inf  # time of the newest command: when the loop behind this driver was last alive
        self._last_command = -math.inf
        self._last_heartbeat = -math.inf
        self._sequence = 0
        self._sequence_gaps = self._unknown_frames = self._expired_commands = self._write_timeouts = self._sent = 0
        self._error = ""

    def connect(self) -> None:
        """Open the port and ask the device to clear what it latched before.

        Raises:
            LunarError: the port is absent, in use or may not be opened.
        """
        if self._serial is not None:
            return
        try:
            opened = self._open()
        except LunarError:
            raise
        except Exception as error:  # pyserial's handlers of URLs raise what they like
            raise LunarError(
                f"{self.spec.name}: port {self.port} cannot be opened ({error}); plug the device in, close other"
                f" programs that use the port, or set {self.spec.name}.port to 'emulated'"
            ) from None
        self._clear()
        self._serial = opened

    def _open(self) -> serial.SerialBase:
        opened = serial.serial_for_url(self.port, baudrate=self.baud, timeout=0, exclusive=True, do_not_open=True)
        if not isinstance(opened, rfc2217.Serial):
            opened.write_timeout = self._write_timeout
        opened.open()
        if isinstance(opened, rfc2217.Serial):  # it refuses a write timeout, but its socket keeps one
            opened._socket.settimeout(self._write_timeout)
        return opened

    def leave_safe(self) -> None:
        """Write the safe command without waiting for it to leave; the last thing that is said before ``disconnect``."""
        if self._serial is None or self._left:
            return
        self._left = True
        safe = self.safe_command(self._now)
        if safe is not None:
            with contextlib.suppress(serial.SerialException, OSError, termios.error):
                for _ in range(SAFE_REPEATS):
                    self._write(safe)

    def disconnect(self) -> None:
        """Send the safe command and close the port. Does nothing when not connected."""
        self.leave_safe()
        if self._serial is None:
            return
        with contextlib.suppress(serial.SerialException, OSError, termios.error):
            self._serial.flush()
        self._close("")

    def __enter__(self) -> SerialDevice[S, C]:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    @property
    def poll_period(self) -> float:
        """s between two calls of ``poll`` on the wall clock."""
        return self.spec.period

    @property
    def state(self) -> S | None:
        """The newest state, None before the first. Its ``time`` is the host's clock at reception, less what the frame
        took longer than the fastest ones of late."""
        return self._state

    @property
    def stats(self) -> LinkStats:
        """Counters since ``connect``."""
        return LinkStats(
            connected=self._serial is not None,
            frames=self._decoder.frames,
            sent=self._sent,
            crc_errors=self._decoder.crc_errors,
            sequence_gaps=self._sequence_gaps,
            refused_frames=self._order.refused,
            garbage_bytes=self._decoder.garbage_bytes,
            unknown_frames=self._unknown_frames,
            expired_commands=self._expired_commands,
            write_timeouts=self._write_timeouts,
            clock_offset=self._order.offset,
            error=self._error,
        )

    def safe_command(self, now: float) -> C | None:
        """What leaves the device safe, given its newest command and state; None when there is nothing to say."""
        return self.spec.safe(self._state, self._commanded, now)

    def age(self, now: float) -> float:
        """s since the newest state was received; infinite before the first."""
        return math.inf if self._state is None else now - self._state.time

    def send(self, command: C) -> None:
        """Queue a command for the next ``poll``. A newer one replaces it: an old command is never worth sending.

        Nor is one whose ``valid_for`` is over when its turn to be written comes: it is dropped.
        """
        self._pending = command

    def fall_silent(self) -> None:
        """Write nothing any more, not even a heartbeat, until ``reset``: the device's own watchdog stops it."""
        self._silent, self._pending = True, None

    def let_writes_wait(self, seconds: float) -> None:
        """Wait up to ``seconds`` of wall time for a port to take bytes, as simulated time may."""
        self._write_timeout = seconds
        if self._serial is not None and not isinstance(self._serial, rfc2217.Serial):
            self._serial.write_timeout = seconds

    def reset(self) -> None:
        """Let the next ``poll`` ask the device to clear latched faults whose cause has gone. Drops a queued command.

        A device that was restarted is heard again from its next frame on; a line that died is opened anew if its port
        is there again, else ``stats`` says why it is not.
        """
        if self._error and self._serial is None:
            try:
                self.connect()
            except LunarError as error:
                self._error = str(error)
        self._pending = None
        self._silent = False
        self._reset_wanted = self._restarted = True

    def poll(self, now: float, wait: float = 0.0, received: int | None = None) -> int:
        """Read what has come, then write what is due. Returns the number of new states.

        Args:
            now: s, host clock.
            wait: wall seconds to wait at most for a new state. For simulated time, where a byte written on the other
                end of a pseudo-terminal is not at once readable on this one.
            received: with ``wait``: wait for this many ``bytes_received`` in total instead; if just these have come
                already, no more are looked for.
        """
        if self._serial is None or self._left:
            return 0
        self._now = now
        if self._restarted:  # here, for another thread may have asked for it in the middle of a frame
            self._restarted = False
            self._order.restart()
        fresh = 0
        deadline = time.monotonic() + wait if wait > 0.0 else 0.0
        try:
            while True:
                if received is None or self.bytes_received != received:
                    fresh += self._receive(now)
                enough = fresh > 0 if received is None else self.bytes_received >= received
                left = deadline - time.monotonic() if wait > 0.0 and not enough else 0.0
                if left <= 0.0:
                    break
                time.sleep(min(left, 50e-6))
            if not self._silent:
                self._transmit(now)
        except (serial.SerialException, OSError) as error:
            self._close(str(error))
        return fresh

    def _arrived(self, now: float) -> Iterator[tuple[bytes, float]]:
        """What has come since the last call, piece by piece, and when each was read; counted and tapped."""
        assert self._serial is not None
        while data := self._serial.read(self._at_hand()):
            self.bytes_received += len(data)
            if self.clock is not None:
                now = self.clock()
            if self.tap is not None:
                self.tap("rx", data, now)
            yield data, now
            if len(data) < _PIECE:
                break

    def _at_hand(self) -> int:
        """Bytes to read now. On the wall clock no more than a terminal has: asked for one more, the kernel first waits
        for its worker that brings them, which is of the ordinary class. Other ports do not say."""
        if self.clock is None or not isinstance(self._serial, serial.Serial):
            return _PIECE
        return min(self._serial.in_waiting, _PIECE)

    def _receive(self, now: float) -> int:
        fresh = 0
        for data, read in self._arrived(now):
            for frame in self._decoder.feed(data):
                stamp = self._order.take(frame, read)
                self._sequence_gaps = self._order.gaps
                if stamp is None:
                    continue
                message = unpack(frame)
                if isinstance(message, self.spec.state_type):
                    self._state = replace(message, time=stamp)
                    fresh += 1
                elif not isinstance(message, Heartbeat):
                    self._unknown_frames += 1
        return fresh

    def _drop_expired(self, now: float) -> None:
        """Judged at the write: the thread may have been held up since the ``now`` of its poll."""
        command, moment = self._pending, now if self.clock is None else self.clock()
        if command is not None and not moment - command.time <= command.valid_for + 1e-9:
            self._pending = None
            self._expired_commands += 1

    def _transmit(self, now: float) -> None:
        if self._reset_wanted:
            self._reset_wanted = False
            self._write(Reset(now))
        self._drop_expired(now)
        # A clock that jumped back must not silence the line.
        since_command = now - self._last_command
        # Nor is a device commanded that was never heard from: where it stands is unknown.
        command = self._pending if self._state is not None else None
        spacing = (1.0 - _EARLY) * self.spec.period - _SLACK
        # Commands that were made a period apart need not be written a period apart: the one before may have been late.
        spaced = command is not None and command.time - self._vouched >= spacing
        if command is not None and (spaced or not -_SLACK < since_command < spacing):
            self._pending = None
            self._last_command, self._vouched, self._commanded = now, command.time, command
            self._write(command)
            self.wired = command.time, now if self.clock is None else self.clock()
        # A driver's own thread must not vouch for a control loop that has died: no commands, no heartbeats.
        loop_alive = self.spec.command_type is None or now - self._vouched < HOST_SILENCE
        since_heartbeat = now - self._last_heartbeat
        if loop_alive and not -_SLACK < since_heartbeat < HEARTBEAT_PERIOD - _SLACK:
            self._last_heartbeat = now
            self._write(Heartbeat(now))

    def _write(self, message: Message) -> None:
        data = pack(message, self._sequence)
        self._sequence = (self._sequence + 1) & 0xFFFF  # also if it times out: some or all of it may have left
        self._put(data)

    def _put(self, data: bytes) -> None:
        assert self._serial is not None
        rest = data
        if isinstance(self._serial, serial.Serial):  # pyserial looks for room afterwards, and waits as in ``_at_hand``
            with contextlib.suppress(BlockingIOError):
                rest = data[os.write(self._serial.fileno(), data) :]
        try:
            if rest:
                self._serial.write(rest)
        except serial.SerialTimeoutException:
            self._write_timeouts += 1
            return
        self._sent += 1
        self.bytes_sent += len(data)
        if self.tap is not None:
            self.tap("tx", data, self._now)

    def _close(self, error: str) -> None:
        port, self._serial = self._serial, None
        self._error = error
        if port is not None:
            with contextlib.suppress(serial.SerialException, OSError):
                port.close()
