"""``lunar train``: its options, and what it says in the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace

from policy.runtime.card import ROBOT
from policy.training.config import TrainConfig
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.terminal import Terminal


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar train``."""
    cfg = _parse(argv)
    from policy.training.train import run  # brings torch, which takes seconds: only for a command that makes sense

    results = run(cfg, shlex.join(["lunar", "train", *argv]))
    if not results:
        return
    Terminal().print(
        f"policy in {results['policy']}: {results['steps'] / 1e6:.2f}M steps in {results['minutes']:.1f} min "
        f"({results['steps_per_s']:.0f}/s), {results['hops_per_20s']:.1f} hops per 20 s while exploring"
        + (", interrupted" if results["interrupted"] else "")
    )
    if cfg.json:
        write_results(cfg.json, "train", cfg.seed, results)
    if results["interrupted"]:
        sys.exit(130)


def _parse(argv: Sequence[str]) -> TrainConfig:
    """The config of the command line; a resumption without ``--config`` goes on in the folder and with its config."""
    cfg = parse(TrainConfig, argv, "lunar train", default="train/pronk.yaml")
    given = {item.partition("=")[0] for item in argv}
    if not cfg.resume:
        return cfg
    if "--config" in given:
        return _going_on(cfg, given)
    from policy.training import checkpoint

    folder = checkpoint.find(cfg.resume).parent
    if not (folder / "config.yaml").is_file():
        raise LunarError(f"--resume {cfg.resume}: {folder} holds no config.yaml; name the training's with --config")
    cfg = parse(TrainConfig, argv, "lunar train", default=str((folder / "config.yaml").resolve()))
    cfg = _going_on(cfg, given)
    physics = cfg.world.physics
    if (own := folder / ROBOT / f"{physics.robot}.xml").is_file():
        cfg = replace(cfg, world=replace(cfg.world, physics=replace(physics, robot=str(own))))
    return cfg if "--out" in given else replace(cfg, out=str(folder))


def _going_on(cfg: TrainConfig, given: set[str]) -> TrainConfig:
    """Without the policy that a config file starts from: the checkpoint holds what became of it."""
    return cfg if "--start" in given else replace(cfg, start="")
