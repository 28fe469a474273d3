"""``lunar export``: a policy's ONNX file anew, or beside its card in another folder, and C on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from policy.export.chip import check_tools, describe, on_chip
from policy.runtime import onnx_policy, weights
from policy.runtime.card import Card
from policy.runtime.weights import read_digest
from sim.config import parse
from sim.errors import LunarError
from sim.files import find_policy
from sim.output import locked, write_whole
from sim.results import write_results
from sim.robots.identity import identify
from sim.terminal import Terminal


@dataclass(frozen=True)
class ExportConfig:
    """Write policy.onnx and card.json for a robot's computer; training has done so in its own folder already."""

    policy: str
    """Folder with policy.safetensors and card.json, or the name of one in policy/zoo/."""
    out: str = ""
    """Folder to write to; the policy's own when empty."""
    robot: str = ""
    """Name, folder or MJCF of another robot (docs/robots.md) that it is for, instead of its own."""
    seed: int = 0
    """Of the observations that ONNX and torch are compared on."""
    c: bool = False
    """Write policy.h and policy_int8.h as well, for a microcontroller."""
    target: Literal["none", "cortex-m4f", "cortex-m7"] = "none"
    """Write them, and run them on that microcontroller's instruction set under QEMU: size, instructions, outputs."""
    json: str = ""
    """File for the results as data."""


def export(cfg: ExportConfig) -> dict[str, Any]:
    """Write the ONNX file and compare it with torch on 1000 random observations; a card of before there were digests
    gets them.

    Raises:
        LunarError: ONNX and torch differ by more than 1e-5, no robot can run the policy, ``out`` holds another, or the
            tools of ``target`` are missing.
    """
    # these bring torch, which takes seconds: only for a command that makes sense
    from policy.export.c import TOLERANCE, write_header
    from policy.networks.onnx_file import write_onnx
    from policy.networks.policy_file import HEADERS, drop_stale, read_actor, robot_files
    from policy.networks.robot import on_robot

    if cfg.target != "none":
        check_tools()
    folder = Path(find_policy(cfg.policy))
    out = Path(cfg.out) if cfg.out else folder
    actor, card = read_actor(folder)
    if card.observation.scan:
        raise LunarError(f"policy {folder} sees the ground ahead, for which a robot needs a map; distil it first")
    if cfg.robot and out.resolve() == folder.resolve():
        raise LunarError(
            f"{folder} holds the policy for '{card.robot}'; name another folder for '{cfg.robot}' with --out"
        )
    card = on_robot(card, cfg.robot)
    robot = identify(card.physics_robot)
    digest = read_digest(folder / weights.FILE)
    card = replace(card, weights=digest, robot_digest=card.robot_digest or robot.digest)
    if out.resolve() != folder.resolve() and (out / "card.json").exists():
        other = Card.load(out / "card.json").weights
        if other != digest:
            raise LunarError(f"{out} holds another policy; choose another folder with --out, or remove it")
    with locked(out):
        data, difference = write_onnx(actor, card, cfg.seed)
        path = out / onnx_policy.FILE
        write_whole({path: data, **robot_files(out, robot), out / "card.json": card.text()})
        drop_stale(out, card)
        results = {"path": str(path), "bytes": len(data), "max_difference": difference, "weights": digest}
        for key, name in zip(("c", "c_int8"), HEADERS, strict=True) if cfg.c or cfg.target != "none" else ():
            results[key] = written = write_header(folder, out / name, key == "c_int8", card)
            if cfg.target != "none":
                policy = onnx_policy.OnnxPolicy(out, card.observation)
                found = on_chip(out / name, written["name"], policy, cfg.target, cfg.seed)
                if key == "c" and found.get("difference", 0.0) > TOLERANCE:
                    raise LunarError(f"{out / name} on {cfg.target} differs from ONNX by {found['difference']:.2g}")
                written[cfg.target] = found
    return results


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar export``."""
    cfg = parse(ExportConfig, argv, "lunar export", first=("policy",))
    results = export(cfg)
    Terminal().print(
        f"{results['path']}: {results['bytes'] / 1024:.0f} kB, "
        f"largest difference from torch {results['max_difference']:.1e}"
    )
    for header in (results[name] for name in ("c", "c_int8") if name in results):
        difference = header["difference"]
        Terminal().print(
            f"{header['path']}: {header['flash_bytes'] / 1024:.0f} kB flash, {header['ram_bytes'] / 1024:.1f} kB RAM, "
            + ("not checked, no C compiler found" if difference is None else f"difference from torch {difference:.1e}")
        )
        if cfg.target in header:
            Terminal().print(describe(header[cfg.target], cfg.target))
    if cfg.json:
        write_results(cfg.json, "export", cfg.seed, results)
