"""The supervisor: what it lets through, and what it tells the rig when something is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.control.stewart import plate_height, reachable
from matrix_hil.messages import is_finite
from matrix_hil.safety.rules import OPERATOR
from matrix_hil.safety.supervisor import SupervisorState
from sim.spec.joints import NOMINAL_POSE, UPPER
from tests.matrix_hil.safety.examples import CFG, DT, PLATFORM, at, rolled
from tests.matrix_hil.safety.loop import Loop, assert_safe


def test_commands_within_the_limits_pass_untouched() -> None:
    loop = Loop().start()
    for k in range(100):
        pose = at(2, 0.0002 * k, 6)
        wanted = {"platform__pose": pose, "treadmill__speed": 0.005 * k, "robot__targets": NOMINAL_POSE + 0.003 * k}
        given = loop.step(**wanted)
        assert given.treadmill.speed == pytest.approx(0.005 * k)
        assert given.robot.targets == pytest.approx(NOMINAL_POSE + 0.003 * k)
        assert (given.robot.mode, given.robot.kp, given.robot.kd) == ("run", 30.0, 0.75)
        assert (given.counterweight.tension, given.counterweight.brake) == (124.0, False)
        assert np.abs(given.platform.pose - pose).max() < 1e-3  # at 40 mm/s the plate may lag by v^2 / 2a
    assert loop.supervisor.reason == ""
    assert set(loop.supervisor.clamped) <= {"S21"}


def test_a_trip_is_latched_with_its_first_reason_until_reset_and_arm() -> None:
    loop = Loop().start()
    loop.step()
    loop.states = rolled(math.radians(70))
    loop.step()
    assert loop.state == "safe"
    assert loop.supervisor.reason == "S12 robot tilt 70.0 deg, limit 60.0 deg"
    loop.states = {"robot__fault": 2}
    loop.step()
    assert loop.supervisor.reason.startswith("S12")
    assert not loop.supervisor.run(loop.now) and not loop.supervisor.arm(loop.now)
    loop.supervisor.reset(loop.now)
    assert loop.state == "idle" and loop.supervisor.reason == ""
    assert not loop.supervisor.arm(loop.now), "nothing was judged since"
    loop.step()
    assert loop.supervisor.blocked == "S04 robot reports fault bits 0x2"
    assert not loop.supervisor.arm(loop.now)
    loop.states = {}
    loop.step()
    assert not loop.supervisor.run(loop.now), "not without arming"
    assert loop.supervisor.arm(loop.now) and loop.supervisor.run(loop.now)
    loop.step()
    assert loop.log[-1][1] == SupervisorState(loop.now, "run", "", 1, 0)


@pytest.mark.parametrize("state", ["idle", "armed", "run", "hold", "safe"])
@pytest.mark.parametrize("how", ["operator", "device"])
def test_an_estop_works_from_anywhere_and_stays(state: str, how: str) -> None:
    loop = Loop()
    loop.step()
    if state != "idle":
        loop.start()
    if state == "armed":
        loop = Loop()
        loop.step()
        loop.supervisor.arm(loop.now)
    elif state == "hold":
        loop.supervisor.hold(loop.now)
    elif state == "safe":
        loop.step(dt=1.0)
    assert loop.state == state
    if how == "operator":
        loop.supervisor.estop(loop.now)
    else:
        loop.states = {"treadmill__fault": 1}
    for _ in range(50):
        commands = loop.step(treadmill__speed=1.0)
    assert loop.state == "estop"
    assert loop.supervisor.reason[:3] == ("S03" if state == "safe" else OPERATOR if how == "operator" else "S01")
    assert_safe(commands, np.zeros(6), 124.0)
    loop.supervisor.run(loop.now)
    loop.supervisor.hold(loop.now)
    loop.supervisor.arm(loop.now)
    assert loop.state == "estop"


def test_safe_commands_freeze_ramp_brake_and_damp() -> None:
    loop = Loop().start()
    pose = np.array([0.01, 0.0, 0.03, 0.02, 0.0, 0.0])
    joints = NOMINAL_POSE + 0.1
    loop.states = {"platform__pose": pose, "counterweight__tension": 130.0, "robot__joint_position": joints}
    for _ in range(150):
        loop.step(treadmill__speed=1.0)
    assert loop.log[-1][0].treadmill.speed == 1.0
    loop.states["tracker__position"] = np.array([0.6, 0.0, 0.3])
    trip = len(loop.log)
    loop.step(treadmill__speed=1.0)
    for k in range(120):  # what is measured later moves nothing
        loop.states |= {"platform__pose": pose + 0.0001 * k, "counterweight__tension": 60.0}
        loop.step(treadmill__speed=1.0)
    after = [commands for commands, _ in loop.log[trip:]]
    assert all(np.array_equal(c.platform.pose, pose) for c in after)
    assert after[0].counterweight.tension == pytest.approx(130.0, abs=1e-5)
    assert all(c.counterweight.brake and c.counterweight.tension == after[0].counterweight.tension for c in after)
    speeds = np.array([1.0, *(c.treadmill.speed for c in after)])
    assert (np.diff(speeds) <= 0).all() and np.diff(speeds).min() >= -2.0 * DT - 1e-9
    assert speeds[-1] == 0.0 and np.count_nonzero(speeds) == pytest.approx(0.5 / DT, abs=1)
    modes = [c.robot.mode for c in after]
    assert list(dict.fromkeys(modes)) == ["hold", "stand", "damp"]
    assert modes.index("stand") == 6 and modes.index("damp") == 20  # 30 and 100 ms
    assert np.array_equal(after[0].robot.targets, joints) and after[0].robot.kp == 30.0
    assert after[-1].robot.kp == 0.0
    assert loop.log[-1][1].trips == 1


def test_nothing_that_is_not_finite_is_ever_sent() -> None:
    loop = Loop().start()
    loop.states = {"platform__pose": np.full(6, math.nan), "counterweight__tension": math.inf,
                   "robot__joint_position": np.full(12, math.nan)}  # fmt: skip
    for _ in range(40):
        loop.step(platform__pose=np.full(6, math.nan), treadmill__speed=math.nan, robot__kp=math.inf)
        for message in vars(loop.log[-1][0]).values():
            assert is_finite(message)
    assert loop.state == "safe" and loop.supervisor.reason.startswith("S06")
    assert_safe(loop.log[-1][0], np.zeros(6), 124.0)


def test_a_stale_command_is_not_sent_but_counted_and_then_trips() -> None:
    loop = Loop().start()
    loop.step(treadmill__speed=0.005)
    given = loop.step(age=CFG.command_stale, treadmill__speed=0.01)
    assert given.treadmill.speed == pytest.approx(0.01), "at the limit it is fresh"
    assert loop.log[-1][1].stale_commands == 0
    given = loop.step(age=CFG.command_stale + 0.001, treadmill__speed=0.015)
    assert given.treadmill.speed == pytest.approx(0.01)
    assert loop.log[-1][1].stale_commands == 4
    given = loop.step(age=-0.01, treadmill__speed=0.015)
    assert given.treadmill.speed == pytest.approx(0.01), "a command from the future is of another clock"
    assert given.treadmill.time == loop.now, "what is sent again is stamped anew, for the driver's sake"
    while loop.state == "run" and len(loop.log) < 100:
        loop.step(age=0.2)
    assert loop.supervisor.reason.startswith("S17")
    assert loop.supervisor.clamped["S20"] == loop.log[-1][1].stale_commands > 0


def test_a_single_machine_without_fresh_commands_is_enough_to_trip() -> None:
    loop = Loop().start()
    for _ in range(30):
        loop.step(robot__time=loop.now - 1.0)
    assert loop.supervisor.reason.startswith("S17")


@pytest.mark.parametrize(
    ("clamp", "field", "wanted", "given"),
    [
        ("S21", "platform__pose", at(0, 0.2, 6), at(0, 0.18, 6)),
        ("S22", "treadmill__speed", 3.2, 3.0),
        ("S23", "counterweight__tension", 460.0, 450.0),
        ("S23", "counterweight__tension", -10.0, 0.0),
        ("S24", "robot__targets", UPPER + 0.5, UPPER),
        ("S25", "robot__kp", 101.0, 100.0),
        ("S25", "robot__kd", -1.0, 0.0),
    ],
)
def test_what_is_a_little_outside_is_clamped_and_counted(clamp: str, field: str, wanted: Any, given: Any) -> None:
    loop = Loop().start()
    for _ in range(400):
        if clamp == "S23" and loop.log:  # near the command, and within what a rope may be measured to pull
            loop.states = {field: min(max(loop.log[-1][0].counterweight.tension, 10.0), 440.0)}
        commands = loop.step(**{field: wanted})
    assert loop.state == "run"
    assert set(loop.supervisor.clamped) == {clamp}
    machine, name = field.split("__")
    assert getattr(getattr(commands, machine), name) == pytest.approx(given, abs=1e-4)


def test_a_glitch_of_a_joint_target_is_spread_out() -> None:
    loop = Loop().start()
    loop.step()
    given = loop.step(robot__targets=NOMINAL_POSE + at(1, 1.5, 12))
    assert given.robot.targets[1] == pytest.approx(0.9 + 120.0 * DT)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-0.26, 0.26)] * 2, st.floats(-4.4, 4.4), st.floats(-100, 600)), max_size=8))
def test_whatever_sync_wants_what_is_sent_keeps_the_limits(wishes: list[tuple[float, ...]]) -> None:
    loop = Loop().start()
    for x, roll, speed, tension in wishes:
        for _ in range(20):
            loop.step(platform__pose=np.array([x, 0, 0, roll, 0, 0]), treadmill__speed=speed,
                      counterweight__tension=tension)  # fmt: skip
    sent = [commands for commands, _ in loop.log]
    poses = np.array([c.platform.pose for c in sent])
    assert (np.abs(poses) <= PLATFORM.range).all()
    velocity = np.diff(poses, axis=0) / DT
    assert (np.abs(velocity) <= PLATFORM.rates + 1e-9).all()
    speeds = np.array([c.treadmill.speed for c in sent])
    assert (np.abs(speeds) <= 3.0).all() and (np.abs(np.diff(speeds)) <= 2.0 * DT + 1e-9).all()
    assert all(0.0 <= c.counterweight.tension <= 450.0 for c in sent)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-0.18, 0.18)] * 3, *[st.floats(-0.38, 0.38)] * 3), min_size=1, max_size=6))
def test_no_leg_is_ever_told_to_leave_its_stroke(wishes: list[tuple[float, ...]]) -> None:
    """Four fifths of the box of travel and tilt are out of the legs' reach; so may be the way between two."""
    loop = Loop().start()
    for wish in wishes:
        for _ in range(100):
            commands = loop.step(platform__pose=np.array(wish))
            assert reachable(PLATFORM.geometry, commands.platform.pose)
            standing = 0.3 + plate_height(commands.platform.pose, 0.0, 0.0)
            loop.states["tracker__position"] = np.array([0.0, 0.0, standing])
    assert loop.state == "run"


def test_a_corner_is_approached_as_far_as_the_legs_reach() -> None:
    corner = np.concatenate([PLATFORM.range[:3], -PLATFORM.range[3:]])
    loop = Loop().start()
    for _ in range(400):
        pose = loop.step(platform__pose=corner).platform.pose
    assert reachable(PLATFORM.geometry, pose) and not reachable(PLATFORM.geometry, 1.2 * pose)
    assert loop.supervisor.clamped["S21"] >= 400
    for _ in range(400):
        pose = loop.step().platform.pose
    assert np.abs(pose).max() < 1e-3, "and it comes back"


def test_armed_and_hold_stop_the_belt_freeze_the_plate_and_let_the_robot_stand() -> None:
    loop = Loop().start()
    for k in range(200):
        loop.step(treadmill__speed=0.5, platform__pose=at(2, min(0.0005 * k, 0.05), 6))
    assert loop.supervisor.hold(loop.now)
    for _ in range(100):
        given = loop.step(treadmill__speed=0.5, platform__pose=at(2, -0.05, 6), counterweight__tension=140.0)
    assert given.platform.pose[2] == pytest.approx(0.05, abs=1e-3)
    assert given.treadmill.speed == pytest.approx(0.0, abs=1e-9)
    assert (given.counterweight.tension, given.counterweight.brake) == (140.0, False)
    assert given.robot.mode == "stand" and given.robot.kp == 30.0
    assert loop.supervisor.run(loop.now)
    assert loop.step().robot.mode == "run"
