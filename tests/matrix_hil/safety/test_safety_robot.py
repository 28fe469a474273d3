"""What the supervisor makes of the robot: its commands within their range, and what it reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matrix_hil.safety.rules import broken_state, robot_implausible
from sim.spec.joints import LOWER, NOMINAL_POSE, UPPER
from tests.matrix_hil.safety.examples import CFG, DT
from tests.matrix_hil.safety.test_safety import Loop
from tests.matrix_hil.safety.test_safety_rules import cycle


def test_soft_gains_pass() -> None:
    loop = Loop().start()
    given = loop.step(robot__kp=0.5, robot__kd=0.1)
    assert (given.robot.kp, given.robot.kd) == (0.5, 0.1)
    assert not loop.supervisor.clamped["S25"]


def test_a_new_mode_leads_the_joints_from_where_they_are_not_from_what_was_told_before() -> None:
    """The targets of another mode were not in force; a step from there could be as long as the legs can move."""
    measured = np.clip(NOMINAL_POSE + 1.0, LOWER, UPPER)
    loop = Loop()
    loop.states = {"robot__joint_position": measured}
    loop.step()  # limp: what is told is the nominal pose
    assert loop.supervisor.arm(loop.now)
    given = loop.step()
    assert given.robot.mode == "stand"
    assert given.robot.targets == pytest.approx(np.maximum(measured - CFG.joint_rate * DT, NOMINAL_POSE))


def test_what_is_wrong_with_a_robot_is_said_in_words() -> None:
    weightless = cycle({"robot__projected_gravity": np.zeros(3)})
    assert broken_state(weightless) == "robot state projected_gravity is not a unit vector"
    heavy = cycle({"robot__foot_force": np.full(4, 4000.0)})
    assert robot_implausible(heavy) == "robot reports foot force 4000.00, limit 3000.00"


def test_a_robot_that_was_never_heard_has_reported_nothing_implausible() -> None:
    unheard = replace(cycle(), states=replace(cycle().states, robot=None))
    assert robot_implausible(unheard) == ""


@pytest.mark.parametrize("beyond", [3.0, -3.0])
def test_what_is_held_is_a_pose_that_joints_can_have(beyond: float) -> None:
    """A sensor that is 3 rad off trips S26; the leg behind it is not sent there, nor into its stop."""
    loop = Loop().start()
    for _ in range(20):
        loop.step()
    measured = NOMINAL_POSE + 0.1
    measured[4] += beyond
    loop.states = {"robot__joint_position": measured}
    held = loop.step().robot
    assert loop.supervisor.reason.startswith("S26") and held.mode == "hold"
    assert held.targets[4] == NOMINAL_POSE[4], "as it was commanded"
    assert np.delete(held.targets, 4) == pytest.approx(np.delete(measured, 4)), "as it was measured"


def test_a_joint_pressed_against_its_stop_is_held_there() -> None:
    loop = Loop().start()
    loop.states = {"robot__joint_position": np.where(np.arange(12) == 5, UPPER + 0.05, NOMINAL_POSE)}
    loop.step()
    loop.supervisor.estop(loop.now)
    assert loop.step().robot.targets[5] == UPPER[5]
