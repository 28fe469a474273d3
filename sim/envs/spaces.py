"""Gymnasium spaces of one robot, and what passes between a world and whoever wants NumPy arrays: one action scale, one
layout of observations and one info for ``gymnasium.make``, ``make_vec`` and Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from sim.envs.world import PronkWorld, Step
from sim.errors import LunarError
from sim.mdp.observations import group_specs
from sim.rows import Rows
from sim.spec.joints import ACTION_BOUND, JOINT_NAMES
from sim.spec.observation import PRONK_OBSERVATION, ObservationSpec

OBSERVATION_BOUND = 100.0
"""Scaled observations are about 1; they are clipped here."""
Observation = Any
"""Arrays by group, or one array where the layout is flat."""


def observation_space(
    spec: ObservationSpec = PRONK_OBSERVATION, privileged: bool = False, flat: bool = False
) -> spaces.Space[Any]:
    """What a robot senses: the group ``policy`` (stacked frames and command), besides ``critic`` where ``privileged``.

    Args:
        spec: of the group ``policy``.
        privileged: with the group ``critic``: true velocity, contacts, ground.
        flat: the group ``policy`` alone as a Box, instead of a Dict.

    Raises:
        LunarError: privileged and flat.
    """
    if flat and privileged:
        raise LunarError("flat holds what a robot senses alone: leave out privileged, or flat, to get both groups")
    boxes: dict[str, spaces.Space[Any]] = {}
    for name, channels in group_specs(spec).items():
        shape = (sum(c.size for c in channels),)
        boxes[name] = spaces.Box(-OBSERVATION_BOUND, OBSERVATION_BOUND, shape, np.float32)
    if not privileged:
        del boxes["critic"]
    return boxes["policy"] if flat else spaces.Dict(boxes)


def action_space() -> spaces.Box:
    """Twelve joint-target offsets, in units of the world's action scale: what policies and their cards speak."""
    return spaces.Box(-ACTION_BOUND, ACTION_BOUND, (len(JOINT_NAMES),), np.float32)


def action_tensor(action: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """An action or a batch of them as float32.

    Raises:
        LunarError: it holds no real numbers, has another shape, or one is not finite.
    """
    try:
        values = action.detach().cpu().numpy() if isinstance(action, torch.Tensor) else np.asarray(action)
    except (TypeError, ValueError):  # rows of different lengths
        raise LunarError(
            f"an action must hold numbers of shape {shape}, not a ragged {type(action).__name__}"
        ) from None
    if values.dtype.kind not in "fiu":
        raise LunarError(f"an action must hold numbers of shape {shape} as float32, not {_kind(action, values)}")
    if values.shape != shape:
        raise LunarError(f"an action has shape {values.shape}, it must have {shape}")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        robot = f" of robot {where[0]}" if len(shape) > 1 else ""
        joint = JOINT_NAMES[where[-1]]
        raise LunarError(f"the action{robot} is not finite at {joint}: the policy is broken, nothing was moved")
    return torch.from_numpy(values)


def array(value: Any) -> np.ndarray:
    """What a tensor or ``Rows`` hold, on the CPU."""
    return value.array if isinstance(value, Rows) else value.cpu().numpy()


def numpy_observation(groups: dict[str, Any], space: spaces.Space[Any]) -> Observation:
    """Of all robots in ``groups``, clipped, in the layout of one robot's ``space``."""
    bound = OBSERVATION_BOUND
    if not isinstance(space, spaces.Dict):
        return array(groups["policy"].clamp(-bound, bound))
    return {name: array(groups[name].clamp(-bound, bound)) for name in space}


def row(observation: Observation, i: int) -> Observation:
    """Robot ``i``'s part."""
    return {n: v[i] for n, v in observation.items()} if isinstance(observation, dict) else observation[i]


class TrialSums:
    """What every reward term has paid to each robot of ``world`` in its trial so far."""

    def __init__(self, world: PronkWorld) -> None:
        self.world = world
        self.names = (*world.weights, "fall")
        """Of the terms."""
        self.sums = np.zeros((len(self.names), world.num_envs))
        self._paid = np.zeros_like(self.sums)

    def add(self, step: Step) -> np.ndarray:
        """(K, N) what each of ``names`` paid in this step: together the reward."""
        world = self.world
        paid = self._paid
        if step.terms:
            paid[:-1] = [array(rate) for rate in step.terms.values()]
            paid[:-1] *= np.array([[weight * world.dt] for weight in world.weights.values()])
        np.multiply(array(step.terminated), -world.cfg.fall_penalty, out=paid[-1])
        self.sums += paid
        return paid.copy()

    def end(self, robots: np.ndarray, step: Step) -> dict[str, np.ndarray]:
        """Of trials that ended, n rows: ``hops``, ``pronks`` and ``reward_<term>``, summed over the trial."""
        sums = self.sums[:, robots]
        self.sums[:, robots] = 0.0
        rewards = {f"reward_{name}": of for name, of in zip(self.names, sums, strict=True)}
        return {"hops": step.hops[robots], "pronks": step.pronks[robots], **rewards}


def _kind(action: Any, values: np.ndarray) -> str:
    return type(action).__name__ if values.dtype == object else str(values.dtype)
