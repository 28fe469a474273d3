"""``lunar bench attacks``: who speaks to the rig from outside or from its own parts, and what of it moves a machine."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.attacks import machines, strangers
from benchmarks.attacks.attack import Attack
from benchmarks.attacks.stage import Stage
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.config import ROOT, parse
from sim.errors import LunarError
from sim.results import write_results
from sim.terminal import Terminal
from sim.terrain.generators import TerrainConfig, make_terrain

PAGE = ROOT / "docs/safety.md"


@dataclass(frozen=True)
class AttacksConfig:
    """Attack the rig from outside and from its own parts; the truth of its machines says what moved."""

    policy: str = "policy/zoo/pronk"
    """Folder with policy.onnx and card.json."""
    only: str = ""
    """Regular expression; attacks whose id and text it does not match are left out."""
    seed: int = 0
    """Of terrain, sensor noise and of what is random in an attack."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Eight attacks."""


def catalogue() -> list[Attack]:
    """All attacks, by id."""
    return sorted([*strangers.attacks(), *machines.attacks()], key=lambda a: a.id)


def residuals() -> set[str]:
    """Ids of the residuals that docs/safety.md names; none where the docs are not installed."""
    return (
        set(re.findall(r"^\| (R\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) if PAGE.is_file() else set()
    )


def run(cfg: AttacksConfig, console: Console | None = None) -> dict[str, Any]:
    """All attacks; returns the results. Raises LunarError where none is chosen."""
    console = console or Terminal()
    chosen = [a for a in catalogue() if re.search(cfg.only, f"{a.id} {a.what}") and (a.quick or not cfg.quick)]
    if not chosen:
        raise LunarError(f"no attack matches --only '{cfg.only}'")
    rows, skipped, known = [], [], residuals()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ground = make_terrain(TerrainConfig(kind="crater-rim"), cfg.seed)
        server = stack.enter_context(TwinServer(ground, ServerConfig(port=0)))
        stage = Stage(cfg.policy, server, scratch, cfg.seed)
        for attack in track(chosen, "attacks", console=console):
            try:
                ending = attack.run(stage)
            except LunarError as error:
                skipped.append(f"{attack.id}: {error}")
                continue
            covered = ending.outcome != "moved" or (
                attack.residual in known and not ending.by.startswith("beyond the rig's limits")
            )
            rows.append(
                {"id": attack.id, "channel": attack.channel, "what": attack.what, "outcome": ending.outcome}
                | {
                    "by": ending.by,
                    "residual": attack.residual if ending.outcome == "moved" else "",
                    "covered": covered,
                }
            )
    return {
        "attempted": len(rows),
        "moved": sum(row["outcome"] == "moved" for row in rows),
        "undocumented": [f"{row['id']} {row['what']}: {row['by']}" for row in rows if not row["covered"]],
        "left_out": skipped,
        "attacks": rows,
    }


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar bench attacks``."""
    cfg = parse(AttacksConfig, argv, prog="lunar bench attacks")
    console = Terminal()
    results = run(cfg, console)
    table = Table("id", "channel", "attack", "ends", "by", "residual")
    for row in results["attacks"]:
        table.add_row(*(str(row[key])[:90] for key in ("id", "channel", "what", "outcome", "by", "residual")))
    console.print(table, markup=False)
    console.print(f"{results['attempted']} attacks: {results['moved']} moved a machine", markup=False)
    for text in results["undocumented"]:
        console.print(f"not covered by docs/safety.md: {text}", markup=False, style="red")
    for text in results["left_out"]:
        console.print(f"not tried: {text}", markup=False, style="yellow")
    if cfg.json:
        write_results(cfg.json, "bench attacks", cfg.seed, results, [cfg.policy])
    if results["undocumented"]:
        raise LunarError(
            f"{len(results['undocumented'])} attacks moved a machine beyond what docs/safety.md owns up to"
        )
