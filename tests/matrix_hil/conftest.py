"""Stand-in policies: tiny ONNX files with their cards, so that the loop is tested without a training run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from policy.runtime.card import Card
from policy.runtime.weights import KEY
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION, ObservationSpec

WEIGHTS = "0" * 64  # the digest of a network that was never in torch


def write_policy(folder: Path, weight: np.ndarray, bias: np.ndarray, spec: ObservationSpec = PRONK_OBSERVATION) -> Path:
    """A policy ``action = observation @ weight + bias``; weight (size, 12), bias (12,)."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["observation", "weight"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["action"]),
        ],
        "linear",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["n", spec.size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["n", 12])],
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {KEY: WEIGHTS})
    onnx.save(model, str(folder / "policy.onnx"))
    Card(
        weights=WEIGHTS,
        observation=spec,
        robot="go2",
        action_scale=0.35,
        default_pose=NOMINAL_POSE.tolist(),
        kp=30.0,
        kd=0.75,
        gravity=1.62,
        command_low=[-0.3, -0.2, -0.5, 0.1, 0.0],
        command_high=[0.6, 0.2, 0.5, 0.5, 1.0],
        default_command=[0.3, 0.0, 0.0, 0.3, 0.0],
    ).save(folder / "card.json")
    return folder


@pytest.fixture
def standing_policy(tmp_path: Path) -> Path:
    """Folder of a policy that holds the nominal pose."""
    return write_policy(tmp_path / "standing", np.zeros((PRONK_OBSERVATION.size, 12)), np.zeros(12))


@pytest.fixture
def make_policy(tmp_path: Path) -> Callable[..., Path]:
    """``make_policy(weight, bias, spec)`` writes a linear policy and returns its folder."""

    def make(weight: np.ndarray, bias: np.ndarray, spec: ObservationSpec = PRONK_OBSERVATION) -> Path:
        return write_policy(tmp_path / "linear", weight, bias, spec)

    return make
