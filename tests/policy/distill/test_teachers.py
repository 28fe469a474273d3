"""Who may teach: policies, those that see, ONNX files and logs; and who may not, in one sentence."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from matrix_hil.cli import main as lunar
from policy.distill.config import (
    CellsConfig,
    DivergenceConfig,
    LearningConfig,
    OpsdcConfig,
    PositionsConfig,
    SodaConfig,
)
from policy.distill.distill import distill
from policy.distill.teachers import Demonstrations, load_demonstrations, load_teacher
from policy.networks.actor import Actor
from policy.networks.config import ModelConfig, StudentConfig
from policy.networks.policy_file import load_actor, load_weights, save_policy
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.spec.observation import ScanGrid
from sim.tasks.config import WorldConfig
from tests.policy.unchecked import write_unchecked

QUICK = [
    "--quick", "--world.num_envs", "8", "--world.other_terrains", "[]", "--world.terrain.kind", "flat", "--rollout",
    "4", "--student.hidden", "[8]", "--student.frame", "[8]", "--student.ages", "[0, 1, 2]",
]  # fmt: skip


@pytest.fixture(scope="module")
def seeing(trained, tmp_path_factory) -> Path:
    """Folder of a policy that sees the ground ahead."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("seeing")
    card = Card.load(trained / "card.json")
    model, spec = ModelConfig(scan=ScanGrid(), hidden=(16,)), replace(card.observation, scan=ScanGrid())
    save_policy(folder, Actor(model, spec), replace(card, observation=spec, model=asdict(model)))
    return folder


@pytest.fixture(scope="module")
def shown(trained) -> Demonstrations:
    """What a policy did at observations that it never saw: enough for a log."""
    actor, card = load_actor(trained)
    observation = torch.randn(60, card.observation.size, generator=torch.Generator().manual_seed(0))
    return Demonstrations("shown", card, observation, actor(observation).action.detach())


@pytest.fixture
def log(shown, tmp_path) -> Path:
    card = json.dumps(replace(shown.card, training={}, metrics={}).to_json())
    np.savez_compressed(
        tmp_path / "log.npz", observation=shown.observation.numpy(), action=shown.action.numpy(), card=card
    )
    return tmp_path / "log.npz"


def test_a_folder_and_its_onnx_file_teach_the_same(trained, shown):
    folder, file = load_teacher(trained), load_teacher(trained / "policy.onnx")
    actor = load_actor(trained)[0]
    for teacher in (folder, file):
        said = teacher(shown.observation)
        torch.testing.assert_close(said.mean, actor(shown.observation).action, atol=1e-5, rtol=0)
        torch.testing.assert_close(said.log_std.exp(), actor.log_std.exp().expand(60, 12), atol=1e-5, rtol=0)
        assert not said.mean.requires_grad
    assert folder.parameters() == sum(p.numel() for p in actor.parameters()) and file.parameters() == 0


@pytest.mark.parametrize("name", ["", "policy.onnx"])
def test_both_make_students(trained, config, name):
    results = distill(config(trained / name, updates=2), "test")
    assert load_actor(results["policy"])[1].training["teacher"] == str(trained / name)
    assert ("params_ratio" in results) == (name == "")


def test_a_teacher_that_sees_makes_a_blind_student(seeing, config):
    results = distill(config(seeing, updates=2), "test")
    student, card = load_actor(results["policy"])
    assert card.observation.scan is None and card.observation.ages == (0, 1, 2)
    assert student(torch.zeros(1, card.observation.size)).action.shape == (1, 12)


def test_a_log_is_read_as_it_was_written(log, shown):
    read = load_demonstrations(log)
    assert torch.equal(read.observation, shown.observation) and torch.equal(read.action, shown.action)
    assert read.card == replace(shown.card, training={}, metrics={})


@pytest.mark.parametrize("method", ["bc", "soda"])
def test_a_log_makes_students_of_any_of_its_frames(log, shown, config, method):
    cfg = config(log, method=method, student=StudentConfig(hidden=(16,), frame=(8,), ages=(0, 2)))
    results = distill(cfg, "test")
    assert load_actor(results["policy"])[1].observation.ages == (0, 2)
    assert results["steps"] == len(shown.action)


def test_a_teacher_without_spread_teaches_actions_only(trained, config, tmp_path):
    folder = edited(trained, tmp_path / "sure")
    actor, card = load_actor(folder)
    torch.nn.init.constant_(actor.log_std, -torch.inf)
    save_policy(folder, actor, card)
    for changes in ({"divergence": DivergenceConfig("mse")}, {"method": "bc"}):
        assert distill(config(folder, updates=1, overwrite=True, **changes), "test")["steps"] == 128
    for value, said in ((-torch.inf, "std of the teacher is 0"), (torch.nan, "std of the teacher is nan")):
        torch.nn.init.constant_(actor.log_std, value)
        write_unchecked(folder, actor, card)
        with pytest.raises(LunarError, match=said):
            distill(config(folder, overwrite=True), "test")


def edited(policy: Path, folder: Path, edit: Callable[[dict], object] = lambda card: None) -> Path:
    """A copy of a policy with a card that was edited."""
    shutil.copytree(policy, folder)
    card = json.loads((folder / "card.json").read_text())
    edit(card)
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def arrays(log: Path, **changes: np.ndarray | None) -> Path:
    """The log with other arrays; None leaves one out."""
    with np.load(log) as file:
        kept = {name: value for name, value in (dict(file) | changes).items() if value is not None}
    np.savez(log, **kept)
    return log


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no teacher: name one with --teacher"),
        (["nowhere"], "teacher nowhere does not exist"),
        (["{units}"], "does not fit this robot's observation: channel 'angular_velocity'"),
        (["{units}/policy.onnx"], "does not fit this robot's observation: channel 'angular_velocity'"),
        (["{robot}"], "drives the robot 'spot', the world's is 'go2'"),
        (["{policy}", "--student.head", "tokens", "--divergence.kind", "mse"], "'mse' compares means"),
        (["{policy}", "--positions.rho", "0"], "positions.rho is 0.0; it must lie above 0"),
        (
            ["{policy}", "--cells.rule", "paced", "--cells.alpha", "1000", "--cells.floor", "0", "--cells.least", "0"],
            "all weights are zero",
        ),
        (
            ["{log}", "--method", "bc", "--student.ages", "[0, 1, 5]"],
            "has no frame 5 steps back; choose from [0, 1, 2]",
        ),
        (["{log}"], "asks its teacher at every state"),
        (["{log}", "--method", "soda", "--positions.score", "soft_or"], "leave out positions and cells"),
        (["{seeing}", "--method", "opsdc"], "method 'opsdc' trains the policy itself"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_sentence(args, message, trained, seeing, log, tmp_path, capfd):
    places = {"policy": trained, "seeing": seeing, "log": log}
    if args and "units" in args[0]:
        places["units"] = edited(trained, tmp_path / "u", lambda c: c["observation"]["frame"][0].update(unit="deg/s"))
    if args and "robot" in args[0]:
        places["robot"] = edited(trained, tmp_path / "r", lambda c: c.update(robot="spot"))
    args = [arg.format(**places) for arg in args]
    teacher = ["--teacher", *args] if args else ["--teacher", ""]
    with pytest.raises(SystemExit) as left:
        lunar(["distill", "--out", str(tmp_path / "student"), *QUICK, *teacher])
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("lunar distill: ")]
    assert left.value.code == 2 and len(said) == 1 and message in said[0]
    assert not (tmp_path / "student" / "policy.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "nowhere.npz"}, "log nowhere.npz does not exist"),
        ({"teacher": "nowhere.onnx"}, "named policy.onnx and lies beside its card.json"),
        ({"positions": PositionsConfig(rho=1.5)}, "positions.rho is 1.5; it must lie above 0"),
        ({"student": StudentConfig(ages=(0, 2, 1))}, r"student.ages are \[0, 2, 1\]; they must rise from 0"),
        ({"student": StudentConfig(ages=(1, 2))}, r"student.ages are \[1, 2\]; they must rise from 0"),
        ({"student": StudentConfig(ages=(0, 2000))}, "they must rise from 0 to at most 1000"),
        ({"student": StudentConfig(hidden=(-1,))}, r"the width of a layer is \[-1\]"),
        ({"learning": LearningConfig(minibatch=0)}, "learning.epochs and minibatch must be at least 1"),
        ({"world": WorldConfig(num_envs=0)}, "world.num_envs must be at least 1"),
        ({"cells": CellsConfig(memory=1.5)}, "cells.memory is 1.5"),
        ({"forward_until": 2.0}, "forward_until is 2.0"),
        ({"device": "tpu"}, "device 'tpu': it must be cpu, or cuda"),
        ({"out": __file__}, "cannot be written: File exists"),
        ({"method": "soda", "soda": SodaConfig(warm_up=1.0)}, "soda.warm_up must lie between 0 and 1"),
        ({"method": "opsdc", "opsdc": OpsdcConfig(refresh=0)}, "opsdc.refresh, look and before must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_sentence(changes, message, config):
    with pytest.raises(LunarError, match=message) as caught:
        distill(config(**changes), "test")
    assert "\n" not in str(caught.value)


def test_neither_a_student_with_tokens_nor_an_onnx_file_teaches_itself(config, trained):
    tokens = replace(config().student, head="tokens")
    results = distill(config(updates=1, student=tokens), "test")
    for teacher in (Path(results["policy"]), trained / "policy.onnx"):
        with pytest.raises(LunarError, match="method 'opsdc' trains the policy itself"):
            distill(config(teacher, method="opsdc", out="self"), "test")


def test_a_student_goes_on_where_another_ended(config):
    first = Path(distill(config(), "test")["policy"])
    still = LearningConfig(minibatch=64, rate=1e-12)
    second = distill(config(start=str(first), student=StudentConfig(), out="second", learning=still), "test")
    begun, went_on = (load_weights(Path(folder)) for folder in (first, second["policy"]))
    (_, card), (_, before) = (load_actor(folder) for folder in (second["policy"], first))
    assert card.model == before.model
    assert [told["weights"] for told in card.training["earlier"]] == [before.weights]
    for name, weight in begun.items():
        torch.testing.assert_close(went_on[name], weight, rtol=1e-5, atol=1e-8)


def test_a_start_that_does_not_fit_is_refused_in_one_sentence(config, trained, tmp_path):
    first = Path(distill(config(updates=1), "test")["policy"])
    stiff = edited(first, tmp_path / "stiff", lambda c: c.update(kp=c["kp"] + 5.0))
    for start, student, message in (
        (trained, StudentConfig(), "is no student, but a policy of another kind"),
        (first, StudentConfig(hidden=(7,)), "has a network of its own: leave out student"),
        (stiff, StudentConfig(), "has another 'kp' than teacher"),
        ("nowhere", StudentConfig(), "nowhere"),
    ):
        with pytest.raises(LunarError, match=message):
            distill(config(start=str(start), student=student, out="second"), "test")
    assert not (tmp_path / "second").exists() or not list((tmp_path / "second").glob("policy.*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": None}, "has no 'observation'"),
        ({"action": None}, "has no 'action'"),
        ({"card": None}, "has no 'card'"),
        ({"action": np.zeros((60, 11))}, r"'action' has shape \(60, 11\), its card says \(P, 12\)"),
        ({"action": np.zeros((59, 12))}, "'action' has shape .* P the same in both"),
        ({"observation": np.zeros((60, 7))}, r"'observation' has shape \(60, 7\)"),
        ({"observation": np.zeros(())}, "'observation' has shape"),
        ({"action": np.full((60, 12), np.nan)}, "'action' holds a value that is not a number"),
        ({"observation": np.array([["one"]])}, "cannot be read"),
        ({"card": np.array("[" * 100_000)}, "cannot be read"),
        ({"card": np.array("{}")}, "format None"),
    ],
)
def test_a_log_that_lacks_what_it_needs_is_refused(changes, message, log):
    with pytest.raises(LunarError, match=message) as caught:
        load_demonstrations(arrays(log, **changes))
    assert "\n" not in str(caught.value)


def test_a_damaged_log_is_read_or_refused(log):
    rng = np.random.default_rng(0)
    packed = log.read_bytes()
    with np.load(log) as file:
        np.savez(plain := io.BytesIO(), **file)
    refused = 0
    for whole in (packed, plain.getvalue()):
        for k in range(30):
            data = bytearray(whole if k % 3 else whole[: rng.integers(len(whole))])
            for at in rng.integers(0, len(data), 6):
                data[at] = rng.integers(256)
            log.write_bytes(data)
            try:
                load_demonstrations(log)
            except LunarError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 20
