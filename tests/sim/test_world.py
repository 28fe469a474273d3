"""The environment: repeatable, correct at the ends of trials, in step with what a robot's own computer would see."""

from __future__ import annotations

from dataclasses import fields, replace

import gymnasium
import numpy as np
import pytest
import torch

import sim.envs  # noqa: F401  (registers LunarPronk-v0)
from policy.training.vec_env import LunarVecEnv
from sim.envs.gym import LunarPronkEnv, LunarPronkVectorEnv
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.mdp.config import CommandConfig, CurriculumConfig, NoiseConfig, RandomisationConfig, ResetConfig
from sim.mdp.observations import group_specs
from sim.mdp.state import heading
from sim.physics.scene import PhysicsConfig
from sim.spec.gravity import MOON
from sim.spec.hops import HopTable
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION as SPEC
from sim.spec.observation import FrameStack, make_frame
from sim.tasks.config import FallConfig, WorldConfig
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
    world = PronkWorld(replace(SMALL, noise=QUIET, resets=ResetConfig(air_fraction=0.0)), 0)
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
    world = PronkWorld(replace(SMALL, episode_length=0.2, noise=QUIET), 0)
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


def placed(height: float, tilts: list[float], **config) -> PronkWorld:
    """Eight robots on level ground, rolled by ``tilts`` (degrees), their bases at ``height`` (m)."""
    world = PronkWorld(replace(SMALL, terrain=TerrainConfig(), noise=QUIET, **config), 0)
    world.reset()
    roll = torch.tensor(tilts).deg2rad() / 2
    qpos = world.physics.qpos.clone()
    qpos[:, 3:7] = torch.stack([roll.cos(), roll.sin(), 0 * roll, 0 * roll], dim=1)
    qpos[:, 2] = height
    world.physics.reset(world.everyone, qpos, torch.zeros(8, 18))
    return world


def test_a_robot_in_flight_may_lean_by_90_degrees():
    world = placed(1.0, [95.0] * 2 + [85.0] * 2 + [65.0] * 2 + [55.0] * 2)
    assert world.step(torch.zeros(8, 12)).terminated.tolist() == [True] * 2 + [False] * 6


def test_who_leans_by_60_degrees_on_the_ground_has_fallen():
    world = placed(0.24, [65.0] * 4 + [0.0] * 4)
    fell = torch.zeros(8, dtype=torch.bool)
    for _ in range(10):
        fell |= world.step(torch.zeros(8, 12)).terminated
    assert fell.tolist() == [True] * 4 + [False] * 4


LIMP = PhysicsConfig(kp=0.0, gravity=9.81)  # under lunar weight the dampers let it down too slowly


@pytest.mark.parametrize(("allowed", "falls"), [(0.25, True), (30.0, False)])
def test_a_trunk_that_bears_load_for_a_quarter_of_a_second_has_fallen(allowed, falls):
    world = placed(0.08, [0.0] * 8, fall=FallConfig(lying_time=allowed), physics=LIMP)
    loaded, ended = torch.zeros(8), torch.zeros(8, dtype=torch.bool)
    for _ in range(60):
        step = world.step(torch.zeros(8, 12))
        ended |= step.terminated
        loaded = torch.maximum(loaded, world.state.lying_time)
    assert ended.all() == falls and ended.any() == falls
    assert loaded.max() >= 0.22 and (world.state.tilt < 1.0).all()


def test_a_kneeling_robot_is_not_in_flight():
    world = placed(0.15, [0.0] * 8, fall=FallConfig(lying_time=30.0), physics=LIMP)
    for _ in range(60):
        world.step(torch.zeros(8, 12))
    assert (world.state.limb_contact.any(1) | (world.state.trunk_load > 0.05)).all()
    assert not world.state.in_flight.any() and not world.hops.airborne.any()
    assert (world.hops.hops == 0).all()


def test_without_restarts_a_fallen_robot_stays_where_it_is():
    world = PronkWorld(replace(SMALL, terrain=TerrainConfig(), noise=QUIET, episode_length=0.1), 0, restart=False)
    world.reset()
    for _ in range(8):
        step = world.step(torch.zeros(8, 12))
    assert step.truncated.all() and len(step.ended) == 0 and (world.steps == 8).all()


def test_robots_are_spread_over_several_maps():
    world = PronkWorld(replace(SMALL, terrain=TerrainConfig(kind="mare", size=8.0, resolution=0.2), maps=4), 0)
    assert world.physics.level.tolist() == [0, 1, 2, 3] * 2
    heights = world.physics.terrain.heights
    assert len(heights) == 4 and len({h.tobytes() for h in heights}) == 4


def test_starts_are_on_fair_ground_or_before_an_obstacle():
    terrain = TerrainConfig(kind="boulder", size=16.0)
    spreads, rises = {}, {}
    for name, resets in {
        "anywhere": ResetConfig(candidates=1), "fair": ResetConfig(), "before": ResetConfig(obstacle_fraction=1.0),
    }.items():  # fmt: skip
        world = PronkWorld(replace(SMALL, num_envs=256, terrain=terrain, resets=resets), 0)
        world.reset()
        q, level = world.physics.qpos, world.physics.level
        forward = heading(q[:, 3:7])
        hips = torch.as_tensor(world.physics.robot.hips, dtype=torch.float32)
        turned = torch.stack([forward[:, :1] * hips[:, 0] - forward[:, 1:] * hips[:, 1],
                              forward[:, 1:] * hips[:, 0] + forward[:, :1] * hips[:, 1]], dim=2)  # fmt: skip
        feet = world.physics.terrain_height(q[:, None, :2] + turned, level)
        ahead = world.physics.terrain_height(
            q[:, None, :2] + forward[:, None] * torch.tensor([0.5, 0.65, 0.8])[:, None], level
        )
        spreads[name] = (feet.amax(1) - feet.amin(1)).max()
        rises[name] = (ahead.amax(1) - feet.mean(1)).mean()
    assert spreads["fair"] <= 0.151 < spreads["anywhere"] and spreads["before"] <= 0.151
    assert rises["before"] > rises["fair"] + 0.05


def test_trouble_tilts_spins_and_kneels():
    resets = ResetConfig(air_fraction=0.0, trouble_fraction=1.0, trouble_tilt=0.5, trouble_spin=1.0)
    world = PronkWorld(replace(SMALL, num_envs=256, terrain=TerrainConfig(), resets=resets), 0)
    world.reset()
    assert 0.5 < world.state.tilt.max() < 0.75 and world.state.angular_velocity.abs().max() > 0.9
    folded = world.state.joint_position[:, 2] < -2.3
    assert 0.3 < folded.float().mean() < 0.7
    step = world.step(torch.zeros(256, 12))
    assert not step.terminated.any() and world.state.velocity.abs().max() < 1.0, "nobody starts in the ground"


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
    world = PronkWorld(cfg, 0)
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
    world = PronkWorld(cfg, 0)
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

    world = PronkWorld(replace(SMALL, resets=ResetConfig(air_fraction=0.0)), 0)
    world.reset()
    for _ in range(50):
        world.step(torch.zeros(8, 12))
    assert float(TERMS["apex"](world.state, Shaping()).abs().max()) == 0.0
    assert float(TERMS["velocity"](world.state, Shaping()).abs().max()) == 0.0


def test_nominal_pose_is_action_zero():
    world = PronkWorld(replace(SMALL, resets=ResetConfig(air_fraction=0.0, joint_noise=0.0)), 0)
    world.reset()
    for _ in range(100):
        world.step(torch.zeros(8, 12))
    np.testing.assert_allclose(world.physics.qpos[:, 7:], np.tile(NOMINAL_POSE, (8, 1)), atol=0.12)


def test_a_robot_on_the_ideal_rig_falls_as_on_the_moon_but_its_legs_weigh_as_on_earth():
    resets = ResetConfig(air_fraction=1.0, air_height=(2.0, 2.0), air_speed=(0.0, 0.0))
    cfg = replace(SMALL, terrain=TerrainConfig(), resets=resets)
    sag = {}
    for share in (0.0, 1.0):
        world = PronkWorld(replace(cfg, randomisation=RandomisationConfig(rig_share=share)), 0)
        world.reset()
        for _ in range(25):
            world.step(torch.zeros(8, 12))
        np.testing.assert_allclose(world.physics.com_velocity[:, -1, 2], -MOON * 0.495, rtol=0.01)
        sag[share] = np.abs(world.physics.qpos[:, 7:].numpy() - NOMINAL_POSE).max(axis=1)
    # in free fall nothing pulls on the legs; on the rig the trunk is held and they hang
    assert (sag[1.0] > sag[0.0] + 0.01).all()


def test_the_policy_group_holds_the_frames_of_those_ages():
    ages = (0, 2, 7)
    world = PronkWorld(replace(SMALL, ages=ages, resets=ResetConfig(air_fraction=0.0)), 0)
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
