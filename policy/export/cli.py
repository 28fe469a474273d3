"""``lunar export``: a policy to ONNX with its card, and to C on request, checked against torch."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from rich.console import Console

from policy.export.c import write_header
from policy.networks.actor import ActorOutput
from policy.networks.policy_file import load_actor
from policy.runtime.onnx_policy import OnnxPolicy
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results

TOLERANCE = 1e-5


@dataclass(frozen=True)
class ExportConfig:
    """Write policy.onnx and card.json for a robot's computer."""

    policy: str
    """Folder with policy.safetensors and card.json."""
    out: str = ""
    """Folder to write to; the policy's own when empty."""
    seed: int = 0
    """Of the observations that ONNX and torch are compared on."""
    c: bool = False
    """Write policy.h and policy_int8.h as well, for a microcontroller."""
    json: str = ""
    """File for the results as data."""


def export(cfg: ExportConfig) -> dict[str, Any]:
    """Export and compare on 1000 random observations.

    Raises:
        LunarError: ONNX and torch differ by more than 1e-5, or no robot can run the policy.
    """
    folder, out = Path(cfg.policy), Path(cfg.out or cfg.policy)
    actor, card = load_actor(folder)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "policy.onnx"
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which nobody asked for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # raised inside torch's exporter
        torch.onnx.export(
            actor, (torch.zeros(2, actor.size),), str(path), input_names=["observation"],
            output_names=list(ActorOutput._fields), dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False, verbose=False,
        )  # fmt: skip
    _forget_sources(path)
    if out != folder:
        shutil.copyfile(folder / "card.json", out / "card.json")
    observations = np.random.default_rng(cfg.seed).standard_normal((1000, card.observation.size)).astype(np.float32)
    with torch.no_grad():
        expected = actor(torch.from_numpy(observations))
    found = OnnxPolicy(out, card.observation).infer(observations)
    difference = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=True) if a.size)
    if difference > TOLERANCE:
        raise LunarError(f"{path} differs from the torch policy by {difference:.2g}, more than {TOLERANCE}")
    results = {"path": str(path), "bytes": path.stat().st_size, "max_difference": difference}
    if cfg.c:
        results["c"] = write_header(folder, out / "policy.h")
        results["c_int8"] = write_header(folder, out / "policy_int8.h", int8=True)
    return results


def _forget_sources(path: Path) -> None:
    """Drop what the exporter notes of every node: stack traces that name files of the computer it ran on."""
    model = onnx.load(path)
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar export``."""
    cfg = parse(ExportConfig, argv, "lunar export")
    results = export(cfg)
    Console().print(
        f"{results['path']}: {results['bytes'] / 1024:.0f} kB, "
        f"largest difference from torch {results['max_difference']:.1e}"
    )
    for header in (results[name] for name in ("c", "c_int8") if name in results):
        difference = header["difference"]
        Console().print(
            f"{header['path']}: {header['flash_bytes'] / 1024:.0f} kB flash, {header['ram_bytes'] / 1024:.1f} kB RAM, "
            + ("not checked, no C compiler found" if difference is None else f"difference from torch {difference:.1e}")
        )
    if cfg.json:
        write_results(cfg.json, "export", cfg.seed, results)
