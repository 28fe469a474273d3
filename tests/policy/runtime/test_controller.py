"""The guards around a deployed policy, at, just under and just over their bounds, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.runtime.controller import ControllerConfig, PolicyController, gravity_direction
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.physics.scene import PhysicsConfig
from sim.physics.single import SingleRobot
from sim.spec.gravity import EARTH
from sim.spec.joints import JOINT_NAMES, LOWER, NOMINAL_POSE, UPPER
from tests.policy.runtime.robot import CONFIG, DT, LYING, TICK, UPRIGHT, Robot, roll


def test_it_is_limp_until_the_joints_are_known_and_holds_their_pose_until_the_imu_is() -> None:
    robot = Robot()
    assert robot.step().mode == "damp" and robot.step().kp == 0.0
    robot.joints()
    order = robot.step()
    assert order.mode == "hold" and "imu: none yet" in order.reason
    assert np.allclose(order.targets, np.clip(LYING, LOWER, UPPER))
    assert robot.live(DT).mode == "stand"  # neither was a latch


def test_the_ramp_starts_at_the_pose_ends_at_the_default_pose_and_is_smooth() -> None:
    robot = Robot()
    orders = [robot.live(DT) for _ in range(64)]
    targets = np.array([o.targets for o in orders])
    assert {o.mode for o in orders} == {"stand"} and {o.kp for o in orders} == {30.0}
    assert np.allclose(targets[0], LYING)
    distance = np.abs(LYING - NOMINAL_POSE).max()
    # the quickest point of a minimum-jerk path is 1.875 times its mean speed
    assert np.abs(np.diff(targets, axis=0)).max() <= 1.875 * distance * DT / CONFIG.ramp_time + 1e-9
    assert robot.live(DT).mode == "run"
    assert np.abs(targets[-1] - NOMINAL_POSE).max() < 1e-4 * distance
    assert robot.policy.resets == 1


@pytest.mark.parametrize(("ticks", "mode"), [(63, "run"), (64, "run"), (65, "hold"), (512, "hold"), (513, "damp")])
@pytest.mark.parametrize("stream", ["joints", "imu"])
def test_old_state_is_held_then_damped(stream: str, ticks: int, mode: str) -> None:
    robot = Robot()
    targets = robot.live(1.25).targets
    robot.now += ticks * TICK
    getattr(robot, "imu" if stream == "joints" else "joints")()  # only one of the two goes on
    used = len(robot.policy.seen)
    order = robot.step()
    assert order.mode == mode
    assert len(robot.policy.seen) - used == (mode == "run"), "the policy must not see old state"
    if mode != "run":
        assert np.allclose(order.targets, targets) and order.reason
    # a hold ends by the ramp, a damp does not end
    assert robot.live(DT).mode == {"run": "run", "hold": "stand", "damp": "damp"}[mode]


def test_after_a_hold_the_ramp_starts_at_the_held_targets() -> None:
    robot = Robot()
    robot.live(1.25)
    held = robot.step(after=0.125)
    robot.now += 0.125
    assert np.allclose(robot.live(DT).targets, held.targets)
    assert robot.live(1.25).mode == "run"
    assert robot.policy.resets == 2


@pytest.mark.parametrize(("tilt", "mode"), [(0.999, "run"), (1.001, "damp"), (-1.001, "damp"), (np.pi, "damp")])
def test_a_fall_is_latched(tilt: float, mode: str) -> None:
    robot = Robot()
    robot.live(1.25)
    robot.now += DT
    robot.joints()
    robot.imu(roll(tilt))
    order = robot.step()
    assert order.mode == mode
    assert robot.live(2.0).mode == mode
    if mode == "damp":
        assert order.kp == 0.0 and order.kd == CONFIG.damp_kd and "tilt" in order.reason
        robot.controller.activate()
        assert robot.live(DT).mode == "stand"


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_policy_without_numbers_is_latched_and_the_targets_stay_finite(wrong: float) -> None:
    robot = Robot()
    robot.live(1.25)
    robot.policy.answer = np.full(12, wrong)
    order = robot.live(DT)
    assert order.mode == "damp" and np.isfinite(order.targets).all()
    robot.policy.answer = NOMINAL_POSE
    assert robot.live(1.0).mode == "damp"


def test_a_clock_that_goes_back_is_latched() -> None:
    robot = Robot()
    robot.live(1.25)
    assert robot.step(after=-0.001).mode == "damp"


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=12, max_size=12))
def test_targets_never_leave_the_joint_range(wish: list[float]) -> None:
    robot = Robot(ControllerConfig(ramp_time=0.1))
    robot.policy.answer = np.array(wish)
    targets = robot.live(0.3).targets
    assert (targets >= LOWER).all() and (targets <= UPPER).all()


@given(st.permutations(range(13)))
def test_joints_are_found_by_name(order: list[int]) -> None:
    robot = Robot()
    names, values = (*JOINT_NAMES, "arm"), np.append(NOMINAL_POSE, 9.0) + 0.01 * np.arange(13)
    speeds = np.arange(13.0)
    robot.controller.on_joint_state([names[i] for i in order], values[order], speeds[order], 1.0, robot.now)
    position, velocity = robot.controller.joints.values
    assert np.array_equal(position, values[:12]) and np.array_equal(velocity, speeds[:12])


@pytest.mark.parametrize(
    ("names", "values", "why"),
    [
        (JOINT_NAMES[:-1], np.zeros(11), "joint RR_calf_joint is not among the names"),
        ((*JOINT_NAMES, JOINT_NAMES[2]), np.zeros(13), "joint FL_calf_joint is more than once among the names"),
        (JOINT_NAMES, np.zeros(11), "12 names, 11 positions and 11 velocities came"),
        (JOINT_NAMES, np.array([np.nan] * 12), "not a number"),
        (JOINT_NAMES, np.degrees(NOMINAL_POSE), "cannot be this robot's: joint position beyond its range"),
        (JOINT_NAMES, np.zeros(12), "calf_joint"),
    ],
)
def test_a_joint_state_that_cannot_be_used_is_no_state(names: tuple[str, ...], values: np.ndarray, why: str) -> None:
    robot = Robot()
    robot.live(1.25)
    robot.now += 65 * TICK
    robot.imu()
    robot.controller.on_joint_state(names, values, values, robot.now, robot.now)
    order = robot.step()
    assert order.mode == "hold" and why in order.reason


@pytest.mark.parametrize(
    ("orientation", "variance"), [(UPRIGHT, -1.0), ((0.0, 0.0, 0.0, 0.0), 0.0), ((np.nan, 0.0, 0.0, 1.0), 0.0)]
)
def test_an_imu_without_orientation_is_no_state(orientation: tuple[float, ...], variance: float) -> None:
    robot = Robot()
    robot.live(1.25)
    robot.now += 65 * TICK
    robot.joints()
    robot.imu(orientation, variance)
    order = robot.step()
    assert order.mode == "hold" and "no orientation" in order.reason


def test_a_frozen_sensor_is_no_state() -> None:
    robot = Robot()
    robot.live(1.25)
    last = robot.now
    robot.now += 0.1
    robot.imu()
    robot.joints(stamp=last)
    order = robot.step()
    assert order.mode == "hold" and "does not advance" in order.reason


@pytest.mark.parametrize("step", [-0.02, -0.6, -50.0, 0.6])
def test_a_publishers_clock_that_is_set_stops_nobody(step: float) -> None:
    robot = Robot()
    robot.live(1.25)
    for _ in range(50):
        robot.now += DT
        robot.imu()
        robot.joints(stamp=robot.now + step)
        assert robot.step().mode == "run"


@pytest.mark.parametrize(("margin", "taken"), [(0.3499, True), (0.3501, False)])
def test_a_joint_beyond_its_stop_is_no_state(margin: float, taken: bool) -> None:
    robot = Robot()
    robot.position = NOMINAL_POSE.copy()
    robot.position[5] = UPPER[5] + margin
    robot.joints()
    assert bool(robot.controller.joints.values) == taken
    assert taken or (
        "FL_calf_joint" not in robot.controller.joints.fault and "FR_calf" in robot.controller.joints.fault
    )


@pytest.mark.parametrize(("turn", "taken"), [(34.9, True), (35.1, False), (-35.1, False)])
def test_a_turn_rate_that_no_robot_has_is_no_state(turn: float, taken: bool) -> None:
    robot = Robot()
    robot.turn = (0.0, turn, 0.0)
    robot.imu()
    assert bool(robot.controller.imu.values) == taken


def test_a_source_that_keeps_getting_old_is_latched() -> None:
    """17 Hz: each state is old before the next one comes."""
    robot = Robot(ControllerConfig(stale_after=0.05))
    modes = []
    for k in range(2000):
        robot.now += 0.005
        if k % 12 == 0:
            robot.joints()
            robot.imu()
        modes.append(robot.step().mode)
    assert modes[-1] == "damp" and "5 times in 10 s" in robot.step().reason
    assert modes[:300].count("damp") < 300, "not at the first"
    robot.controller.activate()
    robot.joints()
    robot.imu()
    assert robot.step().mode == "stand"


def test_rare_gaps_are_forgotten() -> None:
    robot = Robot(ControllerConfig(ramp_time=0.5))
    for _ in range(12):
        robot.live(3.0)
        robot.now += 0.1
        assert robot.step().mode == "hold"
    assert robot.live(1.0).mode == "run"


def test_a_second_master_is_latched_and_named() -> None:
    robot = Robot()
    robot.live(1.25)
    robot.controller.second_master("/other")
    order = robot.live(DT)
    assert order.mode == "damp" and order.kp == 0.0 and "/other commands this robot too" in order.reason
    assert robot.live(2.0).mode == "damp"


def test_a_target_does_not_leap() -> None:
    """The policy's first wish is as far away as its joints go."""
    robot = Robot()
    robot.live(1.25)
    before = robot.step().targets
    robot.policy.answer = UPPER
    after = robot.live(DT).targets
    assert np.abs(after - before).max() <= 120.0 * DT + 1e-9


def test_commands_time_out_to_hopping_in_place_with_the_cards_defaults() -> None:
    robot = Robot()
    in_place = [0.0, 0.0, 0.0, 0.25, 0.5]
    assert np.allclose(robot.controller.command(robot.now), in_place)
    robot.controller.on_twist(0.4, -0.1, 0.2, robot.now)
    assert np.allclose(robot.controller.command(robot.now), [0.4, -0.1, 0.2, 0.25, 0.5])
    robot.controller.on_command([0.1, 0.0, 0.0, 0.4, 1.0], robot.now)
    robot.controller.on_command([np.nan, 0.0, 0.0, 0.4, 1.0], robot.now)
    timeout = CONFIG.command_timeout
    assert np.allclose(robot.controller.command(robot.now + timeout - 1e-6), [0.1, 0.0, 0.0, 0.4, 1.0])
    assert np.allclose(robot.controller.command(robot.now + timeout + 1e-6), in_place)


LOW = replace(CONFIG, collapse_time=2.5)
BELLY = np.tile([0.0, 1.4, -2.7], 4)  # feet 0.14 m below the base


def test_a_robot_whose_feet_stay_level_with_its_belly_collapsed() -> None:
    robot = Robot(LOW)
    robot.live(1.25)
    robot.policy.answer = BELLY
    robot.live(DT)  # the legs fold in this step
    assert robot.live(2.5).mode == "run"
    order = robot.live(DT)
    assert order.mode == "damp" and order.kp == 0.0 and "collapsed" in order.reason
    robot.policy.answer = NOMINAL_POSE
    assert robot.live(1.0).mode == "damp"


def test_a_push_off_within_the_time_is_no_collapse() -> None:
    robot = Robot(LOW)
    robot.live(1.25)
    for _ in range(4):
        robot.policy.answer = BELLY
        robot.live(2.0)
        robot.policy.answer = NOMINAL_POSE
        assert robot.live(0.25).mode == "run"


def test_of_a_robot_without_known_legs_nobody_can_tell() -> None:
    robot = Robot(CONFIG, robot="spot")
    robot.live(1.25)
    robot.policy.answer = BELLY
    assert robot.live(10.0).mode == "run"


def test_a_simulated_robot_whose_motors_give_up_is_damped_on_its_belly() -> None:
    robot, policy = SingleRobot(PhysicsConfig(gravity=EARTH)), OnnxPolicy("pronk")
    controller = PolicyController(policy)
    period, modes = round(controller.period / robot.dt), []
    for k in range(round(10.0 / controller.period)):
        now = k * controller.period
        q = robot.orientation
        controller.on_joint_state(JOINT_NAMES, robot.joint_position, robot.joint_velocity, now, now)
        controller.on_imu((*q[1:], q[0]), 0.0, robot.angular_velocity, now, now)
        order = controller.step(now)
        modes.append(order.mode)
        robot.command(order.targets, 0.03 * order.kp if now > 3.0 else 2.0 * order.kp, order.kd)
        for _ in range(period):
            robot.step()
    assert modes[-1] == "damp" and "collapsed" in order.reason
    assert robot.orientation[0] > 0.95 and robot.position[2] < 0.13, "it lay on its belly, upright"
    assert modes.count("run") > 1.0 / controller.period


@given(st.floats(-np.pi, np.pi), st.floats(-1.5, 1.5), st.floats(-np.pi, np.pi))
def test_gravity_in_the_base_frame(roll: float, pitch: float, yaw: float) -> None:
    def about(axis: int, angle: float) -> np.ndarray:
        q = np.zeros(4)
        q[axis], q[3] = np.sin(angle / 2), np.cos(angle / 2)
        return q

    def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
        return np.array([*vector, a[3] * b[3] - a[:3] @ b[:3]])

    q = times(times(about(2, yaw), about(1, pitch)), about(0, roll))
    # yaw turns nothing; nose down (positive pitch) brings gravity forward, leaning right (positive roll) to the right
    expected = [np.sin(pitch), -np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch)]
    assert np.allclose(gravity_direction(q), expected, atol=1e-9)


@pytest.mark.parametrize(("field", "value"), [("stale_after", 0.0), ("max_tilt", 3.0), ("damp_kd", float("nan"))])
def test_limits_outside_their_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(LunarError, match=field):
        ControllerConfig(**{field: value})
