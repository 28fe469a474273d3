"""A treadmill whose drive speaks Modbus RTU, as industrial frequency converters do: registers, and the driver.

One master, one request at a time, every answer within a deadline. A cycle of 50 ms writes control word and set point
(function 16) and reads the status block (function 3). pymodbus builds and checks the frames; its own clients wait for
the answer, which a polled driver must not do. docs/modbus.md describes the registers for who sets a drive up.
"""

from __future__ import annotations

import logging
import math
import termios
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

import serial
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from matrix_hil.link.devices import TREADMILL
from matrix_hil.link.driver import LinkStats, SerialDevice
from matrix_hil.link.protocol import Message
from matrix_hil.messages import TreadmillCommand, TreadmillState
from sim.errors import LunarError

MODBUS_TREADMILL = replace(TREADMILL, period=0.05, stale_limit=0.15)
"""20 Hz; two lost cycles are survived, three are not."""

STATUS = 0x0000
"""First register of the status block: status word, speed, travel (2), uptime, model, serial number (2)."""
STATUS_COUNT = 8
CONTROL = 0x0100
"""First register of the control block: control word, set point."""
CONTROL_COUNT = 2
RUN, RESET = 1, 2
"""Bits of the control word. Reset clears latched faults whose cause has gone and leaves the belt stopped."""
ENABLED = 1
"""Bit 0 of the status word; the fault bits of the serial protocol follow from bit 1 on."""
SPEED_STEP = 1e-3
"""m/s per count, 16 bit with sign."""
TRAVEL_STEP = 1e-4
"""m per count, 32 bit with sign, high word first; wraps."""

_POLL = 0.005  # s; a cycle is two transactions, each of which takes a few polls
_COMMAND_AGE = 0.05  # s. The loop that made an older command has stalled.
_SLACK = 1e-6  # s. Rounding of a clock that counts in periods.
_PARITY = {"even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}

logging.getLogger("pymodbus").addHandler(logging.NullHandler())  # what a line does is counted, not printed


@dataclass(frozen=True)
class ModbusConfig:
    """The drive's address and line."""

    unit: int = 1
    """Address of the drive, 1 to 247."""
    baud: int = 115200
    """bit/s."""
    parity: Literal["none", "even", "odd"] = "none"
    """As set in the drive. A pseudo-terminal knows ``none`` only."""
    timeout: float = 0.03
    """s within which a request must be answered."""
    watchdog: float = 0.15
    """s without a write after which the emulated drive stops by itself. Set the same in a real one."""


def signed(value: int, bits: int) -> int:
    """Two's complement of an unsigned number, the rest above ``bits`` cut off."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class ModbusTreadmill(SerialDevice[TreadmillState, TreadmillCommand]):
    """Driver with the contract of ``SerialDevice``: ``poll`` neither waits nor raises for what a line does.

    States carry the time at which they were *asked for*: what they say was measured no earlier. In ``stats``,
    ``sequence_gaps`` counts requests without an answer and ``unknown_frames`` refusals and answers to nothing.
    """

    def __init__(self, port: str, cfg: ModbusConfig | None = None) -> None:
        self.cfg = cfg or ModbusConfig()
        super().__init__(MODBUS_TREADMILL, port, self.cfg.baud)

    def _clear(self) -> None:
        super()._clear()
        self._framer = FramerRTU(DecodePDU(False))
        self._buffer = bytearray()
        self._asked: ModbusPDU | None = None
        self._asked_at = -math.inf
        self._queue: deque[ModbusPDU] = deque()
        self._cycle = -math.inf
        self._uptime: int | None = None
        self._counts = 0  # of travel, unwrapped
        self._frames = self._crc_errors = self._garbage = 0
        self.identity = ""
        """Model and serial number of the drive, once it has answered."""

    def connect(self) -> None:
        """As in ``SerialDevice``, with the parity of the drive."""
        fresh = self._serial is None
        super().connect()
        if fresh and self.cfg.parity != "none":
            assert self._serial is not None
            try:
                self._serial.parity = _PARITY[self.cfg.parity]
            except (serial.SerialException, OSError, termios.error) as error:
                self._close(str(error))
                raise LunarError(
                    f"{self.spec.name}: port {self.port} cannot be set to {self.cfg.parity} parity ({error}); set the"
                    f" drive and {self.spec.name}.modbus.parity to 'none'"
                ) from None

    @property
    def poll_period(self) -> float:
        """s between two calls of ``poll``; shorter than the cycle, whose requests wait for each other's answers."""
        return _POLL

    @property
    def stats(self) -> LinkStats:
        """Counters since ``connect``."""
        return replace(super().stats, frames=self._frames, crc_errors=self._crc_errors, garbage_bytes=self._garbage)

    def _receive(self, now: float) -> int:
        for data, _ in self._arrived(now):
            self._buffer += data
        if not self._buffer:
            return 0
        if self._asked is None:
            self._garbage += len(self._buffer)
            self._buffer.clear()
            return 0
        try:
            used, answer = self._framer.handleFrame(bytes(self._buffer), 0, 0)
        except ModbusException:
            used, answer = len(self._buffer), None
        del self._buffer[:used]
        if answer is None:
            self._crc_errors += used > 0
            return 0
        return self._take(answer)

    def _take(self, answer: ModbusPDU) -> int:
        assert self._asked is not None
        refused = answer.function_code >= 0x80
        if answer.dev_id != self.cfg.unit or answer.function_code & 0x7F != self._asked.function_code:
            self._unknown_frames += 1
            return 0
        self._asked = None
        self._frames += 1
        if refused:
            self._unknown_frames += 1
            return 0
        if answer.function_code == WriteMultipleRegistersRequest.function_code:
            return 0
        if len(answer.registers) != STATUS_COUNT:
            self._unknown_frames += 1
            return 0
        status, speed, high, low, uptime, model, *number = answer.registers
        if uptime == self._uptime:  # a drive whose program stands repeats itself
            return 0
        counts = high << 16 | low
        if self._uptime is None:
            self._counts = signed(counts, 32)
            self.identity = f"model {model}, number {number[0] << 16 | number[1]}"
        self._uptime = uptime
        self._counts += signed(counts - self._counts, 32)
        self._state = TreadmillState(
            self._asked_at, signed(speed, 16) * SPEED_STEP, self._counts * TRAVEL_STEP, status >> 1
        )
        return 1

    def _transmit(self, now: float) -> None:
        if self._asked is not None:
            if -_SLACK < now - self._asked_at < self.cfg.timeout:
                return
            self._sequence_gaps += 1
            self._asked = None
            self._buffer.clear()
        if self._queue:
            self._ask(self._queue.popleft(), now)
            return
        if -_SLACK < now - self._cycle < self.spec.period - _SLACK:
            return
        self._cycle = now
        self._queue.append(ReadHoldingRegistersRequest(address=STATUS, count=STATUS_COUNT, dev_id=self.cfg.unit))
        if self._reset_wanted:
            self._reset_wanted = False
            self._ask(self._control(RESET, 0.0), now)
            return
        self._drop_expired(now)
        command, self._pending = self._pending, None
        # A dead loop is not vouched for, and a drive that was never heard from is not told anything.
        if (
            command is not None
            and self._state is not None
            and math.isfinite(command.speed)
            and now - command.time <= _COMMAND_AGE
        ):
            self._ask(self._control(RUN, command.speed), now)
            self.wired = command.time, now
        else:
            self._ask(self._queue.popleft(), now)

    def _control(self, word: int, speed: float) -> ModbusPDU:
        counts = round(min(max(speed / SPEED_STEP, -32767.0), 32767.0))
        return WriteMultipleRegistersRequest(
            address=CONTROL, count=CONTROL_COUNT, registers=[word, counts & 0xFFFF], dev_id=self.cfg.unit
        )

    def _ask(self, request: ModbusPDU, now: float) -> None:
        self._asked, self._asked_at = request, now  # also if it times out: all of it may have left
        self._put(self._framer.buildFrame(request))

    def _write(self, message: Message) -> None:
        """Used on the way out only: says it, and leaves the line in peace for as long as an answer may take."""
        assert self._serial is not None and isinstance(message, TreadmillCommand)
        self._ask(self._control(RUN, message.speed), self._now)
        self._serial.flush()
        time.sleep(self.cfg.timeout)
