"""A plan on the rig: policies change at touch-down on a straight way, the supervisor last, and its log runs again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_hil.config import HilConfig, RunPlan
from matrix_hil.fidelity.cli import FidelityConfig, compare
from matrix_hil.log import read_log
from matrix_hil.operate.cli import run
from matrix_hil.replay import rerun
from matrix_hil.run.way import along, names_of
from policy.traverse.options import weights_of
from policy.traverse.plan import Plan, PlannedOption, PlannedSegment
from sim.config import parse
from sim.errors import LunarError
from sim.terminal import Terminal

POLICIES = ("dual", "student_small")


def plan_along(corners: list[tuple[float, float]], choice: tuple[int, ...]) -> Plan:
    options = [
        PlannedOption(POLICIES[0], weights_of(POLICIES[0]).digest, "board", 7.0, 0.4, 0.2),
        PlannedOption(POLICIES[1], weights_of(POLICIES[1]).digest, "mcu", 0.2, 0.4, 0.3),
    ]
    segments = [
        PlannedSegment(a, b, k, 60.0, 3.0, 0.01, 0.02)
        for a, b, k in zip(corners[:-1], corners[1:], choice, strict=True)
    ]
    return Plan("flat", seed=3, options=options, segments=segments)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, Plan]:
    """One run along 2.4 m whose middle is another policy's, at 45 degrees on the map."""
    folder = tmp_path_factory.mktemp("traverse")
    plan = plan_along([(1.0, 1.0), (1.5, 1.5), (2.1, 2.1), (2.7, 2.7)], (0, 1, 0))
    plan.save(folder / "plan.yaml")
    argv = [
        *("--plan.traverse", str(folder / "plan.yaml"), "--log", str(folder / "log"), "--sync.ramp", "1.0"),
        *("--json", str(folder / "run.json")),
    ]
    cfg = parse(HilConfig, argv, "lunar hil", default="hil/virtual.yaml")
    return run(cfg, Terminal(quiet=True)), folder / "log", plan


def test_the_robot_arrives_and_the_run_ends_there(done: tuple[dict[str, Any], Path, Plan]) -> None:
    results, _, plan = done
    way = results["traverse"]
    assert way["arrived"] and way["segment"] == way["segments"] == 3 and way["changes"] == 2
    assert plan.sum("length") - 0.3 <= way["metres"] <= plan.sum("length") + 0.3
    assert results["trips"] == 0 and results["run_seconds"] < 1.0 + 2.0 * plan.sum("seconds")


def test_the_way_is_where_the_plan_has_it(done: tuple[dict[str, Any], Path, Plan]) -> None:
    _, folder, plan = done
    place = read_log(folder)["/world/base_pose"].position
    assert np.hypot(*(place[0, :2] - plan.points[0])) < 0.1
    assert np.hypot(*(place[-1, :2] - plan.points[-1])) < 0.7


def test_what_is_asked_for_changes_while_a_foot_bears_load_and_passes_the_supervisor(
    done: tuple[dict[str, Any], Path, Plan],
) -> None:
    log = read_log(done[1])
    inputs, contacts = log["/sync/input"], log["/robot/foot_contacts"]
    apex = np.asarray(inputs.command)[:, 3]
    changed = np.flatnonzero(np.diff(apex) != 0.0) + 1
    assert apex[changed].tolist()[-2:] == pytest.approx([0.3, 0.2]) and len(changed) <= 3
    for k in changed[-2:]:  # the first may be that of the start
        newest = np.searchsorted(contacts.log_time, inputs.log_time[k], side="right") - 1
        assert np.asarray(contacts.loaded)[newest].any(), "at touch-down"
    limits = HilConfig().safety
    assert np.nanmax(np.asarray(log["/robot/command"].kp)) <= limits.kp_max
    assert set(np.asarray(log["/supervisor/state"].state).tolist()) >= {"run"}


def test_its_log_runs_again_bit_by_bit(done: tuple[dict[str, Any], Path, Plan]) -> None:
    again = rerun.run(str(done[1]), console=Terminal(quiet=True))
    assert again["identical"] and not again["notes"]


def test_a_quick_run_along_a_plan_is_quick_and_says_what_ran(tmp_path: Path) -> None:
    plan_along([(1.0, 1.0), (1.5, 1.5), (2.1, 2.1)], (0, 1)).save(tmp_path / "plan.yaml")
    cfg = HilConfig(quick=True, plan=RunPlan(traverse=str(tmp_path / "plan.yaml"), duration=5.0))
    assert (
        along(cfg).plan.duration
        == along(along(cfg)).plan.duration
        == 5.0
        < along(replace(cfg, quick=False)).plan.duration
    )
    assert names_of(cfg) == list(POLICIES) and along(cfg).seed == 3
    assert names_of(HilConfig(policy="pronk")) == ["pronk"]


def test_a_way_that_turns_is_refused(tmp_path: Path) -> None:
    plan_along([(0.0, 0.0), (2.0, 0.0), (2.0, 2.0)], (0, 0)).save(tmp_path / "plan.yaml")
    with pytest.raises(LunarError, match=r"leaves the line .* belt cannot turn"):
        along(HilConfig(plan=RunPlan(traverse=str(tmp_path / "plan.yaml"))))


def test_a_stranger_s_plan_in_a_log_names_no_other_weights(
    done: tuple[dict[str, Any], Path, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = done[2]
    other = replace(plan, options=[replace(o, digest="0" * 64) for o in plan.options])
    log = read_log(done[1])
    other.save(done[1].parent / "other.yaml")
    log.attachments["plan.yaml"] = (done[1].parent / "other.yaml").read_bytes()
    monkeypatch.setattr(rerun, "read_log", lambda *_: log)
    with pytest.raises(LunarError, match=r"plan.yaml of log.*other weights"):
        rerun.run(str(done[1]), console=Terminal(quiet=True))


def test_gravity_schemes_take_no_plan() -> None:
    with pytest.raises(LunarError, match=r"plan\.traverse"):
        compare(FidelityConfig(plan=RunPlan(traverse="plan.yaml")), Terminal(quiet=True))


def test_results_are_data(done: tuple[dict[str, Any], Path, Plan]) -> None:
    assert json.loads(json.dumps(done[0]["traverse"]))["metres_planned"] == pytest.approx(done[2].sum("length"))
