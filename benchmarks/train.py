"""``lunar bench train``: training end to end against stock Stable-Baselines3, and where our time goes.

The peers are SB3's own PPO on LunarPronk-v0, the same task with one robot per environment, in a DummyVecEnv and a
SubprocVecEnv, with the networks, epochs, minibatch and other hyperparameters of ours. All train from scratch, by turns
in one process; medians are reported.

``over_floor`` holds a training against what nothing can pass that steps this physics and trains these networks on this
machine: physics alone (``benchmarks.sim.ceiling``), and the networks' multiplications, counted by torch, at the rate of
one large product of float32 matrices.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger, configure
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import by_turns, countdown, medians, show_table
from benchmarks.peer import maker
from benchmarks.sim import ceiling, speed_of
from policy.networks.policy_file import ZOO, load_actor
from policy.training.config import TrainConfig
from policy.training.ppo import LunarPPO
from policy.training.train import TrainingProgress
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld

DEFAULT = "bench/train.yaml"
PHASES = ("physics", "terms", "inference", "update", "estimator", "other")
"""Stepping and resetting robots; rewards, observations, hops and the rest of the world; networks, noise, advantages and
log while robots run; gradients of actor and critic; of the internal model; what is left."""
FLOOR_ROBOTS = 1024
"""With which physics alone is fastest, or nearly."""
GEMM = 2048
"""Rows and columns of the large product."""


@dataclass(frozen=True)
class Config:
    """Environment steps per second of whole trainings."""

    mlp: TrainConfig = field(default_factory=TrainConfig)
    """The training that the peers repeat."""
    dual: TrainConfig = field(default_factory=TrainConfig)
    """One with an internal model."""
    dummy_envs: tuple[int, ...] = (8, 64)
    """Environments of SB3's DummyVecEnv; the best is taken."""
    subproc_envs: tuple[int, ...] = (8, 2)
    """Processes of SB3's SubprocVecEnv; the best is taken."""
    rounds: int = 7
    """Interleaved rounds of one update each; medians are reported."""
    seed: int = 1
    """Of everything."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Three rounds, one size of each peer."""


class Ours:
    """``lunar train``'s loop with its log and curve, an update at a time, and the time that each phase takes."""

    def __init__(self, cfg: TrainConfig, seed: int, folder: Path) -> None:
        cfg = replace(cfg, out=str(folder), checkpoint_minutes=float("inf"))
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        world = PronkWorld(cfg.seen_world, seed, cfg.device, threads=cfg.threads)
        self.model = LunarPPO("pronk", LunarVecEnv(world), cfg.ppo, seed=seed)
        self.model.set_logger(configure(cfg.out, ["csv", "tensorboard"]))
        self.progress = TrainingProgress(cfg, cfg.steps, "", {})
        self.progress.bar.disable = True
        self.samples = cfg.world.num_envs * cfg.ppo.rollout
        self.flops = 0.0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._time(world.physics, "step", "physics")
        self._time(world.physics, "reset", "physics")
        self._time(world, "step", "world")
        self._time(self.model, "collect_rollouts", "rollout")
        self._time(self.model, "train", "train")
        self._time(self.model, "_train_estimator", "estimator")

    def update(self) -> int:
        """One rollout and one update; returns environment steps. The first is not timed: its multiplications are
        counted into ``flops``, floating-point operations per environment step."""
        if not self.flops:
            with FlopCounterMode(display=False) as counter:
                self._learn()
            self.flops = counter.get_total_flops() / self.samples
            self.seconds.clear()
            return self.samples
        start = time.perf_counter()
        self._learn()
        self.seconds["all"] += time.perf_counter() - start
        return self.samples

    def _learn(self) -> None:
        self.model.learn(self.samples, self.progress, log_interval=sys.maxsize, reset_num_timesteps=False)

    def shares(self) -> dict[str, float]:
        """Of the time of all updates after the first, by ``PHASES``."""
        s = self.seconds
        seconds = {
            "physics": s["physics"], "terms": s["world"] - s["physics"], "inference": s["rollout"] - s["world"],
            "update": s["train"] - s["estimator"], "estimator": s["estimator"],
            "other": s["all"] - s["rollout"] - s["train"],
        }  # fmt: skip
        return {name: seconds[name] / s["all"] for name in PHASES}

    def _time(self, owner: Any, method: str, name: str) -> None:
        """Book the time that a method takes from now on."""
        inner: Callable[..., Any] = getattr(owner, method)
        on_gpu = self.model.device.type == "cuda"

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = inner(*args, **kwargs)
            if on_gpu:
                torch.cuda.synchronize()
            self.seconds[name] += time.perf_counter() - start
            return result

        setattr(owner, method, timed)


class Peer:
    """SB3's PPO, an update of one minibatch per epoch at a time."""

    def __init__(self, cfg: TrainConfig, vec_env: type[DummyVecEnv] | type[SubprocVecEnv], count: int) -> None:
        ppo, hidden = cfg.ppo, list(cfg.ppo.model.hidden)
        self.env = vec_env([maker(cfg.world)] * count)
        self.samples = ppo.minibatch
        self.model = PPO(
            "MlpPolicy", self.env, learning_rate=ppo.learning_rate, n_steps=self.samples // count,
            batch_size=self.samples, n_epochs=ppo.epochs, gamma=ppo.gamma, gae_lambda=ppo.gae_lambda,
            clip_range=ppo.clip, ent_coef=ppo.entropy, max_grad_norm=ppo.max_grad_norm, device=cfg.device,
            seed=cfg.seed,
            policy_kwargs={
                "net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": torch.nn.ELU,
                "log_std_init": math.log(ppo.initial_std),
            },
        )  # fmt: skip
        self.model.set_logger(Logger(None, []))

    def update(self) -> int:
        """One rollout and one update; returns environment steps."""
        self.model.learn(self.samples, log_interval=sys.maxsize, reset_num_timesteps=False)
        return self.samples


def run(cfg: Config) -> dict[str, Any]:
    """Measure; ``steps_per_s``, ``over_sb3`` and ``shares`` are of ``mlp``, and again under ``dual``."""
    rounds = 3 if cfg.quick else cfg.rounds
    kinds = (("dummy", DummyVecEnv, cfg.dummy_envs), ("subproc", SubprocVecEnv, cfg.subproc_envs))
    peers = {
        f"{name}_{count}": Peer(cfg.mlp, vec_env, count)
        for name, vec_env, counts in kinds
        for count in (counts[-1:] if cfg.quick else counts)
    }
    try:
        with tempfile.TemporaryDirectory() as folder:
            ours = {name: Ours(getattr(cfg, name), cfg.seed, Path(folder) / name) for name in ("mlp", "dual")}
            subjects: dict[str, Ours | Peer] = {**ours, **peers}
            world = replace(cfg.mlp.world, num_envs=FLOOR_ROBOTS)
            physics = ceiling(world, cfg.seed, load_actor(ZOO / "pronk")[0])
            turns: dict[str, Callable[[], float]] = {n: partial(_speed, s) for n, s in subjects.items()}
            turns |= {"physics": partial(speed_of, physics, 1.0), "gemm": _gemm}
            speed = medians(by_turns(turns, rounds, "bench train", countdown(cfg.quick)))
            for subject in ours.values():
                subject.model.logger.close()
    finally:
        for peer in peers.values():
            peer.env.close()
    best = max(speed[name] for name in peers)
    mlp, dual = (
        {
            "steps_per_s": speed[name],
            "over_sb3": speed[name] / best,
            "over_floor": speed[name] * (1.0 / speed["physics"] + subject.flops / speed["gemm"]),
            "flops_per_step": subject.flops,
            "shares": subject.shares(),
        }
        for name, subject in ours.items()
    )
    floor = {"physics_steps_per_s": speed["physics"], "gemm_flops_per_s": speed["gemm"]}
    return {**mlp, "floor": floor, "dual": dual, "sb3": {name: speed[name] for name in peers}, "rounds": rounds}


def _gemm() -> float:
    """Floating-point operations per second of a product of large float32 matrices."""
    a = torch.rand(GEMM, GEMM)
    start = time.perf_counter()
    for _ in range(4):
        a @ a
    return 4 * 2 * GEMM**3 / (time.perf_counter() - start)


def _speed(subject: Ours | Peer) -> float:
    """Environment steps per second of one update."""
    start = time.perf_counter()
    return subject.update() / (time.perf_counter() - start)


def show(results: dict[str, Any]) -> None:
    """Speeds, ratios and phases."""
    rows = []
    for name, row in (("mlp", results), ("dual", results["dual"])):
        shares = (f"{100 * row['shares'][phase]:.0f}%" for phase in PHASES)
        ratios = f"{row['over_sb3']:.1f}x", f"{row['over_floor']:.2f}"
        rows.append((name, f"{row['steps_per_s']:,.0f}", *ratios, *shares))
    rows += [(f"SB3 {name}", f"{speed:,.0f}") for name, speed in results["sb3"].items()]
    columns = ("", "steps/s", "over the best of SB3", "of the floor", *PHASES)
    show_table("Training end to end, environment steps per second", columns, rows)
