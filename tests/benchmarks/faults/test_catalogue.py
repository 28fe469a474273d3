"""The list of faults is whole, and a handful of it is run."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.faults import cli as bench
from benchmarks.faults.catalogue import catalogue
from benchmarks.faults.disobeys import axes, disobedience, kinds
from benchmarks.faults.trial import PHASES
from benchmarks.faults.verdict import REACTION
from matrix_hil.link import DEVICES
from matrix_hil.safety.rules import RULES
from sim.config import ROOT
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES

KINDS = ("silence", "garbage", "CRC errors", "wrong sequence", "replayed frames", "stuck value", "out of range",
         "unplugged", "e-stop input", "not a number", "delayed", "clock jumps", "rebooted")  # fmt: skip


def test_the_catalogue_holds_everything_that_must_be_tried() -> None:
    names = [fault.name for fault in catalogue(0)]
    assert len(set(names)) == len(names) >= 100
    for device in DEVICES:
        for kind in KINDS:
            assert any(re.match(f"{device}: {kind}", name) for name in names), (device, kind)
        if DEVICES[device].command_type is not None:
            assert sum(name.startswith(f"{device}: hears") for name in names) >= 5
    for phase in PHASES:
        assert f"operator: e-stop at {phase}" in names
    assert sum(name.startswith("twin") for name in names) >= 4
    assert sum(name.startswith("host: clock") for name in names) >= 2
    assert {"robot: falls", "robot: the policy's action is not a number", "tracker: jumps by 0.2 m"} <= set(names)


def test_every_axis_of_every_machine_disobeys_in_every_way() -> None:
    rows = [fault.name for fault in disobedience()]
    assert len(set(rows)) == len(rows) == 20 * 9
    for axis in ("belt", "rope", *(f"platform {a}" for a in ("x", "y", "heave", "roll", "pitch", "yaw")),
                 *(f"joint {joint}" for joint in JOINT_NAMES)):  # fmt: skip
        for kind in ("stuck at maximum", "stuck at minimum", "stuck at the last value", "reversed", "half gain",
                     "double gain", "five times slower", "runs free", "moves without a command"):  # fmt: skip
            assert f"disobeys: {axis} {kind}" in rows


def test_what_an_axis_does_instead() -> None:
    belt = next(axes())
    does = {name: make() for name, make in kinds(belt).items()}
    for k in range(100):
        done = {name: change(0.4 + 0.002 * k, 0.005 * k) for name, change in does.items()}
    assert done["stuck at maximum"] == 3.0 and done["stuck at minimum"] == -3.0
    assert done["stuck at the last value"] == 0.4 and done["reversed"] == pytest.approx(-0.598)
    assert done["half gain"] == pytest.approx(0.299) and done["double gain"] == pytest.approx(1.196)
    assert 0.5 < done["five times slower"] < 0.58 and done["runs free"] == pytest.approx(0.4 * np.exp(-0.495))
    assert does["moves without a command"](0.0, 0.25) == pytest.approx(0.9)


def test_every_fault_names_rules_that_exist() -> None:
    ids = {rule.id for rule in RULES}
    for fault in (*catalogue(0), *disobedience()):
        assert fault.rules and set(fault.rules) <= ids, fault.name


HANDFUL = (
    "platform: unplugged|robot: CRC|treadmill: hears replayed|twin: ground jumps|e-stop at touch-down"
    "|rope stuck at maximum"
)


def test_a_handful_of_faults_ends_safe(tmp_path: Path) -> None:
    """One of each kind of thing: a plug, a line's bits, commands, Unreal, the operator. All: ``lunar bench faults``."""
    cfg = bench.FaultsConfig(only=HANDFUL, quick=True, log=str(tmp_path))
    results = bench.run(cfg, Console(quiet=True))
    assert (results["injected"], results["safe"], results["failures"]) == (6, 6, [])
    reasons = {o["name"]: o["reason"][:3] for o in results["faults"]}
    assert set(reasons.values()) == {"S05", "S04", "S29", "S01", "S30"}
    assert all(o["detected"] <= o["detection_limit"] and o["safe"] <= o["safe_limit"] for o in results["faults"])
    json.dumps(results)


def test_a_fault_that_nobody_is_waiting_for_is_a_failure(tmp_path: Path) -> None:
    """The same bytes, but the catalogue expects another rule, sooner: the bench must say so."""
    (fault,) = [f for f in catalogue(0) if f.name == "tracker: e-stop input"]
    expected = dataclasses.replace(fault, rules=("S12",), within=-1.0)
    with bench.TwinServer(
        bench.make_terrain(bench.TerrainConfig(kind="flat"), 0), bench.ServerConfig(port=0)
    ) as server:
        outcome = bench.trial(bench.FaultsConfig(), expected, server, tmp_path)
    assert outcome.reason.startswith("S01")
    assert len(outcome.problems) == 2 and "not one of S12" in outcome.problems[0] and "too late" in outcome.problems[1]


def test_a_name_that_no_fault_has_is_refused() -> None:
    with pytest.raises(LunarError, match="no fault's name"):
        bench.run(bench.FaultsConfig(only="tsunami", processes=False), Console(quiet=True))


def test_the_page_tells_the_reaction_times_of_the_judge() -> None:
    page = (Path(ROOT) / "docs" / "safety.md").read_text()
    for machine, text in (
        ("platform", f"{REACTION.platform:g} s"),
        ("belt", f"{REACTION.belt:g} s + v / ({REACTION.belt_ramp:g} m/s²)"),
        ("rope", f"{REACTION.rope * 1000:g} ms"),
        ("robot", f"{REACTION.robot * 1000:g} ms"),
    ):
        assert re.search(rf"^\| {machine} \|.*\| {re.escape(text)} \|", page, re.MULTILINE), machine
