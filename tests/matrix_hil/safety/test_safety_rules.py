"""Every safety rule at, just under and just over its bound; the clamps; and the page that documents both."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_hil.control.stewart import plate_height
from matrix_hil.messages import MachineCommands, MachineStates
from matrix_hil.safety.rules import CLAMPS, OPERATOR, RULES, Cycle, first_violation
from matrix_hil.safety.trends import WATCHED, Trends, TrendWatch
from sim.config import ROOT
from sim.spec.joints import LOWER, NOMINAL_POSE, UPPER
from tests.matrix_hil.safety.examples import CFG, DT, NOW, PLATFORM, at, good_commands, good_states, rolled

TINY = 1e-4


def leaning(angle: float) -> dict[str, Any]:
    return {"robot__projected_gravity": np.array([math.sin(angle), 0.0, -math.cos(angle)])}


def placed(x: float, y: float, z: float) -> dict[str, Any]:
    return {"tracker__position": np.array([x, y, z])}


def cycle(states: dict[str, Any] | None = None, commands: dict[str, Any] | None = None, **fields: Any) -> Cycle:
    base = {"cfg": CFG, "now": NOW, "dt": DT, **fields}
    return Cycle(states=good_states(**states or {}), wanted=good_commands(**commands or {}), **base)


def past(**trends: Any) -> Cycle:
    return cycle(trends=Trends(**trends))


MARGIN, FAR = CFG.measured_margin, CFG.far_outside
# (id, what is judged as a function of one number, bound, +1 if larger is worse and -1 if smaller is)
BOUNDS: list[tuple[str, Callable[[float], Cycle], float, int]] = [
    ("S02", lambda v: cycle(dt=v), 0.0, -1),
    ("S03", lambda v: cycle(dt=v), CFG.deadline, 1),
    ("S05", lambda v: cycle({"platform__time": NOW - v}), CFG.platform_stale, 1),
    ("S05", lambda v: cycle({"treadmill__time": NOW - v}), CFG.treadmill_stale, 1),
    ("S05", lambda v: cycle({"counterweight__time": NOW - v}), CFG.counterweight_stale, 1),
    ("S05", lambda v: cycle({"tracker__time": NOW - v}), CFG.tracker_stale, 1),
    ("S05", lambda v: cycle({"robot__time": NOW - v}), CFG.robot_stale, 1),
    *[("S07", lambda v, i=i: cycle({"platform__pose": at(i, v, 6)}), sign * b * MARGIN, sign)
      for i, b in ((0, 0.18), (1, 0.18), (2, 0.18), (3, PLATFORM.tilt), (5, PLATFORM.tilt))
      for sign in ((-1, 1) if i != 2 else (-1,))],  # a plate that high would touch the robot: S13 is asked too
    *[("S08", lambda v, i=i: cycle({"platform__velocity": at(i, v, 6)}), sign * b * MARGIN, sign)
      for i, b in ((0, 0.3), (2, 0.3), (4, PLATFORM.turn_rate)) for sign in (-1, 1)],
    ("S09", lambda v: cycle({"treadmill__speed": v}), 3.0 * MARGIN, 1),
    ("S09", lambda v: cycle({"treadmill__speed": v}), -3.0 * MARGIN, -1),
    ("S10", lambda v: cycle({"counterweight__tension": v}), CFG.tension_max, 1),
    ("S10", lambda v: cycle({"counterweight__tension": v}), CFG.tension_min, -1),
    ("S11", lambda v: past(slack_for=v), CFG.slack_time, 1),
    ("S12", lambda v: cycle(leaning(v)), CFG.tilt, 1),
    ("S12", lambda v: cycle(rolled(v)), CFG.tilt, 1),
    ("S13", lambda v: cycle(placed(0.0, 0.0, v)), 0.12, -1),
    ("S13", lambda v: cycle(placed(0.0, 0.0, v)), CFG.height_max, 1),
    ("S13", lambda v: cycle({**placed(0.0, 0.0, v), "platform__pose": at(2, 0.1, 6)}), 0.22, -1),
    *[("S14", lambda v, i=i: cycle(placed(*(at(i, v, 3) + [0, 0, 0.3]))), sign * CFG.drift, sign)
      for i in (0, 1) for sign in (-1, 1)],
    ("S16", lambda v: cycle(commands={"platform__pose": at(0, v, 6)}), 0.18 * FAR, 1),
    ("S16", lambda v: cycle(commands={"platform__pose": at(4, v, 6)}), -PLATFORM.tilt * FAR, -1),
    ("S16", lambda v: cycle(commands={"treadmill__speed": v}), 3.0 * FAR, 1),
    ("S16", lambda v: cycle(commands={"counterweight__tension": v}), CFG.tension_max * FAR, 1),
    ("S16", lambda v: cycle(commands={"robot__targets": NOMINAL_POSE + at(4, v - 0.9, 12)}), UPPER[4] + math.pi, 1),
    ("S16", lambda v: cycle(commands={"robot__targets": NOMINAL_POSE + at(2, v + 1.8, 12)}), LOWER[2] - math.pi, -1),
    ("S17", lambda v: past(refused_for=v), CFG.command_silence, 1),
    *[("S18", lambda v, name=name: past(frozen_for={name: v}), CFG.frozen_time, 1) for name in WATCHED],
    ("S19", lambda v: past(platform_astray_for=v), CFG.astray_time, 1),
    ("S19", lambda v: past(belt_astray_for=v), CFG.astray_time, 1),
    ("S30", lambda v: past(rope_astray_for=v), CFG.rope_astray_time, 1),
    *[("S26", lambda v, i=i: cycle({"robot__joint_position": NOMINAL_POSE + at(i, v - NOMINAL_POSE[i], 12)}),
       (UPPER if worse > 0 else LOWER)[i] + worse * CFG.joint_measured_margin, worse)
      for i in (0, 4, 11) for worse in (-1, 1)],
    *[("S26", lambda v, field=field, size=size: cycle({f"robot__{field}": at(size - 1, v, size)}), sign * limit, sign)
      for field, size, limit in (("joint_velocity", 12, CFG.joint_speed), ("angular_velocity", 3, CFG.turn_rate),
                                 ("foot_force", 4, CFG.foot_force)) for sign in (-1, 1)],
    ("S27", lambda v: past(tracker_step=(v, 0.0, 0.01)), CFG.tracker_speed * 0.01 + CFG.tracker_jump, 1),
    ("S27", lambda v: past(tracker_step=(0.0, v, 0.01)), CFG.tracker_turn_rate * 0.01 + CFG.tracker_turn_jump, 1),
    *[("S27", lambda v: past(travel_error=v), sign * CFG.travel_error, sign) for sign in (-1, 1)],
    ("S27", lambda v: past(tilts_apart_for=v), CFG.tilts_apart_time, 1),
    ("S28", lambda v: past(ground_age=v), CFG.ground_stale, 1),
    *[("S29", lambda v: past(ground_step=v), sign * CFG.ground_jump, sign) for sign in (-1, 1)],
]  # fmt: skip


def answer(judged: Cycle) -> str | None:
    violation = first_violation(judged)
    return None if violation is None else violation[0].id


@pytest.mark.parametrize(("rule", "make", "bound", "worse"), BOUNDS)
def test_a_rule_answers_just_over_its_bound_and_not_at_or_under_it(
    rule: str, make: Callable[[float], Cycle], bound: float, worse: int
) -> None:
    assert answer(make(bound - worse * TINY)) is None
    assert answer(make(bound)) is None
    assert answer(make(bound + worse * TINY)) == rule


FLAGS: list[tuple[str, Cycle]] = [
    *[("S01", cycle({f"{f.name}__fault": 1})) for f in fields(MachineStates)],
    *[("S04", cycle({f"{f.name}__fault": 2})) for f in fields(MachineStates)],
    ("S04", cycle({"robot__fault": 4})),
    ("S04", cycle({"robot__fault": 128})),
    ("S01", cycle({"robot__fault": 7})),
    ("S31", cycle(failure="ValueError: no number")),
    ("S32", cycle(doubt="RR_calf velocity is 6.0 deviations from what the policy's state leads to")),
    ("S02", cycle(dt=math.nan)),
    *[("S05", replace(cycle(), states=replace(good_states(), **{f.name: None}))) for f in fields(MachineStates)],
    ("S05", cycle({"robot__time": NOW + 0.01})),
    ("S05", cycle({"robot__time": math.nan})),
    ("S06", cycle({"tracker__quaternion": np.zeros(4)})),
    ("S06", cycle({"robot__projected_gravity": np.zeros(3)})),
    ("S15", cycle(commands={"robot__mode": "dance"})),
    ("S18", past(frozen_for={"robot": math.nan})),
    ("S19", past(platform_astray_for=math.nan)),
    ("S19", past(belt_astray_for=math.nan)),
    ("S30", past(rope_astray_for=math.nan)),
    ("S27", past(tracker_step=(math.nan, 0.0, 0.01))),
    ("S27", past(tracker_step=(0.0, math.nan, 0.01))),
    ("S27", past(travel_error=math.nan)),
    ("S28", past(ground_age=math.nan)),
    ("S28", past(ground_age=-0.01)),
    ("S29", past(ground_step=math.nan)),
]


@pytest.mark.parametrize(("rule", "judged"), FLAGS)
def test_rules_without_a_bound(rule: str, judged: Cycle) -> None:
    assert answer(judged) == rule


BROKEN = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("message", [*fields(MachineStates), *fields(MachineCommands)], ids=lambda f: f.type)
def test_every_field_that_is_not_finite_trips(message: Any, value: float) -> None:
    state = message in fields(MachineStates)
    good = getattr(good_states() if state else good_commands(), message.name)
    names = [f.name for f in fields(good) if f.name not in ("time", "fault", "mode", "brake", "valid_for")]
    assert names
    for name in names:
        array = getattr(good, name)
        indices = range(len(array)) if isinstance(array, np.ndarray) else [None]
        for i in indices:
            broken = value if i is None else np.where(np.arange(len(array)) == i, value, array)
            changes = {f"{message.name}__{name}": broken}
            judged = cycle(changes) if state else cycle(commands=changes)
            assert answer(judged) == ("S06" if state else "S15")


def test_all_is_well_when_all_is_well() -> None:
    assert first_violation(cycle()) is None


def test_a_robot_that_is_not_running_may_lie_on_the_plate() -> None:
    assert answer(cycle(placed(0.0, 0.0, 0.07), running=False)) is None


def test_without_a_running_robot_nobody_asks_for_the_ground() -> None:
    assert answer(cycle(trends=Trends(ground_age=9.0, ground_step=1.0), running=False)) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_exercised_and_documented(rule: Any) -> None:
    exercised = {row[0] for row in BOUNDS} | {row[0] for row in FLAGS} | {"S06", "S15"}
    assert rule.id in exercised
    assert rule.check.__doc__


@pytest.mark.parametrize("id", [OPERATOR, *(rule.id for rule in RULES), *CLAMPS])
def test_the_page_has_a_full_row_for_every_id(id: str) -> None:
    page = (ROOT / "docs" / "safety.md").read_text()
    rows = re.findall(rf"^\| {id} \|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].split("|")]
    assert len(cells) == 5 and all(cells)
    assert len(set(re.findall(r"^\| (S\d\d) \|", page, re.MULTILINE))) == 1 + len(RULES) + len(CLAMPS)


# ---- geometry -------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-0.18, 0.18), min_size=3, max_size=3), st.lists(st.floats(-0.38, 0.38), min_size=3, max_size=3),
    st.floats(-0.5, 0.5), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_the_plates_height_is_that_of_its_points(centre: list[float], rpy: list[float], u: float, v: float) -> None:
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in rpy)
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    point = np.array(centre) + rz @ ry @ rx @ np.array([u, v, 0.0])
    assert plate_height(np.array([*centre, *rpy]), point[0], point[1]) == pytest.approx(point[2], abs=1e-9)


@pytest.mark.parametrize("silent", ["platform", "treadmill", "counterweight", "tracker", "robot"])
def test_a_machine_that_was_never_heard_is_stale_and_confuses_no_other_rule(silent: str) -> None:
    states = replace(good_states(), **{silent: None})
    trends = TrendWatch(CFG).step(states, good_commands(), None, NOW, True, True, False)
    lone = Cycle(states=states, wanted=good_commands(), cfg=CFG, now=NOW, dt=DT, trends=trends, running=False)
    answers = {rule.id: text for rule in RULES if (text := rule.check(lone))}
    assert answers == {"S05": f"{silent} has sent no state"}
