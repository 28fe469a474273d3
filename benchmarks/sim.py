"""``lunar bench sim``: environment speed against its physics ceiling and against ordinary vector environments.

The ceiling is ``Batch.step`` alone, replaying the start states and the control sequence that a policy of the zoo made
in our own environment: same model, substeps, sensors and per-robot fields. Everything is measured in one process,
interleaved, and medians are reported, because the host's speed swings.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from mujoco.batch import Batch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from stable_baselines3.common.vec_env import SubprocVecEnv

from benchmarks.peer import PeerEnv
from policy.networks.policy_file import ZOO, load_actor
from sim.config import parse
from sim.envs.world import PronkWorld, WorldConfig
from sim.physics.batch import BatchPhysics
from sim.physics.threads import physics_first
from sim.results import write_results

PEER_ENVS = 8


@dataclass(frozen=True)
class BenchSimConfig:
    """Control steps per second of our environment, its ceiling and its peers."""

    world: WorldConfig = field(default_factory=WorldConfig)
    """The environment measured; its ``num_envs`` is replaced by the counts below."""
    robots: tuple[int, ...] = (1024, 2048, 4096, 8192)
    """Numbers of robots among which the best is taken for ours and the ceiling."""
    scaling: tuple[int, ...] = (64, 256, 1024, 4096, 8192)
    """Numbers of robots of the scaling table."""
    rounds: int = 7
    """Interleaved rounds; medians are reported."""
    seconds: float = 1.0
    """s per measurement."""
    device: str = "cpu"
    """Of our environment; ``cuda`` compares it with the CPU peers."""
    seed: int = 0
    """Of everything."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Fewer rounds and counts, under 45 s."""


def recorded(world: PronkWorld, batch: Batch, actor: torch.nn.Module, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Start state rows and the (steps, N, 12) joint targets of the zoo policy in ``world``, which steps ``batch``."""
    obs = world.reset()["policy"]
    for _ in range(50):  # into the rhythm of hopping
        obs = _advance(world, actor, obs)
    start = batch.state.copy()
    controls = np.empty((steps, world.num_envs, 12))
    for t in range(steps):
        obs = _advance(world, actor, obs)
        controls[t] = batch.bind("ctrl")
    return start, controls


class Ours:
    """Our environment, started again and again where a recording of the policy's actions began, and driven by them:
    no network is in the measurement, and the robots hop as in the ceiling's replay."""

    def __init__(self, cfg: WorldConfig, seed: int, device: str, actor: torch.nn.Module, steps: int = 100) -> None:
        self.world = world = PronkWorld(cfg, seed, device)
        obs = world.reset()["policy"]
        for _ in range(50):  # into the rhythm of hopping
            obs = _advance(world, actor, obs)
        self.start = world.physics.batch.state.copy() if isinstance(world.physics, BatchPhysics) else None
        self.actions = []
        for _ in range(steps):
            with torch.no_grad():
                self.actions.append(actor(obs).action)
            obs = world.step(self.actions[-1]).observations["policy"]
        self.t = 0

    def step(self) -> int:
        """One control step of all robots."""
        k = self.t % len(self.actions)
        if k == 0 and isinstance(self.world.physics, BatchPhysics):
            self.world.physics.batch.state[:] = self.start
        self.world.step(self.actions[k])
        self.t += 1
        return self.world.num_envs


class Ceiling:
    """``Batch.step`` replaying a recording."""

    def __init__(self, cfg: WorldConfig, seed: int, actor: torch.nn.Module) -> None:
        world = PronkWorld(cfg, seed)
        assert isinstance(world.physics, BatchPhysics)
        self.batch, self.substeps = world.physics.batch, cfg.physics.substeps
        self.start, self.controls = recorded(world, self.batch, actor, 100)
        self.ctrl = self.batch.bind("ctrl")
        self.t = 0

    def step(self) -> int:
        """One control step of all robots."""
        k = self.t % len(self.controls)
        if k == 0:
            self.batch.state[:] = self.start
        self.ctrl[:] = self.controls[k]
        self.batch.step(nstep=self.substeps)
        self.t += 1
        return len(self.ctrl)


class Peer:
    """A vector environment of ``PeerEnv``."""

    def __init__(self, env: Any, count: int) -> None:
        self.env, self.count = env, count
        env.reset()
        rng = np.random.default_rng(0)
        self.actions = rng.normal(0.0, 0.3, (200, count, 12)).astype(np.float32)
        self.t = 0

    def step(self) -> int:
        """One control step of all robots."""
        self.env.step(self.actions[self.t % len(self.actions)])
        self.t += 1
        return self.count


class Alone:
    """One ``PeerEnv`` without any vector environment: what the peers could reach on one core."""

    def __init__(self, cfg: WorldConfig) -> None:
        self.env = PeerEnv(cfg)
        self.env.reset(seed=0)
        self.actions = np.random.default_rng(0).normal(0.0, 0.3, (200, 12)).astype(np.float32)
        self.t = 0

    def step(self) -> int:
        """One control step."""
        *_, terminated, truncated, _info = self.env.step(self.actions[self.t % len(self.actions)])
        self.t += 1
        if terminated or truncated:
            self.env.reset()
        return 1


@physics_first()
def measure(subject: Any, seconds: float) -> float:
    """Control steps per second over about ``seconds``."""
    subject.step()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        count += subject.step()
    return count / elapsed


def make_peers(cfg: WorldConfig) -> dict[str, Any]:
    """The peers by name, and how to close them."""

    def make() -> gymnasium.Env:
        return PeerEnv(cfg)

    makers = [make] * PEER_ENVS
    mode = AutoresetMode.SAME_STEP
    return {
        "gymnasium_single": Alone(cfg),
        "gymnasium_sync": Peer(SyncVectorEnv(makers, autoreset_mode=mode), PEER_ENVS),
        "gymnasium_async": Peer(AsyncVectorEnv(makers, autoreset_mode=mode), PEER_ENVS),
        "sb3_subproc": Peer(SubprocVecEnv(makers), PEER_ENVS),
    }


def run(cfg: BenchSimConfig) -> dict[str, Any]:
    """Measure; keys as in the README's table."""
    actor, _ = load_actor(ZOO / "pronk")
    actor = actor.to(cfg.device)
    rounds, seconds = (3, 0.4) if cfg.quick else (cfg.rounds, cfg.seconds)
    counts = cfg.robots[1:3] if cfg.quick else cfg.robots
    peers = make_peers(cfg.world)
    subjects: dict[str, Any] = dict(peers)
    for n in counts:
        world = replace(cfg.world, num_envs=n)
        subjects[f"ours_{n}"] = Ours(world, cfg.seed, cfg.device, actor)
        subjects[f"ceiling_{n}"] = Ceiling(world, cfg.seed, actor.to("cpu"))
        actor.to(cfg.device)
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("bench sim", total=rounds * len(subjects))
        for _ in range(rounds):
            for name, subject in subjects.items():
                samples[name].append(measure(subject, seconds))
                bar.advance(task)
    speed = {name: statistics.median(values) for name, values in samples.items()}
    for name, peer in peers.items():
        if name != "gymnasium_single":
            peer.env.close()
    ours = {n: speed[f"ours_{n}"] for n in counts}
    ceiling = max(speed[f"ceiling_{n}"] for n in counts)
    best = max(ours, key=lambda n: ours[n])
    vector_peers = {name: speed[name] for name in peers if name != "gymnasium_single"}
    subjects.clear()
    scaling = cfg.scaling[:3] if cfg.quick else cfg.scaling
    table = [_scale(replace(cfg.world, num_envs=n), cfg, actor, seconds) for n in scaling]
    return {
        "ceiling_steps_per_s": ceiling,
        "env_steps_per_s": ours[best],
        "robots": best,
        "env_over_ceiling": ours[best] / ceiling,
        "env_over_best_peer": ours[best] / max(vector_peers.values()),
        "peers": {name: speed[name] for name in peers},
        "by_robots": {str(n): {"env": ours[n], "ceiling": speed[f"ceiling_{n}"]} for n in counts},
        "scaling": table,
        "mb_per_robot": table[-1]["mb_per_robot"],
    }


def _scale(world: WorldConfig, cfg: BenchSimConfig, actor: torch.nn.Module, seconds: float) -> dict[str, float]:
    """Speed and resident memory that an environment of this size adds."""
    before = _resident()
    subject = Ours(world, cfg.seed, cfg.device, actor, steps=4)
    speed = statistics.median(measure(subject, seconds) for _ in range(3))
    megabytes = (_resident() - before) / 1e6
    return {"robots": world.num_envs, "steps_per_s": speed, "mb_per_robot": megabytes / world.num_envs}


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _advance(world: PronkWorld, actor: torch.nn.Module, obs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return world.step(actor(obs).action).observations["policy"]


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar bench sim``."""
    cfg = parse(BenchSimConfig, argv, "lunar bench sim", default="bench/sim.yaml")
    results = run(cfg)
    console = Console()
    table = Table(title="Control steps per second, medians of interleaved rounds", title_justify="left")
    for column in ("", "steps/s", "ours is"):
        table.add_column(column, justify="right" if column else "left")
    ours = results["env_steps_per_s"]
    table.add_row(f"ours, {results['robots']} robots, all terms", f"{ours:,.0f}", "")
    table.add_row(
        "ceiling: Batch.step alone", f"{results['ceiling_steps_per_s']:,.0f}", f"{results['env_over_ceiling']:.2f}x"
    )
    for name, speed in results["peers"].items():
        table.add_row(f"peer {name}", f"{speed:,.0f}", f"{ours / speed:.1f}x")
    console.print(table)
    table = Table(title="Scaling", title_justify="left")
    for column in ("robots", "steps/s", "MB per robot"):
        table.add_column(column, justify="right")
    for row in results["scaling"]:
        table.add_row(str(row["robots"]), f"{row['steps_per_s']:,.0f}", f"{row['mb_per_robot']:.4f}")
    console.print(table)
    if cfg.json:
        write_results(cfg.json, "bench sim", cfg.seed, results)
