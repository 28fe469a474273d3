"""Gymnasium's interfaces: ``gymnasium.make("LunarPronk-v0", terrain="rough")`` and ``gymnasium.make_vec(...)``."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from sim.envs.picture import Picture
from sim.envs.spaces import (
    Observation,
    TrialSums,
    action_space,
    action_tensor,
    array,
    numpy_observation,
    observation_space,
    row,
)
from sim.envs.world import PronkWorld, Step
from sim.errors import LunarError
from sim.rows import tensor
from sim.tasks.config import WorldConfig
from sim.tasks.pronk import check_reward
from sim.terrain.generators import TerrainConfig
from sim.view.render import Window


def _config(config: WorldConfig | None, num_envs: int, terrain: str | None) -> WorldConfig:
    config = replace(config or WorldConfig(), num_envs=num_envs)
    return config if terrain is None else replace(config, terrain=TerrainConfig(kind=terrain))


class LunarPronkEnv(gymnasium.Env[Any, np.ndarray]):
    """One robot. Its info has ``reward_terms``, what each term paid in the step, ``hops`` and ``pronks`` of the trial
    so far, and in a trial's last step ``reward_<term>``, what each paid in all.

    Args:
        terrain: a preset in configs/terrain/, e.g. ``mare``; the config's when None.
        config: the world; defaults are those of training on flat ground.
        render_mode: None, ``rgb_array``, or ``human``: a window that follows every step in real time.
        privileged: observe the group ``critic`` too, which no robot senses.
        flat: observe the group ``policy`` as one array instead of a dict of groups.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 50}  # noqa: RUF012  (Gymnasium's contract)

    def __init__(
        self, terrain: str | None = None, config: WorldConfig | None = None, render_mode: str | None = None,
        privileged: bool = False, flat: bool = False,
    ) -> None:  # fmt: skip
        world = _config(config, 1, terrain)
        self.world = PronkWorld(world, seed=0, restart=False, threads=1, privileged=privileged)
        self.observation_space = observation_space(self.world.spec, privileged, flat)
        self.action_space = action_space()
        self.render_mode = render_mode
        self._sums = TrialSums(self.world)
        self._picture = Picture(self.world)
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a trial. A seed makes commands, start and sensor noise repeat; the terrain stays."""
        super().reset(seed=seed)
        if seed is not None:
            self.world.seed(seed)
        self._sums.sums[:] = 0.0
        observations = self._seen(self.world.reset())
        self._show()
        return observations, {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control period of 20 ms with ``action`` (12,), in units of the world's action scale.

        Raises:
            LunarError: an action or a reward that is no finite number.
        """
        step = self.world.advance(action_tensor(action, (12,))[None])
        check_reward(step.reward, step.terms)
        self.world.hops.forget()  # nobody reads the table here, and it grows
        terms = dict(zip(self._sums.names, self._sums.add(step)[:, 0].tolist(), strict=True))
        info = {"reward_terms": terms, "hops": int(step.hops[0]), "pronks": int(step.pronks[0])}
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        if terminated or truncated:
            info |= {name: of[0].item() for name, of in self._sums.end(np.array([0]), step).items()}
        self._show()
        return (
            self._seen(step.final_observations if len(step.ended) else step.observations),
            float(step.reward[0]),
            terminated,
            truncated,
            info,
        )

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Picture (height, width, 3) uint8 of the robot, from the side; None unless the mode is ``rgb_array``."""
        return self._picture.frame() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release renderer and window."""
        self._picture.close()
        if self._window is not None:
            self._window.close()
        self._window = None

    def _seen(self, observations: dict[str, torch.Tensor]) -> Observation:
        return row(numpy_observation(observations, self.observation_space), 0)

    def _show(self) -> None:
        if self.render_mode != "human":
            return
        if self._window is None:
            physics = self.world.physics
            self._window = Window(self.world.cfg.physics, physics.terrain[int(physics.level[0])])
        self._window.show(self.world.physics.qpos[0].cpu().numpy())


class LunarPronkVectorEnv(VectorEnv):
    """N robots stepped in C++ threads, started anew as ``autoreset_mode`` says. The info is that of ``LunarPronkEnv``
    in arrays (N,); what a trial's last step adds stands in ``final_info`` where the robot starts in the same step.

    Args:
        num_envs: N.
        terrain: as of ``LunarPronkEnv``.
        config: as of ``LunarPronkEnv``.
        render_mode: None, or ``rgb_array``: pictures of the first robot.
        privileged: as of ``LunarPronkEnv``.
        flat: as of ``LunarPronkEnv``.
        autoreset_mode: ``SAME_STEP``, in the step that ends a trial; ``NEXT_STEP``, in the one after, which ignores the
            action and pays 0; or ``DISABLED``: by ``reset(options={"reset_mask": mask})``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, num_envs: int = 1, terrain: str | None = None, config: WorldConfig | None = None,
        render_mode: str | None = None, privileged: bool = False, flat: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ) -> None:  # fmt: skip
        self.autoreset_mode = _autoreset(autoreset_mode)
        same_step = self.autoreset_mode == AutoresetMode.SAME_STEP
        self.world = PronkWorld(_config(config, num_envs, terrain), seed=0, restart=same_step, privileged=privileged)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(self.world.spec, privileged, flat)
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._sums = TrialSums(self.world)
        self._over = np.zeros(num_envs, dtype=bool)  # trials that ended and whose robots wait for a new one
        self._fell = torch.zeros(num_envs, dtype=torch.bool)
        self._seen: Observation = None
        self._picture = Picture(self.world)

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start all trials, or those of the robots in ``options["reset_mask"]`` (N,) bool."""
        super().reset(seed=seed)
        if seed is not None:
            self.world.seed(seed)
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self._sums.sums[:], self._over[:] = 0.0, False
            self._seen = self._numpy(self.world.reset())
            return self._seen, {}
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or self._seen is None:
            raise LunarError(f"reset_mask must hold {self.num_envs} truth values, after a first reset of all robots")
        self._seen = copy.deepcopy(self._seen)  # what was returned before stays as it was
        self._begin(mask)
        return self._seen, {}

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period with ``actions`` (N, 12), in units of the world's action scale. With ``SAME_STEP`` the
        info holds the last observations of trials that ended, ``final_obs``, and the mask of those.

        Raises:
            LunarError: an action or a reward that is no finite number.
        """
        step = self.world.advance(action_tensor(actions, (self.num_envs, 12)))
        check_reward(step.reward, step.terms)
        self.world.hops.forget()  # nobody reads the table here, and it grows
        self._seen = self._numpy(step.observations)
        waited = self._over if self.autoreset_mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._over)
        reward = array(step.reward).astype(np.float64)
        terminated, truncated = array(step.terminated).copy(), array(step.truncated).copy()
        terms = _masked(dict(zip(self._sums.names, self._sums.add(step), strict=True)), ~waited)
        info = _masked({"reward_terms": terms, "hops": step.hops, "pronks": step.pronks}, ~waited)
        if self.autoreset_mode != AutoresetMode.SAME_STEP:
            self._show(step.ended.numpy(), self._numpy(step.final_observations))  # of those that diverged
        if waited.any():
            self._begin(waited)
            reward[waited], terminated[waited], truncated[waited] = 0.0, False, False
        ended = terminated | truncated
        if ended.any():
            trial = self._trial(ended, step)
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                final = np.empty(self.num_envs, dtype=object)
                rows = self._numpy(step.final_observations)
                for k, i in enumerate(step.ended.tolist()):
                    final[i] = row(rows, k)
                info |= _masked({"final_obs": final, "final_info": trial}, ended)
            else:
                info |= trial
        self._over, self._fell = ended, tensor(step.terminated)
        return self._seen, reward, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:  # type: ignore[override]
        """A picture (height, width, 3) uint8 of the first robot; None unless the mode is ``rgb_array``."""
        return (self._picture.frame(),) if self.render_mode == "rgb_array" else None

    def close_extras(self, **kwargs: Any) -> None:
        """Release the renderer."""
        self._picture.close()

    def _begin(self, mask: np.ndarray) -> None:
        """Start new trials of these robots and show their first observations."""
        robots = np.flatnonzero(mask)
        self._show(robots, self._numpy(self.world.begin(torch.from_numpy(robots), self._fell)))
        self._sums.sums[:, robots] = 0.0

    def _show(self, robots: np.ndarray, observations: Observation) -> None:
        """Put the ``observations`` of ``robots`` into what is seen."""
        if isinstance(observations, dict):
            for name, value in observations.items():
                self._seen[name][robots] = value
        else:
            self._seen[robots] = observations

    def _trial(self, ended: np.ndarray, step: Step) -> dict[str, Any]:
        """What the trials that ended come to, in arrays (N,) that are 0 elsewhere."""
        found: dict[str, np.ndarray] = {}
        for name, of in self._sums.end(np.flatnonzero(ended), step).items():
            found[name] = np.zeros(self.num_envs, of.dtype)
            found[name][ended] = of
        return _masked(found, ended)

    def _numpy(self, observations: dict[str, torch.Tensor]) -> Observation:
        return numpy_observation(observations, self.single_observation_space)


def _masked(info: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """With Gymnasium's masks, which say whose values count."""
    return info | {f"_{name}": mask for name in info}


def _autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    for known in AutoresetMode:
        if mode in (known, known.value, known.name):
            return known
    names = ", ".join(known.name for known in AutoresetMode)
    raise LunarError(f"autoreset_mode is {mode!r}; it must be one of {names}")
