"""PPO: advantages are those of the definition, a seed repeats the curve, SB3's own tools accept the parts."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from policy.networks.config import ModelConfig
from policy.networks.distributions import Gaussian
from policy.networks.policy_file import load_actor
from policy.training.actor_critic import AsymmetricPolicy
from policy.training.config import PPOConfig, TrainConfig
from policy.training.ppo import LunarPPO
from policy.training.rollout import Rollout
from policy.training.train import run
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld
from sim.tasks.config import WorldConfig
from tests.policy.conftest import tiny


def test_advantages_are_discounted_sums_of_temporal_differences():
    steps, n, gamma, lam = 6, 3, 0.9, 0.8
    rollout = Rollout.empty(steps, n, {"policy": 2, "critic": 2}, 2, torch.device("cpu"))
    torch.manual_seed(0)
    rollout.rewards, rollout.values = torch.randn(steps, n), torch.randn(steps, n)
    rollout.dones[2, 1] = 1.0
    last = torch.randn(n)
    rollout.compute_advantages(last, gamma, lam)
    values = torch.cat([rollout.values, last[None]])
    for i in range(n):
        for t in range(steps):
            expected, weight = 0.0, 1.0
            for k in range(t, steps):
                alive = 1.0 - float(rollout.dones[k, i])
                expected += weight * float(rollout.rewards[k, i] + gamma * values[k + 1, i] * alive - values[k, i])
                if not alive:
                    break
                weight *= gamma * lam
            assert float(rollout.advantages[t, i]) == pytest.approx(expected, abs=1e-5)


def test_log_prob_and_entropy_are_the_gaussians():
    robots = LunarVecEnv(PronkWorld(WorldConfig(num_envs=2), 0))
    policy = LunarPPO("pronk", robots, PPOConfig(rollout=2, minibatch=4), seed=0).policy
    mean, action = torch.randn(5, 12), torch.randn(5, 12)
    normal = torch.distributions.Normal(mean, policy.log_std.exp().expand_as(mean))
    ours = Gaussian(mean, policy.log_std)
    torch.testing.assert_close(ours.log_prob(action), normal.log_prob(action).sum(1))
    torch.testing.assert_close(ours.entropy().expand(5), normal.entropy().sum(1))


def test_same_seed_same_curve(tmp_path):
    def curve(name: str, seed: int) -> list[list[str]]:
        run(tiny(tmp_path / name, seed), "test")
        with (tmp_path / name / "progress.csv").open() as file:
            rows = list(csv.DictReader(file))
        return [[r["train/reward"], r["hops/ends_per_20s"], r.get("train/kl", "")] for r in rows]

    first = curve("a", 1)
    assert len(first) == 2 and first == curve("b", 1)
    assert first != curve("c", 2)


def test_an_update_makes_good_actions_likelier():
    """One-step problem: reward falls with the distance of the action from a target; the mean must move towards it."""
    env = LunarVecEnv(PronkWorld(WorldConfig(num_envs=64), 0))
    model = LunarPPO("pronk", env, PPOConfig(rollout=8, minibatch=256, epochs=4), seed=0)
    model.learn(1)
    data, target = model.rollout, 0.3
    data.rewards = -(data.actions - target).square().sum(2)
    data.dones[:] = 1.0
    before = model.policy.actor(data.flat("policy")).action.mean().item()
    for _ in range(5):
        data.compute_advantages(torch.zeros(64), 0.99, 0.95)
        model.train()
        mean = model.policy.actor(data.flat("policy")).action.detach()
        data.log_probs = Gaussian(mean, model.policy.log_std).log_prob(data.flat("actions")).detach().view(8, 64)
        data.means = mean.view(8, 64, 12)
    after = model.policy.actor(data.flat("policy")).action.mean().item()
    assert abs(after - target) < abs(before - target) - 0.02


def test_stock_sb3_trains_on_the_same_environment():
    env = VecMonitor(LunarVecEnv(PronkWorld(WorldConfig(num_envs=4), 0), privileged=True))
    model = PPO(
        AsymmetricPolicy,
        env,
        n_steps=8,
        batch_size=16,
        n_epochs=1,
        policy_kwargs={"model": ModelConfig(hidden=(16, 16))},
    )
    model.learn(64)
    action, _ = model.predict(env.reset(), deterministic=True)
    assert action.shape == (4, 12) and np.isfinite(action).all()


def test_ctrl_c_leaves_a_usable_policy(tmp_path):
    code = (
        "import sys; from dataclasses import replace; from pathlib import Path;"
        "from tests.policy.conftest import tiny; from policy.training.train import run;"
        f"r = run(replace(tiny(Path({str(tmp_path)!r})), steps=10**9), 'test');"
        "sys.exit(130 if r['interrupted'] else 0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "progress.csv").exists() or (tmp_path / "progress.csv").stat().st_size == 0:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    actor, card = load_actor(tmp_path)
    assert card.training["interrupted"] and torch.isfinite(actor(torch.zeros(1, card.observation.size)).action).all()


def test_defaults_fill_whole_minibatches():
    cfg = TrainConfig()
    assert cfg.world.num_envs * cfg.ppo.rollout % cfg.ppo.minibatch == 0
