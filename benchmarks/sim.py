"""``lunar bench sim``: environment speed against its physics ceiling and against ordinary vector environments.

The ceiling is ``Batch.step`` alone, replaying the start states and the control sequence that a policy of the zoo made
in our own environment: same model, substeps, sensors and per-robot fields. The peers are LunarPronk-v0, one robot per
environment, in Gymnasium's and SB3's vector environments; ``mj_step`` is the bare call on one robot in one process,
which no environment in Python passes that steps its robots one by one, however it is written. All take turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from mujoco.batch import Batch
from stable_baselines3.common.vec_env import SubprocVecEnv

from benchmarks.harness import by_turns, countdown, medians, show_table
from benchmarks.peer import maker
from policy.networks.policy_file import ZOO, load_actor
from sim.envs.world import PronkWorld
from sim.physics.batch import BatchPhysics
from sim.physics.scene import build_scene
from sim.physics.threads import physics_first
from sim.robots.go2.facts import GO2
from sim.spec.joints import NOMINAL_POSE
from sim.tasks.config import WorldConfig

DEFAULT = "bench/sim.yaml"
PEER_ENVS = 8
STEPS = 100  # control steps of a recording
Step = Callable[[], int]
"""One control step of some robots; how many."""


@dataclass(frozen=True)
class Config:
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
    """512 robots against one peer in fewer rounds; begins nothing more after 45 s."""


@torch.no_grad()
def _hopping(world: PronkWorld, actor: torch.nn.Module) -> torch.Tensor:
    """The observation after 50 steps, when robots are in the rhythm of hopping."""
    obs = world.reset()["policy"]
    for _ in range(50):
        obs = world.step(actor(obs).action).observations["policy"]
    return obs


def _ours(cfg: WorldConfig, seed: int, device: str, actor: torch.nn.Module, steps: int = STEPS) -> Step:
    """Our environment, started again and again where a recording of the policy's actions began, and driven by them:
    no network is in the measurement, and the robots hop as in the ceiling's replay."""
    world = PronkWorld(cfg, seed, device)
    batch = world.physics.batch if isinstance(world.physics, BatchPhysics) else None
    obs = _hopping(world, actor)
    start = None if batch is None else batch.state.copy()
    actions: list[torch.Tensor] = []
    with torch.no_grad():
        for _ in range(steps):
            actions.append(actor(obs).action)
            obs = world.step(actions[-1]).observations["policy"]
    t = 0

    def step() -> int:
        nonlocal t
        if t % steps == 0 and batch is not None:
            batch.state[:] = start
        world.step(actions[t % steps])
        t += 1
        return world.num_envs

    return step


@torch.no_grad()
def ceiling(cfg: WorldConfig, seed: int, actor: torch.nn.Module, steps: int = STEPS) -> Step:
    """``Batch.step`` replaying what the policy did in our environment: physics alone."""
    world = PronkWorld(cfg, seed)
    assert isinstance(world.physics, BatchPhysics)
    batch: Batch = world.physics.batch
    ctrl = batch.bind("ctrl")
    obs = _hopping(world, actor)
    start, controls = batch.state.copy(), np.empty((steps, *ctrl.shape))
    for k in range(steps):
        obs = world.step(actor(obs).action).observations["policy"]
        controls[k] = ctrl
    t = 0

    def step() -> int:
        nonlocal t
        if t % steps == 0:
            batch.state[:] = start
        ctrl[:] = controls[t % steps]
        batch.step(nstep=cfg.physics.substeps)
        t += 1
        return len(ctrl)

    return step


def _peer(env: Any) -> Step:
    """A vector environment, driven by noise."""
    env.reset()
    noise = np.random.default_rng(0).normal(0.0, 0.3, (200, PEER_ENVS, 12)).astype(np.float32)
    t = 0

    def step() -> int:
        nonlocal t
        env.step(noise[t % len(noise)])
        t += 1
        return PEER_ENVS

    return step


def _mj_step(cfg: WorldConfig) -> Step:
    """One robot that stands, driven by noise, and MuJoCo's own function."""
    model = build_scene(cfg.physics)
    data = mujoco.MjData(model)
    noise = np.random.default_rng(0).normal(0.0, 0.3, (200, 12))
    targets = NOMINAL_POSE + GO2.action_scale * noise
    t = 0

    def step() -> int:
        nonlocal t
        if t % len(targets) == 0:
            mujoco.mj_resetData(model, data)
            data.qpos[2], data.qpos[7:] = 0.3, NOMINAL_POSE
        data.ctrl[:] = targets[t % len(targets)]
        mujoco.mj_step(model, data, cfg.physics.substeps)
        t += 1
        return 1

    return step


@physics_first()
def speed_of(step: Step, seconds: float) -> float:
    """Control steps per second over about ``seconds``."""
    step()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        count += step()
    return count / elapsed


def run(cfg: Config) -> dict[str, Any]:
    """Measure; keys as in the README's table."""
    actor, _ = load_actor(ZOO / "pronk")
    left = countdown(cfg.quick)
    rounds, seconds, steps = (3, 0.4, 20) if cfg.quick else (cfg.rounds, cfg.seconds, STEPS)
    counts = (512,) if cfg.quick else cfg.robots
    makers = [maker(cfg.world)] * PEER_ENVS
    mode = AutoresetMode.SAME_STEP
    peers: dict[str, Any] = {"gymnasium_sync": SyncVectorEnv(makers, autoreset_mode=mode)}
    if not cfg.quick:
        peers["gymnasium_async"] = AsyncVectorEnv(makers, autoreset_mode=mode)
        peers["sb3_subproc"] = SubprocVecEnv(makers)
    try:
        subjects = {name: _peer(env) for name, env in peers.items()} | {"mj_step": _mj_step(cfg.world)}
        for n in counts:
            world = replace(cfg.world, num_envs=n)
            subjects[f"ceiling_{n}"] = ceiling(world, cfg.seed, actor.to("cpu"), steps)
            subjects[f"ours_{n}"] = _ours(world, cfg.seed, cfg.device, actor.to(cfg.device), steps)
        turns = {name: partial(speed_of, step, seconds) for name, step in subjects.items()}
        speed = medians(by_turns(turns, rounds, "bench sim", left))
    finally:
        for env in peers.values():
            env.close()
    subjects.clear()
    turns.clear()
    ours = {n: speed[f"ours_{n}"] for n in counts}
    best = max(ours, key=lambda n: ours[n])
    highest = max(speed[f"ceiling_{n}"] for n in counts)
    table: list[dict[str, float]] = []
    for n in (64, 512) if cfg.quick else cfg.scaling:
        if not table or left() > 0.0:
            table.append(_scale(replace(cfg.world, num_envs=n), cfg, actor, seconds))
    return {
        "ceiling_steps_per_s": highest,
        "env_steps_per_s": ours[best],
        "robots": best,
        "env_over_ceiling": ours[best] / highest,
        "env_over_best_peer": ours[best] / max(speed[name] for name in peers),
        "env_over_mj_step": ours[best] / speed["mj_step"],
        "peers": {name: speed[name] for name in (*peers, "mj_step")},
        "by_robots": {str(n): {"env": ours[n], "ceiling": speed[f"ceiling_{n}"]} for n in counts},
        "scaling": table,
        "mb_per_robot": table[-1]["mb_per_robot"],
    }


def _scale(world: WorldConfig, cfg: Config, actor: torch.nn.Module, seconds: float) -> dict[str, float]:
    """Speed and resident memory that an environment of this size adds."""
    before = _resident()
    step = _ours(world, cfg.seed, cfg.device, actor, steps=4)
    speed = statistics.median(speed_of(step, seconds) for _ in range(3))
    megabytes = (_resident() - before) / 1e6
    return {"robots": world.num_envs, "steps_per_s": speed, "mb_per_robot": megabytes / world.num_envs}


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def show(results: dict[str, Any]) -> None:
    """Speeds and scaling."""
    ours = results["env_steps_per_s"]
    rows = [
        (f"ours, {results['robots']} robots, all terms", f"{ours:,.0f}", ""),
        ("ceiling: Batch.step alone", f"{results['ceiling_steps_per_s']:,.0f}", f"{results['env_over_ceiling']:.2f}x"),
    ]
    rows += [(f"peer {name}", f"{speed:,.0f}", f"{ours / speed:.1f}x") for name, speed in results["peers"].items()]
    show_table("Control steps per second, medians of interleaved rounds", ("", "steps/s", "ours is"), rows)
    scaling = [(str(r["robots"]), f"{r['steps_per_s']:,.0f}", f"{r['mb_per_robot']:.4f}") for r in results["scaling"]]
    show_table("Scaling", ("robots", "steps/s", "MB per robot"), scaling)
