"""Gymnasium's and Stable-Baselines3's interfaces are one: the same actions, observations, rewards and infos."""

from __future__ import annotations

import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RescaleAction
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import sim.envs  # noqa: F401  (registers LunarPronk-v0)
from policy.networks.policy_file import load_actor
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld, WorldConfig
from sim.errors import LunarError
from sim.spec.joints import ACTION_BOUND
from sim.terrain.generators import TerrainConfig

ONE = WorldConfig(num_envs=1)
SHORT = WorldConfig(episode_length=0.1)


class Gym:
    """``gymnasium.make`` as the others are used: one robot, restarted at once."""

    def __init__(self, **options):
        self.env = gymnasium.make("LunarPronk-v0", **options)

    def reset(self, seed):
        return self.env.reset(seed=seed)[0]["policy"]

    def step(self, action):
        seen, reward, terminated, truncated, _ = self.env.step(action)
        if terminated or truncated:
            seen, _ = self.env.reset()
        return seen["policy"], reward, terminated or truncated


class Vector:
    def __init__(self, **options):
        self.env = gymnasium.make_vec("LunarPronk-v0", num_envs=1, **options)

    def reset(self, seed):
        return self.env.reset(seed=seed)[0]["policy"][0]

    def step(self, action):
        seen, reward, terminated, truncated, _ = self.env.step(action[None])
        return seen["policy"][0], reward[0], bool(terminated[0] or truncated[0])


class Sb3:
    def __init__(self, **options):
        self.env = LunarVecEnv(PronkWorld(replace(options.get("config", ONE), num_envs=1), 0, threads=1))

    def reset(self, seed):
        self.env.seed(seed)
        return self.env.reset()["policy"][0]

    def step(self, action):
        seen, reward, done, _ = self.env.step(action[None])
        return seen["policy"][0], reward[0], done[0]


@pytest.mark.parametrize("other", [Vector, Sb3])
def test_the_trained_policy_lives_the_same_life_through_every_interface(other):
    """It hops, and falls in none of them: actions are in the units that it was trained with."""
    actor, card = load_actor("pronk")
    assert card.action_bound == ACTION_BOUND
    ours, theirs = Gym(config=ONE), other(config=ONE)
    assert ours.env.action_space == getattr(theirs.env, "single_action_space", theirs.env.action_space)
    seen, same = ours.reset(5), theirs.reset(5)
    paid = 0.0
    for _ in range(300):
        np.testing.assert_allclose(seen, same, atol=1e-4)
        with torch.no_grad():
            action = actor(torch.from_numpy(seen)[None]).action[0].numpy()
        seen, reward, ended = ours.step(action)
        same, as_well, over = theirs.step(action)
        assert reward == pytest.approx(as_well, abs=1e-4) and not ended and not over
        paid += reward
    assert paid > 10.0, "a policy that hops is paid well over what standing pays"


@pytest.mark.parametrize("other", [Vector, Sb3])
def test_trials_follow_each_other_alike(other):
    ours, theirs = Gym(config=SHORT), other(config=SHORT)
    np.testing.assert_allclose(ours.reset(3), theirs.reset(3), atol=1e-5)
    ends = 0
    for action in np.random.default_rng(0).uniform(-1.0, 1.0, (12, 12)).astype(np.float32):
        (seen, reward, ended), (same, as_well, over) = ours.step(action), theirs.step(action)
        np.testing.assert_allclose(seen, same, atol=1e-4)
        assert reward == pytest.approx(as_well, abs=1e-4) and ended == over
        ends += ended
    assert ends == 2


def test_by_default_only_what_a_robot_senses_is_observed():
    env = gymnasium.make("LunarPronk-v0")
    assert list(env.observation_space) == list(env.reset(seed=0)[0]) == ["policy"]
    assert list(gymnasium.make_vec("LunarPronk-v0", num_envs=2).single_observation_space) == ["policy"]
    assert list(LunarVecEnv(PronkWorld(WorldConfig(num_envs=2), 0)).observation_space) == ["policy"]


def test_privileged_adds_the_critic_and_flat_is_one_array():
    both = gymnasium.make("LunarPronk-v0", privileged=True)
    seen, _ = both.reset(seed=0)
    assert set(seen) == {"policy", "critic"} and both.observation_space.contains(seen)
    flat = gymnasium.make("LunarPronk-v0", flat=True)
    array, _ = flat.reset(seed=0)
    np.testing.assert_array_equal(array, seen["policy"])
    assert isinstance(flat.observation_space, gymnasium.spaces.Box) and flat.observation_space.contains(array)
    vector = gymnasium.make_vec("LunarPronk-v0", num_envs=2, flat=True)
    assert vector.observation_space.contains(vector.reset(seed=0)[0])
    sb3 = LunarVecEnv(PronkWorld(WorldConfig(num_envs=2), 0), flat=True)
    assert sb3.reset().shape == (2, *sb3.observation_space.shape)
    with pytest.raises(LunarError, match="privileged"):
        gymnasium.make("LunarPronk-v0", privileged=True, flat=True)


@pytest.mark.parametrize("options", [{}, {"privileged": True}, {"flat": True}])
def test_gymnasiums_and_sb3s_checkers_recommend_no_more_than_another_scale(options):
    env = gymnasium.make("LunarPronk-v0", terrain="rough", **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped)
    messages = [str(warning.message) for warning in caught]
    assert all("symmetric and normalized" in message for message in messages), messages
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaled = RescaleAction(env, np.float32(-1.0), np.float32(1.0))
        sb3_check_env(scaled)
    env.close()


def test_reward_terms_add_up_to_the_reward_and_trials_tell_theirs():
    env = gymnasium.make("LunarPronk-v0", config=replace(SHORT, terrain=TerrainConfig()))
    env.reset(seed=0)
    paid: dict[str, float] = {}
    for _ in range(5):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-5)
        paid = {name: paid.get(name, 0.0) + value for name, value in info["reward_terms"].items()}
    assert terminated or truncated
    assert {name: info[f"reward_{name}"] for name in paid} == pytest.approx(paid, abs=1e-5)
    assert info["hops"] == info["pronks"] == 0


def test_trials_count_their_hops():
    """The trained policy's, one by one and at the end, by Gymnasium and SB3 alike."""
    actor, _ = load_actor("pronk")
    config = replace(ONE, episode_length=6.0)
    env, sb3 = gymnasium.make("LunarPronk-v0", config=config), LunarVecEnv(PronkWorld(config, 0, threads=1))
    seen, _ = env.reset(seed=1)
    sb3.seed(1)
    sb3.reset()
    counts, over = [], False
    while not over:
        with torch.no_grad():
            action = actor(torch.from_numpy(seen["policy"])[None]).action[0].numpy()
        seen, _, terminated, truncated, info = env.step(action)
        _, _, _, infos = sb3.step(action[None])
        over = terminated or truncated
        counts.append(info["hops"])
    assert counts == sorted(counts) and counts[-1] >= 3 and info["pronks"] >= 2
    assert infos[0]["hops"] == info["hops"] and infos[0]["reward_apex"] == pytest.approx(info["reward_apex"], rel=1e-3)


def test_same_step_reports_final_observations_and_infos():
    env = gymnasium.make_vec("LunarPronk-v0", num_envs=3, config=SHORT)
    observations, _ = env.reset(seed=1)
    assert env.observation_space.contains(observations)
    for _ in range(5):
        observations, _reward, terminated, truncated, info = env.step(np.zeros((3, 12), dtype=np.float32))
    assert (terminated | truncated).all() and info["_final_obs"].all()
    assert env.single_observation_space.contains(info["final_obs"][0])
    assert info["final_info"]["reward_apex"].shape == (3,)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, "NextStep", "NEXT_STEP"])
def test_next_step_starts_robots_in_the_step_after_which_pays_nothing(mode):
    env = gymnasium.make_vec("LunarPronk-v0", num_envs=3, config=SHORT, autoreset_mode=mode)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    env.reset(seed=1)
    still = np.zeros((3, 12), dtype=np.float32)
    for _ in range(4):
        assert not env.step(still)[3].any()
    last, _, _, truncated, info = env.step(still)
    assert truncated.all() and "final_obs" not in info and info["_hops"].all() and "reward_apex" in info
    first, reward, terminated, truncated, info = env.step(still)
    assert not reward.any() and not (terminated | truncated).any() and not info["_reward_terms"].any()
    assert not np.allclose(first["policy"], last["policy"])
    # a trial begins with its first frame as its whole history
    np.testing.assert_array_equal(first["policy"][:, :42], first["policy"][:, 42:84])
    for _ in range(4):
        assert not env.step(still)[3].any()
    assert env.step(still)[3].all()


def test_disabled_leaves_robots_to_reset():
    env = gymnasium.make_vec("LunarPronk-v0", num_envs=3, config=SHORT, autoreset_mode="Disabled")
    env.reset(seed=1)
    still = np.zeros((3, 12), dtype=np.float32)
    for _ in range(5):
        before, _, _, truncated, _ = env.step(still)
    kept = before["policy"].copy()
    mask = np.array([True, False, True])
    after, _ = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(before["policy"], kept)
    changed = (after["policy"] != kept).any(axis=1)
    assert changed.tolist() == mask.tolist()
    truncated = env.step(still)[3]
    assert truncated.tolist() == [False, True, False]
    with pytest.raises(LunarError, match="reset_mask must hold 3"):
        env.reset(options={"reset_mask": np.ones(2, dtype=bool)})
    with pytest.raises(LunarError, match="autoreset_mode is 'later'; it must be one of NEXT_STEP, SAME_STEP"):
        gymnasium.make_vec("LunarPronk-v0", num_envs=3, autoreset_mode="later")


def test_a_seed_repeats_and_another_differs():
    env = LunarVecEnv(PronkWorld(WorldConfig(num_envs=3), 0, threads=1))
    seen = []
    for seed in (4, 4, 5):
        env.seed(seed)
        seen.append(env.reset()["policy"])
    np.testing.assert_array_equal(seen[0], seen[1])
    assert not np.allclose(seen[0], seen[2])
    assert not np.allclose(env.reset()["policy"], seen[2]), "a seed counts once"


@pytest.mark.parametrize("kind", ["make", "make_vec", "sb3"])
def test_actions_that_no_robot_can_take_are_refused_in_one_sentence(kind):
    rows = () if kind == "make" else (1,)
    if kind == "make":
        env = gymnasium.make("LunarPronk-v0").unwrapped
    elif kind == "make_vec":
        env = gymnasium.make_vec("LunarPronk-v0", num_envs=1)
    else:
        env = LunarVecEnv(PronkWorld(ONE, 0, threads=1))
    env.reset()
    poisoned = np.zeros((*rows, 12))
    poisoned[..., 4] = np.nan
    cases = {
        "not finite at FR_thigh_joint": poisoned,
        "not finite": np.full((*rows, 12), 1e300),
        "must have": np.zeros((*rows, 11)),
        "not complex128": np.zeros((*rows, 12), complex),
        "not bool": np.zeros((*rows, 12), bool),
        "not NoneType": None,
        "not dict": {"joints": [0.0] * 12},
    }
    for message, action in cases.items():
        with pytest.raises(LunarError, match=message) as said:
            env.step(action)
        assert "\n" not in str(said.value)
    for good in (
        np.zeros((*rows, 12)),
        np.zeros((*rows, 12), int),
        torch.zeros(*rows, 12),
        np.zeros((*rows, 12)).tolist(),
    ):
        env.step(good)
