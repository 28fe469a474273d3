"""``lunar train``: a pronking policy by PPO, in stages whose reward weights go from hopping to landing well."""

from __future__ import annotations

import difflib
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from policy.curve import plot_curve
from policy.policy_file import save_policy
from policy.ppo import LunarPPO, PPOConfig
from policy.runtime.card import Card
from policy.vec_env import LunarVecEnv
from sim.config import parse
from sim.envs.world import PronkWorld, WorldConfig
from sim.errors import LunarError
from sim.mdp.rewards import TERMS
from sim.results import revision, write_results
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION


@dataclass(frozen=True)
class Stage:
    """A stretch of training with its own weights."""

    until: float
    """1. Share of the training's steps at which it ends."""
    rewards: dict[str, float] = field(default_factory=dict)
    """Weights that differ from the world's."""
    learning_rate: float = 1e-3
    """1. Highest learning rate of the stage."""
    entropy: float = 0.003
    """Weight of the entropy bonus."""


@dataclass(frozen=True)
class TrainConfig:
    """Train a policy. Writes policy.safetensors, card.json, progress.csv, curve.png. Ctrl-C keeps what it has."""

    out: str = "runs/pronk"
    """Folder for the policy."""
    steps: int = 10_000_000
    """Environment steps (control steps summed over robots)."""
    seed: int = 1
    """Reaches everything random."""
    threads: int = 0
    """Cores to use; 0 takes all. Results of physics do not depend on it, sums of gradients do in the last digit."""
    device: str = "cpu"
    """``cpu`` or ``cuda``, for physics, terms and networks."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """A few updates only, to try the command."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """Its ``ages`` are those that the model sees."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    stages: list[Stage] = field(default_factory=list)
    """In order; after the last, its weights stay."""


def run(cfg: TrainConfig, command: str) -> dict[str, Any]:
    """Train, save the policy, return ``{steps, minutes, steps_per_s, hops_per_20s, interrupted, policy}``."""
    _check_stages(cfg)
    steps = 4 * cfg.world.num_envs * cfg.ppo.rollout if cfg.quick else cfg.steps
    torch.manual_seed(cfg.seed)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    seen = replace(cfg.world, ages=cfg.ppo.model.ages)
    world = PronkWorld(seen, cfg.seed, cfg.device, threads=cfg.threads)
    model = LunarPPO(LunarVecEnv(world), cfg.ppo, cfg.seed, cfg.device)
    out = Path(cfg.out)
    model.set_logger(configure(str(out), ["csv", "tensorboard"]))
    progress = TrainingProgress(cfg, steps)
    start = time.monotonic()
    with stop_on_ctrl_c(progress):
        model.learn(steps, callback=progress, log_interval=sys.maxsize)
    minutes = (time.monotonic() - start) / 60.0
    training = {
        "command": command,
        "steps": model.num_timesteps,
        "seed": cfg.seed,
        "revision": revision(),
        "minutes": round(minutes, 2),
        "interrupted": progress.interrupted,
    }
    save_policy(out, model.policy.actor, make_card(cfg, training))
    model.logger.close()
    plot_curve(out / "progress.csv", out / "curve.png")
    return {
        **training,
        "steps_per_s": model.num_timesteps / max(minutes * 60.0, 1e-9),
        "hops_per_20s": progress.hops_per_20s,
        "diverged": world.diverged,
        "policy": str(out),
    }


def make_card(cfg: TrainConfig, training: dict[str, Any]) -> Card:
    """The card of a policy trained with ``cfg``."""
    physics = cfg.world.physics
    return Card(
        observation=replace(PRONK_OBSERVATION, ages=cfg.ppo.model.ages),
        robot=physics.robot,
        action_scale=cfg.world.action_scale,
        default_pose=NOMINAL_POSE.tolist(),
        kp=physics.kp,
        kd=physics.kd,
        gravity=physics.gravity,
        command_low=cfg.world.commands.low(),
        command_high=cfg.world.commands.high(),
        default_command=HopCommand().array().tolist(),
        model=asdict(cfg.ppo.model),
        training=training,
    )


class TrainingProgress(BaseCallback):
    """Switches stages, shows a bar with the hops per 20 s, and logs them."""

    def __init__(self, cfg: TrainConfig, steps: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.steps = steps
        self.hops_per_20s = 0.0
        self.interrupted = False
        self.bar = Progress(
            TextColumn("train"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeElapsedColumn(),
            TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=Console(stderr=True),
        )  # fmt: skip
        self.task = self.bar.add_task("train", total=steps, text="")

    def _on_training_start(self) -> None:
        self.bar.start()
        self._enter_stage()

    def _on_step(self) -> bool:
        return not self.interrupted

    def _on_rollout_end(self) -> None:
        world, rollout = self.model.env.world, self.model.rollout  # type: ignore[union-attr, attr-defined]
        table = world.hops.drain()
        seconds = world.num_envs * self.cfg.ppo.rollout * world.dt
        self.hops_per_20s = 20.0 * len(table) / seconds
        falls = float(rollout.dones.mean()) / world.dt * 20.0
        record = self.logger.record
        record("hops/hops_per_20s", self.hops_per_20s)
        record("hops/pronks_per_20s", 20.0 * float(table.pronk.sum()) / seconds)
        record("hops/ends_per_20s", falls)
        record("train/reward", float(rollout.rewards.mean()) / world.dt)
        if len(table):
            record("hops/apex_gain", float(table.apex_gain.mean()))
            record("hops/peak_force", float(_median(table.peak_force)))
            record("hops/touchdown_tilt", float(_median(table.touchdown_tilt)))
        record("time/steps", self.num_timesteps)
        self.logger.dump(self.num_timesteps)
        text = f"{self.num_timesteps / 1e6:.1f}M steps  {self.hops_per_20s:4.1f} hops/20 s  {falls:4.1f} ends/20 s"
        self.bar.update(self.task, completed=min(self.num_timesteps, self.steps), text=text)
        self._enter_stage()

    def _on_training_end(self) -> None:
        self.bar.stop()

    def _enter_stage(self) -> None:
        stages = self.cfg.stages
        if not stages:
            return
        stage = next((s for s in stages if self.num_timesteps < s.until * self.steps), stages[-1])
        model = self.model
        model.env.world.weights = {**self.cfg.world.rewards, **stage.rewards}  # type: ignore[union-attr]
        model.set_schedule(stage.learning_rate, stage.entropy)  # type: ignore[attr-defined]


@contextmanager
def stop_on_ctrl_c(progress: TrainingProgress) -> Iterator[None]:
    """Ctrl-C ends training after the current step, wherever it strikes; a second one ends the program."""

    def stop(_signal: int, _frame: Any) -> None:
        progress.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar train``."""
    cfg = parse(TrainConfig, argv, "lunar train", default="train/pronk.yaml")
    results = run(cfg, shlex.join(["lunar", "train", *argv]))
    Console().print(
        f"policy in {results['policy']}: {results['steps'] / 1e6:.2f}M steps in {results['minutes']:.1f} min "
        f"({results['steps_per_s']:.0f}/s), {results['hops_per_20s']:.1f} hops per 20 s while exploring"
        + (", interrupted" if results["interrupted"] else "")
    )
    if cfg.json:
        write_results(cfg.json, "train", cfg.seed, results)
    if results["interrupted"]:
        sys.exit(130)


def _check_stages(cfg: TrainConfig) -> None:
    for i, stage in enumerate(cfg.stages):
        for name in stage.rewards:
            if name not in TERMS:
                near = difflib.get_close_matches(name, TERMS, n=1, cutoff=0.3)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise LunarError(f"stages[{i}].rewards: unknown term '{name}'{hint}")


def _median(column: Any) -> float:
    return float(torch.as_tensor(column).median())
