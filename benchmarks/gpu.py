"""``lunar bench gpu``: MuJoCo Warp against the C engine, its speed by robots, the host's waits, and an update of PPO.

- Parity: both engines from the same starts under the same targets; the largest differences after some control steps,
  against the bounds that tests/sim/test_warp.py holds Warp's CPU device to.
- Speed: the training's world, driven by the noise that its untrained policy makes, and the share that is physics.
- Waits: operations for which a GPU lets the host wait, per control step: counted among torch's operations everywhere
  (copies between devices show on a GPU alone), and with the lines that cause them by CUDA's own watch.
- Update: ``lunar train``'s loop, phases as of ``lunar bench train``.

Everything runs on a CPU too (``--device cpu``), by Warp's CPU device, which is slow and good to try the command with.
"""

from __future__ import annotations

import platform
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import seconds, show_table, timed
from benchmarks.train import PHASES, Ours
from benchmarks.waits import Waits, cuda_waits
from policy.training.config import TrainConfig
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.physics.backend import make_physics
from sim.physics.base import Physics
from sim.physics.scene import PhysicsConfig
from sim.spec.joints import NOMINAL_POSE
from sim.terminal import Terminal
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField

DEFAULT = "bench/gpu.yaml"
BOUNDS = {
    "qpos": 3e-5, "qvel": 1e-3, "foot_force": 2e-2, "torque": 1e-3, "angular_momentum": 3e-4,
    "com": 3e-5, "base_height": 3e-5, "foot_position": 3e-5, "ground": 3e-5,
}  # fmt: skip
"""SI units; of differences within 50 control steps. On an elliptic cone feet differ by 7 mN, on a pyramid by 0.7."""
FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))


@dataclass(frozen=True)
class Config:
    """Parity, speed, waits of the host and an update of PPO with MuJoCo Warp."""

    train: TrainConfig = field(default_factory=TrainConfig)
    """Whose world and update are measured; numbers of robots, device and backend are replaced."""
    device: str = "cuda"
    """``cuda``, or ``cpu`` for Warp's CPU device."""
    robots: tuple[int, ...] = (1024, 2048, 4096, 8192, 16384)
    """Numbers of robots of the speeds."""
    update_robots: int = 4096
    """Of the update, whose minibatch is the training's."""
    seconds: float = 3.0
    """s per measurement of speed."""
    parity_robots: int = 16
    """Robots compared with the C engine's."""
    parity_steps: tuple[int, ...] = (1, 10, 50)
    """Control steps after which they are compared."""
    seed: int = 1
    """Of everything."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """64 robots and short measurements, to try the command."""


def run(cfg: Config) -> dict[str, Any]:
    """Measure; each part's results under its name. A part that fails leaves its ``error`` and the others: time on a GPU
    may be lent."""
    if cfg.quick:
        cfg = replace(
            cfg, robots=(64,), update_robots=64, seconds=0.3, parity_robots=4, parity_steps=cfg.parity_steps[:2]
        )
    console = Terminal(stderr=True)
    results: dict[str, Any] = {"versions": _versions(cfg.device), "device": cfg.device}
    for name, measure in (("parity", parity), ("speed", speed), ("waits", waits), ("update", update)):
        start = time.perf_counter()
        try:
            results[name] = measure(cfg)
        except Exception as error:
            traceback.print_exc()
            results[name] = {"error": repr(error)}
        console.print(f"bench gpu: {name} took {time.perf_counter() - start:.0f} s", highlight=False)
    return results


def _versions(device: str) -> dict[str, str]:
    names = ("torch", "warp-lang", "mujoco", "mujoco-warp", "numpy")
    chip = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "cpu"
    return {"chip": chip, "cuda": str(torch.version.cuda), **{name: version(name) for name in names}}


def parity(cfg: Config) -> dict[str, Any]:
    """Largest differences from the C engine, by ground, control step and quantity."""
    uneven = make_terrain(TerrainConfig(kind="rough", size=16.0), 0)
    return {
        name: _compare(cfg, terrain, targets)
        for name, terrain, targets in (("flat", FLAT, _jump), ("uneven", uneven, _wave))
    }


def _compare(cfg: Config, terrain: HeightField, targets: Callable[[int, int], Tensor]) -> dict[str, Any]:
    """Robots dropped from 0.29 to 0.6 m in a row, as in tests/sim/test_warp.py."""
    n = cfg.parity_robots
    ours = make_physics(PhysicsConfig(backend="batch"), n, terrain, "cpu")
    theirs = make_physics(PhysicsConfig(backend="warp"), n, terrain, cfg.device)
    qpos = torch.zeros(n, 19)
    qpos[:, 0] = torch.linspace(-6.0, 6.0, n)
    qpos[:, 3] = 1.0
    qpos[:, 7:] = torch.as_tensor(NOMINAL_POSE)
    qpos[:, 2] = torch.linspace(0.29, 0.6, n) + ours.terrain_height(qpos[:, None, :2], ours.level)[:, 0]
    for engine in (ours, theirs):
        engine.reset(*(t.to(engine.device) for t in (torch.arange(n), qpos, torch.zeros(n, 18))))
    found = {}
    for k in range(1, max(cfg.parity_steps) + 1):
        lost = [bool(engine.step(targets(k - 1, n).to(engine.device)).any()) for engine in (ours, theirs)]
        if any(lost):
            raise LunarError(f"a simulation diverged at control step {k}; C engine: {lost[0]}, Warp: {lost[1]}")
        if k in cfg.parity_steps:
            found[str(k)] = {name: _difference(ours, theirs, name) for name in BOUNDS}
    held = {name: max(row[name] for row in found.values()) <= bound for name, bound in BOUNDS.items()}
    return {"differences": found, "held": held}


def _difference(ours: Physics, theirs: Physics, name: str) -> float:
    return float((getattr(ours, name) - getattr(theirs, name).cpu()).abs().max())


def _jump(k: int, n: int) -> Tensor:
    """Targets that bend and stretch all legs every 1.2 s: the robots jump and land."""
    bend = np.sin(2 * np.pi * k / 60) * np.array([0.0, -0.35, 0.7] * 4)
    return torch.as_tensor(NOMINAL_POSE + bend).float().repeat(n, 1)


def _wave(k: int, n: int) -> Tensor:
    """Targets that differ between legs and robots and make the robots step on the spot."""
    return torch.as_tensor(NOMINAL_POSE).float() + 0.2 * torch.sin(0.3 * k + torch.arange(12.0 * n).reshape(n, 12))


def _training(cfg: Config, robots: int) -> TrainConfig:
    """The training on Warp, with that many robots."""
    training = cfg.train
    physics = replace(training.world.physics, backend="warp")
    world = replace(training.world, num_envs=robots, ages=training.ppo.model.ages, physics=physics)
    return replace(training, world=world, device=cfg.device, seed=cfg.seed)


def _world(cfg: Config, robots: int) -> PronkWorld:
    world = PronkWorld(_training(cfg, robots).world, cfg.seed, cfg.device)
    world.reset()
    return world


def _step(cfg: Config, world: PronkWorld) -> None:
    """One control step of an untrained policy: noise."""
    world.step(cfg.train.ppo.initial_std * torch.randn(world.num_envs, 12, device=world.device))
    world.hops.drain()


def _wait(device: torch.device) -> None:
    """Until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speed(cfg: Config) -> list[dict[str, float]]:
    """Control steps per second, and what of their time is physics, for each number of robots."""
    return [_speed(cfg, robots) for robots in cfg.robots]


def _speed(cfg: Config, robots: int) -> dict[str, float]:
    made, world = timed(lambda: _world(cfg, robots))
    first = seconds(lambda: _steps(cfg, world, 3))
    _steps(cfg, world, 5 if cfg.quick else 30)
    whole = _milliseconds(cfg, world, cfg.seconds)
    booked: dict[str, float] = {"step": 0.0, "reset": 0.0}
    with _booked(world.physics, booked):
        count = round(0.5 * cfg.seconds * 1e3 / whole) + 1
        _steps(cfg, world, count)
    physics = {name: 1e3 * value / count for name, value in booked.items()}
    ended, solver = _while_running(cfg, world)
    return {
        "robots": robots,
        "steps_per_s": 1e3 * robots / whole,
        "ms": whole,
        "physics_ms": physics["step"],
        "reset_ms": physics["reset"],
        "physics_share": physics["step"] / whole,
        "ends_per_step": ended,
        "solver_iterations_mean": float(np.mean(solver)),
        "solver_iterations_most": float(np.max(solver)),
        "made_s": made,
        "first_steps_s": first,  # once with Warp's kernels to compile
        "gb_in_use": _gigabytes(cfg.device),
    }


def _steps(cfg: Config, world: PronkWorld, count: int) -> None:
    for _ in range(count):
        _step(cfg, world)
    _wait(world.device)


def _milliseconds(cfg: Config, world: PronkWorld, least: float) -> float:
    """ms of a control step, over at least ``least`` s."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < least:
        _steps(cfg, world, 5)
        count += 5
    return 1e3 * (time.perf_counter() - start) / count


@contextmanager
def _booked(physics: Physics, booked: dict[str, float]) -> Iterator[None]:
    """Add up the time that methods of ``physics`` take, each from an idle device to an idle device."""
    for name in booked:
        inner = getattr(physics, name)

        def measured(*args: Any, inner: Callable[..., Any] = inner, name: str = name) -> Any:
            _wait(physics.device)
            start = time.perf_counter()
            result = inner(*args)
            _wait(physics.device)
            booked[name] += time.perf_counter() - start
            return result

        setattr(physics, name, measured)
    try:
        yield
    finally:
        for name in booked:
            delattr(physics, name)


def _while_running(cfg: Config, world: PronkWorld) -> tuple[float, np.ndarray]:
    """Trials that end per control step, and the solver's iterations at the last physics step of ten control steps."""
    solver, ended = [], 0
    for _ in range(10):
        _step(cfg, world)
        ended += int((world.steps == 0).sum())
        solver.append(world.physics._data.solver_niter.numpy())  # type: ignore[attr-defined]
    return ended / 10, np.concatenate(solver)


def _gigabytes(device: str) -> float:
    if not device.startswith("cuda"):
        return float("nan")
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / 1e9


def waits(cfg: Config) -> dict[str, Any]:
    """Operations and waits per control step, with the first number of robots."""
    world = _world(cfg, cfg.robots[0])
    _steps(cfg, world, 5)
    count = 5 if cfg.quick else 20
    with Waits() as counted:
        for _ in range(count):
            _step(cfg, world)
    lines = cuda_waits(lambda: _steps(cfg, world, count)) if world.device.type == "cuda" else Counter()
    return {
        "operations": counted.operations / count,
        "waits": {name: number / count for name, number in counted.waits.most_common()},
        "total": sum(counted.waits.values()) / count,
        "cuda_total": sum(lines.values()) / count if lines else None,
        "cuda_lines": {line: number / count for line, number in lines.most_common(30)},
    }


def update(cfg: Config) -> dict[str, Any]:
    """s of an update of PPO and of its phases, with the training's minibatch."""
    training = _training(cfg, cfg.update_robots)
    count = 1 if cfg.quick else 3
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(training, cfg.seed, Path(folder))
        ours.update()  # warms up
        for _ in range(count):
            ours.update()
        ours.model.logger.close()
    whole = ours.seconds["all"] / count
    return {
        "robots": cfg.update_robots,
        "minibatch": training.ppo.minibatch,
        "seconds": whole,
        "collect_s": ours.seconds["rollout"] / count,
        "train_s": ours.seconds["train"] / count,
        "steps_per_s": ours.samples / whole,
        "phases_s": {phase: share * whole for phase, share in ours.shares().items()},
    }


def show(results: dict[str, Any]) -> None:
    """Tables of the four parts.

    Raises:
        LunarError: a part failed.
    """
    Terminal().print(", ".join(f"{name} {value}" for name, value in results["versions"].items()), highlight=False)
    shows: dict[str, Callable[[Any], None]] = {
        "parity": _show_parity, "speed": _show_speed, "waits": _show_waits, "update": _show_update,
    }  # fmt: skip
    failed = [name for name in shows if "error" in results[name]]
    for name, show_part in shows.items():
        if name not in failed:
            show_part(results[name])
    if failed:
        raise LunarError("; ".join(f"{name} failed: {results[name]['error']}" for name in failed))


def _show_parity(found: dict[str, Any]) -> None:
    rows = []
    for ground, part in found.items():
        for name, bound in BOUNDS.items():
            after = (f"{row[name]:.1e}" for row in part["differences"].values())
            rows.append((f"{ground}: {name}", *after, f"{bound:.0e}", "held" if part["held"][name] else "NOT HELD"))
    counts = [f"after {k}" for k in found["flat"]["differences"]]
    show_table("Largest differences from the C engine, SI units", ("", *counts, "bound", ""), rows)


def _show_speed(found: list[dict[str, float]]) -> None:
    columns = ("robots", "steps/s", "ms", "physics", "resets", "ends", "solver", "GB")
    rows = [
        (
            f"{r['robots']}", f"{r['steps_per_s']:,.0f}", f"{r['ms']:.2f}", f"{r['physics_ms']:.2f}",
            f"{r['reset_ms']:.2f}", f"{r['ends_per_step']:.0f}",
            f"{r['solver_iterations_mean']:.1f}, {r['solver_iterations_most']:.0f}", f"{r['gb_in_use']:.1f}",
        )
        for r in found
    ]  # fmt: skip
    caption = "ms of a step, physics and resets; trials that end in a step; solver iterations, mean and most"
    show_table("Control steps of the training's world", columns, rows, caption)


def _show_waits(found: dict[str, Any]) -> None:
    rows = [("operations", f"{found['operations']:.0f}"), ("waits", f"{found['total']:.1f}")]
    rows += [(f"  {name}", f"{number:.1f}") for name, number in (found["waits"] | found["cuda_lines"]).items()]
    show_table("Of torch's operations, per control step", ("", "number"), rows)


def _show_update(found: dict[str, Any]) -> None:
    rows = [(name.removesuffix("_s"), f"{found[name]:.3f}") for name in ("seconds", "collect_s", "train_s")]
    rows += [(f"  {phase}", f"{found['phases_s'][phase]:.3f}") for phase in PHASES]
    title = f"An update of {found['robots']} robots, minibatch {found['minibatch']}"
    show_table(f"{title}: {found['steps_per_s']:,.0f} steps/s", ("", "s"), rows)
