"""The stand-in for hardware does what a robot does: it stands when told, sinks when limp, falls at lunar pace."""

from __future__ import annotations

import numpy as np
import pytest

from sim.physics.single import SingleRobot
from sim.spec.gravity import MOON
from sim.spec.joints import NOMINAL_POSE


def run(robot: SingleRobot, seconds: float) -> SingleRobot:
    for _ in range(round(seconds / robot.dt)):
        robot.step()
    return robot


def test_it_stands_on_its_feet_until_it_goes_limp() -> None:
    robot = SingleRobot()
    start = robot.position[2]
    standing = run(robot, 2.0).position[2]
    assert 0.25 < standing < start < 0.31 and robot.orientation[0] > 0.999
    assert np.allclose(robot.joint_position, NOMINAL_POSE, atol=0.15)
    assert np.abs(robot.joint_velocity).max() < 0.05 and np.abs(robot.angular_velocity).max() < 0.05
    robot.command(NOMINAL_POSE, kp=0.0, kd=2.0)
    assert run(robot, 4.0).position[2] < standing - 0.05


def test_a_joint_goes_where_it_is_sent() -> None:
    robot = SingleRobot()
    targets = NOMINAL_POSE.copy()
    targets[3] = -0.2  # FR abduction
    robot.command(targets, kp=60.0, kd=2.0)
    assert run(robot, 1.0).joint_position[3] == pytest.approx(-0.2, abs=0.05)


def test_it_starts_in_free_fall_at_lunar_pace() -> None:
    robot = SingleRobot()
    start = robot.position[2]
    time = 10 * robot.dt
    fall = start - run(robot, time).position[2]
    assert fall == pytest.approx(0.5 * MOON * time**2, rel=0.15)


def test_an_accelerometer_feels_the_ground_and_nothing_in_flight() -> None:
    robot = SingleRobot()
    robot.step()
    assert np.abs(robot.specific_force).max() < 0.3 and robot.foot_force.sum() == 0.0
    run(robot, 2.0)
    weight = 15.206 * MOON
    assert robot.specific_force == pytest.approx([0.0, 0.0, MOON], abs=0.05)
    assert robot.foot_force.sum() == pytest.approx(weight, rel=0.02)


def test_torque_is_added_to_the_servo() -> None:
    robot = run(SingleRobot(), 1.0)
    torque = np.zeros(12)
    torque[2] = 3.0  # FL knee
    robot.command(NOMINAL_POSE, kp=30.0, kd=0.75, torque=torque)
    before = robot.joint_position[2]
    assert run(robot, 1.0).joint_position[2] > before + 0.02
