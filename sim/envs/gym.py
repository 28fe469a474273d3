"""Gymnasium's interfaces: ``gymnasium.make("LunarPronk-v0", terrain="rough")`` and ``gymnasium.make_vec(...)``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from sim.envs.spaces import ACTION_BOUND, OBSERVATION_BOUND, action_space, action_tensor, observation_space
from sim.envs.world import PronkWorld
from sim.physics.render import Renderer, Window
from sim.tasks.config import WorldConfig
from sim.tasks.pronk import check_reward
from sim.terrain.generators import TerrainConfig
from sim.terrain.height_field import HeightField

Observation = dict[str, np.ndarray]


def _config(config: WorldConfig | None, num_envs: int, terrain: str | None) -> WorldConfig:
    config = replace(config or WorldConfig(), num_envs=num_envs)
    return config if terrain is None else replace(config, terrain=TerrainConfig(kind=terrain))


class LunarPronkEnv(gymnasium.Env[Observation, np.ndarray]):
    """One robot.

    Args:
        terrain: a preset in configs/terrain/, e.g. ``mare``; the config's when None.
        config: the world; defaults are those of training on flat ground.
        render_mode: None, ``rgb_array``, or ``human``: a window that follows every step in real time.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 50}  # noqa: RUF012  (Gymnasium's contract)

    def __init__(
        self, terrain: str | None = None, config: WorldConfig | None = None, render_mode: str | None = None
    ) -> None:
        self.world = PronkWorld(_config(config, 1, terrain), seed=0)
        self.observation_space = observation_space(self.world.spec)  # type: ignore[assignment]
        self.action_space = action_space()
        self.render_mode = render_mode
        self._renderer: Renderer | None = None
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a trial. A seed makes commands, start and sensor noise repeat; the terrain stays."""
        super().reset(seed=seed)
        if seed is not None:
            self.world.seed(seed)
        observations = _row(self.world.reset())
        self._show()
        return observations, {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control period of 20 ms; ``action`` (12,) of 1 is ``spaces.ACTION_BOUND`` units of the world's action."""
        step = self.world.step(ACTION_BOUND * action_tensor(action, (12,))[None])
        check_reward(step.reward, step.terms)
        self.world.hops.drain()  # nobody reads the table here, and it grows
        observations = step.final_observations if len(step.ended) else step.observations
        self._show()
        return _row(observations), float(step.reward[0]), bool(step.terminated[0]), bool(step.truncated[0]), {}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Picture (height, width, 3) uint8 of the robot, from the side; None unless the mode is ``rgb_array``."""
        if self.render_mode != "rgb_array":
            return None
        if self._renderer is None:
            self._renderer = Renderer(self.world.cfg.physics, self._terrain())
        return self._renderer.frame(self.world.physics.qpos[0].cpu().numpy())

    def close(self) -> None:
        """Release renderer and window."""
        for view in (self._renderer, self._window):
            if view is not None:
                view.close()
        self._renderer = self._window = None

    def _show(self) -> None:
        if self.render_mode != "human":
            return
        if self._window is None:
            self._window = Window(self.world.cfg.physics, self._terrain())
        self._window.show(self.world.physics.qpos[0].cpu().numpy())

    def _terrain(self) -> HeightField:
        return self.world.physics.terrain[int(self.world.physics.level[0])]


class LunarPronkVectorEnv(VectorEnv):
    """N robots stepped in C++ threads, started anew in the step that ends their trial (``SAME_STEP``)."""

    metadata = {"render_modes": [], "render_fps": 50, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        terrain: str | None = None,
        config: WorldConfig | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.world = PronkWorld(_config(config, num_envs, terrain), seed=0)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space = observation_space(self.world.spec)
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start all trials."""
        super().reset(seed=seed)
        if seed is not None:
            self.world.seed(seed)
        return _numpy(self.world.reset()), {}

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period with ``actions`` (N, 12). Ended trials put ``final_obs`` and its mask into the info."""
        step = self.world.step(ACTION_BOUND * action_tensor(actions, (self.num_envs, 12)))
        check_reward(step.reward, step.terms)
        self.world.hops.drain()  # nobody reads the table here, and it grows
        info: dict[str, Any] = {}
        if len(step.ended):
            mask = np.zeros(self.num_envs, dtype=bool)
            ended = step.ended.tolist()
            mask[ended] = True
            final = np.empty(self.num_envs, dtype=object)
            rows = _numpy(step.final_observations)
            for row, i in enumerate(ended):
                final[i] = {name: value[row] for name, value in rows.items()}
            info = {"final_obs": final, "_final_obs": mask, "final_info": {}, "_final_info": mask}
        flags = step.terminated.cpu().numpy(), step.truncated.cpu().numpy()
        return _numpy(step.observations), step.reward.cpu().numpy().astype(np.float64), *flags, info


def _numpy(observations: dict[str, torch.Tensor]) -> Observation:
    bound = OBSERVATION_BOUND
    return {name: value.clamp(-bound, bound).cpu().numpy() for name, value in observations.items()}


def _row(observations: dict[str, torch.Tensor]) -> Observation:
    return {name: value[0] for name, value in _numpy(observations).items()}
