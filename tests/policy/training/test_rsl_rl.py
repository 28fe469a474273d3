"""rsl_rl's own runner on our robots, as its users write it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rsl_rl.runners import OnPolicyRunner

from policy.training.rsl_env import LunarRslEnv
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld, WorldConfig
from sim.errors import LunarError

SHORT = WorldConfig(num_envs=4, episode_length=0.1)
MLP = {"class_name": "rsl_rl.models.MLPModel", "hidden_dims": [16], "activation": "elu"}


def config() -> dict:
    return {
        "num_steps_per_env": 8, "save_interval": 1, "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "algorithm": {"class_name": "rsl_rl.algorithms.PPO", "num_mini_batches": 2, "num_learning_epochs": 1},
        "actor": MLP | {"distribution_cfg": {"class_name": "rsl_rl.modules.GaussianDistribution", "init_std": 0.5}},
        "critic": dict(MLP),
    }  # fmt: skip


def test_on_policy_runner(tmp_path):
    env = LunarRslEnv(PronkWorld(SHORT, seed=0, threads=1))
    runner = OnPolicyRunner(env, config(), log_dir=str(tmp_path), device="cpu")
    runner.learn(2, init_at_random_ep_len=True)
    assert (tmp_path / "model_1.pt").is_file()
    policy = runner.get_inference_policy()
    observations, _ = env.reset()  # also outside of the runner's inference mode
    with torch.no_grad():
        for _ in range(7):
            observations, reward, dones, _ = env.step(policy(observations))
    assert observations["policy"].shape[0] == 4 and torch.isfinite(reward).all() and dones.shape == (4,)


def test_rewards_and_ends_are_those_of_sb3s_interface():
    ours, theirs = LunarRslEnv(PronkWorld(SHORT, 0, threads=1)), LunarVecEnv(PronkWorld(SHORT, 0, threads=1))
    ours.world.seed(3)
    theirs.seed(3)
    ours.reset()
    theirs.reset()
    for action in np.random.default_rng(0).uniform(-1.0, 1.0, (6, 4, 12)).astype(np.float32):
        seen, reward, dones, extras = ours.step(torch.from_numpy(action))
        same, as_well, over, infos = theirs.step(action)
        np.testing.assert_allclose(seen["policy"], same["policy"], atol=1e-5)
        np.testing.assert_allclose(reward, as_well, atol=1e-5)
        assert dones.bool().tolist() == over.tolist()
        assert extras["time_outs"].tolist() == [info.get("TimeLimit.truncated", False) for info in infos]
        assert ("/hops" in extras.get("log", {})) == over.any()


def test_a_world_that_cannot_be_learnt_from_is_refused():
    with pytest.raises(LunarError, match="critic"):
        LunarRslEnv(PronkWorld(SHORT, 0, privileged=False))
