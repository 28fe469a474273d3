"""A policy's heights ahead come from the map that it is given, and from no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.maps.policy_task import SeeingWorld, survival
from sim.errors import LunarError
from sim.spec.observation import ScanGrid
from sim.tasks.config import WorldConfig
from sim.terrain.generators import TerrainConfig
from sim.terrain.height_field import HeightField


def test_heights_ahead_come_from_the_map_that_is_seen_and_the_robot_stands_on_the_true_one():
    cfg = WorldConfig(
        num_envs=3, terrain=TerrainConfig(kind="mare", size=6.0), scan=ScanGrid(x=(-0.2, 0.6), side=0.2, spacing=0.2)
    )
    world = SeeingWorld(cfg, 0, "cpu", restart=False)
    world.reset()
    true, place, level = world.state.ground_ahead.clone(), world.physics.qpos.clone(), world.physics.level
    terrain = world.physics.terrain
    world.seen = HeightField(np.asarray(terrain.heights) + 0.1, terrain.resolution, terrain.origin)
    torch.testing.assert_close(world._ground_ahead(place, level), true - 0.1, atol=1e-4, rtol=0.0)
    assert world.physics.terrain is terrain
    world.seen = None
    torch.testing.assert_close(world._ground_ahead(place, level), true)
    world.see_level_ground()
    flat = world._ground_ahead(place, level)
    torch.testing.assert_close(flat, flat[:, :1].expand_as(flat))
    assert not torch.allclose(flat, true)


def test_a_policy_that_is_blind_is_refused():
    with pytest.raises(LunarError, match="does not look at the ground"):
        survival("policy/zoo/pronk")
