"""A network as an ONNX file, checked against torch, with the digest of its weights inside."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from policy.networks.actor import Actor
from policy.networks.student import Student
from policy.runtime.card import Card
from policy.runtime.onnx_policy import FILE, open_onnx
from policy.runtime.weights import KEY
from sim.errors import LunarError

TOLERANCE = 1e-5
"""Largest difference of an output from torch's."""


class Named(nn.Module):
    """A network with those of its outputs that have any values for a graph: runtimes refuse a width of zero."""

    def __init__(self, actor: Actor | Student) -> None:
        super().__init__()
        self.actor = actor
        with torch.no_grad():
            widths = {name: value.shape[1] for name, value in actor(torch.zeros(1, actor.size))._asdict().items()}
        self.names = tuple(name for name, width in widths.items() if width)

    def forward(self, observation: Tensor) -> tuple[Tensor, ...]:
        """Observations (N, size) to the outputs that ``names`` names."""
        outputs = self.actor(observation)
        return tuple(getattr(outputs, name) for name in self.names)


def write_onnx(actor: Actor | Student, card: Card, seed: int = 0) -> tuple[bytes, float]:
    """The file's bytes, and the largest difference of its outputs from torch's on 1000 random observations.

    Args:
        actor: on the CPU.
        card: with the digest of its weights.
        seed: of the observations.

    Raises:
        LunarError: they differ by more than ``TOLERANCE``.
    """
    network = Named(actor.eval()).eval()
    names = ("observation", *network.names)
    observations = np.random.default_rng(seed).standard_normal((1000, actor.size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends its other exporter, which needs ten times as long
        path = Path(folder, FILE)
        torch.onnx.export(
            network, (torch.zeros(2, actor.size),), str(path), input_names=names[:1], output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names}, opset_version=18, dynamo=False, verbose=False,
        )  # fmt: skip
        model = onnx.load(path)
        for part in (model.graph, *model.graph.node):  # stack traces that name files of the computer it ran on
            part.doc_string = ""
        onnx.helper.set_model_props(model, {KEY: card.weights})
        onnx.save(model, path)
        session = open_onnx(path, card)  # as a robot does
        data = path.read_bytes()
    found = session.run(network.names, {"observation": observations})
    with torch.no_grad():
        expected = network(torch.from_numpy(observations))
    difference = max(float(np.abs(ours - theirs.numpy()).max()) for ours, theirs in zip(found, expected, strict=True))
    if not difference <= TOLERANCE:
        raise LunarError(f"policy.onnx differs from the torch policy by {difference:.2g}, more than {TOLERANCE}")
    return data, difference
