"""Before it runs, a robot that stands has shown that these are its sensors."""

from __future__ import annotations

import numpy as np
import pytest

from policy.runtime.controller import ControllerConfig, PolicyController
from sim.spec.joints import NOMINAL_POSE
from tests.policy.runtime.robot import CONFIG, Robot, roll


def test_a_joint_that_does_not_answer_is_waited_for() -> None:
    robot = Robot()
    robot.stuck[7] = True
    order = robot.live(3.0)
    assert order.mode == "stand" and "RL_thigh_joint is 0.50 rad from where it was told to be" in order.reason
    assert np.allclose(order.targets, NOMINAL_POSE)
    robot.stuck[7] = False
    assert robot.live(0.1).mode == "run"


@pytest.mark.parametrize(("lean", "mode"), [(0.39, "run"), (0.41, "stand"), (-np.pi / 4, "stand")])
def test_an_imu_that_disagrees_with_the_legs_is_not_run_on(lean: float, mode: str) -> None:
    robot = Robot()
    robot.attitude = roll(lean)
    order = robot.live(3.0)
    assert order.mode == mode and (mode == "run" or "how is it mounted" in order.reason)


def test_an_imu_mounted_otherwise_is_turned_into_the_base() -> None:
    """On its side, x forward: the base's y is the IMU's z, its z the IMU's -y."""
    robot = Robot()
    robot.controller = PolicyController(robot.policy, CONFIG, imu_mount=(-np.pi / 2, 0.0, 0.0))
    robot.attitude = roll(-np.pi / 2)  # of the IMU in the world, the base is level
    robot.turn = (0.1, -0.3, 0.2)
    robot.imu()
    gravity, turn = robot.controller.imu.values
    assert np.allclose(gravity, [0.0, 0.0, -1.0]) and np.allclose(turn, [0.1, 0.2, 0.3])


def test_a_turn_rate_in_degrees_is_not_run_on() -> None:
    robot = Robot()
    robot.turn = (30.0, 0.0, 0.0)
    order = robot.live(3.0)
    assert order.mode == "stand" and "rad/s" in order.reason
    robot.turn = (0.0, 0.0, 0.0)
    assert robot.live(0.1).mode == "run"


@pytest.mark.parametrize(("every", "mode"), [(1, "run"), (2, "stand"), (3, "stand")])
@pytest.mark.parametrize("stream", ["joints", "imu"])
def test_states_that_come_less_often_than_the_policy_acts_are_not_run_on(stream: str, every: int, mode: str) -> None:
    """Steps every 20 ms, and states with every, every second or every third of them."""
    robot = Robot(ControllerConfig(stale_after=0.1, ramp_time=1.0))
    for k in range(200):
        robot.now += 0.02
        for name in ("joints", "imu"):
            if name != stream or k % every == 0:
                getattr(robot, name)()
        order = robot.step()
        robot.position = order.targets
    assert order.mode == mode and (mode == "run" or "come per second, the policy acts 50 times" in order.reason)
