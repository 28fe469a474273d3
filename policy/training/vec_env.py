"""Stable-Baselines3's VecEnv over the batched world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from sim.envs.picture import Picture
from sim.envs.spaces import (
    Observation,
    TrialSums,
    action_space,
    action_tensor,
    numpy_observation,
    observation_space,
    row,
)
from sim.envs.world import PronkWorld, Step
from sim.errors import LunarError
from sim.tasks.pronk import check_reward


class LunarVecEnv(VecEnv):
    """N robots behind SB3's interface. ``LunarPPO`` reads ``world`` directly and skips the copies to NumPy. The info of
    a trial's last step has its ``hops``, ``pronks``, and what each term paid, ``reward_<term>``.

    Args:
        world: the robots; it must restart them.
        render_mode: None, or ``rgb_array``: pictures of the first robot.
        privileged: observe the group ``critic`` too, which no robot senses.
        flat: observe the group ``policy`` as one array, for ``MlpPolicy``, instead of a dict of groups.

    Raises:
        LunarError: arguments that make no sense.
    """

    def __init__(
        self, world: PronkWorld, render_mode: str | None = None, privileged: bool = False, flat: bool = False
    ) -> None:
        if not isinstance(world, PronkWorld):
            example = "PronkWorld(WorldConfig(num_envs=64), seed=0)"
            raise LunarError(f"LunarVecEnv takes a PronkWorld, e.g. {example}, not a {type(world).__name__}")
        if render_mode not in (None, "rgb_array"):
            raise LunarError(f"render_mode is {render_mode!r}; LunarVecEnv draws None or 'rgb_array'")
        if not world.restart or (privileged and not world.privileged):
            raise LunarError("LunarVecEnv needs a world that restarts its robots, and observes 'critic' if privileged")
        self.world = world
        self.render_mode = render_mode
        self._newest: Step | None = None
        self.keeps_hops = False
        """Leave completed hops in ``world.hops`` to who reads them; else they are dropped, since they pile up."""
        self._actions = torch.zeros(world.num_envs, 12)
        self._sums = TrialSums(world)
        self._picture = Picture(world)
        super().__init__(world.num_envs, observation_space(world.spec, privileged, flat), action_space())
        self.metadata["render_fps"] = int(0.5 + 1.0 / world.dt)  # type: ignore[assignment]

    def reset(self) -> Observation:
        """Start all trials; after ``seed`` they repeat."""
        if self._seeds[0] is not None:
            self.world.seed(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._sums.sums[:] = 0.0
        return self._numpy(self.world.reset())

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions (N, 12), in units of the world's action scale."""
        self._actions = action_tensor(actions, (self.num_envs, 12))

    def step_wait(self) -> tuple[Observation, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step the world. Infos of ended trials carry ``terminal_observation`` and ``TimeLimit.truncated`` too.

        Raises:
            LunarError: a reward that is no finite number.
        """
        step = self._newest = self.world.step(self._actions)
        check_reward(step.reward, step.terms)
        if not self.keeps_hops:
            self.world.hops.forget()
        self._sums.add(step)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = step.ended.cpu().numpy()
        final = self._numpy(step.final_observations)
        trial = self._sums.end(ended, step)
        for k, i in enumerate(ended.tolist()):
            infos[i] = {
                "terminal_observation": row(final, k),
                "TimeLimit.truncated": bool(step.truncated[i]),
                **{name: of[k].item() for name, of in trial.items()},
            }
        done = (step.terminated | step.truncated).cpu().numpy()
        return self._numpy(step.observations), step.reward.cpu().numpy(), done, infos

    def watched(self, env: VecEnv, action: torch.Tensor) -> Step:
        """Step through ``env``, wrappers of this one that look on, for the outcome in tensors."""
        env.step(action.cpu().numpy())
        assert self._newest is not None
        return self._newest

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture (height, width, 3) uint8 of the first robot."""
        return [self._picture.frame()]

    def close(self) -> None:
        """Release the renderer."""
        self._picture.close()

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

    def _numpy(self, observations: dict[str, torch.Tensor]) -> Observation:
        return numpy_observation(observations, self.observation_space)
