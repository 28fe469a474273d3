"""The planes that stand for the ground: exact on a slope, local at feet and knees, no wall under a flying trunk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sim.physics.batch import BatchPhysics
from sim.physics.ground import BASE, planes, points_below
from sim.physics.scene import PhysicsConfig
from sim.robots.load import load_robot
from sim.spec.gravity import MOON
from sim.spec.joints import NOMINAL_POSE
from sim.terrain.height_field import HeightField

REACH = load_robot("go2").reach
STONE = 0.15  # m high, 0.3 m wide, with walls of one cell


def stone() -> HeightField:
    """A block on level ground."""
    heights = np.zeros((201, 201))
    heights[97:104, 97:104] = STONE
    return HeightField(heights, 0.05, (-5.0, -5.0))


def laid(field: HeightField, base: np.ndarray, library: str = "numpy") -> tuple:
    """Planes of robots with bases at ``base`` (n, 3), all limbs within 0.3 m of it."""
    rng = np.random.default_rng(0)
    feet, knees = base[:, None] + rng.uniform(-0.3, 0.3, (2, len(base), 4, 3))
    if library == "torch":
        feet, knees, base = (torch.as_tensor(a) for a in (feet, knees, base))
        field = replace(field, heights=torch.as_tensor(field.heights))
    points = points_below(feet, knees, base, REACH)
    found = field.height_and_slopes(points[..., 0], points[..., 1])
    return points, *planes(points, *found, REACH)


def normal_of(rotation: np.ndarray) -> np.ndarray:
    """Where unit quaternions (..., 4) turn z."""
    w, x, y, z = np.moveaxis(rotation, -1, 0)
    return np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)


def test_on_a_slope_all_planes_are_the_slope():
    x = np.linspace(-5, 5, 101)
    slope = HeightField(0.4 * x[None, :] - 0.3 * x[:, None], 0.1, (-5.0, -5.0))
    _, position, rotation, ground = laid(slope, np.array([[0.3, -0.2, 0.4], [-1.0, 0.5, 0.6]]))
    np.testing.assert_allclose(position[..., 2], 0.4 * position[..., 0] - 0.3 * position[..., 1], atol=1e-9)
    expected = np.array([-0.4, 0.3, 1.0]) / np.sqrt(1.25)
    np.testing.assert_allclose(normal_of(rotation), np.broadcast_to(expected, (2, 13, 3)), atol=1e-9)
    np.testing.assert_allclose(ground, position[:, [0, 1, 2, 3, BASE], 2], atol=1e-9)


def test_numpy_and_torch_lay_the_same_planes():
    base = np.random.default_rng(1).uniform(-0.4, 0.4, (50, 3))
    for ours, theirs in zip(laid(stone(), base), laid(stone(), base, "torch"), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_trunks_plane_is_never_below_its_ground_nor_a_wall():
    base = np.random.default_rng(2).uniform(-0.5, 0.5, (500, 3))
    _, position, rotation, ground = laid(stone(), base)
    normal = normal_of(rotation)[:, BASE]
    assert (position[:, BASE, 2] >= ground[:, 4] - 1e-9).all()
    ends = position[:, BASE, 2, None] + REACH * np.linalg.norm(normal[:, :2], axis=1)[:, None] / normal[:, 2, None]
    # it leans by at most one stone over its length, along x and along y
    assert ends.max() <= STONE * (1.0 + np.sqrt(0.5)) + 1e-9


@pytest.mark.parametrize("x", np.arange(-0.35, 0.0, 0.05))
def test_a_robot_with_its_feet_above_a_stone_flies_over_it(x: float):
    physics = BatchPhysics(PhysicsConfig(), 1, stone())
    qpos, qvel = torch.zeros(1, 19), torch.zeros(1, 18)
    qpos[0, 0], qpos[0, 2], qpos[0, 3] = x, STONE + 0.45, 1.0
    qpos[0, 7:] = torch.as_tensor(NOMINAL_POSE)
    qvel[0, 0] = 0.5
    physics.reset(torch.arange(1), qpos, qvel)
    for k in range(1, 11):
        physics.step(qpos[:, 7:])
        assert physics.com_velocity[0, -1].tolist() == pytest.approx([0.5, 0.0, -MOON * (0.02 * k - 0.005)], abs=2e-3)
    assert physics.foot_force.max() == 0.0


def test_a_robot_comes_to_rest_with_its_trunk_on_a_stone():
    physics = BatchPhysics(PhysicsConfig(), 1, stone())
    qpos, qvel = torch.zeros(1, 19), torch.zeros(1, 18)
    qpos[0, 2], qpos[0, 3] = STONE + 0.1, 1.0
    qpos[0, 7:] = torch.tensor([0.0, 2.5, -2.5]).repeat(4)  # feet drawn up beside the trunk
    physics.reset(torch.arange(1), qpos, qvel)
    for _ in range(150):
        physics.step(qpos[:, 7:])
    assert float(physics.qpos[0, 2]) == pytest.approx(STONE + 0.06, abs=0.02)
