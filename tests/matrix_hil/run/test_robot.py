"""A rig that is emulated as a whole holds any robot: it hops there, and its log is run again bit by bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from matrix_hil.config import HilConfig, Robot, RunPlan
from matrix_hil.log import read_log
from matrix_hil.operate import cli as hil
from matrix_hil.replay import rerun
from matrix_hil.run.robot import card_on_rig, fitted
from matrix_hil.run.start_check import check
from policy.networks.policy_file import ZOO
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.robots.load import load_robot
from sim.terrain.generators import TerrainConfig
from tests.policy.networks.test_robot import heavy
from tests.sim.test_robots import mirrored_knees, write

CARD = Card.load(ZOO / "dual" / "card.json")
QUIET = Console(quiet=True)


def config(robot: str, log: Path = Path("unused")) -> HilConfig:
    return HilConfig(
        policy=str(ZOO / "dual"),
        log=str(log),
        plan=RunPlan(duration=2.5, stand=0.5, down=0.3),
        terrain=TerrainConfig(size=12.0),
        rig=RigConfig(robot=robot),
    )


def test_a_robot_of_twice_the_weight_hops_on_the_rig_and_its_log_is_the_same_again(tmp_path: Path) -> None:
    robot, folder = write(tmp_path, edit=heavy), tmp_path / "log"
    results = hil.run(config(robot, folder), QUIET)
    assert results["trips"] == 0 and results["hops"] >= 1
    log = read_log(folder)
    assert max(np.abs(log["/robot/command"].targets).max(), 0.1) < np.pi
    again = rerun.run(str(folder), (), "", QUIET)
    assert again["identical"] and again["notes"] == []


def test_limits_are_in_proportion_to_the_weight_and_fit_once(tmp_path: Path) -> None:
    cfg = config(write(tmp_path, edit=heavy))
    mass = 29.5 + 4 * (0.9 + 1.3 + 0.3 + 0.05)
    fit, weight = fitted(cfg), mass / cfg.sync.mass
    assert fit.sync.mass == pytest.approx(mass)
    assert fit.safety.tension_max == pytest.approx(450.0 * weight)
    assert fit.counterweight.passive_tension == pytest.approx(cfg.counterweight.passive_tension * weight)
    assert fit.safety.kp_max == pytest.approx(100.0 * weight * load_robot(cfg.rig.robot).length_ratio)
    check(fit)
    assert fitted(fit) == fit


def test_the_go2s_rig_stays_as_it_is() -> None:
    cfg = HilConfig()
    assert fitted(cfg) is cfg
    assert card_on_rig(cfg, CARD) is CARD
    weighed = replace(cfg, sync=replace(cfg.sync, mass=20.0))
    assert fitted(weighed) is weighed


def test_real_machines_are_not_fitted(tmp_path: Path) -> None:
    robot = write(tmp_path, edit=heavy)
    cfg = config(robot)
    belt = replace(cfg, treadmill=replace(cfg.treadmill, port="/dev/ttyNOTHERE"))
    with pytest.raises(LunarError, match=r"weighs 39\.7 kg, but sync\.mass is 15\.206 and treadmill is real"):
        fitted(belt)
    real = replace(cfg, robot=Robot(port="/dev/ttyNOTHERE"))
    assert fitted(real) is real
    other = replace(CARD, robot="other", joint_range=[[-3.0] * 12, [3.0] * 12])
    with pytest.raises(LunarError, match="is asked for, but the robot at /dev/ttyNOTHERE is real: a Go2"):
        card_on_rig(real, CARD)
    with pytest.raises(LunarError, match="'other', whose stance or joint ranges"):
        card_on_rig(replace(real, rig=HilConfig().rig), other)


def test_a_policy_needs_its_robot_on_the_rig(tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="drives 'other', but the rig holds 'go2'; name the robot: --robot other"):
        card_on_rig(HilConfig(), replace(CARD, robot="other"))
    with pytest.raises(LunarError, match="bends its knees the other way"):
        card_on_rig(config(write(tmp_path, edit=mirrored_knees)), CARD)


@pytest.mark.parametrize("words", [["--robot", "nowhere"], ["--robot=nowhere"], ["--rig.robot", "nowhere"]])
def test_the_robot_is_named_as_for_other_commands(words: list[str]) -> None:
    with pytest.raises(LunarError, match="robot 'nowhere' is unknown"):
        hil.main(["dual", *words])


def test_a_file_of_settings_is_still_the_robots_machine(tmp_path: Path) -> None:
    (tmp_path / "machine.yaml").write_text("{prt: /dev/ttyX}")
    with pytest.raises(LunarError, match=r"unknown key 'robot\.prt'"):
        hil.main(["dual", "--robot", str(tmp_path / "machine.yaml")])
