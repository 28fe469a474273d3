"""Quadrupeds by their files: do they load, do they stand, does a policy of another robot hop with them? Flat ground."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import bar, show_table
from policy.evaluation.evaluate import evaluate
from policy.networks.policy_file import load_actor
from policy.networks.robot import on_robot
from sim.errors import LunarError
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig
from sim.robots.identity import menagerie_names, robot_file, robot_names
from sim.spec.gravity import lunar_weight
from sim.terminal import Terminal
from sim.terrain.height_field import HeightField

SETTLED = 5.0  # s
_FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))


@dataclass(frozen=True)
class Config:
    """Load robots, let them stand, and let a policy that was trained on one hop with the others."""

    robots: str = ""
    """Names, folders or MJCFs with commas; a folder of such folders; the project's and Menagerie's when empty."""
    policy: str = "policy/zoo/dual"
    """Folder of a policy; it drives each robot about that one's stance, with gains in proportion."""
    trials: int = 64
    """Per robot, each of 20 s."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """8 trials of 5 s, of the project's own robots."""


def run(cfg: Config) -> dict[str, Any]:
    """By robot: ``kg``, ``leg`` in m, ``torque`` of the knee in N*m, ``stands``, and the metrics of ``lunar eval``; or
    ``refused``, why."""
    robots = robot_names() if cfg.quick else list(_robots(cfg.robots))
    results: dict[str, Any] = {}
    with bar() as progress:
        for robot in progress.track(robots, description="robots"):
            try:
                results[_short(robot)] = _stand(robot) | _hop(cfg, robot)
            except LunarError as error:
                results.setdefault(_short(robot), {})["refused"] = str(error)
    return results


def _robots(given: str) -> Iterator[str]:
    for name in given.split(",") if given else [*robot_names(), *menagerie_names()]:
        inside = sorted(p for p in Path(name).glob("*/") if any(p.glob("*.xml")))
        yield from map(str, inside) if inside else [name]


def _short(robot: str) -> str:
    """A name for the table."""
    try:
        return robot_file(robot).stem
    except LunarError:
        return Path(robot).name


def _stand(robot: str) -> dict[str, Any]:
    """Put it down on its feet and leave it to its servos."""
    physics = BatchPhysics(PhysicsConfig(robot=robot), 1, _FLAT, threads=1)
    body = physics.robot
    qpos = torch.zeros(1, 19)
    qpos[0, 2], qpos[0, 3], qpos[0, 7:] = body.standing_height, 1.0, torch.as_tensor(body.nominal_pose)
    physics.reset(torch.arange(1), qpos, torch.zeros(1, 18))
    targets = torch.as_tensor(body.nominal_pose)[None].float()
    for _ in range(round(SETTLED / physics.cfg.control_dt)):
        physics.step(targets)
    bends = float((physics.qpos[0, 7:] - targets[0]).abs().max())
    load = float(physics.foot_force[0, -1].sum()) / lunar_weight(physics.mass)
    upright = 1.0 - 2.0 * float(physics.qpos[0, 4] ** 2 + physics.qpos[0, 5] ** 2)
    return {
        "kg": physics.mass,
        "leg": 2.0 * body.length_ratio * 0.213,
        "torque": float(body.torque_limit[2]),
        "kp": body.kp,
        "stands": bool(abs(load - 1.0) < 0.02 and upright > 0.99 and bends < 0.2),
    }


def _hop(cfg: Config, robot: str) -> dict[str, Any]:
    trials, seconds = (8, 5.0) if cfg.quick else (cfg.trials, None)
    try:
        on_robot(load_actor(cfg.policy)[1], robot)
    except LunarError as error:
        return {"refused": str(error)}
    metrics = evaluate(cfg.policy, robots=trials, duration=seconds, robot=robot)["flat"]
    return {name: metrics[name] for name in ("survival", "pronks", "apex_gain", "torque_share_p95") if name in metrics}


def show(results: dict[str, Any]) -> None:
    """Print the table, and below it why a robot is not in it."""
    rows = [
        [name, "yes" if r["stands"] else "no", *[f"{r[key]:{form}}" if key in r else "–" for key, form in _COLUMNS]]
        for name, r in results.items()
        if "stands" in r
    ]
    columns = ["robot", "stands", "kg", "leg", "knee", "survival", "pronks", "apex", "torque"]
    show_table("Robots", columns, rows, "m, N·m; pronks per 20 s; 95th percentile of torque over the motors' limit")
    for name, r in results.items():
        if "refused" in r:
            Terminal().print(f"{name}: {r['refused']}")


_COLUMNS = (
    ("kg", ".1f"), ("leg", ".2f"), ("torque", ".0f"), ("survival", ".2f"), ("pronks", ".1f"), ("apex_gain", ".2f"),
    ("torque_share_p95", ".0%"),
)  # fmt: skip
