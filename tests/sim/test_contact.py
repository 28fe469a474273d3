"""The ground as feet meet it: exact where level, rocks that hold, and a model that hops as a fine step does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.contact import Config, landings
from benchmarks.contact_models import ContactModel, Ground, Landing, tangent
from benchmarks.model import REFERENCES, VARIANTS, Replay, Variant, load_hops
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig
from sim.physics.soil import SoilConfig
from sim.spec.joints import NOMINAL_POSE
from sim.terrain.generators import TerrainConfig
from sim.terrain.height_field import HeightField

FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))


@pytest.fixture(scope="module")
def blocky() -> Ground:
    return Ground(TerrainConfig(kind="boulder", size=8.0), 0)


@pytest.mark.parametrize("soil", ["rigid", "regolith"])
def test_planes_on_level_ground_are_the_flat_plane_bit_for_bit(soil):
    heights = np.zeros((101, 101))
    heights[0, 0] = 1.0  # far away, so that the planes are laid
    level = HeightField(heights, 0.2, (-10.0, -10.0))
    assert not level.is_flat
    generator = torch.Generator().manual_seed(0)
    qpos = torch.zeros(4, 19)
    qpos[:, 2], qpos[:, 3] = 0.33, 1.0
    qpos[:, 7:] = torch.as_tensor(NOMINAL_POSE) + 0.2 * torch.randn(4, 12, generator=generator)
    qvel = torch.randn(4, 18, generator=generator)
    targets = qpos[:, 7:] + 0.3 * torch.randn(60, 4, 12, generator=generator)
    outcomes = []
    for terrain in (FLAT, level):
        physics = BatchPhysics(PhysicsConfig(soil=SoilConfig(kind=soil)), 4, terrain)
        physics.reset(torch.arange(4), qpos, qvel)
        trajectory = []
        for target in targets:
            physics.step(target)
            trajectory.append(torch.cat([physics.qpos, physics.qvel, physics.sensors.flatten(1)], dim=1))
        outcomes.append(torch.stack(trajectory))
    assert outcomes[0][:, :, 37:41].max() > 0.0
    assert torch.equal(*outcomes)


def test_refined_planes_touch_the_nearest_point_of_a_slope():
    x = np.linspace(-5, 5, 101)
    slope = HeightField(np.tile(0.5 * x, (101, 1)), 0.1, (-5.0, -5.0))
    points = np.array([[0.3, 0.2, 1.0], [-1.0, 0.5, 0.0]])
    xy, height, normal = tangent(slope, points, closest=1)
    gap = points - np.column_stack([xy, height])
    np.testing.assert_allclose(np.cross(gap, normal), 0.0, atol=1e-9)


def test_distance_to_a_rock_is_that_of_its_surface(blocky):
    rng = np.random.default_rng(0)
    rocks = blocky.rocks
    for i in rng.choice(len(rocks.x), 20, replace=False):
        direction = rng.normal(size=3)
        direction[2] = abs(direction[2])
        unit = direction / np.linalg.norm(direction)
        c, s = np.cos(rocks.yaw[i]), np.sin(rocks.yaw[i])
        local = blocky.axes[i] * unit
        normal = unit / blocky.axes[i]
        normal /= np.linalg.norm(normal)
        rotate = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        point = blocky.centres[i] + rotate @ local + 0.02 * (rotate @ normal)
        distance, found = blocky._to_ellipsoid(point[None], np.array([i]))
        assert distance[0] == pytest.approx(0.02, abs=1e-6)
        np.testing.assert_allclose(found[0], rotate @ normal, atol=1e-5)


def test_a_rock_as_a_shape_holds_a_foot_that_planes_let_sink_in(blocky):
    cfg = Config(robots=16)
    start = landings(cfg, blocky, np.random.default_rng(0))
    deepest = {}
    for contact_model in (ContactModel("planes"), ContactModel("rocks", closest=1, rocks=1)):
        landing = Landing(cfg.physics, contact_model, blocky, start)
        landing.start()
        depth = []
        for _ in range(12):
            landing.step()
            distance, _ = blocky.surface(landing.feet.reshape(-1, 3))
            depth.append(0.022 - distance)
        deepest[contact_model.name] = np.quantile(np.array(depth), 0.999)
    assert deepest["rocks"] < deepest["planes"]
    assert deepest["rocks"] < 0.015


def test_the_training_model_hops_as_a_fine_step_does():
    hops, cfg = load_hops(), PhysicsConfig()
    gain, impulse = Replay(cfg, VARIANTS[0], hops).outcome()
    fine = Variant("fine", 0.001, REFERENCES[0].edit)
    true_gain, true_impulse = Replay(cfg, fine, hops).outcome()
    assert np.median(true_gain) > 0.2
    assert np.median(np.abs(gain - true_gain)) < 0.01
    assert np.median(np.abs(impulse / true_impulse - 1)) < 0.02


def test_regolith_takes_energy_out_of_a_hop():
    hops, cfg = load_hops(), PhysicsConfig()
    rigid, soft = (Replay(cfg, Variant(kind, soil=kind), hops).outcome()[0] for kind in ("rigid", "regolith"))
    assert 0.3 < np.median(soft) / np.median(rigid) < 0.8
