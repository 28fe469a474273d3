"""The environment: repeatable, correct at the ends of trials, in step with what a robot's own computer would see."""

from __future__ import annotations

from dataclasses import fields, replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import sim.envs  # noqa: F401  (registers LunarPronk-v0)
from policy.training.vec_env import LunarVecEnv
from sim.envs.gym import LunarPronkEnv, LunarPronkVectorEnv
from sim.envs.world import PronkWorld, WorldConfig
from sim.errors import LunarError
from sim.mdp.commands import CommandConfig
from sim.mdp.curriculum import CurriculumConfig
from sim.mdp.events import RandomisationConfig, ResetConfig
from sim.mdp.observations import NoiseConfig, group_specs
from sim.spec.gravity import MOON
from sim.spec.hops import HopTable
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION as SPEC
from sim.spec.observation import FrameStack, make_frame
from sim.terrain.generators import TerrainConfig

SMALL = WorldConfig(num_envs=8, terrain=TerrainConfig(kind="rough", size=16.0))
QUIET = NoiseConfig(0.0, 0.0, 0.0, 0.0)


def actions(n: int, steps: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [0.5 * torch.randn(n, 12, generator=generator) for _ in range(steps)]


def rollout(world: PronkWorld, steps: int = 60) -> torch.Tensor:
    world.reset()
    rows = []
    for action in actions(world.num_envs, steps):
        step = world.step(action)
        rows.append(torch.cat([step.observations["policy"], step.observations["critic"], step.reward[:, None]], dim=1))
    return torch.stack(rows)


def test_same_seed_same_rollout_and_another_seed_another():
    a, b, c = (rollout(PronkWorld(SMALL, seed)) for seed in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_observation_is_what_the_robots_own_computer_makes():
    """The torch term and the NumPy runtime agree, history and command included."""
    world = PronkWorld(replace(SMALL, noise=QUIET, resets=ResetConfig(air_fraction=0.0)), 0, training=False)
    observations = world.reset()
    stack = FrameStack(SPEC)
    for action in [None, *actions(8, 10)]:
        if action is not None:
            observations = world.step(action * 0.2).observations
        s = world.state
        frame = make_frame({c.name: getattr(s, c.name)[3].numpy().astype(float) for c in SPEC.frame})
        expected = stack.push(frame, world.command[3].numpy().astype(float))
        np.testing.assert_allclose(observations["policy"][3].numpy(), expected, atol=1e-5)


def test_trials_end_in_time_with_their_last_observation():
    world = PronkWorld(replace(SMALL, episode_length=0.2, noise=QUIET), 0, training=False)
    world.reset()
    for k in range(1, 11):
        step = world.step(torch.zeros(8, 12))
        assert step.truncated.all() == (k == 10)
    assert not step.terminated.any() and step.ended.tolist() == list(range(8))
    last, first = step.final_observations["policy"], step.observations["policy"]
    assert last.shape == first.shape and not torch.allclose(last, first)
    # a new trial's history is one frame, repeated
    frames = first[:, : len(SPEC.ages) * SPEC.frame_size].reshape(8, len(SPEC.ages), SPEC.frame_size)
    assert torch.equal(frames[:, 0], frames[:, 2])


def test_tilt_over_60_degrees_ends_the_trial():
    world = PronkWorld(replace(SMALL, terrain=TerrainConfig()), 0, training=False)
    world.reset()
    roll = torch.tensor([65.0] * 4 + [55.0] * 4).deg2rad() / 2
    qpos = world.physics.qpos.clone()
    qpos[:, 3:7] = torch.stack([roll.cos(), roll.sin(), 0 * roll, 0 * roll], dim=1)
    qpos[:, 2] = 1.0
    world.physics.reset(world.everyone, qpos, torch.zeros(8, 18))
    assert world.step(torch.zeros(8, 12)).terminated.tolist() == [True] * 4 + [False] * 4


def test_a_non_finite_action_is_refused_and_named():
    world = PronkWorld(SMALL, 0)
    world.reset()
    action = torch.zeros(8, 12)
    action[5, 2] = float("nan")
    with pytest.raises(LunarError, match="robot 5"):
        world.step(action)


def test_a_diverged_robot_starts_anew_and_no_nan_spreads():
    world = PronkWorld(SMALL, 0)
    world.reset()
    physics, robot = world.physics, torch.tensor([2])
    physics.reset(robot, physics.qpos[robot], torch.full((1, 18), torch.inf))
    step = world.step(torch.zeros(8, 12))
    assert bool(step.terminated[2]) and world.diverged == 1
    for tensor in (step.reward, *step.observations.values(), *step.final_observations.values()):
        assert torch.isfinite(tensor).all()


def test_commands_stay_in_range_and_are_renewed():
    cfg = replace(SMALL, commands=CommandConfig(vx=(0.1, 0.2), period=0.1), resets=ResetConfig(air_fraction=0.0))
    world = PronkWorld(cfg, 0, training=False)
    world.reset()
    first = world.command.clone()
    for _ in range(5):
        world.step(torch.zeros(8, 12))
    assert (world.command[:, 0] != first[:, 0]).all()
    assert ((world.command[:, 0] >= 0.1) & (world.command[:, 0] <= 0.2)).all()


def test_randomised_gravity_is_felt():
    cfg = replace(
        SMALL, terrain=TerrainConfig(), randomisation=RandomisationConfig(gravity=(0.9, 2.0)),
        resets=ResetConfig(air_fraction=1.0, air_height=(2.0, 2.0), air_speed=(0.0, 0.0)),
    )  # fmt: skip
    world = PronkWorld(cfg, 0, training=False)
    world.reset()
    for _ in range(25):
        world.step(torch.zeros(8, 12))
    speed = world.physics.com_velocity[:, -1, 2].numpy()
    np.testing.assert_allclose(speed, -world.physics.effective_gravity.numpy() * 0.495, rtol=0.02)
    assert np.ptp(speed) > 0.05


def test_an_unknown_reward_term_names_the_nearest():
    with pytest.raises(LunarError, match="'apexx'; did you mean 'apex'"):
        PronkWorld(replace(SMALL, rewards={"apexx": 1.0}), 0)


def test_standing_still_pays_less_than_any_flight():
    """The reward's core: nothing is earned for height on the ground."""
    from sim.tasks.pronk import TERMS, Shaping

    world = PronkWorld(replace(SMALL, resets=ResetConfig(air_fraction=0.0)), 0, training=False)
    world.reset()
    for _ in range(50):
        world.step(torch.zeros(8, 12))
    assert float(TERMS["apex"](world.state, Shaping()).abs().max()) == 0.0
    assert float(TERMS["velocity"](world.state, Shaping()).abs().max()) == 0.0


@pytest.mark.filterwarnings("error")
def test_gymnasiums_and_sb3s_checkers_pass_without_warnings():
    env = gymnasium.make("LunarPronk-v0", terrain="rough")
    check_env(env.unwrapped, skip_render_check=True)
    sb3_check_env(env.unwrapped)
    env.close()


def test_vector_env_reports_final_observations():
    env = gymnasium.make_vec("LunarPronk-v0", num_envs=3, config=replace(SMALL, episode_length=0.1))
    observations, _ = env.reset(seed=1)
    assert env.observation_space.contains(observations)
    for _ in range(5):
        observations, _reward, terminated, truncated, info = env.step(np.zeros((3, 12), dtype=np.float32))
    assert (terminated | truncated).all() and info["_final_obs"].all()
    assert env.single_observation_space.contains(info["final_obs"][0])


def test_nominal_pose_is_action_zero():
    world = PronkWorld(replace(SMALL, resets=ResetConfig(air_fraction=0.0, joint_noise=0.0)), 0, training=False)
    world.reset()
    for _ in range(100):
        world.step(torch.zeros(8, 12))
    np.testing.assert_allclose(world.physics.qpos[:, 7:], np.tile(NOMINAL_POSE, (8, 1)), atol=0.12)


def test_a_robot_on_the_ideal_rig_falls_as_on_the_moon_but_its_legs_weigh_as_on_earth():
    resets = ResetConfig(air_fraction=1.0, air_height=(2.0, 2.0), air_speed=(0.0, 0.0))
    cfg = replace(SMALL, terrain=TerrainConfig(), resets=resets)
    sag = {}
    for share in (0.0, 1.0):
        world = PronkWorld(replace(cfg, randomisation=RandomisationConfig(rig_share=share)), 0, training=False)
        world.reset()
        for _ in range(25):
            world.step(torch.zeros(8, 12))
        np.testing.assert_allclose(world.physics.com_velocity[:, -1, 2], -MOON * 0.495, rtol=0.01)
        sag[share] = np.abs(world.physics.qpos[:, 7:].numpy() - NOMINAL_POSE).max(axis=1)
    # in free fall nothing pulls on the legs; on the rig the trunk is held and they hang
    assert (sag[1.0] > sag[0.0] + 0.01).all()


def test_the_policy_group_holds_the_frames_of_those_ages():
    ages = (0, 2, 7)
    world = PronkWorld(replace(SMALL, ages=ages, resets=ResetConfig(air_fraction=0.0)), 0, training=False)
    seen = [world.reset()["policy"][:, : SPEC.frame_size]]
    for action in actions(8, 20):
        observations = world.step(0.2 * action).observations
        seen.append(observations["policy"][:, : SPEC.frame_size])
        frames = observations["policy"][:, :-5].reshape(8, len(ages), SPEC.frame_size)
        for k, age in enumerate(ages):
            assert torch.equal(frames[:, k], seen[max(len(seen) - 1 - age, 0)])


def test_group_specs_describe_every_column():
    world = PronkWorld(replace(SMALL, ages=(0, 5)), 0)
    observations = world.reset()
    specs = group_specs(world.spec)
    assert set(specs) == set(observations) == {"policy", "critic"}
    for name, channels in specs.items():
        assert sum(c.size for c in channels) == observations[name].shape[1]
        assert all(c.unit for c in channels)


def test_the_curriculum_moves_robots_between_maps():
    cfg = replace(
        SMALL, terrain=TerrainConfig(kind="mare", size=16.0), curriculum=CurriculumConfig(enabled=True, start=4),
        episode_length=0.4, resets=ResetConfig(air_fraction=0.0), commands=CommandConfig(vx=(0.4, 0.6)),
    )  # fmt: skip
    world = PronkWorld(cfg, 0)
    world.reset()
    assert world.physics.level.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    for _ in range(21):  # standing still covers no ground: every robot goes down
        world.step(torch.zeros(8, 12))
    assert world.physics.level.tolist() == [0, 0, 1, 2, 3, 0, 0, 1]
    # each robot stands on its own map
    x, y = world.physics.qpos[:, :2].double().numpy().T
    expected = world.physics.terrain.height(x, y, world.physics.level.numpy())
    np.testing.assert_allclose(world.physics.ground[:, 4].numpy(), expected, atol=1e-5)


def test_no_screen_no_window_but_a_sentence(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    env = gymnasium.make("LunarPronk-v0", render_mode="human")
    with pytest.raises(LunarError, match="rgb_array"):
        env.reset(seed=0)


@pytest.mark.parametrize("interface", ["gymnasium", "gymnasium vector", "stable-baselines3"])
def test_nobody_who_steps_for_long_piles_up_hops(interface, monkeypatch):
    cfg = replace(SMALL, terrain=TerrainConfig(), episode_length=1.0)
    if interface == "gymnasium":
        env, action = LunarPronkEnv(config=cfg), np.zeros(12, np.float32)
    elif interface == "gymnasium vector":
        env, action = LunarPronkVectorEnv(8, config=cfg), np.zeros((8, 12), np.float32)
    else:
        env, action = LunarVecEnv(PronkWorld(cfg, 0)), np.zeros((8, 12), np.float32)
    env.reset()
    hops = env.world.hops
    row = {f.name: np.zeros(3) for f in fields(HopTable)}
    for _ in range(4):
        hops._rows.append(row)  # as if three robots had just completed a hop
        env.step(action)
        assert len(hops.table()) == 0
