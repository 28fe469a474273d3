"""The emulated treadmill behind a Modbus RTU drive: the same belt, another line.

Written from the Modbus specification, without pymodbus, so that driver and emulator cannot share one mistake: "MODBUS
Application Protocol V1.1b3" and "MODBUS over Serial Line V1.02" of modbus.org.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import replace

from matrix_hil.config import Treadmill
from matrix_hil.link.modbus import (
    CONTROL,
    CONTROL_COUNT,
    ENABLED,
    MODBUS_TREADMILL,
    RESET,
    RUN,
    SPEED_STEP,
    STATUS,
    TRAVEL_STEP,
    ModbusConfig,
    signed,
)
from matrix_hil.link.protocol import Reset
from matrix_hil.messages import TreadmillCommand
from matrix_hil.virtual.emulator import BITS_PER_BYTE
from matrix_hil.virtual.machines import TreadmillEmulator

MODEL, NUMBER = 1, 1
"""What the emulated drive says of itself."""
_READ, _READ_INPUT, _WRITE_BITS, _WRITE = 3, 4, 15, 16
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 1, 2, 3
_MOST = 125  # registers in one request
_SILENCE = 3.5  # characters between two frames
_THINKING = 0.001  # s from a request's last bit to the answer's first, besides the silence


class ModbusTreadmillEmulator(TreadmillEmulator):
    """Answers functions 3, 4 and 16. Only *writes* are signs of life: reading alone does not keep a belt running."""

    spec = MODBUS_TREADMILL

    def __init__(self, cfg: Treadmill, seed: int, modbus: ModbusConfig | None = None) -> None:
        self.modbus = modbus or ModbusConfig()
        line = replace(cfg.line, baud=self.modbus.baud, watchdog=self.modbus.watchdog)
        super().__init__(replace(cfg, line=line), seed)
        self.refused = 0
        """Requests answered by an exception."""
        self._request = bytearray()
        self._answers: deque[tuple[float, bytes]] = deque()
        self._control = [0, 0]
        self._silence = _SILENCE * BITS_PER_BYTE / self.modbus.baud
        self._last_byte = 0.0

    def _feed(self, data: bytes) -> None:
        self._request += data
        self._last_byte = self._polled
        while (length := self._length()) and crc16(self._request[:length]) == 0:  # zero over data and its checksum
            frame = bytes(self._request[:length])
            del self._request[:length]
            self._line_in = max(self._line_in, self._polled) + length * BITS_PER_BYTE / self.modbus.baud
            self._serve(frame[0], frame[1], frame[2:-2])

    def _length(self) -> int:
        """Bytes of the request at the buffer's start; 0 while there are fewer."""
        have = self._request
        if len(have) < 8:
            return 0
        length = 9 + have[6] if have[1] in (_WRITE_BITS, _WRITE) else 8
        return length if len(have) >= length else 0

    def _serve(self, unit: int, function: int, body: bytes) -> None:
        if unit not in (0, self.modbus.unit):
            return
        answer = self._answer(function, body)
        if isinstance(answer, int):
            self.refused += 1
            answer = bytes([function | 0x80, answer])
        if unit != 0:  # a broadcast is not answered
            frame = bytes([unit]) + answer
            due = self._line_in + self._silence + _THINKING
            self._answers.append((due, frame + struct.pack("<H", crc16(frame))))

    def _report(self, now: float) -> None:
        if self._request and now - self._last_byte > self._silence + self.line.tick:
            self._request.clear()  # silence ended what was no frame
        while self._answers and self._answers[0][0] <= now + 1e-9:
            self._queue_out(self._answers.popleft()[1])

    def _answer(self, function: int, body: bytes) -> bytes | int:
        """Function code and data, or the number of an exception."""
        if function in (_READ, _READ_INPUT):
            if len(body) != 4:
                return _ILLEGAL_VALUE
            first, count = struct.unpack(">HH", body)
            if not 1 <= count <= _MOST:
                return _ILLEGAL_VALUE
            registers = self._registers()
            wanted = range(first, first + count)
            if any(address not in registers for address in wanted):
                return _ILLEGAL_ADDRESS
            self._states += 1
            return struct.pack(f">BB{count}H", function, 2 * count, *(registers[address] for address in wanted))
        if function == _WRITE:
            if len(body) < 5:
                return _ILLEGAL_VALUE
            first, count, size = struct.unpack(">HHB", body[:5])
            if size != 2 * count or len(body) != 5 + size:
                return _ILLEGAL_VALUE
            if (first, count) != (CONTROL, CONTROL_COUNT):
                return _ILLEGAL_ADDRESS
            self._command(*struct.unpack(">HH", body[5:]))
            return struct.pack(">BHH", function, first, count)
        return _ILLEGAL_FUNCTION

    def _command(self, word: int, speed: int) -> None:
        self._control = [word, speed]
        if word & RESET:
            self._take(Reset(self._polled))
        else:
            self._take(TreadmillCommand(self._polled, signed(speed, 16) * SPEED_STEP if word & RUN else 0.0))

    def _registers(self) -> dict[int, int]:
        state = self._state(self._polled)
        travel = round(state.position / TRAVEL_STEP) & 0xFFFFFFFF
        status = self.fault << 1 | (0 if self.is_safe else ENABLED)
        uptime = round(self._polled * 1000)
        block = (
            status, round(state.speed / SPEED_STEP), travel >> 16, travel, uptime, MODEL, NUMBER >> 16, NUMBER,
        )  # fmt: skip
        values = {STATUS + i: value & 0xFFFF for i, value in enumerate(block)}
        return values | {CONTROL + i: value for i, value in enumerate(self._control)}


def crc16(data: bytes | bytearray) -> int:
    """CRC-16/MODBUS (reflected 0x8005, from 0xFFFF), sent low byte first; 0 over data followed by its checksum."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc
