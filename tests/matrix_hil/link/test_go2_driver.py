"""The rig's robot as a Go2: what the maker's messages say, what the motors are told, and that every end damps them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_hil.config import HilConfig, Robot, RunPlan, Twin
from matrix_hil.link.go2 import Go2Config, Go2Robot, records
from matrix_hil.link.protocol import FAULT_LIMIT, FAULT_WATCHDOG
from matrix_hil.messages import RobotCommand
from matrix_hil.rig import Rig, exact_calibration, open_rig
from matrix_hil.run.clocks import drive
from matrix_hil.run.start_check import check
from matrix_hil.virtual.emulator import Lockstep
from matrix_hil.virtual.go2 import Go2Emulator
from matrix_hil.virtual.rig import VirtualMachines
from policy.runtime.unitree import LOW_CMD, LOW_STATE, fill_low_state, low_cmd, seal
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE
from sim.terrain.generators import TerrainConfig

DT = 0.005
GO2 = Robot(protocol="go2")
ELSEWHERE = NOMINAL_POSE + 0.1 * np.where(np.arange(12) % 3 == 1, 1.0, -1.0)


class Bench:
    """A Go2's driver and its emulator on one clock of 5 ms; the joints follow their targets at once."""

    def __init__(self, cfg: Go2Config | None = None) -> None:
        self.emulator = Go2Emulator(GO2, 1)
        self.driver = Go2Robot(self.emulator.port, cfg)
        self.driver.connect()
        self.lockstep = Lockstep(self.driver, self.emulator)
        self.joints, self.down = ELSEWHERE, np.array([0.0, 0.0, -1.0])
        self.force, self.turn = np.array([10.0, 20.0, 30.0, 40.0]), np.array([0.1, 0.2, 0.3])
        self.cycle = 0

    @property
    def now(self) -> float:
        return self.cycle * DT

    def step(self, mode: str = "", cycles: int = 1, targets: np.ndarray = NOMINAL_POSE) -> None:
        for _ in range(cycles):
            self.cycle += 1
            if self.emulator.actuated.kp > 0.0:
                self.joints = self.emulator.actuated.targets
            self.emulator.measure(self.joints, np.zeros(12), self.turn, self.down, self.force)
            self.lockstep.poll_emulator(self.now)
            self.lockstep.poll_device(self.now)
            if mode:
                self.driver.send(RobotCommand(self.now, targets, 30.0, 0.75, mode))
            self.driver.poll(self.now)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(Go2Config(foot_zero=(1.0, 2.0, 3.0, 4.0), foot_scale=(2.0, 1.0, 1.0, 0.5)))
    with bench.emulator:
        yield bench
        bench.driver.disconnect()


def test_a_state_is_what_the_robot_measures(bench: Bench) -> None:
    bench.down = np.array([math.sin(0.3), -math.sin(0.2) * math.cos(0.3), -math.cos(0.2) * math.cos(0.3)])
    bench.step(cycles=3)
    state = bench.driver.state
    assert state is not None and state.time == bench.now and state.fault == 0
    assert np.allclose(state.joint_position, ELSEWHERE, atol=1e-6)
    assert np.allclose(state.angular_velocity, bench.turn) and np.allclose(state.projected_gravity, bench.down)
    assert state.foot_force.tolist() == [18.0, 18.0, 27.0, 18.0]
    stats = bench.driver.stats
    assert stats.frames >= 4, "500 in a second"
    assert stats.frames * LOW_STATE.itemsize == bench.driver.bytes_received and stats.garbage_bytes == 0
    assert bench.emulator.commands == 0


def test_it_is_led_to_the_stance_runs_holds_and_is_damped(bench: Bench) -> None:
    bench.step("run", 10)
    assert bench.emulator.actuated.mode == "damp", "a robot that does not stand does not run"
    assert bench.driver.state is not None and bench.driver.state.fault == FAULT_WATCHDOG | FAULT_LIMIT, (
        "no mere silence"
    )
    bench.driver.reset()
    bench.step("stand", 2)
    first = bench.emulator.actuated
    assert first.kp == 30.0 and np.abs(first.targets - ELSEWHERE).max() < 0.03, "a jump"
    bench.step("stand", 20)
    assert np.allclose(bench.joints, NOMINAL_POSE, atol=1e-6)
    bench.step("run", 5, ELSEWHERE)
    assert np.allclose(bench.joints, ELSEWHERE, atol=1e-6)
    bench.step("hold", 5, NOMINAL_POSE)
    assert np.allclose(bench.joints, ELSEWHERE, atol=1e-6) and bench.emulator.actuated.kp == 30.0
    bench.step("damp", 5)
    assert bench.emulator.actuated.kp == 0.0 and bench.emulator.actuated.kd > 0.0
    assert bench.driver.state.fault == 0


def test_on_the_wall_clock_time_passes_between_reading_and_writing(bench: Bench) -> None:
    readings = itertools.count()
    bench.driver.clock = lambda: max(bench.now, 0.0) + 1e-6 * next(readings)
    bench.step("stand", 30)
    assert bench.driver.state is not None and bench.driver.state.fault == 0
    assert bench.emulator.actuated.kp == 30.0


def test_a_dead_loop_damps_and_says_so_until_reset(bench: Bench) -> None:
    bench.step("stand", 30)
    bench.step(cycles=30)
    assert bench.emulator.actuated.mode == "damp" and bench.emulator.commands > 40, "the driver goes on to damp"
    assert bench.driver.state is not None and bench.driver.state.fault == FAULT_WATCHDOG
    bench.step("run", 10)
    assert bench.emulator.actuated.mode == "damp", "in the middle of a hop"
    bench.driver.reset()
    bench.step("stand", 5)
    assert bench.emulator.actuated.kp == 30.0 and bench.driver.state.fault == 0


def test_a_robot_that_says_nothing_is_damped(bench: Bench) -> None:
    bench.step("stand", 30)
    bench.emulator._report = lambda now: None  # type: ignore[method-assign]
    bench.step("stand", 30)
    assert bench.emulator.actuated.mode == "damp" and bench.emulator.commands > 40


def test_where_others_fall_silent_a_go2_is_damped(bench: Bench) -> None:
    bench.step("stand", 30)
    bench.driver.fall_silent()
    bench.step("stand", 30)
    assert bench.emulator.actuated.mode == "damp" and bench.emulator.commands > 40
    bench.driver.reset()
    bench.step("stand", 5)
    assert bench.emulator.actuated.mode == "run"


def test_the_last_word_is_damp() -> None:
    bench = Bench()
    with bench.emulator:
        bench.step("stand", 30)
        bench.driver.disconnect()
        bench.emulator.poll(bench.now + 0.005)
        assert bench.emulator.actuated.mode == "damp" and bench.emulator.refused == ""


def test_an_imu_that_says_nothing_is_no_level_robot() -> None:
    record = np.zeros((), LOW_STATE)
    fill_low_state(record, [NOMINAL_POSE] * 3, np.zeros(4), np.zeros(3), np.zeros(3), np.zeros(4), 1)
    with Go2Emulator(GO2, 0) as emulator, Go2Robot(emulator.port) as driver:
        emulator._queue_out(seal(record).tobytes())
        emulator.poll(0.0)
        emulator.poll(0.001)
        driver.poll(0.001, wait=30.0)
        assert driver.state is not None and np.isnan(driver.state.projected_gravity).all()


@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 3)), max_size=12), st.integers(1, 2000))
def test_intact_structures_are_found_in_any_bytes(parts: list[bytes | int], pace: int) -> None:
    whole = [low_cmd(NOMINAL_POSE, 10.0 * k, 1.0) for k in range(4)]
    data = b"".join(p if isinstance(p, bytes) else whole[p].tobytes() for p in parts)
    buffer, found = bytearray(), []
    for start in range(0, len(data), pace):
        buffer += data[start : start + pace]
        found += records(buffer, LOW_CMD)[0]
    sent = [whole[p].tobytes() for p in parts if isinstance(p, int)]
    # what looks like a head in the bytes between may hide those that follow until more has come
    assert [f.tobytes() for f in found] == sent[: len(found)]
    if not any(b"\xfe" in p for p in parts if isinstance(p, bytes)):
        assert len(found) == len(sent)


# ---- the rig ---------------------------------------------------------------------------------------------------------


def cycles(rig: Rig, before: object = lambda now: None) -> None:
    with rig.clock() as clock:
        drive(rig.loop, clock, rig.ground, before, lambda *_: None)  # type: ignore[arg-type]


@pytest.fixture
def config() -> HilConfig:
    terrain, plan = TerrainConfig(kind="flat"), RunPlan(duration=4.0, stand=0.5, down=0.3)
    return HilConfig(policy="policy/zoo/pronk", robot=GO2, terrain=terrain, plan=plan, twin=Twin(rate=10.0))


def test_a_go2_hops_on_the_rig_and_ends_damped(config: HilConfig) -> None:
    with open_rig(config, calibration=exact_calibration(config)) as rig:
        assert isinstance(rig.machines, VirtualMachines) and isinstance(rig.machines.robot, Go2Emulator)
        cycles(rig)
        last = rig.loop.last
        assert last is not None and last.supervisor.reason == "" and last.info.hops >= 2
        robot = rig.machines.robot
        assert robot.refused == "" and robot.actuated.mode == "damp"


def test_a_robot_whose_state_stops_is_damped_with_all_the_rig(config: HilConfig) -> None:
    with open_rig(config, calibration=exact_calibration(config)) as rig:
        assert isinstance(rig.machines, VirtualMachines)
        robot = rig.machines.robot

        def silence(now: float) -> None:
            if rig.loop.phase == "run" and rig.loop.elapsed(now) > 1.0:
                robot._report = lambda now: None  # type: ignore[method-assign]

        cycles(rig, silence)
        last = rig.loop.last
        assert last is not None and last.supervisor.state == "safe" and "S05" in last.supervisor.reason
        assert robot.actuated.mode == "damp"
        assert rig.machines.counterweight.actuated.brake


@pytest.mark.parametrize(
    ("robot", "named"),
    [
        (Robot(port="dds://eth0"), "robot.protocol 'lunar'"),
        (Robot(port="/dev/ttyUSB0", protocol="go2"), "robot.port is /dev/ttyUSB0"),
    ],
)
def test_port_and_protocol_go_together(config: HilConfig, robot: Robot, named: str) -> None:
    with pytest.raises(LunarError, match=named):
        check(replace(config, robot=robot, clock="wall", allow_mixed=True))


def test_another_robot_is_no_go2(config: HilConfig) -> None:
    with pytest.raises(LunarError, match=r"rig\.robot is 'anymal'"):
        check(replace(config, rig=replace(config.rig, robot="anymal")))


@pytest.mark.parametrize(
    "figures",
    [{"stand_rate": -2.0}, {"stand_rate": 0.0}, {"stand_rate": math.nan}, {"stand_rate": 15.0},
     {"foot_scale": (1.0, 0.0, 1.0, 1.0)}, {"foot_scale": (1.0, 1.0, -1.0, 1.0)},
     {"foot_zero": (0.0, math.inf, 0.0, 0.0)}],
)  # fmt: skip
def test_figures_that_no_robot_has_are_refused(figures: dict) -> None:
    with pytest.raises(LunarError, match=f"robot.go2.{next(iter(figures))} is"):
        Go2Config(**figures)
