"""A policy file that is sound until the robot turns fast: then its action is not a number."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from policy.runtime.card import Card
from sim.errors import LunarError

BREAKS_AT = 15.0
"""rad/s of yaw rate, faster than any hop."""


def write_broken(source: Path, folder: Path) -> Path:
    """Copy a policy's folder and add sqrt(1 - (yaw rate / ``BREAKS_AT``)^2) x 0 to its action: nothing, or NaN.

    Raises:
        LunarError: the package ``onnx`` is missing, or the policy sees no angular velocity.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise LunarError(
            "a broken policy is written with the package onnx; pip install onnx, or leave it out"
        ) from None
    spec = Card.load(source / "card.json").observation
    start, scale = 0, 0.0
    for channel in spec.frame:
        if channel.name == "angular_velocity":
            scale = channel.scale
            break
        start += channel.size
    if scale == 0.0:
        raise LunarError(f"policy {source} sees no angular_velocity; nothing can break it this way")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    model = onnx.load(str(source / "policy.onnx"))
    graph = model.graph
    seen, action = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        for k, name in enumerate(node.output):
            if name == action:
                node.output[k] = "sound_action"
        for k, name in enumerate(node.input):
            if name == action:
                node.input[k] = "sound_action"
    constants = {
        "broken_index": np.array([start + 2]),
        "broken_scale": np.float32(1.0 / (scale * BREAKS_AT)),
        "broken_one": np.float32(1.0),
        "broken_zero": np.float32(0.0),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    graph.node.append(helper.make_node("Gather", [seen, "broken_index"], ["broken_rate"], axis=1))
    for kind, inputs, output in (
        ("Mul", ["broken_rate", "broken_scale"], "broken_share"),
        ("Mul", ["broken_share", "broken_share"], "broken_square"),
        ("Sub", ["broken_one", "broken_square"], "broken_rest"),
        ("Sqrt", ["broken_rest"], "broken_root"),
        ("Mul", ["broken_root", "broken_zero"], "broken_nothing"),
        ("Add", ["sound_action", "broken_nothing"], action),
    ):
        graph.node.append(helper.make_node(kind, inputs, [output]))
    onnx.save(model, str(folder / "policy.onnx"))
    return folder
