"""``lunar distill``: its options, and what it says in the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from policy.distill.config import DistillConfig
from sim.config import parse
from sim.results import write_results
from sim.terminal import Terminal

if TYPE_CHECKING:
    from policy.distill.teachers import Demonstrations


def main(argv: Sequence[str], read_log: Callable[[Path], Demonstrations] | None = None) -> None:
    """Entry of ``lunar distill``.

    Args:
        read_log: reads what ``lunar hil --log`` recorded, which this package knows nothing of.
    """
    cfg = parse(DistillConfig, argv, "lunar distill", default="distill/on_policy.yaml", first=("teacher",))
    path = Path(cfg.teacher)
    recorded = path.suffix == ".mcap" or (path.is_dir() and any(path.glob("*.mcap")))
    teacher = read_log(path) if recorded and read_log else None
    from policy.distill.distill import distill  # brings torch, which takes seconds: only for what makes sense

    results = distill(cfg, shlex.join(["lunar", "distill", *argv]), teacher)
    share = f", {results['params_ratio']:.1%} of its teacher's" if "params_ratio" in results else ""
    Terminal().print(
        f"student in {results['policy']}: {results['parameters']} parameters{share}; {results['steps'] / 1e6:.2f}M "
        f"steps in {results['wall_s']:.0f} s" + (", interrupted" if results["interrupted"] else "")
    )
    if cfg.json:
        write_results(cfg.json, "distill", cfg.seed, results)
    if results["interrupted"]:
        sys.exit(130)
