"""Environments: a batched torch world, and Gymnasium's single and vector interfaces to it."""

import gymnasium

from sim.tasks.config import WorldConfig

__all__ = ["WorldConfig"]

gymnasium.register(
    id="LunarPronk-v0",
    entry_point="sim.envs.gym:LunarPronkEnv",
    vector_entry_point="sim.envs.gym:LunarPronkVectorEnv",
)
