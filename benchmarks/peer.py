"""The peer of ``lunar bench sim`` and ``train``: LunarPronk-v0 as a user of Gymnasium or Stable-Baselines3 runs it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import gymnasium
import torch

from sim.tasks.config import WorldConfig


def maker(world: WorldConfig) -> Callable[[], gymnasium.Env[Any, Any]]:
    """Makes one robot's environment; the policy's observation is a flat array, as SB3's ``MlpPolicy`` takes it."""

    def make() -> gymnasium.Env[Any, Any]:
        if multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # a process per environment shares the cores already
        return gymnasium.make("sim.envs:LunarPronk-v0", config=world, flat=True, disable_env_checker=True)

    return make
