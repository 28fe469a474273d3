"""What a robot does, latched, when its policy's monitor does not know its state."""

from __future__ import annotations

import numpy as np
import pytest

from policy.runtime.controller import PolicyController
from policy.runtime.monitor import NOTHING, Verdict
from sim.spec.joints import NOMINAL_POSE
from tests.policy.runtime.robot import CONFIG, DT, Robot, roll

TRIP = Verdict(1.5, True, True, "RR_calf velocity", 6.0)


def doubtful(reaction: str) -> Robot:
    """It ran, and then its monitor tripped in one step."""
    robot = Robot()
    robot.controller = PolicyController(robot.policy, CONFIG, reaction=reaction)
    robot.policy.verdict = NOTHING
    assert robot.live(1.25).mode == "run"
    robot.policy.verdict = TRIP
    return robot


@pytest.mark.parametrize(
    ("reaction", "mode", "kp", "kd"),
    [("damp", "damp", 0.0, 2.0), ("hold", "hold", 30.0, 1.5), ("stand", "stand", 30.0, 1.5)],
)
def test_the_action_that_trips_is_not_sent_and_the_reaction_is_latched(
    reaction: str, mode: str, kp: float, kd: float
) -> None:
    robot = doubtful(reaction)
    before, used = robot.position.copy(), len(robot.policy.seen)
    robot.policy.answer = NOMINAL_POSE - 0.2
    order = robot.live(DT)
    assert (order.mode, order.kp, order.kd) == (mode, kp, kd)
    assert "RR_calf velocity is 6.0 deviations" in order.reason
    assert np.abs(order.targets - robot.policy.answer).max() > 0.1
    robot.policy.verdict = NOTHING
    later = robot.live(1.0)
    assert (later.mode, later.kd) == (mode, kd) and len(robot.policy.seen) == used + 1
    if reaction != "damp":
        assert np.allclose(later.targets, NOMINAL_POSE if reaction == "stand" else before)
    robot.controller.activate()
    assert robot.live(1.25).mode == "run"


@pytest.mark.parametrize("reaction", ["hold", "stand"])
def test_a_robot_that_falls_or_hears_nothing_after_a_trip_goes_limp(reaction: str) -> None:
    robot = doubtful(reaction)
    robot.live(DT)
    assert robot.step(after=5.0).mode == "damp"
    robot = doubtful(reaction)
    robot.live(DT)
    robot.attitude = roll(1.2)
    assert robot.live(DT).mode == "damp"


@pytest.mark.parametrize("reaction", ["hold", "stand"])
def test_a_robot_that_sinks_to_its_belly_after_a_trip_goes_limp(reaction: str) -> None:
    robot = doubtful(reaction)
    robot.live(DT)
    robot.stuck[:], robot.position = True, np.tile([0.0, 1.4, -2.7], 4)  # a motor gave up
    order = robot.live(CONFIG.collapse_time + 2 * DT)
    assert order.mode == "damp" and "collapsed" in order.reason


@pytest.mark.parametrize("reaction", ["hold", "stand"])
def test_state_that_is_old_again_and_again_after_a_trip_ends_limp(reaction: str) -> None:
    robot = doubtful(reaction)
    robot.live(DT)
    for _ in range(4):
        assert robot.step(after=0.1).mode == "hold"
        robot.now += 0.125
        assert robot.live(DT).mode == reaction
    assert robot.step(after=0.1).mode == "damp"


def test_a_robot_that_only_warns_runs_on() -> None:
    robot = doubtful("")
    assert robot.live(DT).mode == "run"
