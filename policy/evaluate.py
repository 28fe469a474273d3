"""``lunar eval``: a policy's hop metrics on fixed suites; deterministic actions, no robot restarted in its trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import nn

from policy.picture import Recording, draw
from policy.policy_file import load_actor
from policy.runtime.card import Card
from sim.config import ROOT, load, parse
from sim.envs.world import SPEC, PronkWorld, WorldConfig
from sim.errors import LunarError
from sim.physics.threads import physics_first
from sim.results import write_results
from sim.spec.hops import HopTable, longest_run


@dataclass(frozen=True)
class EvalConfig:
    """Measure a policy on one or more suites (files in configs/eval/) and print the hop metrics."""

    policy: str
    """Folder with policy.safetensors and card.json."""
    suite: str = "flat"
    """Suite names, separated by commas."""
    robots: int = 512
    """Trials per suite."""
    seed: int = 1000
    """Of worlds, commands and sensor noise."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """64 robots for 5 s."""
    save: bool = False
    """Write the metrics into the policy's card."""
    picture: str = ""
    """PNG file for a picture of one robot's hops in the first suite."""


@dataclass(frozen=True)
class SuiteConfig:
    """A fixed world to be measured in."""

    duration: float = 20.0
    """s per trial; counts are scaled to 20 s."""
    world: WorldConfig = field(default_factory=WorldConfig)


@dataclass
class Trials:
    """What was recorded of N trials of ``duration`` seconds."""

    duration: float
    survived: np.ndarray
    """(N,) bool."""
    lifetime: np.ndarray
    """(N,) s."""
    hops: HopTable
    flight_time: np.ndarray
    """(N,) s without any foot loaded."""
    velocity_error: float
    """m/s, mean over flight time of the horizontal velocity's distance from the command."""
    yaw_rate_error: float
    """rad/s, mean over the whole time of |yaw rate - command|."""
    apex_error: float
    """m, mean over hops of |apex gain - command|."""
    recording: Recording
    """The first robot that survived, or robot 0."""


@physics_first()
def run_trials(actor: nn.Module, world: PronkWorld, duration: float, tick: Any = None) -> Trials:
    """One trial per robot, from the world's reset to a fall or the end."""
    n, dt, physics = world.num_envs, world.dt, world.physics
    steps = round(duration / dt)
    alive = np.ones(n, dtype=bool)
    lifetime = np.full(n, duration)
    flight = np.zeros(n)
    velocity_sum = yaw_sum = 0.0
    velocity_count = yaw_count = 0
    qpos = np.zeros((steps, n, 19), dtype=np.float32)
    height = np.zeros((steps, *physics.base_height.shape), dtype=np.float32)
    force = np.zeros((steps, *physics.foot_force.shape), dtype=np.float32)
    obs = world.reset()
    world.hops.drain()
    command = world.command.clone()
    for k in range(steps):
        with torch.no_grad():
            action = actor(obs["policy"])
        step = world.step(action)
        s = world.state
        ended = step.terminated.cpu().numpy()
        lifetime[alive & ended] = (k + 1) * dt
        alive &= ~ended
        airborne = alive & world.hops.airborne
        flight[airborne] += dt
        error = (s.velocity[:, :2] - command[:, :2]).norm(dim=1).cpu().numpy()
        velocity_sum += float(error[airborne].sum())
        velocity_count += int(airborne.sum())
        yaw_sum += float((s.yaw_rate - command[:, 2]).abs().cpu().numpy()[alive].sum())
        yaw_count += int(alive.sum())
        for rows, tensor in ((qpos, physics.qpos), (height, physics.base_height), (force, physics.foot_force)):
            rows[k] = tensor.cpu().numpy()
        obs = step.observations
        if tick is not None:
            tick()
    table = world.hops.table()
    rows = table.liftoff_time + table.flight_time <= lifetime[table.robot] + 1e-6
    table = HopTable(**{name: column[rows] for name, column in vars(table).items()})
    apex_command = command[:, 3].cpu().numpy()
    shown = int(np.argmax(alive))
    return Trials(
        duration=duration,
        survived=alive,
        lifetime=lifetime,
        hops=table,
        flight_time=flight,
        velocity_error=velocity_sum / max(velocity_count, 1),
        yaw_rate_error=yaw_sum / max(yaw_count, 1),
        apex_error=float(np.abs(table.apex_gain - apex_command[table.robot]).mean()) if len(table) else math.nan,
        recording=Recording(
            dt=dt,
            qpos=qpos[:, shown],
            height=height[:, shown],
            foot_force=force[:, shown],
            mass=physics.mass,
            physics=world.cfg.physics,
            terrain=physics.terrain[0],
        ),
    )


def summarise(trials: Trials) -> dict[str, float]:
    """The metrics of ``lunar eval``; counts per 20 s, medians with ``_p95`` beside them where spread matters."""
    n = len(trials.survived)
    t = trials.hops
    scale = 20.0 / trials.duration
    low, high = wilson(int(trials.survived.sum()), n)
    results = {
        "survival": float(trials.survived.mean()),
        "survival_low": low,
        "survival_high": high,
        "hops": len(t) / n * scale,
        "pronks": float(t.pronk.sum()) / n * scale,
        "longest_run": float(longest_run(t, n).mean()),
        "flight_fraction": float(trials.flight_time.sum() / trials.lifetime.sum()),
        "apex_gain": float(t.apex_gain.mean()) if len(t) else math.nan,
        "apex_error": trials.apex_error,
        "velocity_error": trials.velocity_error,
        "yaw_rate_error": trials.yaw_rate_error,
    }
    spreads = {
        "touchdown_tilt_deg": np.degrees(t.touchdown_tilt),
        "liftoff_spread_ms": 1e3 * t.liftoff_spread,
        "touchdown_spread_ms": 1e3 * t.touchdown_spread,
        "peak_force_lunar_bw": t.peak_force,
    }
    for name, column in spreads.items():
        for suffix, level in (("", 0.5), ("_p95", 0.95)):
            value = float(np.quantile(column, level, method="lower")) if len(t) else math.nan
            results[name + suffix] = value
    return results


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95% confidence interval of a proportion (Wilson 1927)."""
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def suite_world(name: str, card: Card, robots: int) -> tuple[SuiteConfig, WorldConfig]:
    """The suite and its world, set up for the policy's robot and gains.

    Raises:
        LunarError: unknown suite.
    """
    path = ROOT / "configs" / "eval" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise LunarError(f"suite '{name}' is unknown; choose from: {known}")
    suite = load(SuiteConfig, path)
    physics = replace(suite.world.physics, robot=card.robot, kp=card.kp, kd=card.kd)
    world = replace(suite.world, num_envs=robots, physics=physics, action_scale=card.action_scale)
    return suite, replace(world, episode_length=2.0 * suite.duration)


def evaluate(cfg: EvalConfig, console: Console) -> dict[str, dict[str, float]]:
    """Results by suite."""
    actor, card = load_actor(Path(cfg.policy))
    if difference := card.observation.difference(SPEC):
        raise LunarError(f"policy {cfg.policy} does not fit the environment's observation: {difference}")
    results: dict[str, dict[str, float]] = {}
    for name in cfg.suite.split(","):
        suite, world_config = suite_world(name.strip(), card, 64 if cfg.quick else cfg.robots)
        duration = 5.0 if cfg.quick else suite.duration
        world = PronkWorld(world_config, cfg.seed, training=False)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"eval {name}", total=round(duration / world.dt))
            trials = run_trials(actor, world, duration, lambda bar=bar, task=task: bar.advance(task))
        if cfg.picture and not results:
            Path(cfg.picture).parent.mkdir(parents=True, exist_ok=True)
            missing = draw(trials.recording, Path(cfg.picture))
            console.print(f"picture in {cfg.picture}" + (f" ({missing})" if missing else ""))
        results[name] = summarise(trials)
    return results


def print_table(results: dict[str, dict[str, float]], console: Console) -> None:
    """One column per suite."""
    table = Table(title="Hop metrics (definitions: sim/spec/hops.py)", title_justify="left")
    table.add_column("metric")
    for name in results:
        table.add_column(name, justify="right")
    for metric in next(iter(results.values())):
        table.add_row(metric, *(f"{r[metric]:.3f}" for r in results.values()))
    console.print(table)


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar eval``."""
    cfg = parse(EvalConfig, argv, "lunar eval")
    console = Console()
    results = evaluate(cfg, console)
    print_table(results, console)
    if cfg.save:
        path = Path(cfg.policy) / "card.json"
        card = Card.load(path)
        replace(card, metrics={**card.metrics, **results}).save(path)
    if cfg.json:
        write_results(cfg.json, "eval", cfg.seed, results)
