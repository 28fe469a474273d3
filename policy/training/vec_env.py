"""Stable-Baselines3's VecEnv over the batched world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from sim.envs.spaces import ACTION_BOUND, action_space, action_tensor, observation_space
from sim.envs.world import PronkWorld
from sim.tasks.pronk import check_reward


class LunarVecEnv(VecEnv):
    """N robots behind SB3's interface. ``LunarPPO`` reads ``world`` directly and skips the copies to NumPy."""

    def __init__(self, world: PronkWorld) -> None:
        self.world = world
        self.render_mode = None
        self._actions = torch.zeros(world.num_envs, 12)
        super().__init__(world.num_envs, observation_space(world.spec), action_space(ACTION_BOUND))

    def reset(self) -> dict[str, np.ndarray]:
        """Start all trials."""
        return _numpy(self.world.reset())

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions (N, 12)."""
        self._actions = action_tensor(actions, (self.num_envs, 12))

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step the world. Infos of ended trials carry ``terminal_observation`` and ``TimeLimit.truncated``."""
        step = self.world.step(self._actions)
        check_reward(step.reward, step.terms)
        self.world.hops.drain()  # nobody reads the table here, and it grows
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        final = _numpy(step.final_observations)
        for row, i in enumerate(step.ended.tolist()):
            infos[i] = {
                "terminal_observation": {name: value[row] for name, value in final.items()},
                "TimeLimit.truncated": bool(step.truncated[i]),
            }
        done = (step.terminated | step.truncated).cpu().numpy()
        return _numpy(step.observations), step.reward.cpu().numpy(), done, infos

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """This object's or else the world's attribute, once per robot."""
        owner = self if attr_name in vars(self) else self.world
        return [getattr(owner, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set the world's attribute; it is shared by all robots."""
        setattr(self.world, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call the world's method once; the answer is repeated per robot."""
        return [getattr(self.world, method_name)(*args, **kwargs)] * len(self._indices(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No robot is wrapped."""
        return [False] * len(self._indices(indices))

    def _indices(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))


def _numpy(observations: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.cpu().numpy() for name, value in observations.items()}
