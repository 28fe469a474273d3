"""One policy, one truth: weights, card, ONNX file and C header know one another, and whoever loads two compares."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from policy.distill.teachers import load_teacher
from policy.evaluation.evaluate import evaluate
from policy.export.cli import ExportConfig, export
from policy.networks.policy_file import ZOO, load_actor, save_policy
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from policy.runtime.weights import KEY, read_digest, weights_digest
from policy.training.train import run
from sim.errors import LunarError
from tests.policy.conftest import tiny

LOADERS = [load_actor, OnnxPolicy, load_teacher, lambda f: evaluate(f, robots=1, duration=0.1)]
NAMES = ["load_actor", "OnnxPolicy", "distill", "eval"]


@pytest.fixture
def folder(trained, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(trained, tmp_path / "policy")


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """The same network, trained with another seed."""
    out = tmp_path_factory.mktemp("other")
    run(tiny(out, seed=7), "lunar train (test)")
    return out


ARRAYS = st.dictionaries(
    st.text(max_size=6),
    st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(lambda v: np.array(v, np.float32)),
    min_size=1,
    max_size=4,
)


@given(ARRAYS, st.randoms())
def test_a_digest_is_of_names_shapes_types_and_values_alone(arrays, random):
    names = list(arrays)
    random.shuffle(names)
    digest = weights_digest(save(arrays))
    assert digest == weights_digest(save({name: arrays[name] for name in names}, metadata={"a": "remark"}))
    name = names[0]
    for changed in (
        {**arrays, name: np.append(arrays[name], np.float32(1.0))},
        {**arrays, name: arrays[name].astype(np.float64)},
        {**arrays, name: arrays[name][None]},
        {k if k != name else f"{k}'": v for k, v in arrays.items()},
    ):
        assert weights_digest(save(changed)) != digest


@given(st.binary(max_size=200))
def test_what_holds_no_weights_has_no_digest(data):
    length = struct.pack("<Q", len(data))
    for content in (data, length + data, length + data + data):
        try:
            weights_digest(content)
        except ValueError:
            continue
        assert json.loads(content[8 : 8 + struct.unpack_from("<Q", content)[0]]) is not None


def test_training_ends_with_an_onnx_file_of_the_weights(trained):
    card = Card.load(trained / "card.json")
    metadata = {p.key: p.value for p in onnx.load(trained / "policy.onnx").metadata_props}
    assert card.weights == read_digest(trained / "policy.safetensors") == metadata[KEY]
    x = np.random.default_rng(0).standard_normal((20, card.observation.size)).astype(np.float32)
    with torch.no_grad():
        expected = load_actor(trained)[0](torch.from_numpy(x)).action.numpy()
    np.testing.assert_allclose(OnnxPolicy(trained).infer(x).action, expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(p.name for p in ZOO.iterdir()))
def test_the_zoo_is_consistent_and_found_by_short_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_actor(name)[1].weights == read_digest(ZOO / name / "policy.safetensors")
    card = Card.load(ZOO / name / "card.json")
    assert OnnxPolicy(name, card.observation).folder == ZOO / name


@pytest.mark.parametrize("load", LOADERS, ids=NAMES)
def test_an_onnx_file_of_other_weights_is_refused(load, folder, other):
    shutil.copy(other / "policy.onnx", folder)
    with pytest.raises(
        LunarError, match=r"policy.onnx was not made from the weights .* 'lunar export --policy"
    ) as said:
        load(folder)
    assert "\n" not in str(said.value)
    export(ExportConfig(policy=str(folder)))
    load(folder)


@pytest.mark.parametrize("load", LOADERS, ids=NAMES)
def test_weights_of_another_training_are_refused(load, folder, other):
    shutil.copy(other / "policy.safetensors", folder)
    with pytest.raises(LunarError, match=r"policy\.safetensors holds other weights than its card"):
        load(folder)
    with pytest.raises(LunarError, match=r"policy\.safetensors holds other weights than its card"):
        export(ExportConfig(policy=str(folder)))


@pytest.mark.parametrize("load", LOADERS, ids=NAMES)
def test_a_card_of_before_there_were_digests_is_brought_up_to_date_by_export(load, folder):
    card = json.loads((folder / "card.json").read_text())
    del card["weights"], card["robot_digest"]
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(LunarError, match="lunar export --policy"):
        load(folder)
    export(ExportConfig(policy=str(folder)))
    load(folder)
    assert Card.load(folder / "card.json").robot_digest


def test_a_folder_with_the_exported_files_alone_runs_on_a_robot(folder):
    (folder / "policy.safetensors").unlink()
    OnnxPolicy(folder)


def test_a_network_from_elsewhere_is_told_what_it_needs(folder):
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 45]) for n in ("obs", "actions")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["obs"], ["actions"])], "g", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "policy.onnx")
    with pytest.raises(LunarError, match=r"its input 'obs', not 'observation'.*\(batch, 131\).*\(batch, 12\)"):
        OnnxPolicy(folder)


def test_a_c_header_says_its_weights_and_does_not_outlive_them(folder, other):
    export(ExportConfig(policy=str(folder), c=True))
    card = Card.load(folder / "card.json")
    assert f'_WEIGHTS "{card.weights}"' in (folder / "policy.h").read_text()
    export(ExportConfig(policy=str(folder)))
    assert (folder / "policy_int8.h").is_file()
    save_policy(folder, *load_actor(other))
    assert not (folder / "policy.h").exists() and not (folder / "policy_int8.h").exists()


def test_export_does_not_write_over_another_policy(folder, other):
    with pytest.raises(LunarError, match="holds another policy"):
        export(ExportConfig(policy=str(folder), out=str(other)))
    load_actor(other)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_weights_that_are_no_numbers_replace_nothing(folder):
    before = contents(folder)
    actor, card = load_actor(folder)
    actor.head[0].weight.data[0, 0] = torch.nan
    with pytest.raises(LunarError, match=r"is not written: training diverged, 'head.0.weight'"):
        save_policy(folder, actor, card)
    assert contents(folder) == before


def test_a_full_disk_leaves_the_policy_before_whole(folder, other, monkeypatch):
    before, calls = contents(folder), []

    def full(handle):
        calls.append(handle)
        if len(calls) == 2:  # the weights are out, the next file is not
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LunarError, match="cannot be written: No space left on device"):
        save_policy(folder, *load_actor(other))
    assert contents(folder) == before
    load_actor(folder)


@pytest.mark.parametrize("robot", ["./my.xml", "/etc/robot", "my.xml", "", 3])
def test_a_robot_in_a_card_has_a_name_not_a_path(folder, robot):
    card = json.loads((folder / "card.json").read_text()) | {"robot": robot}
    with pytest.raises(LunarError, match="it must be a name"):
        Card.from_json(card, "card.json")


def test_where_a_program_found_a_robot_is_not_saved(folder):
    card = replace(Card.load(folder / "card.json"), mjcf="/home/me/my.xml")
    assert "mjcf" not in card.to_json()
    with pytest.raises(LunarError, match="mjcf"):
        Card.from_json(card.to_json() | {"mjcf": "/etc/passwd"}, "card.json")
