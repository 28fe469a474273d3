"""The fixed worlds that policies are measured in: files in configs/eval/, set up for the policy's robot and gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from policy.runtime.card import Card
from sim.config import CONFIGS, load
from sim.errors import LunarError
from sim.tasks.config import WorldConfig

FOLDER = CONFIGS / "eval"
ALL = (
    "flat", "mare", "highland", "craters", "rim", "blocky", "boulder", "regolith", "joints", "sensors", "delay",
    "gravity", "push", "payload", "recover",
)  # fmt: skip


@dataclass(frozen=True)
class SuiteConfig:
    """A fixed world to be measured in."""

    about: str = ""
    """One line on the ground and on what differs from robot to robot."""
    seed: int = 1000
    """Of terrain, commands, starts, randomisation and sensor noise."""
    duration: float = 20.0
    """s per trial; counts are scaled to 20 s."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """``num_envs``, episode length, robot, gains and ages are replaced by what is asked for and by the policy's."""


def suite_names(choice: str | Sequence[str]) -> list[str]:
    """Names, or paths of files like those in configs/eval/, from a list, or from text such as ``flat,mare`` or ``all``,
    which stands for ``ALL``.

    Raises:
        LunarError: an unknown or repeated suite.
    """
    parts = [part.strip() for part in choice.split(",")] if isinstance(choice, str) else list(choice)
    names = [name for part in parts for name in (ALL if part == "all" else (part,))]
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    for name in names:
        if name not in known and not (name.endswith((".yaml", ".yml")) and Path(name).is_file()):
            raise LunarError(f"suite '{name}' is unknown; choose from: all, {', '.join(known)}, or give a file")
        if [suite_title(other) for other in names].count(suite_title(name)) > 1:
            raise LunarError(f"suite '{suite_title(name)}' is named twice")
    return names


def suite_title(name: str) -> str:
    """What results call a suite: its name, or that of its file."""
    return Path(name).stem if name.endswith((".yaml", ".yml")) else name


def load_suite(name: str) -> SuiteConfig:
    """The suite as its file has it; ``name`` is as in ``suite_names``.

    Raises:
        LunarError: unknown suite.
    """
    suite_names([name])
    return load(SuiteConfig, name if name != suite_title(name) else FOLDER / f"{name}.yaml")


def world_for(suite: SuiteConfig, card: Card, robots: int) -> WorldConfig:
    """The suite's world for ``robots`` that are driven by the policy of ``card``: one command for a whole trial, no
    rewards, and joint sensors to measure effort."""
    physics = replace(suite.world.physics, robot=card.physics_robot, kp=card.kp, kd=card.kd, joint_sensors=True)
    return replace(
        suite.world, num_envs=robots, physics=physics, action_scale=card.action_scale, ages=card.observation.ages,
        scan=card.observation.scan, commands=replace(suite.world.commands, period=0.0), rewards={},
        episode_length=2.0 * suite.duration,
    )  # fmt: skip
