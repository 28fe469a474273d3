"""The Modbus treadmill: driver against emulator, emulator against pymodbus's own client, both against golden bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient

from matrix_hil.config import Treadmill
from matrix_hil.link import PollThread
from matrix_hil.link.modbus import MODBUS_TREADMILL, ModbusConfig, ModbusTreadmill, signed
from matrix_hil.link.protocol import FAULT_ESTOP, FAULT_WATCHDOG
from matrix_hil.messages import TreadmillCommand
from matrix_hil.virtual.emulator import Lockstep
from matrix_hil.virtual.modbus import ModbusTreadmillEmulator, crc16
from sim.config import ROOT

TICK = 0.005


class Line:
    """Driver and emulator on one clock."""

    def __init__(self, cfg: ModbusConfig | None = None) -> None:
        self.emulator = ModbusTreadmillEmulator(Treadmill(), 0, cfg)
        self.driver = ModbusTreadmill(self.emulator.port)
        self.driver.connect()
        self.link = Lockstep(self.driver, self.emulator)
        self.now = 0.0
        self.speed: float | None = None
        self.states: list[Any] = []

    def run(self, seconds: float) -> Line:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.link.poll_emulator(self.now)
            if self.speed is not None:
                self.driver.send(TreadmillCommand(self.now, self.speed))
            if self.link.poll_device(self.now):
                self.states.append(self.driver.state)
        return self

    def close(self) -> None:
        self.emulator.close()
        self.driver.disconnect()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    try:
        yield made
    finally:
        made.close()


def test_the_belt_reaches_the_speed_and_reports_it_at_20_hz(line: Line) -> None:
    line.speed = 0.8
    line.run(2.0)
    state = line.driver.state
    assert state is not None
    assert line.emulator.actuated.speed == pytest.approx(0.8)
    assert state.speed == pytest.approx(0.8)
    assert state.position == pytest.approx(line.emulator.actuated.position, abs=0.05 * 0.8 + 1e-3)
    assert len(line.states) == pytest.approx(40, abs=2)
    assert line.driver.identity == "model 1, number 1"
    stats = line.driver.stats
    assert stats.crc_errors == stats.sequence_gaps == stats.unknown_frames == 0
    assert line.driver.age(line.now) < 0.065
    assert line.driver.wired is not None and 0.0 <= line.driver.wired[1] - line.driver.wired[0] < 0.01


def test_a_state_is_never_younger_than_what_it_says(line: Line) -> None:
    """Its time is that of the question, so that the belt was measured no earlier."""
    line.speed = 1.0
    line.run(0.6)
    positions = []
    for _ in range(100):
        line.run(TICK)
        positions.append((line.now, line.emulator.actuated.position))
        state = line.driver.state
        then = [p for t, p in positions if t <= state.time + 1e-9]
        if then:
            assert state.position >= then[-1] - 1e-3


def test_negative_speed_and_travel(line: Line) -> None:
    line.speed = -1.5
    line.run(1.5)
    state = line.driver.state
    assert state.speed == pytest.approx(-1.5)
    assert state.position < -0.5


def test_travel_goes_on_when_its_counter_wraps(line: Line) -> None:
    line.emulator._position = (2**31 - 100) * 1e-4
    line.speed = 2.0
    line.run(2.0)
    assert line.driver.state.position == pytest.approx(line.emulator.actuated.position, abs=0.15)
    assert line.driver.state.position > 2**31 * 1e-4 + 1.0


def test_without_commands_the_drive_stops_by_itself_though_it_is_still_read(line: Line) -> None:
    line.speed = 1.0
    line.run(1.0)
    line.speed = None
    line.run(0.25)
    assert line.driver.state.fault & FAULT_WATCHDOG
    assert line.driver.age(line.now) < 0.1
    line.run(1.0)
    assert line.emulator.actuated.speed == 0.0


def test_a_latched_fault_ignores_commands_until_reset(line: Line) -> None:
    line.speed = 1.0
    line.run(0.8)
    line.emulator.estop(True)
    line.run(1.0)
    assert line.driver.state.fault & FAULT_ESTOP
    assert line.emulator.actuated.speed == 0.0
    line.driver.reset()
    line.run(0.2)
    assert line.driver.state.fault & FAULT_ESTOP, "it is still pressed"
    line.emulator.estop(False)
    line.run(0.2)
    assert line.driver.state.fault & FAULT_ESTOP, "released is not reset"
    line.driver.reset()
    line.run(1.0)
    assert line.driver.state.fault == 0
    assert line.emulator.actuated.speed == pytest.approx(1.0)


@pytest.mark.parametrize("speed", [math.nan, math.inf])
def test_a_speed_that_is_no_number_is_not_sent(line: Line, speed: float) -> None:
    line.speed = speed
    line.run(0.5)
    assert line.emulator.commands == 0


def test_a_command_of_a_stalled_loop_is_not_sent(line: Line) -> None:
    line.run(0.5)
    line.driver.send(TreadmillCommand(line.now - 0.06, 1.0))
    line.run(0.2)
    assert line.emulator.commands == 0


def test_a_drive_that_is_never_heard_is_told_nothing() -> None:
    emulator = ModbusTreadmillEmulator(Treadmill(), 0, ModbusConfig(unit=9))
    driver = ModbusTreadmill(emulator.port)  # asks unit 1
    driver.connect()
    try:
        for i in range(100):
            driver.send(TreadmillCommand(i * TICK, 1.0))
            emulator.poll(i * TICK, 0.05, driver.bytes_sent)
            driver.poll(i * TICK)
        assert driver.state is None and emulator.commands == 0
        assert driver.stats.sequence_gaps >= 8
    finally:
        emulator.close()
        driver.disconnect()


def test_a_drive_whose_program_stands_goes_stale(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.run(0.5)
    registers = line.emulator._registers()
    monkeypatch.setattr(line.emulator, "_registers", lambda: registers)
    line.run(0.5)
    assert line.driver.stats.frames > 10
    assert line.driver.age(line.now) > MODBUS_TREADMILL.stale_limit


def test_leaving_stops_the_belt(line: Line) -> None:
    line.speed = 1.0
    line.run(1.0)
    line.driver.disconnect()
    for i in range(400):
        line.emulator.poll(line.now + i * TICK)
    assert line.emulator.last_command.speed == 0.0
    assert line.emulator.actuated.speed == 0.0


def test_an_unplugged_line_is_told_and_nothing_is_raised(line: Line) -> None:
    line.run(0.2)
    line.emulator.close()
    for i in range(50):
        line.driver.poll(line.now + i * TICK)
    assert not line.driver.stats.connected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=40)), max_size=6))
def test_noise_costs_answers_but_is_never_taken_for_one(noise: list[tuple[int, bytes]]) -> None:
    line = Line()
    try:
        line.speed = 0.5
        line.run(0.3)
        at = dict(noise)
        for i in range(61):
            if i in at:
                line.emulator._put(at[i])
            line.run(TICK)
            assert line.driver.state is None or 0.0 <= line.driver.state.speed <= 0.5 + 1e-9
            assert len(line.driver._buffer) < 600
        line.run(0.2)
        assert line.driver.age(line.now) < 0.065, "it recovers"
    finally:
        line.close()


@pytest.mark.wall_clock
def test_the_drive_answers_pymodbus_own_client() -> None:
    """A stock master on the wall clock: reads, writes, and what is refused."""
    emulator = ModbusTreadmillEmulator(Treadmill(), 0, ModbusConfig(watchdog=5.0))
    with PollThread("drive", lambda _: emulator.poll(time.monotonic()), 0.001):
        client = ModbusSerialClient(emulator.port, baudrate=115200, timeout=1.0, retries=2)
        try:
            assert client.connect()
            assert not client.write_registers(0x0100, [1, 0xFF38], device_id=1).isError()  # -0.2 m/s
            for _ in range(100):
                status = client.read_holding_registers(0, count=8, device_id=1).registers
                if signed(status[1], 16) == -200:
                    break
                time.sleep(0.01)
            assert signed(status[1], 16) == -200 and status[0] == 1
            assert client.read_input_registers(0x0100, count=2, device_id=1).registers == [1, 0xFF38]
            for answer, code in (
                (client.read_holding_registers(7, count=2, device_id=1), 2),
                (client.write_registers(0x0000, [1, 2], device_id=1), 2),
                (client.write_registers(0x0100, [1], device_id=1), 2),
                (client.read_coils(0, count=1, device_id=1), 1),
            ):
                assert answer.isError() and answer.exception_code == code
        finally:
            client.close()
    emulator.close()


def golden() -> tuple[list[bytes], list[bytes]]:
    """Requests and answers as docs/modbus.md shows them."""
    rows = [row for row in (ROOT / "docs/modbus.md").read_text().splitlines() if row[:2] in ("> ", "< ")]
    frames = [(row[0], bytes.fromhex(row[2:].split("  ")[0])) for row in rows]
    return [f for way, f in frames if way == ">"], [f for way, f in frames if way == "<"]


def test_the_drive_gives_the_documented_answers() -> None:
    asked, answered = golden()
    assert len(asked) == len(answered) == 3
    for question, answer in zip(asked, answered, strict=True):
        with (
            ModbusTreadmillEmulator(Treadmill(), 0) as drive,
            serial.serial_for_url(drive.port, timeout=1.0) as host,
        ):
            drive.poll(0.0)
            drive.poll(1.0)
            host.write(question)
            drive.poll(1.0, 1.0, len(question))
            drive.poll(1.01)
            assert host.read(len(answer)) == answer


def test_the_driver_asks_the_documented_questions(line: Line) -> None:
    asked, _ = golden()
    sent: list[bytes] = []
    line.driver.tap = lambda way, data, now: sent.append(data) if way == "tx" else None
    line.run(0.03)
    line.speed = 0.5
    line.run(0.06)
    assert sent == [asked[0], asked[1], asked[2], asked[1]]


@pytest.mark.parametrize("bits", [16, 32])
@given(data=st.data())
def test_signed_numbers_come_back(bits: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    assert signed(value & (2**bits - 1), bits) == value


def test_the_checksum_is_the_one_of_the_specification() -> None:
    """ "MODBUS over Serial Line V1.02", appendix B: 02 07 gives 41 12 on the line."""
    assert crc16(b"\x02\x07") == 0x1241


def test_its_watchdog_is_configurable() -> None:
    line = Line(ModbusConfig(watchdog=0.5))
    try:
        line.speed = 1.0
        line.run(1.0)
        line.speed = None
        line.run(0.4)
        assert line.driver.state.fault == 0
        line.run(0.2)
        assert line.driver.state.fault == FAULT_WATCHDOG
    finally:
        line.close()
