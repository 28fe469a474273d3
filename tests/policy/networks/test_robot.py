"""A policy on another robot: about that robot's stance, with gains that hold its weight, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policy.evaluation.evaluate import evaluate
from policy.export.cli import ExportConfig, export
from policy.networks.policy_file import ZOO
from policy.networks.robot import on_robot
from policy.play.live_robot import LiveRobot
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.mdp.config import NoiseConfig
from sim.robots.load import load_robot
from sim.spec.gravity import MOON
from sim.terrain.height_field import HeightField
from tests.sim.test_robots import mirrored_knees, without, write

CARD = Card.load(ZOO / "dual" / "card.json")
FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))


def heavy(text: str) -> str:
    """Twice as heavy, with motors twice as strong."""
    text = text.replace('mass="9.5"', 'mass="29.5"').replace('actuatorfrcrange="-20 20"', 'actuatorfrcrange="-60 60"')
    text = text.replace('actuatorfrcrange="-35 35"', 'actuatorfrcrange="-90 90"').replace('frictionloss="5"', "")
    return without(without(text, "actuator"), "keyframe")


def test_gains_hold_the_other_robots_weight(tmp_path):
    robot = write(tmp_path, edit=heavy)
    card, body = on_robot(CARD, robot), load_robot(robot)
    assert card.kp == pytest.approx(CARD.kp * body.mass_ratio * body.length_ratio, rel=5e-3)
    assert card.robot == "other" and card.physics_robot == robot
    np.testing.assert_array_equal(card.stops, [body.lower, body.upper])
    np.testing.assert_array_equal(card.targets(np.zeros(12)), body.nominal_pose)
    assert not card.problem()
    assert on_robot(CARD, "") is CARD and on_robot(CARD, "go2") == CARD


def test_the_gos_policy_hops_with_a_robot_of_twice_its_weight(tmp_path):
    metrics = evaluate(ZOO / "dual", robots=16, duration=5.0, robot=write(tmp_path, edit=heavy))["flat"]
    assert metrics["survival"] == 1.0 and metrics["hopping_at_end"] > 0.8


def test_what_is_played_is_the_other_robot(tmp_path):
    policy = OnnxPolicy(ZOO / "dual")
    policy.card = on_robot(policy.card, write(tmp_path, edit=heavy))
    robot = LiveRobot(policy, FLAT, NoiseConfig(), MOON)
    assert robot.physics.mass == pytest.approx(29.5 + 4 * 2.55, abs=0.01)
    moment = [robot.step(np.array(CARD.default_command)) for _ in range(150)][-1]
    assert moment.falls == 0 and not moment.lying


def test_knees_that_bend_the_other_way_are_refused(tmp_path):
    with pytest.raises(LunarError, match=r"bends its knees the other way .*lunar train --robot"):
        on_robot(CARD, write(tmp_path, edit=mirrored_knees))


def test_an_export_for_another_robot_keeps_its_model_and_goes_elsewhere(tmp_path):
    (tmp_path / "model").mkdir()
    robot = write(tmp_path / "model", edit=heavy)
    with pytest.raises(LunarError, match="another folder"):
        export(ExportConfig(policy="dual", robot=robot))
    export(ExportConfig(policy="dual", robot=robot, out=str(tmp_path / "p"), c=True))
    assert "robot other" in (tmp_path / "p" / "policy.h").read_text()
    policy = OnnxPolicy(tmp_path / "p")
    assert Path(policy.card.physics_robot) == tmp_path / "p" / "robot" / "other.xml"
    here, there = load_robot(robot), load_robot(policy.card.physics_robot)
    np.testing.assert_array_equal(here.torque_limit, there.torque_limit)
    assert replace(policy.card, weights="") == replace(on_robot(CARD, robot), weights="")


@pytest.mark.parametrize(("ratio", "robot", "kp"), [(1.0, "go2", 200.0), (9.0, "go2", 200.0), (2.0, "other", 400.0)])
def test_what_servos_bear_grows_with_the_robot_and_never_for_the_go2(ratio, robot, kp):
    card = replace(CARD, robot=robot, torque_ratio=ratio)
    assert not replace(card, kp=kp).problem()
    assert "kp" in replace(card, kp=1.001 * kp).problem()


@pytest.mark.parametrize("ratio", [0.0, -1.0, 30.1, float("nan"), float("inf"), "1"])
def test_no_card_claims_a_robot_out_of_proportion(ratio):
    assert "torque_ratio" in replace(CARD, robot="other", torque_ratio=ratio).problem()
