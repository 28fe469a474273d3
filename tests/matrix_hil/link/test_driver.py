"""Driver and emulator over a real pseudo-terminal: what one says the other hears, and every end is a safe one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import pytest

from matrix_hil.config import (
    Counterweight,
    Platform,
    Robot,
    Tracker,
    Treadmill,
)
from matrix_hil.link import COUNTERWEIGHT, PLATFORM, ROBOT, TRACKER, TREADMILL, SerialDevice
from matrix_hil.link.framing import Frame
from matrix_hil.link.protocol import FAULT_WATCHDOG
from matrix_hil.messages import CounterweightCommand, PlatformCommand, RobotCommand, TreadmillCommand
from matrix_hil.virtual.emulator import Emulator, Lockstep
from matrix_hil.virtual.machines import (
    CounterweightEmulator,
    PlatformEmulator,
    RobotEmulator,
    TrackerEmulator,
    TreadmillEmulator,
)
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE

DT = 0.005
MACHINES = {
    "platform": (PLATFORM, lambda: PlatformEmulator(Platform(), 1)),
    "treadmill": (TREADMILL, lambda: TreadmillEmulator(Treadmill(), 1)),
    "counterweight": (COUNTERWEIGHT, lambda: CounterweightEmulator(Counterweight(), 1)),
    "tracker": (TRACKER, lambda: TrackerEmulator(Tracker(), 1)),
    "robot": (ROBOT, lambda: RobotEmulator(Robot(), 1)),
}


class Bench:
    """One device, its emulator and a clock of 5 ms."""

    def __init__(self, name: str) -> None:
        spec, make = MACHINES[name]
        self.emulator: Emulator = make()
        self.device: SerialDevice = SerialDevice(spec, self.emulator.port)
        self.device.connect()
        self.lockstep = Lockstep(self.device, self.emulator)
        self.cycle = 0

    @property
    def now(self) -> float:
        return self.cycle * DT

    def step(self, command: object = None, cycles: int = 1) -> None:
        for _ in range(cycles):
            self.cycle += 1
            self.lockstep.poll_emulator(self.now)
            self.lockstep.poll_device(self.now)
            if command is not None:
                self.device.send(type(command)(**{**vars(command), "time": self.now}))

    def silence(self, seconds: float) -> None:
        """The host falls silent: the emulator alone goes on."""
        for _ in range(round(seconds / DT)):
            self.cycle += 1
            self.lockstep.poll_emulator(self.now)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request.param)
    yield bench
    bench.device.disconnect()
    bench.emulator.close()


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [name], indirect=True)


COMMANDS = {
    "platform": PlatformCommand(0.0, np.float32([0.05, -0.02, 0.1, 0.1, 0.0, -0.2]).astype(float)),
    "treadmill": TreadmillCommand(0.0, 0.75),
    "counterweight": CounterweightCommand(0.0, 200.5, False),
    "robot": RobotCommand(0.0, np.float32(NOMINAL_POSE + 0.1).astype(float), 30.0, 0.75, "run"),
}


@pytest.mark.parametrize("bench", COMMANDS, indirect=True)
def test_the_device_hears_what_the_driver_sent_and_noise_between_costs_nothing_else(bench: Bench) -> None:
    command = COMMANDS[bench.device.spec.name]
    random = np.random.default_rng(0)
    line = bench.device._serial
    assert line is not None
    for _ in range(60):
        bench.step(command)
        noise = random.integers(0, 256, random.integers(0, 30), dtype=np.uint8).tobytes()
        line.write(noise)
        bench.device.bytes_sent += len(noise)
    heard = bench.emulator.last_command
    assert type(heard) is type(command)
    for name, value in vars(command).items():
        if name != "time":
            assert np.array_equal(getattr(heard, name), value)
    assert bench.emulator.commands >= 55  # each but those of the first cycles, before the first state
    assert bench.device.stats.crc_errors == bench.device.stats.sequence_gaps == bench.device.stats.garbage_bytes == 0


@pytest.mark.parametrize("bench", MACHINES, indirect=True)
def test_the_host_gets_every_state_in_order_at_the_devices_rate(bench: Bench) -> None:
    bench.step(cycles=2)
    start = bench.device.stats.frames
    bench.step(cycles=200)
    assert bench.device.stats.frames - start == pytest.approx(1.0 / bench.device.spec.period, abs=2)
    assert bench.device.stats.sequence_gaps == 0
    assert bench.device.age(bench.now) <= bench.device.spec.period + 1e-9
    assert bench.device.age(bench.now + 1.0) == pytest.approx(1.0, abs=bench.device.spec.period)


@on("robot")
def test_measured_values_arrive_nan_included(bench: Bench) -> None:
    assert isinstance(bench.emulator, RobotEmulator)
    joints = np.float32(np.linspace(-1, 1, 12)).astype(float)
    joints[3] = math.nan
    bench.emulator.measure(joints, 2 * joints, np.ones(3), np.array([0.0, 0.0, -1.0]), np.full(4, 12.5))
    bench.step(cycles=3)
    state = bench.device.state
    assert np.array_equal(state.joint_position, joints, equal_nan=True)
    assert np.array_equal(state.foot_force, np.full(4, 12.5))
    assert state.time == bench.now


def run_once() -> list[tuple]:
    bench = Bench("counterweight")
    with bench.emulator, bench.device:
        rows = []
        for k in range(60):
            bench.emulator.measure(100.0 + k, 3.0, 0.1)  # type: ignore[attr-defined]
            bench.step(CounterweightCommand(0.0, 150.0 + k))
            rows.append((bench.device.state.tension if bench.device.state else None, bench.emulator.actuated))  # type: ignore[attr-defined]
    return rows


def test_the_same_seed_gives_the_same_run() -> None:
    assert run_once() == run_once()


@on("treadmill")
def test_a_period_carries_one_command_and_it_is_the_newest(bench: Bench) -> None:
    bench.step(cycles=3)
    before = bench.emulator.commands
    for speed in (0.1, 0.2, 0.3):
        bench.device.send(TreadmillCommand(bench.now, speed))
        bench.device.poll(bench.now + 0.001)
    bench.device.send(TreadmillCommand(bench.now, 0.4))
    bench.device.poll(bench.now + 0.002)
    bench.step(cycles=1)
    assert bench.emulator.commands == before + 1
    assert bench.emulator.last_command.speed == pytest.approx(0.1)
    bench.step(cycles=2)
    assert bench.emulator.commands == before + 2
    assert bench.emulator.last_command.speed == pytest.approx(0.4)


def test_a_device_never_heard_from_is_not_commanded() -> None:
    with PlatformEmulator(Platform(), 0) as emulator, SerialDevice(PLATFORM, emulator.port) as device:
        for k in range(50):
            device.send(PlatformCommand(k * DT, np.full(6, 0.1)))
            device.poll(k * DT)
        sent = device.bytes_sent
        emulator.poll(0.0, 1.0, sent)
        assert emulator.bytes_received == sent
        assert emulator.commands == 0


@on("treadmill")
def test_a_driver_does_not_vouch_for_a_loop_that_died(bench: Bench) -> None:
    bench.step(TreadmillCommand(0.0, 1.0), cycles=100)
    assert bench.emulator.fault == 0
    sent = bench.device.stats.sent
    bench.step(cycles=20)  # the driver's thread lives, nobody calls send
    assert bench.device.stats.sent > sent, "heartbeats go on for a while"
    bench.step(cycles=30)
    assert bench.device.state.fault == 2
    bench.step(cycles=200)
    assert bench.emulator.actuated.speed == 0.0  # type: ignore[attr-defined]


# ---- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_an_exception_leaves_the_device_safe_and_the_port_closed(name: str) -> None:
    bench = Bench(name)
    with bench.emulator:
        bench.device.disconnect()
        bench.lockstep.poll_emulator(0.0)
        with pytest.raises(RuntimeError, match="bug"), bench.device:
            bench.step(COMMANDS[name], cycles=60)
            raise RuntimeError("bug in the loop")
        assert not bench.device.stats.connected
        assert bench.device.stats.error == ""
        bench.silence(0.09)  # less than the watchdog: it is the command that makes the device safe
        last, emulator = bench.emulator.last_command, bench.emulator
        assert emulator.fault == 0
        if name == "platform":
            assert np.allclose(last.pose, bench.device.state.pose, atol=1e-6)
        elif name == "treadmill":
            assert last.speed == 0.0
        elif name == "counterweight":
            assert emulator.actuated.brake  # type: ignore[attr-defined]
            assert last.tension == pytest.approx(bench.device.state.tension, abs=1e-4)
        else:
            assert emulator.actuated.mode == "damp" and emulator.actuated.kp == 0.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("port",
    [
        "/dev/ttyNOSUCH7", "/dev/null", "/proc/version", "socket://127.0.0.1:1", "socket://127.0.0.1:99999", "socket://",
        "rfc2217://127.0.0.1:1", "rfc2217://127.0.0.1", "rfc2217://127.0.0.1:1?nonsense", "nonsense://x",
        "hwgrep://no-such-device", "cp2110://1", "alt://x?class=Nonsense", "\0",
    ],
)  # fmt: skip
def test_a_missing_port_names_device_port_and_remedy(port: str) -> None:
    with pytest.raises(LunarError, match=r"treadmill: port .* cannot be opened .*plug the device in") as caught:
        SerialDevice(TREADMILL, port).connect()
    assert port in str(caught.value)


@on("platform")
def test_a_port_in_use_is_refused(bench: Bench) -> None:
    with pytest.raises(LunarError, match="close other programs"):
        SerialDevice(PLATFORM, bench.emulator.port).connect()


@on("platform")
def test_an_unplugged_cable_is_reported_not_raised(bench: Bench) -> None:
    bench.step(COMMANDS["platform"], cycles=10)
    frames = bench.device.stats.frames
    bench.emulator.close()
    for k in range(5):
        bench.device.send(COMMANDS["platform"])
        assert bench.device.poll(bench.now + k * DT) == 0
    assert not bench.device.stats.connected
    assert bench.device.stats.error
    assert bench.device.stats.frames == frames
    assert bench.device.state is not None, "the last state stays, and ages"
    bench.device.disconnect()


def test_leaving_a_device_that_was_just_unplugged_raises_nothing() -> None:
    with TreadmillEmulator(Treadmill(), 0) as emulator:
        device = SerialDevice(TREADMILL, emulator.port)
        device.connect()
        emulator.close()
        device.disconnect()
        assert not device.stats.connected


def test_a_device_that_reads_nothing_cannot_stop_the_loop() -> None:
    master, slave = os.openpty()
    try:
        with SerialDevice(TRACKER, os.ttyname(slave)) as device:
            for k in range(2000):
                device.poll(k * 0.02)
                if device.stats.write_timeouts > 2:
                    break
            assert device.stats.write_timeouts > 2
            assert device.stats.connected
    finally:
        os.close(master)
        os.close(slave)


def test_a_clock_that_jumps_back_does_not_silence_the_line() -> None:
    with TreadmillEmulator(Treadmill(), 0) as emulator, SerialDevice(TREADMILL, emulator.port) as device:
        emulator.poll(100.0)
        emulator.poll(100.02)
        device.poll(100.02, 1.0)
        device.send(TreadmillCommand(100.02, 0.5))
        device.poll(100.02)
        sent = device.stats.sent
        device.send(TreadmillCommand(7.0, 0.5))
        device.poll(7.0)
        assert device.stats.sent == sent + 2  # command and heartbeat


# ---- other ports and threads -----------------------------------------------------------------------------


@on("tracker")
def test_a_heartbeat_goes_out_every_20_ms(bench: Bench) -> None:
    bench.step()
    sent = bench.device.stats.sent
    bench.step(cycles=200)
    assert bench.device.stats.sent - sent == 50


def test_lockstep_may_begin_when_both_have_already_spoken() -> None:
    with TreadmillEmulator(Treadmill(), 0) as emulator:
        emulator.poll(0.0)
        emulator.poll(0.1)  # nobody listens yet: the port drops this when it is opened
        with SerialDevice(TREADMILL, emulator.port) as device:
            device.poll(0.1)
            emulator.poll(0.1, 5.0, device.bytes_sent)
            emulator.bytes_received = 7  # as after another host
            lockstep = Lockstep(device, emulator, timeout=60.0)  # a wrong count would wait for ever
            for k in range(20):
                lockstep.poll_emulator(0.105 + k * DT)
                assert lockstep.poll_device(0.105 + k * DT) == 1
                device.send(TreadmillCommand(0.105 + k * DT, 0.1))
            assert emulator.commands == 18


def test_a_driver_that_falls_silent_leaves_the_device_to_its_own_watchdog() -> None:
    with TreadmillEmulator(Treadmill(), 0) as belt, SerialDevice(TREADMILL, belt.port) as host:

        def run(seconds: float, start: float) -> float:
            for k in range(round(seconds / DT)):
                now = start + k * DT
                belt.poll(now, 5.0, host.bytes_sent)
                host.poll(now, 5.0, belt.bytes_sent)
                host.send(TreadmillCommand(now, 0.4))
                host.poll(now)
            return start + seconds

        now = run(0.5, 0.0)
        assert belt.actuated.speed == pytest.approx(0.4, abs=0.01)
        host.fall_silent()
        sent = host.bytes_sent
        now = run(0.4, now)
        assert host.bytes_sent == sent and belt.fault == FAULT_WATCHDOG and belt.actuated.speed == 0.0
        host.reset()
        run(0.5, now)
        assert belt.fault == 0 and belt.actuated.speed == pytest.approx(0.4, abs=0.01)


def test_a_reset_may_come_from_another_thread_in_the_middle_of_a_frame() -> None:
    """As a loop's does while the port's own thread reads; else that thread ends, and the run with it."""
    bench = Bench("treadmill")
    bench.step(cycles=5)
    decoder = bench.device._decoder
    feed = decoder.feed

    class Meddled:
        def __init__(self, frame: Frame) -> None:
            self.type, self.time, self.payload, self._sequence = frame.type, frame.time, frame.payload, frame.sequence

        @property
        def sequence(self) -> int:
            bench.device.reset()
            return self._sequence

    decoder.feed = lambda data: [Meddled(frame) for frame in feed(data)]  # type: ignore[method-assign,assignment]
    bench.step(cycles=5)
    state = bench.device.state
    assert state is not None and state.time == bench.now
    bench.device.disconnect()
    bench.emulator.close()
