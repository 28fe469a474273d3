"""The world obeys physics: free fall, weight, conservation in flight, tangent planes that follow the ground."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim.errors import LunarError
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig, build_scene
from sim.spec.gravity import MOON
from sim.spec.joints import NOMINAL_POSE
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField

NOMINAL = torch.tensor(NOMINAL_POSE, dtype=torch.float32)
FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))


def robots(terrain: HeightField, heights: list[float], threads: int = 0) -> BatchPhysics:
    """Robots in the nominal pose at rest, bases at ``heights``."""
    physics = BatchPhysics(PhysicsConfig(), len(heights), terrain, threads)
    physics.reset(torch.arange(len(heights)), at_rest(heights), torch.zeros(len(heights), 18))
    return physics


def at_rest(heights: list[float]) -> torch.Tensor:
    qpos = torch.zeros(len(heights), 19)
    qpos[:, 2] = torch.tensor(heights)
    qpos[:, 3] = 1.0
    qpos[:, 7:] = NOMINAL
    return qpos


def test_mass_is_the_data_sheets():
    assert build_scene(PhysicsConfig()).body_mass.sum() == pytest.approx(15.206, abs=0.01)


def test_free_fall_in_lunar_gravity():
    physics = robots(FLAT, [3.0])
    z0 = float(physics.qpos[0, 2])
    for k in range(1, 41):
        physics.step(NOMINAL[None])
        t = 0.02 * k
        assert physics.qpos[0, 2] == pytest.approx(z0 - 0.5 * MOON * t * t, abs=MOON * t * 0.005)
    assert physics.foot_force.max() == 0.0


def test_standing_feet_carry_the_lunar_weight():
    physics = robots(FLAT, [0.29])
    for _ in range(250):
        physics.step(NOMINAL[None])
    assert physics.foot_force[0, -1].sum() == pytest.approx(physics.mass * MOON, rel=0.01)


def test_angular_momentum_is_conserved_in_flight_whatever_the_legs_do():
    physics = robots(FLAT, [5.0])
    generator = torch.Generator().manual_seed(0)
    for _ in range(25):
        physics.step(NOMINAL + 0.6 * torch.rand(1, 12, generator=generator) - 0.3)
    # joint damping acts between links and the servo's torques are internal
    assert physics.angular_momentum.abs().max() < 0.02


def test_a_push_in_flight_changes_momentum_by_its_impulse_until_a_reset_ends_it():
    physics = robots(FLAT, [3.0, 3.0])
    physics.set_push(torch.tensor([1]), torch.tensor([[300.0, -150.0]]))
    physics.step(NOMINAL.repeat(2, 1))
    momentum = physics.mass * physics.com_velocity[:, -1, :2]  # sensors lag one of the four physics steps
    np.testing.assert_allclose(momentum, [[0.0, 0.0], [300.0 * 0.015, -150.0 * 0.015]], atol=1e-3)
    physics.reset(torch.arange(2), at_rest([3.0, 3.0]), torch.zeros(2, 18))
    physics.step(NOMINAL.repeat(2, 1))
    assert physics.com_velocity[:, :, :2].abs().max() < 1e-6


def test_joint_sensors_show_the_motors_at_every_physics_step():
    physics = BatchPhysics(PhysicsConfig(joint_sensors=True), 1, FLAT)
    physics.reset(torch.arange(1), at_rest([0.3]), torch.zeros(1, 18))
    for k in range(30):
        targets = NOMINAL + 0.3 * torch.sin(0.4 * k + torch.arange(12.0))
        before = physics.qpos[:, 7:].clone()
        physics.step(targets[None])
        assert physics.joint_torque.shape == physics.joint_speed.shape == (1, 4, 12)
        np.testing.assert_array_equal(physics.joint_torque[:, -1], physics.torque)
        # each speed is held over the step before it was sensed: together they are the way, but for the last step's
        way = 0.005 * (physics.joint_speed[:, 1:].sum(1) + physics.qvel[:, 6:])
        np.testing.assert_allclose(way, physics.qpos[:, 7:] - before, atol=1e-5)
    assert physics.joint_speed.abs().max() > 1.0


def test_results_do_not_depend_on_threads():
    finals = []
    for threads in (1, 2):
        physics = robots(FLAT, [0.3, 0.4, 0.5, 0.6], threads)
        for k in range(30):
            physics.step(NOMINAL + 0.2 * torch.sin(0.5 * k + torch.arange(48.0).reshape(4, 12)))
        finals.append(physics.qpos.clone())
    np.testing.assert_array_equal(*finals)


@pytest.mark.parametrize("late", [False, True])
def test_robots_that_do_not_move_stay_and_change_nothing_for_the_others(late):
    some, every = (robots(FLAT, [0.5, 1.0, 1.5]) for _ in range(2))
    for physics in (some, every) if late else ():
        ones = torch.ones(3)
        physics.set_motors(torch.arange(3), ones, ones, ones, torch.tensor([0.005, 0.0, 0.01]))
    some.moving = torch.tensor([True, False, True])
    before = some.qpos[1].clone()
    for k in range(40):
        targets = NOMINAL + 0.1 * torch.sin(torch.tensor(0.3 * k))
        for physics in (some, every):
            physics.step(targets.expand(3, 12).clone())
    assert torch.equal(some.qpos[1], before) and not torch.equal(every.qpos[1], before)
    for name in ("qpos", "qvel", "sensors"):
        assert torch.equal(getattr(some, name)[[0, 2]], getattr(every, name)[[0, 2]])


def test_planes_follow_a_slope():
    slope = 0.2
    x = np.linspace(-10, 10, 201)
    hill = HeightField(np.tile(slope * x, (201, 1)), 0.1, (-10.0, -10.0))
    physics = robots(hill, [0.33])
    for _ in range(200):
        physics.step(NOMINAL[None])
    feet = physics.foot_position[0].numpy()
    # a sphere of 22 mm rests on the slope: its centre is r / cos above the ground below it
    gap = feet[:, 2] - slope * feet[:, 0]
    assert gap == pytest.approx(np.full(4, 0.022 * np.hypot(1, slope)), abs=0.004)


def test_a_diverged_robot_is_reported_and_alone():
    physics = robots(FLAT, [0.35, 0.35])
    qvel = torch.zeros(1, 18)
    qvel[0, 0] = torch.nan
    physics.reset(torch.tensor([0]), at_rest([0.35]), qvel)
    diverged = physics.step(NOMINAL.expand(2, 12))
    assert diverged.tolist() == [True, False]
    assert physics.qpos[1].isfinite().all()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nowhere", None, "'nowhere' is unknown"),
        ("bad.xml", "<mujoco><worldbody", "not a valid MJCF"),
        (
            "few.xml",
            "<mujoco><worldbody><body><geom size='1'/></body></worldbody></mujoco>",
            "no quadruped",
        ),
    ],
)
def test_a_wrong_robot_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    if text:
        path.write_text(text)
    with pytest.raises(LunarError, match=message):
        build_scene(PhysicsConfig(robot=str(path) if text else name))


def test_terrain_repeats_by_seed_and_differs_between_seeds():
    cfg = TerrainConfig(kind="rough", size=16.0)
    a, b, c = (make_terrain(cfg, seed).heights for seed in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.01


def test_normals_are_those_of_the_surface():
    terrain = make_terrain(TerrainConfig(kind="rough", size=16.0), 0)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-7, 7, (2, 200))
    z, normal = terrain.height_and_normal(x, y)
    eps = 1e-6
    dx = (terrain.height(x + eps, y) - z) / eps
    dy = (terrain.height(x, y + eps) - z) / eps
    np.testing.assert_allclose(normal[:, 0] / normal[:, 2], -dx, atol=1e-4)
    np.testing.assert_allclose(normal[:, 1] / normal[:, 2], -dy, atol=1e-4)
