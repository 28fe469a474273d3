"""Policy files: what is saved is what is loaded, what is exported is the same function, what is wrong is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
import torch

from matrix_hil.cli import main as lunar
from policy.networks.policy_file import load_actor
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION


@pytest.fixture
def folder(trained, tmp_path):
    """A copy that a test may damage."""
    copy = tmp_path / "policy"
    shutil.copytree(trained, copy)
    return copy


def edit_card(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    card.update(changes)
    (folder / "card.json").write_text(json.dumps(card))


def edit_graph(folder, change):
    model = onnx.load(folder / "policy.onnx")
    change(model.graph)
    onnx.save(model, folder / "policy.onnx")


def with_nan(graph):
    head = next(t for t in graph.initializer if t.name.endswith("head.0.weight"))
    values = onnx.numpy_helper.to_array(head).copy()
    values[0, 0] = np.nan
    head.CopyFrom(onnx.numpy_helper.from_array(values, head.name))


def in_batches(graph):
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 64


def upright() -> Proprioception:
    return Proprioception(np.zeros(3), np.array([0.0, 0.0, -1.0]), NOMINAL_POSE.copy(), np.zeros(12))


def test_card_round_trip(folder):
    card = Card.load(folder / "card.json")
    assert card.observation == PRONK_OBSERVATION and card.training["seed"] == 1
    card.save(folder / "again.json")
    assert Card.load(folder / "again.json") == card


def test_onnx_is_the_torch_policy(folder):
    actor, card = load_actor(folder)
    x = np.random.default_rng(0).standard_normal((64, card.observation.size)).astype(np.float32)
    np.testing.assert_allclose(
        OnnxPolicy(folder).infer(x).action, actor(torch.from_numpy(x)).action.detach().numpy(), atol=1e-5
    )


def test_the_runtime_keeps_history_and_clips_commands(folder):
    policy = OnnxPolicy(folder)
    command = np.array([9.0, 0.0, 0.0, 0.3, 0.0])
    first, second = policy.act(upright(), command), policy.act(upright(), command)
    assert not np.array_equal(first, second)  # the last action is in the second observation
    policy.reset()
    np.testing.assert_array_equal(policy.act(upright(), command), first)
    policy.reset()
    clipped = policy.card.clip_command(command)
    assert clipped[0] == policy.card.command_high[0]
    np.testing.assert_array_equal(policy.act(upright(), clipped), first)


def test_a_non_finite_sensor_gives_non_finite_targets(folder):
    policy = OnnxPolicy(folder)
    sensors = upright()
    sensors.joint_velocity[3] = np.nan
    assert not np.isfinite(policy.act(sensors, np.zeros(5))).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "card.json").unlink(), "card.json does not exist"),
        (lambda f: (f / "card.json").write_text("{"), "cannot be read"),
        (lambda f: edit_card(f, format=99), "format 99"),
        (lambda f: edit_card(f, surprise=1), "surprise"),
        (lambda f: (f / "policy.onnx").unlink(), "lunar export"),
        (lambda f: (f / "policy.onnx").write_bytes(b"not onnx"), "not a valid ONNX"),
        (lambda f: edit_card(f, default_pose=[0.0] * 8), "12 numbers"),
        (lambda f: edit_graph(f, with_nan), "no action of 12 finite numbers"),
        (lambda f: edit_graph(f, in_batches), "does not take one observation"),
    ],
)
def test_damaged_exports_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(LunarError, match=message):
        OnnxPolicy(folder)


def test_a_network_of_another_shape_than_its_card_is_refused(folder):
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 7]) for name in ("observation", "action")
    ]
    node = onnx.helper.make_node("Identity", ["observation"], ["action"])
    graph = onnx.helper.make_graph([node], "seven", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "policy.onnx")
    with pytest.raises(LunarError, match="'observation' of 7 values, its card says 131"):
        OnnxPolicy(folder)


def test_another_observation_is_refused_and_the_channel_named(folder):
    card = json.loads((folder / "card.json").read_text())
    card["observation"]["frame"][3]["scale"] = 0.07
    edit_card(folder, observation=card["observation"])
    with pytest.raises(LunarError, match="joint_velocity"):
        OnnxPolicy(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "policy.safetensors").unlink(), "lunar train"),
        (lambda f: (f / "policy.safetensors").write_bytes(b"\x80\x04junk"), "cannot be read"),
        (lambda f: edit_card(f, model={"hidden": [64, 16]}), "not those of its card"),
    ],
)
def test_damaged_weights_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(LunarError, match=message):
        load_actor(folder)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["eval", "--policy", "/nowhere"], "/nowhere/card.json does not exist"),
        (["train", "--stepz", "3"], "did you mean 'steps'"),
        (["fly"], "unknown command 'fly'"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as end:
        lunar(argv)
    error = capsys.readouterr().err
    assert end.value.code == 2 and message in error and len(error.strip().splitlines()) == 1
