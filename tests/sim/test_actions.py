"""Actions that no robot can take are refused in one sentence by every interface."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from policy.training.vec_env import LunarVecEnv
from sim.envs.gym import LunarPronkVectorEnv
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.tasks.config import WorldConfig
from sim.tasks.pronk import TERMS

BAD = [
    (np.zeros(3), "shape"), (np.zeros((2, 12, 1)), "shape"), (np.full((2, 12), "a"), "numbers"), (None, "shape"),
    ([[0.0] * 12, [0.0] * 11], "numbers"), (np.full((2, 12), np.nan), "not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "message"), BAD)
def test_two_robots(action, message):
    vector = LunarPronkVectorEnv(2)
    vector.reset(seed=0)
    sb3 = LunarVecEnv(PronkWorld(WorldConfig(num_envs=2), 0, threads=1))
    sb3.reset()
    for step in (vector.step, sb3.step):
        with pytest.raises(LunarError, match=message) as said:
            step(action)
        assert "\n" not in str(said.value)


def test_one_robot_and_a_world():
    env = gymnasium.make("LunarPronk-v0", disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(LunarError, match=r"\(2, 12\), it must have \(12,\)"):
        env.step(np.zeros((2, 12)))
    world = PronkWorld(WorldConfig(num_envs=2), 0, threads=1)
    world.reset()
    with pytest.raises(LunarError, match="shape"):
        world.step(torch.zeros(1, 12))
    with pytest.raises(LunarError, match="num_envs is 0"):
        PronkWorld(WorldConfig(num_envs=0), 0)


def test_a_reward_that_is_no_number_is_named_by_every_interface(monkeypatch):
    monkeypatch.setitem(TERMS, "own", lambda s, p: s.height / 0.0 * (torch.arange(len(s.height)) == 1))
    world = WorldConfig(num_envs=2, rewards={"apex": 1.0, "own": 1.0})
    sb3, vector = LunarVecEnv(PronkWorld(world, 0, threads=1)), LunarPronkVectorEnv(2, config=world)
    for env in (sb3, vector):
        env.reset()
        with pytest.raises(LunarError, match="reward term 'own' is nan for robot 0"):
            env.step(np.zeros((2, 12)))
