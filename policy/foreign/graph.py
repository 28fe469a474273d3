"""A foreign policy's ONNX graph between two affine maps, so that it takes our observations and gives our actions.

With q our joint angles, q_n our stance, S our action scale and q_f, s_f theirs, a joint target is the same for both:
q_n + S a = q_f + s_f a_f. Their joint positions, q - q_f, and their last action are therefore affine functions of what
stands in our observation, and our action of theirs. Their clipping stays inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from policy.foreign.layout import TERMS, Layout
from policy.runtime.weights import KEY
from sim.errors import LunarError
from sim.spec.observation import ObservationSpec

_PREFIX = "foreign/"
_LARGEST = 256 * 2**20  # bytes
_TOLERANCE = 1e-4  # of a batch from its rows, relative to the largest


def affine_in(layout: Layout, spec: ObservationSpec, pose: np.ndarray, action_scale: float) -> tuple[np.ndarray, ...]:
    """Their observation, before clipping, as ours times the first, plus the second: (ours, theirs) and (theirs,).

    Args:
        layout: theirs.
        spec: ours, with their number of frames.
        pose: (12,) rad, our stance.
        action_scale: rad, ours.
    """
    order, theirs = layout.order, np.array(layout.default_pose)
    spread = np.broadcast_to(np.array(layout.action_scale), 12)
    # of one frame, by term: which of our values, times what, plus what
    joint = {"joint_position": (1.0, pose[order] - theirs), "joint_velocity": (1.0, np.zeros(12)),
             "last_action": (action_scale / spread, (pose[order] - theirs) / spread)}  # fmt: skip
    starts = dict(zip([c.name for c in spec.frame], np.cumsum([0, *(c.size for c in spec.frame)]), strict=False))
    scales = {c.name: c.scale for c in spec.frame}
    command = len(spec.ages) * spec.frame_size
    columns: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = []
    for frame in range(layout.frames):
        columns.append([])
        for term in layout.terms:
            scale, size = layout.scale(term), TERMS[term]
            if term == "command":
                at, factor, bias = command + np.arange(3), scale / [c.scale for c in spec.command[:3]], np.zeros(3)
            elif term in joint:
                times, plus = joint[term]
                at, factor, bias = starts[term] + order, scale * times / scales[term], scale * plus
            else:
                at, factor, bias = starts[term] + np.arange(size), scale / scales[term], np.zeros(size)
            at = at if term == "command" else at + frame * spec.frame_size
            columns[-1].append((at, factor, bias))
    if not layout.newest_first:
        columns.reverse()
    rows = zip(*columns, strict=True) if layout.by_term else columns
    flat = [part for row in rows for part in row]
    at, factor, bias = (np.concatenate([part[k] for part in flat]) for k in range(3))
    matrix = np.zeros((spec.size, layout.size))
    matrix[at.astype(int), np.arange(layout.size)] = factor
    return matrix, bias


def affine_out(layout: Layout, pose: np.ndarray, action_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Our action as theirs times the first (12, 12), plus the second (12,)."""
    order = layout.order
    matrix, bias = np.zeros((12, 12)), np.zeros(12)
    matrix[np.arange(12), order] = np.broadcast_to(np.array(layout.action_scale), 12) / action_scale
    bias[order] = (np.array(layout.default_pose) - pose[order]) / action_scale
    return matrix, bias


def read(path: Path, layout: Layout) -> ModelProto:
    """The foreign graph, with a batch of any size.

    Raises:
        LunarError: no ONNX file, or inputs and outputs that are not the layout's: they are named with their shapes.
    """
    if not path.is_file():
        raise LunarError(f"{path} does not exist")
    if path.stat().st_size > _LARGEST:
        raise LunarError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, which no policy for a robot needs")
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's own kinds
        raise LunarError(f"{path} is not a valid ONNX file: {' '.join(str(error).split())[:200]}") from None
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    said = (
        f"it has inputs {', '.join(map(_said, inputs))} and outputs {', '.join(map(_said, model.graph.output))}; "
        f"the layout asks for one input (1, {layout.size}) and a first output (1, 12)"
    )
    if len(inputs) != 1 or _shape(inputs[0])[1:] != [layout.size]:
        raise LunarError(f"{path}: {said}")
    if not model.graph.output or _shape(model.graph.output[0])[1:] != [12]:
        raise LunarError(f"{path}: {said}")
    for value in (inputs[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]  # shapes of a batch of one
    del model.graph.output[1:]
    _check_batch(path, model, layout.size)
    return model


def wrap(
    foreign: ModelProto, layout: Layout, spec: ObservationSpec, pose: np.ndarray, action_scale: float, digest: str
) -> ModelProto:
    """The graph from ``observation`` (batch, ours) to ``action`` (batch, 12), with the digest of the weights inside."""
    constants = {tensor.name for tensor in foreign.graph.initializer}
    theirs = onnx.compose.add_prefix(foreign, _PREFIX)
    (source,) = (v.name for v in theirs.graph.input if v.name.removeprefix(_PREFIX) not in constants)
    result = theirs.graph.output[0].name
    w_in, b_in = affine_in(layout, spec, pose, action_scale)
    w_out, b_out = affine_out(layout, pose, action_scale)
    values = {
        "to_theirs": w_in, "to_theirs_plus": b_in, "observation_high": np.array(layout.clip_observation),
        "observation_low": np.array(-layout.clip_observation), "action_high": np.array(layout.clip_action),
        "action_low": np.array(-layout.clip_action), "to_ours": w_out, "to_ours_plus": b_out,
    }  # fmt: skip
    nodes = [
        *_map("observation", "to_theirs", "to_theirs_plus", "theirs_free"),
        *_clip("theirs_free", "observation_low", "observation_high", source),
        *theirs.graph.node,
        *_clip(result, "action_low", "action_high", "theirs_action"),
        *_map("theirs_action", "to_ours", "to_ours_plus", "action"),
    ]
    graph = helper.make_graph(
        nodes, "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", spec.size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 12])],
        [*theirs.graph.initializer, *(numpy_helper.from_array(v.astype(np.float32), n) for n, v in values.items())],
    )  # fmt: skip
    for part in graph.node:
        part.doc_string = ""
    model = helper.make_model(graph, opset_imports=list(foreign.opset_import), ir_version=foreign.ir_version)
    model.functions.extend(theirs.functions)
    helper.set_model_props(model, {KEY: digest})
    onnx.checker.check_model(model)
    return model


def _map(source: str, factor: str, plus: str, result: str) -> list[NodeProto]:
    between = f"{result}_product"
    return [
        helper.make_node("MatMul", [source, factor], [between]),
        helper.make_node("Add", [between, plus], [result]),
    ]


def _clip(source: str, low: str, high: str, result: str) -> list[NodeProto]:
    between = f"{source}_above"
    return [helper.make_node("Max", [source, low], [between]), helper.make_node("Min", [between, high], [result])]


def _check_batch(path: Path, model: ModelProto, size: int) -> None:
    rows = np.random.default_rng(0).standard_normal((3, size)).astype(np.float32)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        together = session.run(None, {name: rows})[0]
        single = np.concatenate([session.run(None, {name: row[None]})[0] for row in rows])
    except Exception as error:  # onnxruntime raises its own private types
        why = " ".join(str(error).split())[:200]
        raise LunarError(f"{path} does not run with several rows, export it with a free batch axis: {why}") from None
    if together.shape != (3, 12) or not np.abs(together - single).max() <= _TOLERANCE * max(1.0, np.abs(single).max()):
        raise LunarError(f"{path} mixes the rows of a batch or remembers: recurrent policies are not imported")


def _shape(value: onnx.ValueInfoProto) -> Sequence[int | str]:
    return [d.dim_value or d.dim_param or "?" for d in value.type.tensor_type.shape.dim]


def _said(value: onnx.ValueInfoProto) -> str:
    return f"'{value.name}' ({', '.join(map(str, _shape(value)))})"
