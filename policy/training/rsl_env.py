"""rsl_rl's VecEnv over the batched world; needs ``pip install 'lunar[rsl]'``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES
from sim.tasks.pronk import check_reward


class LunarRslEnv(VecEnv):
    """N robots for rsl_rl's runners: observation groups ``policy`` and ``critic``, and actions in the units of
    ``LunarVecEnv``, as tensors on the world's device. The log has the hops of trials that ended.

    Raises:
        LunarError: the world does not restart its robots, or lacks the group ``critic``.
    """

    def __init__(self, world: PronkWorld) -> None:
        if not world.restart or not world.privileged:
            raise LunarError("LunarRslEnv needs a world that restarts its robots and observes the group 'critic'")
        self.world = world
        self.num_envs, self.num_actions = world.num_envs, len(JOINT_NAMES)
        self.max_episode_length = world.max_steps
        self.device = world.device
        self.cfg = asdict(world.cfg)
        world.reset()

    @property
    def episode_length_buf(self) -> Tensor:  # type: ignore[override]
        """(N,) control steps of the trials so far."""
        return self.world.steps

    @episode_length_buf.setter
    def episode_length_buf(self, steps: Tensor) -> None:
        self.world.steps[:] = steps

    def get_observations(self) -> TensorDict:
        """The newest groups, N rows."""
        return TensorDict(dict(self.world.observations), batch_size=[self.num_envs])

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Start all trials."""
        self.world.reset()
        return self.get_observations(), {}

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """One control period with ``actions`` (N, 12): observations, rewards (N,), ends (N,) and extras.

        Raises:
            LunarError: an action or a reward that is no finite number.
        """
        step = self.world.step(actions)
        check_reward(step.reward, step.terms)
        self.world.hops.forget()  # nobody reads the table here, and it grows
        extras: dict[str, Any] = {"time_outs": step.truncated}
        if len(step.ended):
            ended = step.ended.cpu().numpy()
            counts = {"/hops": step.hops[ended], "/pronks": step.pronks[ended]}
            extras["log"] = {name: torch.as_tensor(count, dtype=torch.float32).mean() for name, count in counts.items()}
        return self.get_observations(), step.reward, (step.terminated | step.truncated).long(), extras
