"""What a rig is refused for before anything is opened: limits that are none, or that do not fit its machines."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_hil.config import Counterweight, HilConfig, Platform, Robot, Treadmill
from matrix_hil.control.stewart import StewartGeometry
from matrix_hil.rig import calibrate, open_rig
from matrix_hil.run.start_check import check, check_policy
from matrix_hil.safety.limits import SafetyConfig
from matrix_hil.safety.outer import CYCLES, HARNESS, OUTER, PLATFORM, outside
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.files import ROOT
from sim.spec.command import COMMAND_NAMES, HopCommand
from sim.spec.gravity import EARTH, MOON
from sim.spec.observation import PRONK_OBSERVATION

REAL = HilConfig(allow_mixed=True, clock="wall", robot=Robot(port="/dev/ttyNOTHERE"))


def limits(**changes: Any) -> SafetyConfig:
    return replace(SafetyConfig(), **changes)


def test_every_limit_has_bounds_and_the_usual_ones_lie_within() -> None:
    assert {f.name for f in fields(SafetyConfig)} == set(OUTER)
    assert outside(SafetyConfig()) == ""
    check(HilConfig())
    check(REAL)


@pytest.mark.parametrize("name", OUTER)
def test_a_limit_that_is_none_is_refused(name: str) -> None:
    least, most = OUTER[name]
    for value in (math.nan, math.inf, -math.inf, math.nextafter(most, math.inf), math.nextafter(least, -math.inf)):
        assert f"safety.{name} is" in outside(limits(**{name: value}))
        with pytest.raises(LunarError, match=f"safety.{name} is"):
            check(replace(REAL, safety=limits(**{name: value})))
    assert outside(limits(**{name: least})) == outside(limits(**{name: most})) == ""


@pytest.mark.parametrize("name", PLATFORM)
def test_a_platform_beyond_any_is_refused_for_its_figures_are_the_supervisors_limits(name: str) -> None:
    least, most = PLATFORM[name]
    for value in (math.nan, math.inf, -math.inf, math.nextafter(most, math.inf), math.nextafter(least, -math.inf)):
        with pytest.raises(LunarError, match=f"platform.{name} is"):
            check(replace(REAL, platform=Platform(**{name: value})))  # type: ignore[arg-type]
    for value in (least, most):
        assert outside(SafetyConfig(), True, Platform(**{name: value})) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [math.nan, math.inf, 0.0, -200.0, CYCLES[0] - 1e-9, CYCLES[1] + 1e-9])
def test_a_pace_of_the_loop_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(LunarError, match=r"sync\.rate is"):
        check(replace(HilConfig(), sync=replace(HilConfig().sync, rate=rate)))


def test_a_mass_for_which_the_rope_would_haul_a_real_robot_up_is_refused() -> None:
    lifts = HilConfig().sync.mass * EARTH / (EARTH - MOON)
    check(replace(REAL, sync=replace(REAL.sync, mass=lifts - 0.01)))
    for mass in (lifts + 0.01, 100.0, math.nan):
        with pytest.raises(LunarError, match=r"sync\.mass is .* weigh the robot"):
            check(replace(REAL, sync=replace(REAL.sync, mass=mass)))


def test_only_where_nothing_is_real_a_rule_may_be_switched_off() -> None:
    check(HilConfig(safety=limits(drift=math.inf)))
    with pytest.raises(LunarError, match=r"safety\.drift is nan"):
        check(HilConfig(safety=limits(drift=math.nan)))


WEIGHT = HilConfig().sync.mass * 9.81
MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"counterweight": Counterweight(winch_force=326.0)}, "the winch can pull with 451 N"),
    ({"safety": limits(tension_max=424.0)}, "the winch can pull with 425 N"),
    ({"safety": limits(tension_max=HARNESS * WEIGHT + 1.0)}, "weights of a robot of 15.206 kg"),
    ({"treadmill": Treadmill(max_speed=2.0)}, "treadmill.max_speed 2;"),
    ({"treadmill": Treadmill(max_acceleration=1.0)}, "treadmill.max_acceleration 1;"),
    ({"platform": Platform(travel=0.3)}, "platform.travel is 0.3, farther than its legs reach"),
    ({"platform": Platform(tilt=1.0)}, "platform.tilt is 1, farther"),
    ({"platform": Platform(tilt=math.nan)}, "platform.tilt is nan"),
    ({"platform": Platform(geometry=StewartGeometry(stroke=0.2))}, "platform.travel is 0.18"),
    ({"rig": replace(HilConfig().rig, pulley_height=1.5)}, "not below the pulley"),
]


@pytest.mark.parametrize(("changes", "why"), MISFITS)
def test_limits_that_do_not_fit_the_machines_are_refused_in_a_sentence(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LunarError, match=why) as refusal:
        check(replace(HilConfig(), **changes))
    assert "\n" not in str(refusal.value)


def test_nothing_is_opened_and_nothing_calibrated_with_such_limits(standing_policy: Path) -> None:
    cfg = replace(HilConfig(policy=str(standing_policy)), safety=limits(tension_max=300.0))
    with pytest.raises(LunarError, match="the winch can pull"), open_rig(cfg):
        pass
    with pytest.raises(LunarError, match="the winch can pull"):
        calibrate(cfg, lambda text: None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"kp": 120.0}, "trained with kp 120"), ({"kd": np.nan}, "trained with kd nan"),
     ({"observation": replace(PRONK_OBSERVATION, rate=20.0)}, "acts every 0.05 s")],
)  # fmt: skip
def test_a_policy_that_the_supervisor_would_hold_up_is_refused(
    standing_policy: Path, changes: dict[str, Any], why: str
) -> None:
    card = replace(Card.load(standing_policy / "card.json"), **changes)
    with pytest.raises(LunarError, match=why):
        check_policy(HilConfig(), card)


def test_a_command_beyond_what_the_policy_was_trained_for_is_refused() -> None:
    """At the range's ends it is taken; beyond, and where it is no number, it is not."""
    card = Card.load(ROOT / "policy" / "zoo" / "pronk" / "card.json")
    for k, name in enumerate(COMMAND_NAMES):
        low, high = card.command_low[k], card.command_high[k]
        inside = HopCommand(*np.clip(HopCommand().array(), card.command_low, card.command_high))
        for value in (low, high):
            check_policy(HilConfig(command=replace(inside, **{name: value})), card)
        for value in (np.nextafter(low, -np.inf), np.nextafter(high, np.inf), math.nan, math.inf):
            with pytest.raises(LunarError, match=f"command.{name} is "):
                check_policy(HilConfig(command=replace(inside, **{name: value})), card)
