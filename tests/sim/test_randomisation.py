"""What differs from robot to robot is felt as physics says, repeats by seed, and is nothing when it is off."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.mdp.config import NoiseConfig, RandomisationConfig
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig, build_scene, scene_spec
from sim.spec.gravity import EARTH, MOON
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.config import WorldConfig
from sim.terrain.height_field import HeightField

FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))
NOMINAL = torch.tensor(NOMINAL_POSE, dtype=torch.float32)
EVERYTHING = RandomisationConfig(
    gravity=(0.85, 2.0), rig_share=0.5, friction=(0.4, 1.0), rig_inertia=(0.1, 0.5), rig_friction=(0.0, 0.08),
    added_mass=(-1.0, 3.0), com_offset=(0.03, 0.02, 0.02), stiffness=(0.8, 1.2), damping=(0.8, 1.2),
    strength=(0.8, 1.1), delay=(0.0, 0.02),
)  # fmt: skip


def robots(n: int, height: float, rising: float = 0.0, **cfg: float) -> BatchPhysics:
    physics = BatchPhysics(replace(PhysicsConfig(), **cfg), n, FLAT)  # type: ignore[arg-type]
    start(physics, height, rising)
    return physics


def start(physics: BatchPhysics, height: float, rising: float = 0.0) -> None:
    n = physics.num_envs
    qpos, qvel = torch.zeros(n, 19), torch.zeros(n, 18)
    qpos[:, 2], qpos[:, 3], qpos[:, 7:] = height, 1.0, NOMINAL
    qvel[:, 2] = rising
    physics.reset(torch.arange(n), qpos, qvel)


def load(
    physics: BatchPhysics, kg: list[float], place: tuple[float, ...], offset: tuple[float, ...] = (0, 0, 0)
) -> None:
    n = physics.num_envs
    places = (torch.tensor([v], dtype=torch.float32).repeat(n, 1) for v in (place, offset))
    physics.set_payload(torch.arange(n), torch.tensor(kg), *places)


def stand(physics: BatchPhysics, steps: int = 250) -> None:
    for _ in range(steps):
        physics.step(NOMINAL.repeat(physics.num_envs, 1))


def test_feet_carry_an_added_mass_where_it_lies():
    physics = robots(3, 0.29)
    load(physics, [0.0, 3.0, -2.0], (0.15, 0.05, 0.05))
    stand(physics)
    force = physics.foot_force[:, -1]
    np.testing.assert_allclose(force.sum(1), (physics.mass + np.array([0.0, 3.0, -2.0])) * MOON, rtol=0.01)
    front, left = force[:, :2].sum(1) / force.sum(1), force[:, ::2].sum(1) / force.sum(1)
    assert front[1] > front[0] + 0.03 > front[2] + 0.03
    assert left[1] > left[0] + 0.03


def test_a_displaced_centre_of_mass_moves_the_robots():
    physics = robots(1, 1.0)
    before = physics.com.clone()
    load(physics, [0.0], (0.0, 0.0, 0.0), (0.05, -0.02, 0.03))
    share = physics.model.body_mass[physics.model.jnt_bodyid[0]] / physics.mass
    np.testing.assert_allclose(physics.com - before, share * np.array([[0.05, -0.02, 0.03]]), atol=1e-6)


def test_a_load_moves_as_a_body_that_is_fixed_to_the_trunk():
    spec = scene_spec(PhysicsConfig())
    trunk = spec.joint("FL_hip_joint").parent.parent
    trunk.add_body(
        name="box", pos=[0.12, -0.04, 0.08], mass=2.5, explicitinertial=True, inertia=[1e-9] * 3, ipos=[0, 0, 0]
    )
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[2], data.qpos[3], data.qpos[7:], data.qvel[3:6] = 0.45, 1.0, NOMINAL_POSE, (1.0, -0.5, 0.7)
    physics = robots(1, 0.45)
    load(physics, [2.5], (0.12, -0.04, 0.08))
    physics._qvel[:, 3:6] = 1.0, -0.5, 0.7
    landed = 0.0
    for k in range(50):
        targets = NOMINAL_POSE + 0.3 * np.sin(0.3 * k + np.arange(12))
        data.ctrl[:] = targets.astype(np.float32)
        mujoco.mj_step(model, data, 4)
        physics.step(torch.tensor(targets, dtype=torch.float32)[None])
        landed += float(physics.foot_force.max())
    assert landed > 0
    np.testing.assert_allclose(physics._qpos[0], data.qpos, atol=1e-6)


def test_nothing_is_left_of_a_trunk_that_loses_all():
    with pytest.raises(LunarError, match="added_mass"):
        load(robots(1, 1.0), [-7.0], (0.0, 0.0, 0.0))


@pytest.mark.parametrize(("mu", "k"), [(0.0, 0.0), (0.0, 1.0), (0.0, 0.5), (0.05, 0.0), (0.05, 0.5)])
def test_on_a_rope_robots_rise_and_fall_as_the_counterweight_lets_them(mu, k):
    """a = g [1 - (5/6)(1 -+ mu)] / [1 + (5/6) k (1 -+ mu)], - rising and + falling."""
    everyone = torch.arange(2)
    physics = robots(2, 3.0, kp=400.0, kd=10.0)  # legs that hardly move against the trunk
    qvel = torch.zeros(2, 18)
    qvel[:, 2] = torch.tensor([1.5, -0.5])
    physics.reset(everyone, physics.qpos.clone(), qvel)
    physics.set_gravity(everyone, torch.full((2,), EARTH / 6), torch.full((2,), EARTH * 5 / 6))
    physics.set_rope(everyone, torch.full((2,), k * 5 / 6), torch.full((2,), mu))
    stand(physics, 5)  # legs come to rest
    before = physics.com_velocity[:, -1, 2].clone(), physics.qvel[:, 2].clone()
    stand(physics, 20)
    fall, trunk_fall = (
        -(new - old).double().numpy() / 0.4
        for new, old in zip((physics.com_velocity[:, -1, 2], physics.qvel[:, 2]), before, strict=True)
    )
    share = np.array([1 - mu, 1 + mu])
    expected = EARTH * (1 - 5 / 6 * share) / (1 + 5 / 6 * k * share)
    np.testing.assert_allclose(fall, expected, rtol=0.04)  # the pull is not above the centre of mass: robots pitch
    np.testing.assert_allclose(fall, EARTH - 5 / 6 * share * (EARTH + k * trunk_fall), rtol=0.01)
    assert physics.effective_gravity.tolist() == pytest.approx([EARTH / 6 / (1 + 5 / 6 * k)] * 2)


def test_standing_on_a_rope_weighs_as_the_pull_at_rest_leaves():
    physics = robots(2, 0.29, kp=100.0, kd=3.0)  # softer legs let the trunk tip over under its harness
    everyone = torch.arange(2)
    load(physics, [0.0, 2.0], (0.0, 0.0, 0.0))
    physics.set_gravity(everyone, torch.full((2,), 1.2), torch.full((2,), EARTH - 1.2))
    physics.set_rope(everyone, torch.tensor([0.4, 0.4]), torch.tensor([0.05, 0.05]))
    stand(physics)
    np.testing.assert_allclose(physics.foot_force[:, -1].sum(1), (physics.mass + np.array([0.0, 2.0])) * 1.2, rtol=0.01)


def test_only_the_robots_that_are_named_change():
    rows = []
    for told in (False, True):
        physics = robots(3, 0.35)
        if told:
            one, ids = torch.ones(1), torch.tensor([1])
            physics.set_payload(ids, 2 * one, torch.zeros(1, 3), torch.zeros(1, 3))
            physics.set_gravity(ids, 2 * one, 7 * one)
            physics.set_rope(ids, 0.4 * one, 0.05 * one)
            physics.set_motors(ids, 0.8 * one, 1.2 * one, 0.9 * one, 0.01 * one)
        for k in range(30):
            physics.step((NOMINAL + 0.2 * torch.sin(0.4 * k + torch.arange(12.0))).repeat(3, 1))
        rows.append(physics.qpos.clone())
    np.testing.assert_array_equal(rows[0][[0, 2]], rows[1][[0, 2]])
    assert (rows[0][1] - rows[1][1]).abs().max() > 0.01


def world(randomisation: RandomisationConfig, seed: int = 3, **noise: float) -> PronkWorld:
    cfg = WorldConfig(num_envs=16, randomisation=randomisation, noise=NoiseConfig(**noise), episode_length=0.5)
    return PronkWorld(cfg, seed=seed)


def rollout(w: PronkWorld) -> torch.Tensor:
    w.reset()
    generator = torch.Generator().manual_seed(0)
    return torch.stack([w.step(torch.randn(16, 12, generator=generator)).observations["policy"] for _ in range(60)])


def test_same_seed_same_rollout_with_everything_on_and_no_robot_diverges():
    a, b, c = (world(EVERYTHING, seed, joint_position_bias=0.02) for seed in (3, 3, 4))
    paths = [rollout(w) for w in (a, b, c)]
    np.testing.assert_array_equal(paths[0], paths[1])
    assert (paths[0] - paths[2]).abs().max() > 0.1
    assert a.diverged == 0


def test_robots_on_the_rig_are_those_with_the_earths_gravity(monkeypatch):
    w = world(EVERYTHING)
    ropes = []
    monkeypatch.setattr(w.physics, "set_rope", lambda ids, inertia, friction: ropes.append((inertia, friction)))
    w.reset()
    on_rig = -w.physics._own("opt.gravity")[:, 2] > 9.0
    assert 0 < on_rig.sum() < 16
    inertia, friction = ropes[0]
    assert ((inertia > 0) == on_rig).all() and (friction[~on_rig] == 0).all()


def test_what_is_off_is_not_touched_and_draws_no_random_numbers(monkeypatch):
    def refuse(*args: object) -> None:
        raise AssertionError("called although it is off")

    plain = rollout(world(RandomisationConfig()))
    w = world(RandomisationConfig(strength=(1.0, 1.0)))
    for name in ("set_payload", "set_rope", "set_motors"):
        monkeypatch.setattr(w.physics, name, refuse)
    np.testing.assert_array_equal(plain, rollout(w))


@pytest.mark.parametrize(
    "bad",
    [
        {"delay": (0.0, 0.03)}, {"delay": (-0.01, 0.0)}, {"strength": (0.0, 1.0)}, {"stiffness": (1.2, 0.8)},
        {"rig_friction": (0.0, 1.5)}, {"friction": (float("nan"), 1.0)},
    ],
)  # fmt: skip
def test_a_range_that_no_robot_can_have_is_named(bad):
    with pytest.raises(LunarError, match=f"randomisation.{next(iter(bad))}"):
        world(RandomisationConfig(**bad))


def test_a_sensor_bias_lasts_a_trial_and_differs_between_robots_and_trials():
    quiet = {"angular_velocity": 0.0, "projected_gravity": 0.0, "joint_position": 0.0, "joint_velocity": 0.0}
    w, exact = (world(RandomisationConfig(), **quiet, **bias) for bias in ({"joint_position_bias": 0.02}, {}))
    exact.reset()
    w.reset()
    q = slice(6, 18)
    assert PRONK_OBSERVATION.frame[2].name == "joint_position"

    def error() -> torch.Tensor:
        frame = w.step(torch.zeros(16, 12)).observations["policy"][:, : PRONK_OBSERVATION.frame_size]
        return frame[:, q] - (w.state.joint_position - w.nominal) * PRONK_OBSERVATION.frame[2].scale

    w.steps[:] = torch.arange(16)  # trials end one after the other
    first, second = error(), error()
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert 0.015 < first.abs().max() < 0.02 + 1e-6
    assert (first.std(0) > 0.005).all()
    before = w.sensor_bias.clone()
    for _ in range(26):
        ended = w.step(torch.zeros(16, 12)).ended
        kept = torch.ones(16, dtype=torch.bool)
        kept[ended] = False
        np.testing.assert_array_equal(w.sensor_bias[kept], before[kept])
        assert (w.sensor_bias[ended] - before[ended])[:, q].abs().sum() > 0 or not len(ended)
        before = w.sensor_bias.clone()
    assert (exact.sensor_bias == 0).all()


def test_mass_and_inertia_of_the_compiled_model_are_what_a_robot_without_load_has():
    physics = robots(1, 1.0)
    load(physics, [0.0], (0.1, 0.1, 0.1))
    own, model = physics.batch.get_model(0), build_scene(PhysicsConfig())
    for name in ("body_mass", "body_ipos", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0"):
        np.testing.assert_allclose(getattr(own, name), getattr(model, name), rtol=1e-9, atol=1e-12)
