"""The usual scripts of Stable-Baselines3's, Gymnasium's and rsl_rl's users, as they would write them."""

from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo, RescaleAction
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecVideoRecorder,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import sim.envs  # noqa: F401  (registers LunarPronk-v0)
from policy.export.cli import ExportConfig, export
from policy.networks.actor import ModelConfig
from policy.networks.policy_file import load_actor
from policy.runtime.onnx_policy import OnnxPolicy
from policy.training.config import PPOConfig
from policy.training.ppo import LunarPPO
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld, WorldConfig
from sim.errors import LunarError

SHORT = WorldConfig(num_envs=4, episode_length=0.1)
SMALL = PPOConfig(rollout=8, minibatch=16, epochs=1, model=ModelConfig(hidden=(16,)))
MAKE = functools.partial(gymnasium.make, "sim.envs:LunarPronk-v0", config=SHORT)


def robots(**options) -> LunarVecEnv:
    return LunarVecEnv(PronkWorld(SHORT, 0, threads=1), **options)


def model(env=None, **options) -> LunarPPO:
    return LunarPPO("pronk", env or robots(), SMALL, **options)


def scalars(folder) -> set[str]:
    (run,) = [path for path in folder.iterdir() if path.is_dir()]
    events = EventAccumulator(str(run))
    events.Reload()
    return set(events.Tags()["scalars"])


def monitored(path) -> list[list[str]]:
    """Names and rows of a file that SB3's Monitor wrote."""
    return [line.split(",") for line in path.read_text().splitlines()[1:]]


# Gymnasium


def test_record_episode_statistics():
    env = RecordEpisodeStatistics(MAKE())
    env.reset(seed=0)
    over = False
    while not over:
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        over = terminated or truncated
    assert info["episode"]["l"] == 5
    vector = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        gymnasium.make_vec("LunarPronk-v0", num_envs=2, config=SHORT)
    )
    vector.reset(seed=0)
    for _ in range(5):
        *_, info = vector.step(vector.action_space.sample())
    assert info["episode"]["l"].tolist() == [5, 5]


def test_record_video(tmp_path):
    env = RecordVideo(MAKE(render_mode="rgb_array"), str(tmp_path))
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    env.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_normalised_vector_environment():
    envs = gymnasium.make_vec("LunarPronk-v0", num_envs=2, config=SHORT, flat=True, autoreset_mode="NextStep")
    envs = gymnasium.wrappers.vector.NormalizeObservation(gymnasium.wrappers.vector.RecordEpisodeStatistics(envs))
    envs = gymnasium.wrappers.vector.NormalizeReward(gymnasium.wrappers.vector.ClipAction(envs))
    seen, _ = envs.reset(seed=0)
    for _ in range(12):
        seen, reward, *_ = envs.step(10.0 * envs.action_space.sample())
    assert np.isfinite(seen).all() and np.isfinite(reward).all()


def test_infos_as_a_list():
    envs = gymnasium.wrappers.vector.DictInfoToList(gymnasium.make_vec("LunarPronk-v0", num_envs=2, config=SHORT))
    envs.reset(seed=0)
    for _ in range(5):
        *_, infos = envs.step(envs.action_space.sample())
    assert len(infos) == 2 and infos[1]["reward_terms"]["apex"] >= 0.0 and "final_info" in infos[0]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasiums_own_vector_environments(mode):
    envs = gymnasium.make_vec("sim.envs:LunarPronk-v0", num_envs=2, vectorization_mode=mode, config=SHORT)
    seen, _ = envs.reset(seed=[1, 2])
    for _ in range(7):
        seen, *_ = envs.step(envs.action_space.sample())
    assert seen["policy"].shape[0] == 2
    envs.close()


# Stable-Baselines3's own algorithms


def test_stock_ppo_on_what_a_robot_senses():
    learner = PPO("MultiInputPolicy", make_vec_env("LunarPronk-v0", 2, seed=0, env_kwargs={"config": SHORT}), n_steps=8)
    learner.learn(16)
    assert list(learner.observation_space) == ["policy"]
    flat = PPO("MlpPolicy", robots(flat=True), n_steps=8, batch_size=16)
    flat.learn(32)
    mean, _ = evaluate_policy(flat, Monitor(MAKE(flat=True)), 2)
    assert np.isfinite(mean)


def test_stock_sac_on_the_recommended_scale():
    learner = SAC(
        "MlpPolicy", RescaleAction(MAKE(flat=True), np.float32(-1), np.float32(1)), learning_starts=8, batch_size=8
    )
    learner.learn(12)


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_one_by_one_vector_environments(kind):
    env = VecMonitor(kind([functools.partial(MAKE, flat=True)] * 2))
    PPO("MlpPolicy", env, n_steps=8, batch_size=16).learn(16)
    env.close()


def test_normalised_and_stacked(tmp_path):
    env = VecNormalize(VecFrameStack(VecMonitor(robots(flat=True)), 2))
    learner = PPO("MlpPolicy", env, n_steps=8, batch_size=16)
    learner.learn(64)
    env.save(str(tmp_path / "normalise.pkl"))
    assert env.obs_rms.count > 32


def test_monitor_writes_hops_and_terms(tmp_path):
    keys = ("hops", "pronks", "reward_apex", "reward_fall")
    watched = VecMonitor(robots(flat=True), str(tmp_path / "robots"), info_keywords=keys)
    PPO("MlpPolicy", watched, n_steps=8, batch_size=16).learn(64)
    single = Monitor(MAKE(flat=True), str(tmp_path / "one"), info_keywords=keys)
    PPO("MlpPolicy", single, n_steps=16, batch_size=16).learn(16)
    for name in ("robots", "one"):
        first, *rows = monitored(tmp_path / f"{name}.monitor.csv")
        assert {"r", "l", *keys} <= set(first) and rows


def test_evaluation_callback_finds_the_best(tmp_path):
    evaluation = EvalCallback(
        VecMonitor(robots(flat=True)), n_eval_episodes=2, eval_freq=8, verbose=0, log_path=str(tmp_path)
    )
    PPO("MlpPolicy", VecMonitor(robots(flat=True)), n_steps=8, batch_size=16).learn(64, evaluation)
    assert np.isfinite(evaluation.best_mean_reward)


# LunarPPO


def test_the_usual_constructor_logs_returns_hops_and_terms(tmp_path, capsys):
    learner = LunarPPO(
        "pronk", robots(), n_steps=8, batch_size=16, n_epochs=1, verbose=1, tensorboard_log=str(tmp_path), seed=3
    )
    learner.learn(128)
    told = scalars(tmp_path)
    assert {"rollout/ep_rew_mean", "rollout/ep_len_mean", "hops/hops_per_20s", "rewards/apex", "train/kl"} <= told
    assert "ep_rew_mean" in capsys.readouterr().out
    assert learner.config.rollout == 8 and learner.config.minibatch == 16


def test_a_seed_gives_the_same_policy_and_another_another():
    def learnt(seed):
        learner = model(seed=seed)
        learner.learn(64)
        return torch.cat([p.flatten() for p in learner.policy.parameters()])

    first, second, other = learnt(1), learnt(1), learnt(2)
    assert torch.equal(first, second) and not torch.allclose(first, other)


def test_checkpoint_callback_and_load_round_trip(tmp_path):
    learner = model(seed=0)
    learner.learn(64, CheckpointCallback(8, str(tmp_path)))
    assert {path.name for path in tmp_path.iterdir()} == {"rl_model_32_steps.zip", "rl_model_64_steps.zip"}
    assert LunarPPO.load(tmp_path / "rl_model_32_steps.zip").num_timesteps == 32
    path = tmp_path / "model"
    learner.save(path)
    seen = robots().reset()
    alone = LunarPPO.load(path)
    for observation in (seen, {"policy": seen["policy"][0]}):
        action, same = (m.predict(observation, deterministic=True)[0] for m in (alone, learner))
        np.testing.assert_array_equal(action, same)
    further = LunarPPO.load(path, env=robots())
    assert further.num_timesteps == learner.num_timesteps
    further.learn(32, reset_num_timesteps=False)
    assert further.num_timesteps == learner.num_timesteps + 32


def test_evaluation_and_best_model(tmp_path):
    evaluation = EvalCallback(
        VecMonitor(robots()), n_eval_episodes=2, eval_freq=8, verbose=0, best_model_save_path=str(tmp_path)
    )
    learner = model(VecMonitor(robots(), str(tmp_path / "monitor"), info_keywords=("hops",)))
    learner.learn(64, evaluation)
    assert np.isfinite(evaluation.best_mean_reward)
    assert LunarPPO.load(tmp_path / "best_model").num_timesteps > 0
    assert len(monitored(tmp_path / "monitor.monitor.csv")) > 1, "a watched training is watched"
    mean, _ = evaluate_policy(learner, Monitor(MAKE()), 2)
    assert np.isfinite(mean)


def test_video_of_a_training(tmp_path):
    env = VecVideoRecorder(robots(render_mode="rgb_array"), str(tmp_path), lambda step: step == 0, video_length=6)
    learner = model(env)
    learner.learn(64)
    env.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_watched_and_unwatched_trainings_are_the_same():
    def learnt(env):
        learner = model(env, seed=1)
        learner.learn(64)
        return torch.cat([p.flatten() for p in learner.policy.parameters()])

    assert torch.equal(learnt(robots()), learnt(VecMonitor(robots())))


def test_a_policy_trained_in_python_goes_to_evaluation_export_and_robots(tmp_path):
    learner = model(seed=0)
    learner.learn(32)
    folder = tmp_path / "mine"
    card = learner.save_policy(folder)
    assert card.training["steps"] == 32
    actor, _ = load_actor(folder)
    seen = torch.from_numpy(robots().reset()["policy"])
    expected = learner.predict({"policy": seen.numpy()}, deterministic=True)[0]
    np.testing.assert_allclose(actor(seen).action.detach().numpy(), expected, atol=1e-6)
    assert export(ExportConfig(str(folder), c=True))["weights"] == card.weights
    assert OnnxPolicy(folder).card.weights == card.weights
    with pytest.raises(LunarError, match="holds"):
        learner.save_policy(folder)
    learner.save_policy(folder, overwrite=True)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("CartPole-v1", "'CartPole-v1'"),
        (lambda: gymnasium.make("CartPole-v1"), "a "),
        (MAKE, "LunarVecEnv"),
        (lambda: gymnasium.make_vec("LunarPronk-v0", num_envs=2), "LunarPronkVectorEnv"),
        (lambda: DummyVecEnv([MAKE]), "DummyVecEnv"),
        (lambda: VecNormalize(robots()), "VecNormalize"),
        (lambda: PronkWorld(SHORT, 0), "PronkWorld"),
        (lambda: None, "NoneType"),
        (lambda: LunarVecEnv(PronkWorld(SHORT, 0, privileged=False)), "critic"),
    ],
)
def test_a_wrong_environment_is_refused_in_one_sentence(env, message):
    with pytest.raises(LunarError, match=message) as said:
        LunarPPO("pronk", env() if callable(env) else env)
    assert "\n" not in str(said.value)


def test_wrong_arguments_are_refused_in_one_sentence():
    for wrong, message in (
        ({"n_step": 8}, "did you mean 'n_steps'"), ({"policy_kwargs": {}}, "no argument 'policy_kwargs'"),
        ({"device": "cuda"}, "the robots are on cpu"),
    ):  # fmt: skip
        with pytest.raises(LunarError, match=message):
            LunarPPO("pronk", robots(), **wrong)
    with pytest.raises(LunarError, match="'MlpPolicy': for that use stable_baselines3"):
        LunarPPO("MlpPolicy", robots())
    with pytest.raises(LunarError, match="LunarVecEnv takes a PronkWorld"):
        LunarVecEnv(MAKE())
    with pytest.raises(LunarError, match="render_mode is 'human'"):
        robots(render_mode="human")
