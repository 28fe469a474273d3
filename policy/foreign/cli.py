"""``lunar import``: a policy that others trained, as a folder that all commands take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from policy.foreign.layout import Layout
from policy.runtime import onnx_policy
from policy.runtime.card import Card
from sim.config import CONFIGS, load, parse
from sim.errors import LunarError
from sim.output import locked, write_whole
from sim.results import write_results
from sim.robots.go2.facts import GO2
from sim.robots.identity import identify
from sim.spec.observation import PRONK_OBSERVATION
from sim.terminal import Terminal

SHELF = CONFIGS / "import"


@dataclass(frozen=True)
class ImportConfig:
    """Write policy.onnx and card.json of a walking policy for the Go2 from elsewhere (docs/ecosystem.md)."""

    onnx: str
    """Its ONNX file."""
    layout: str
    """What its numbers mean: a file, or the name of one in configs/import/."""
    out: str
    """Folder to write to."""
    json: str = ""
    """File for the results as data."""


def find_layout(name: str) -> tuple[Layout, str]:
    """A layout and its file's name. Raises LunarError as ``Layout.check``, or where there is none."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else SHELF / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in SHELF.glob("*.yaml")))
        raise LunarError(f"layout '{name}' does not exist; choose from: {names}, or give a file like those")
    layout = load(Layout, path)
    layout.check(str(path))
    return layout, path.stem


def import_policy(cfg: ImportConfig) -> dict[str, Any]:
    """Write the folder.

    Raises:
        LunarError: the file is no such policy, the layout does not make sense, its gains are beyond what the robot
            bears, or ``out`` holds another policy.
    """
    from policy.foreign.graph import read, wrap  # onnx takes a second: only for what makes sense

    layout, title = find_layout(cfg.layout)
    if layout.rate != PRONK_OBSERVATION.rate:
        raise LunarError(
            f"layout {title}: rate is {layout.rate:g} Hz; robots here are driven at {PRONK_OBSERVATION.rate:g} Hz"
        )
    path, out = Path(cfg.onnx), Path(cfg.out)
    spec = replace(PRONK_OBSERVATION, ages=tuple(range(layout.frames)))
    foreign = read(path, layout)
    digest = hashlib.sha256(path.read_bytes() + repr(layout).encode()).hexdigest()
    pose, scale = GO2.nominal_pose, GO2.action_scale
    low, high = ([*command, PRONK_APEX, 0.0] for command in (layout.command_low, layout.command_high))
    card = Card(
        weights=digest, observation=spec, robot="go2", robot_digest=identify("go2").digest, action_scale=scale,
        default_pose=pose.tolist(), kp=layout.kp, kd=layout.kd, gravity=layout.gravity,
        command_low=low, command_high=high,
        default_command=np.clip([0.5 * high[0], 0.0, 0.0, *high[3:]], low, high).tolist(),
        model={"imported": title}, training={"command": f"lunar import of {path.name}"},
    )  # fmt: skip
    if problem := card.problem():
        raise LunarError(f"layout {title}: {problem}")
    if (out / "card.json").exists() and Card.load(out / "card.json").weights != digest:
        raise LunarError(f"{out} holds another policy; choose another folder with --out, or remove it")
    model = wrap(foreign, layout, spec, np.asarray(pose), scale, digest)
    with locked(out):
        write_whole({out / onnx_policy.FILE: model.SerializeToString(), out / "card.json": card.text()})
    onnx_policy.OnnxPolicy(out)
    return {"policy": str(out), "weights": digest, "layout": title, "frames": layout.frames, "observation": layout.size}


PRONK_APEX = 0.3
"""m. A walking policy is told an apex gain like every other and does not see it."""


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar import``."""
    cfg = parse(ImportConfig, argv, "lunar import", first=("onnx",))
    results = import_policy(cfg)
    Terminal().print(
        f"policy in {results['policy']}: {results['frames']} frames of layout '{results['layout']}'. It was made for "
        f"another gravity: 'lunar eval {results['policy']} --suite walk'"
    )
    if cfg.json:
        write_results(cfg.json, "import", 0, results)
