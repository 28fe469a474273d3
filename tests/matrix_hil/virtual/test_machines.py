"""The emulated machines keep their limits, and make themselves safe without the host."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.config import (
    Counterweight,
    LineConfig,
    Platform,
    Robot,
    Tracker,
    Treadmill,
)
from matrix_hil.link.framing import FrameDecoder
from matrix_hil.link.protocol import Heartbeat, Message, Reset, pack, unpack
from matrix_hil.messages import CounterweightCommand, PlatformCommand, RobotCommand, TreadmillCommand
from matrix_hil.virtual.emulator import Emulator
from matrix_hil.virtual.machines import (
    CounterweightEmulator,
    PlatformEmulator,
    RobotEmulator,
    TrackerEmulator,
    TreadmillEmulator,
)
from sim.spec.joints import NOMINAL_POSE


class Host:
    """The other end of the terminal, without a driver: raw frames in, raw frames out."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.decoder = FrameDecoder()
        self.now = 0.0
        self.sequence = 0
        self.sent = 0
        self.states: list[Message] = []
        emulator.poll(0.0)

    def say(self, *messages: Message) -> None:
        for message in messages:
            data = pack(replace(message, time=self.now), self.sequence)
            self.sequence += 1
            self.sent += os_write(self.emulator, data)

    def run(self, seconds: float, *messages: Message, every: float = 0.005) -> None:
        """Say the messages every few ms of emulator time."""
        for _ in range(round(seconds / every)):
            self.say(*messages)
            self.step(every)

    def step(self, dt: float) -> None:
        before = self.emulator.bytes_sent
        self.now = round(self.now + dt, 9)
        self.emulator.poll(self.now, 1.0, self.sent)
        data = os_read(self.emulator, self.emulator.bytes_sent - before)
        self.states += [m for f in self.decoder.feed(data) if (m := unpack(f)) is not None]


def os_write(emulator: Emulator, data: bytes) -> int:
    return os.write(emulator._slave, data)


def os_read(emulator: Emulator, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(emulator._slave, count - len(data))
    return data


def pose(*values: float) -> PlatformCommand:
    return PlatformCommand(0.0, np.array(values))


# ---- dynamics --------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.floats(-0.5, 0.5), min_size=6, max_size=6), min_size=1, max_size=6))
def test_the_platform_never_leaves_its_range_rate_or_acceleration(targets: list[list[float]]) -> None:
    cfg = Platform()
    reach, rate, acceleration = cfg.range, cfg.rates, cfg.accelerations
    with PlatformEmulator(cfg, 0) as emulator:
        host = Host(emulator)
        before = emulator.actuated
        for target in targets:
            for _ in range(100):
                host.say(pose(*target))
                host.step(0.001)
                after = emulator.actuated
                assert (np.abs(after.pose) <= reach + 1e-12).all()
                assert (np.abs(after.velocity) <= rate + 1e-12).all()
                assert (np.abs(after.velocity - before.velocity) <= acceleration * 0.001 + 1e-12).all()
                before = after


def test_the_platform_reaches_its_target_after_the_dead_time_without_overshoot() -> None:
    cfg = Platform(dead_time=0.02)
    with PlatformEmulator(cfg, 0) as emulator:
        host = Host(emulator)
        host.run(0.020, pose(0.1, 0, 0, 0, 0.2, 0), every=0.001)
        assert (emulator.actuated.pose == 0.0).all(), "nothing moves during the dead time"
        furthest = np.zeros(6)
        for _ in range(160):
            host.run(0.005, pose(0.1, 0, 0, 0, 0.2, 0))
            furthest = np.maximum(furthest, emulator.actuated.pose)
        assert emulator.actuated.pose == pytest.approx([0.1, 0, 0, 0, 0.2, 0], abs=1e-4)
        assert (furthest <= np.array([0.1, 0, 0, 0, 0.2, 0]) + 2e-3).all()
        measured = host.states[-1].pose  # type: ignore[union-attr]
        assert np.allclose(measured / cfg.resolution, np.round(measured / cfg.resolution), atol=1e-2)


def test_a_command_beyond_the_range_is_clipped_and_reported() -> None:
    with PlatformEmulator(Platform(), 0) as emulator:
        host = Host(emulator)
        host.run(2.0, pose(0.3, 0, 0, 0, 0, 0))
        assert emulator.actuated.pose[0] == pytest.approx(0.18, abs=1e-4)
        assert host.states[-1].fault == 4  # type: ignore[union-attr]
        host.run(0.1, pose(0.18, 0, 0, 0, 0, 0))
        assert host.states[-1].fault == 0  # type: ignore[union-attr]


def test_the_belt_speeds_up_at_its_limit_after_the_dead_time() -> None:
    with TreadmillEmulator(Treadmill(dead_time=0.05), 0) as emulator:
        host = Host(emulator)
        host.run(0.55, TreadmillCommand(0.0, 5.0))
        assert emulator.actuated.speed == pytest.approx(1.0, abs=0.01)  # 0.5 s at 2 m/s^2
        host.run(2.0, TreadmillCommand(0.0, 5.0))
        assert emulator.actuated.speed == 3.0
        assert host.states[-1].fault == 4  # type: ignore[union-attr]
        # x = v^2 / 2a while speeding up, then at full speed
        assert emulator.actuated.position == pytest.approx(9.0 / 4.0 + 3.0 * 1.0, abs=0.05)


def test_stiction_holds_the_belt_and_speeds_are_quantised() -> None:
    with TreadmillEmulator(Treadmill(resolution=0.005, breakaway=0.02), 0) as emulator:
        host = Host(emulator)
        host.run(0.2, TreadmillCommand(0.0, 0.015))
        assert emulator.actuated.speed == 0.0
        host.run(0.2, TreadmillCommand(0.0, 0.0512))
        assert emulator.actuated.speed == pytest.approx(0.05)


def test_the_winch_follows_with_its_time_constant_and_saturates() -> None:
    cfg = Counterweight(passive_tension=100.0)
    with CounterweightEmulator(cfg, 0) as emulator:
        host = Host(emulator)
        host.run(0.011, CounterweightCommand(0.0, 200.0), every=0.001)  # in the first ms the command is on the line
        assert emulator.actuated.force == pytest.approx(100.0 * (1 - math.exp(-1)), rel=0.1)
        assert not emulator.actuated.brake
        host.run(0.2, CounterweightCommand(0.0, 1000.0, True))
        assert emulator.actuated.force == pytest.approx(300.0, rel=1e-6)
        assert emulator.actuated.brake


def test_the_load_cell_has_the_stated_noise_and_steps() -> None:
    cfg = Counterweight()
    with CounterweightEmulator(cfg, 5) as emulator:
        host = Host(emulator)
        emulator.measure(124.0, 2.5, -0.25)
        host.run(5.0, CounterweightCommand(0.0, 124.0))
        tension = np.array([s.tension for s in host.states])  # type: ignore[union-attr]
        assert len(tension) > 900
        assert tension.mean() == pytest.approx(124.0, abs=0.1)
        assert tension.std() == pytest.approx(0.5, rel=0.15)
        assert np.allclose(tension / 0.1, np.round(tension / 0.1), atol=1e-3)
        assert (host.states[-1].length, host.states[-1].speed) == (2.5, -0.25)  # type: ignore[union-attr]
        emulator.measure(700.0, 2.5, 0.0)
        host.run(0.02, CounterweightCommand(0.0, 124.0))
        assert host.states[-1].fault == 4  # type: ignore[union-attr]


def test_the_tracker_reports_the_past_with_noise_at_120_hz() -> None:
    with TrackerEmulator(Tracker(latency=0.05), 2) as emulator:
        host = Host(emulator)
        for _ in range(2000):  # the robot moves at 1 m/s
            emulator.measure(np.array([host.now + 0.001, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0]))
            host.step(0.001)
        assert len(host.states) == pytest.approx(240, abs=2)
        late = np.array([s.time - s.position[0] for s in host.states[20:]])  # type: ignore[union-attr]
        assert late.mean() == pytest.approx(0.05, abs=0.001)
        assert late.std() == pytest.approx(0.002, rel=0.2)
        assert all(np.linalg.norm(s.quaternion) == pytest.approx(1.0, abs=1e-5) for s in host.states)  # type: ignore[union-attr]


# ---- the line --------------------------------------------------------------------------------------------


def test_bytes_leave_at_the_baud_rate() -> None:
    """A RobotState is 157 bytes or so: at 9600 baud one takes 0.16 s, so that 200 of them a second cannot pass."""
    with RobotEmulator(Robot(line=LineConfig(baud=9600)), 0) as emulator:
        host = Host(emulator)
        for _ in range(1000):
            host.step(0.005)
        assert emulator.bytes_sent == pytest.approx(5.0 * 960, rel=0.01)
        assert emulator.overruns > 900
        assert host.decoder.crc_errors == host.decoder.garbage_bytes == 0, "frames are dropped whole"


def test_how_often_it_is_polled_does_not_change_what_is_sent() -> None:
    sent = []
    for every in (0.001, 0.005, 0.02):
        with CounterweightEmulator(Counterweight(), 9) as emulator:
            host = Host(emulator)
            while host.now < 0.5 - 1e-9:
                host.step(every)
            sent.append([s.tension for s in host.states])  # type: ignore[union-attr]
    assert sent[0] == sent[1] == sent[2]


def test_a_clock_that_stands_or_jumps_back_moves_nothing() -> None:
    with TreadmillEmulator(Treadmill(), 0) as emulator:
        host = Host(emulator)
        host.run(0.5, TreadmillCommand(0.0, 1.0))
        position = emulator.actuated.position
        assert emulator.poll(0.2) == emulator.poll(0.2) == 0
        assert emulator.actuated.position == position


# ---- safe by themselves ----------------------------------------------------------------------------------

ACTIVE = {
    "platform": (lambda: PlatformEmulator(Platform(), 0), pose(0.15, 0, 0.1, 0.2, 0, 0)),
    "treadmill": (lambda: TreadmillEmulator(Treadmill(), 0), TreadmillCommand(0.0, 2.0)),
    "counterweight": (lambda: CounterweightEmulator(Counterweight(), 0), CounterweightCommand(0.0, 150.0)),
    "robot": (lambda: RobotEmulator(Robot(), 0), RobotCommand(0.0, NOMINAL_POSE + 0.2, 30.0, 0.75)),
}


def is_safe(emulator: Emulator) -> bool:
    if isinstance(emulator, PlatformEmulator):
        return bool((emulator.actuated.velocity == 0.0).all())
    if isinstance(emulator, TreadmillEmulator):
        return emulator.actuated.speed == 0.0
    if isinstance(emulator, CounterweightEmulator):
        return emulator.actuated.brake
    assert isinstance(emulator, RobotEmulator)
    return emulator.actuated.mode == "damp" and emulator.actuated.kp == 0.0


@pytest.mark.parametrize("name", ACTIVE)
@pytest.mark.parametrize("cause", ["silence", "estop"])
def test_a_device_makes_itself_safe_and_stays_so_until_reset(name: str, cause: str) -> None:
    make, command = ACTIVE[name]
    with make() as emulator:
        host = Host(emulator)
        host.run(0.3, command)
        assert not is_safe(emulator) and not emulator.is_safe
        if cause == "estop":
            emulator.estop(True)
            host.run(2.0, command)
            bit = 1
        else:
            host.run(0.1)
            assert host.states[-1].fault == 0, "100 ms of silence are allowed"  # type: ignore[union-attr]
            host.run(2.0)
            bit = 2
        assert is_safe(emulator) and emulator.is_safe
        assert host.states[-1].fault & bit  # type: ignore[union-attr]
        host.run(0.5, command)
        assert is_safe(emulator), "commands alone do not restart a device"
        if cause == "estop":
            host.run(0.1, Reset(0.0), command)
            assert is_safe(emulator), "nor does a reset while the button is pressed"
            emulator.estop(False)
            host.run(0.1, command)
            assert is_safe(emulator), "nor its release"
        host.run(0.005, Reset(0.0))
        host.run(0.05, command)
        assert host.states[-1].fault == 0  # type: ignore[union-attr]
        host.run(0.2, command)
        assert not is_safe(emulator)


@pytest.mark.parametrize("name", ACTIVE)
def test_a_device_waits_without_a_fault_for_the_first_command(name: str) -> None:
    make, _ = ACTIVE[name]
    with make() as emulator:
        host = Host(emulator)
        host.run(1.0)
        assert is_safe(emulator) and emulator.is_safe and emulator.fault == 0
        host.run(1.0, Heartbeat(0.0))
        assert is_safe(emulator) and emulator.fault == 0


@pytest.mark.parametrize("name", ["platform", "treadmill", "counterweight"])
def test_heartbeats_keep_a_device_at_its_last_command(name: str) -> None:
    make, command = ACTIVE[name]
    with make() as emulator:
        host = Host(emulator)
        host.run(0.1, command)
        host.run(0.3, Heartbeat(0.0))
        assert emulator.fault == 0


def test_heartbeats_do_not_keep_a_robot_running() -> None:
    make, command = ACTIVE["robot"]
    with make() as emulator:
        assert isinstance(emulator, RobotEmulator)
        host = Host(emulator)
        measured = NOMINAL_POSE - 0.3
        emulator.measure(measured, np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), np.zeros(4))
        host.run(0.3, command, Heartbeat(0.0))
        modes, targets = [], []
        for _ in range(240):
            host.run(0.001, Heartbeat(0.0), every=0.001)
            modes.append(emulator.actuated.mode)
            targets.append(emulator.actuated.targets)
        assert list(dict.fromkeys(modes)) == ["run", "hold", "stand", "damp"]
        assert modes.index("hold") == pytest.approx(100, abs=6)
        assert modes.index("stand") - modes.index("hold") == 30
        assert modes.index("damp") - modes.index("hold") == 100
        assert np.array_equal(targets[modes.index("hold")], measured), "it holds where it is, not where it was told"
        # standing up, targets go to the nominal pose at 3 rad/s: 70 ms later 0.21 rad nearer
        assert targets[modes.index("damp")] == pytest.approx(measured + 0.21, abs=0.01)


@pytest.mark.parametrize("name", ACTIVE)
def test_commands_that_are_not_finite_move_nothing(name: str) -> None:
    make, _ = ACTIVE[name]
    broken = {
        "platform": pose(math.nan, 0, 0, 0, 0, 0),
        "treadmill": TreadmillCommand(0.0, math.inf),
        "counterweight": CounterweightCommand(0.0, math.nan),
        "robot": RobotCommand(0.0, np.full(12, math.nan), 30.0, 0.75),
    }[name]
    with make() as emulator:
        host = Host(emulator)
        host.run(0.5, broken)
        assert is_safe(emulator)
        assert all(np.isfinite(v).all() for v in vars(emulator.actuated).values() if not isinstance(v, str))  # type: ignore[attr-defined]
