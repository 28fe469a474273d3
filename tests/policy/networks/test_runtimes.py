"""What is exported is loaded by the runtimes that robots have: the lowest version that is allowed, the last one for
Python 3.10, and the one that is installed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest

from policy.export.cli import ExportConfig, export
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.config import ROOT

ZOO = sorted(f.parent for f in ROOT.glob("policy/zoo/*/policy.onnx"))
LOWEST, LAST_FOR_3_10 = "1.20.1", "1.23.2"
# Prints the runtime's version, and of each folder's policy all outputs for three observations.
SCRIPT = """
import json, sys
import numpy as np, onnxruntime
from policy.runtime.onnx_policy import OnnxPolicy
found = {}
for folder in sys.argv[1:]:
    policy = OnnxPolicy(folder)
    observation = np.random.default_rng(0).standard_normal((3, policy.card.observation.size)).astype(np.float32)
    found[folder] = [value.astype(float).tolist() for value in policy.infer(observation)]
print(json.dumps([onnxruntime.__version__, found]))
"""


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> list[Path]:
    """The zoo, and one policy of each kind exported anew."""
    out = tmp_path_factory.mktemp("exported")
    for name in ("pronk", "dual", "student_small"):
        export(ExportConfig(policy=name, out=str(out / name)))
    return [*ZOO, *sorted(out.iterdir())]


def say(policies: list[Path], *paths: Path) -> tuple[str, dict[str, list]]:
    """(version, outputs by folder) with the runtime that is found first on ``paths``."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))}
    line = [sys.executable, "-c", SCRIPT, *map(str, policies)]
    result = subprocess.run(line, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    version, found = json.loads(result.stdout)
    return version, found


@pytest.mark.parametrize("version", [LOWEST, LAST_FOR_3_10])
def test_an_older_runtime_says_the_same(version: str, policies: list[Path], tmp_path: Path) -> None:
    line = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--target", str(tmp_path)]
    got = subprocess.run([*line, f"onnxruntime=={version}"], capture_output=True, text=True, timeout=300)
    if got.returncode:
        pytest.skip(f"onnxruntime {version} cannot be fetched for this Python: {got.stderr.strip()[-200:]}")
    _, expected = say(policies)
    used, found = say(policies, tmp_path)
    assert used == version
    for folder, outputs in expected.items():
        for ours, theirs in zip(outputs, found[folder], strict=True):
            assert theirs == [pytest.approx(row, abs=1e-5) for row in ours]


def test_the_lowest_version_is_the_one_that_is_tried() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"onnxruntime>={LOWEST.rpartition('.')[0]}" in extras["deploy"]


def test_no_graph_has_an_empty_output(policies: list[Path]) -> None:
    """onnxruntime 1.23 refuses one of width zero, 1.20 returns nothing for it."""
    for folder in policies:
        model = onnx.load(folder / "policy.onnx")
        card = Card.load(folder / "card.json")
        names = {value.name for value in model.graph.output}
        assert {"action", "std", "hidden"} <= names <= {"action", "std", "estimate", "latent", "hidden"}
        assert ("estimate" in names) == bool(card.estimates)
        made = {name for node in model.graph.node for name in node.output}
        assert names <= made  # and none is an input or a constant that was passed on
        for value in model.graph.output:
            assert all(d.dim_value > 0 or d.dim_param for d in value.type.tensor_type.shape.dim), (folder, value.name)
        assert model.ir_version <= 10 and all(o.version <= 21 for o in model.opset_import if not o.domain)


def test_the_action_is_a_linear_function_of_the_hidden_layer(policies: list[Path]) -> None:
    for folder in policies:
        card = Card.load(folder / "card.json")
        if card.model.get("student", {}).get("head") == "tokens":
            continue
        observations = np.random.default_rng(0).standard_normal((400, card.observation.size)).astype(np.float32)
        said = OnnxPolicy(folder).infer(observations)
        widths = card.model["student"]["hidden"] if "student" in card.model else card.model["hidden"]
        assert said.hidden.shape == (400, widths[-1])
        inputs = np.column_stack([said.hidden, np.ones(400)]).astype(float)
        weights = np.linalg.lstsq(inputs[:300], said.action[:300], rcond=None)[0]
        assert inputs[300:] @ weights == pytest.approx(said.action[300:], abs=1e-3)
