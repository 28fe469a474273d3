"""Configs refuse what they do not know, and say where it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest

from sim.config import parse
from sim.errors import LunarError
from sim.files import ROOT
from sim.results import write_results


@dataclass(frozen=True)
class Belt:
    """Belt."""

    max_speed: float = 3.0
    """m/s. Fastest belt."""


@dataclass(frozen=True)
class Rig:
    """Rig."""

    belt: Belt = field(default_factory=Belt)
    gains: dict[str, list[float]] = field(default_factory=dict)
    """Gains."""
    quick: bool = False
    """Short."""
    seed: int = 0
    """Seed."""


@pytest.mark.parametrize("name", ["none.yaml", "folder/none.yaml"])
def test_a_file_for_a_part_that_does_not_exist_is_named(name):
    with pytest.raises(LunarError, match=rf"^belt: the file '(\./)?{name}' does not exist"):
        parse(Rig, ["--belt", name], "lunar rig")


def test_files_then_overrides(tmp_path):
    (tmp_path / "belt.yaml").write_text("max_speed: 1.25\n")
    (tmp_path / "rig.yaml").write_text("belt: belt.yaml\nseed: 3\n")
    rig = parse(Rig, ["--config", str(tmp_path / "rig.yaml"), "--seed", "4", "--quick"], "lunar rig")
    assert rig == Rig(Belt(1.25), quick=True, seed=4)


def test_a_mapping_may_be_longer_than_a_files_name():
    gains = {f"gain_of_joint_{k}": [1.0, 2.0] for k in range(20)}
    assert len(str(gains)) > 255
    assert parse(Rig, ["--gains", str(gains)], "lunar rig").gains == gains


def test_what_nobody_gives_may_have_another_value_than_the_classes_own(tmp_path):
    (tmp_path / "rig.yaml").write_text("seed: 0\n")
    file = ["--config", str(tmp_path / "rig.yaml")]
    assert parse(Rig, [], "lunar rig", unless={"seed": 5}) == Rig(seed=5)
    assert parse(Rig, file, "lunar rig", unless={"seed": 5, "belt.max_speed": 1.0}) == Rig(Belt(1.0))
    assert parse(Rig, [*file, "--seed", "1"], "lunar rig", unless={"seed": 5}) == Rig(seed=1)


@pytest.mark.parametrize(
    ("yaml", "argv", "words"),
    [
        ("bolt: {max_speed: 2}", [], ["bolt", "rig.yaml", "did you mean 'belt"]),
        ("belt: {max_sped: 2}", [], ["belt.max_sped", "rig.yaml", "'belt.max_speed'"]),
        ("seed: many", [], ["seed", "rig.yaml", "many"]),
        ("seed: 1", ["--sed", "2"], ["'sed'", "command line", "'seed'"]),
        ("seed: [", [], ["rig.yaml"]),
        ("seed: -1", [], ["seed is -1", "between 0 and", "rig.yaml"]),
        ("seed: 1", ["--seed", "-1"], ["seed is -1", "command line"]),
        ("seed: 1", [f"--seed={2**32}"], [f"seed is {2**32}", "command line"]),
        ("belt: {max_speed: .nan}", [], ["belt.max_speed is nan", "finite", "rig.yaml"]),
        ("seed: 1", ["--belt.max_speed", "-.inf"], ["belt.max_speed is -inf", "finite", "command line"]),
        ("gains: {hip: [1.0, .nan]}", [], ["gains is {'hip': [1.0, nan]}", "finite", "rig.yaml"]),
        ("belt: {max_speed: 2}", ["quick"], ["quick", "command line"]),
        ("seed: 1", ["--belt.max", "2"], ["belt.max", "command line", "'belt.max_speed'"]),
    ],
)
def test_mistakes_are_one_sentence_with_file_and_nearest_key(tmp_path, yaml, argv, words):
    path = tmp_path / "rig.yaml"
    path.write_text(yaml)
    with pytest.raises(LunarError) as error:
        parse(Rig, ["--config", str(path), *argv], "lunar rig")
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_help_shows_units(capsys):
    with pytest.raises(SystemExit):
        parse(Rig, ["--help"], "lunar rig")
    assert "m/s. Fastest belt." in capsys.readouterr().out


@dataclass(frozen=True)
class Rope:
    """Pull on a robot.
    Twice."""

    kind: Literal["winch", "none"] = "winch"
    """``none``: no rope."""
    friction: float = 0.05
    """1. Share that is lost."""
    out: str = ""
    """Folder to write to."""


def test_help_says_things_once_and_without_the_marks_of_docstrings(capsys):
    with pytest.raises(SystemExit):
        parse(Rope, ["--help"], "lunar rope", first=("out",))
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: lunar rope [OUT] [--key value ...]") and text.count("Pull on a robot.") == 1
    assert "{winch,none} 'none': no rope. (default: winch)" in text
    assert "Share that is lost. (type: float, default: 0.05)" in text and "1. Share" not in text
    assert "Folder to write to. (type: str)" in text and "Print all values as they would be used" in text


def test_results_are_plain_json(tmp_path):
    path = tmp_path / "deep" / "r.json"
    write_results(path, "eval", 7, {"a": np.float32(0.5), "b": float("nan"), "c": np.arange(2)}, ["pronk"])
    data = json.loads(path.read_text())
    assert set(data) == {"command", "version", "revision", "date", "machine", "policies", "seed", "results"}
    card = json.loads((ROOT / "policy/zoo/pronk/card.json").read_text())
    assert data["policies"] == {"policy/zoo/pronk": card["weights"]} and "core" in data["machine"]
    assert data["results"] == {"a": 0.5, "b": None, "c": [0, 1]}
