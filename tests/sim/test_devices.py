"""Terms stay on their state's device. ``meta`` tensors have no values, but refuse to mix with the host's."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from sim.envs.world import PronkWorld
from sim.mdp import observations
from sim.mdp.state import State
from sim.physics.ground import planes, points_below
from sim.spec.observation import PRONK_OBSERVATION as SPEC
from sim.tasks import pronk
from sim.tasks.config import FallConfig, WorldConfig
from sim.terrain.height_field import HeightField


@pytest.fixture(scope="module")
def state() -> State:
    """A world's state, moved off the host."""
    world = PronkWorld(WorldConfig(num_envs=3), 0)
    world.reset()
    return State(**{f.name: getattr(world.state, f.name).to("meta") for f in fields(State)})


def test_the_check_itself_bites(state):
    with pytest.raises(RuntimeError, match="not on the expected device"):
        state.last_action + torch.zeros(12)


@pytest.mark.parametrize("name", pronk.TERMS)
def test_reward(state, name):
    value = pronk.TERMS[name](state, pronk.Shaping())
    assert value.device.type == "meta" and value.shape == (3,)


def test_observations_and_terminations(state):
    assert observations.frame(state, observations.NoiseConfig(), None).shape == (3, SPEC.frame_size)
    assert observations.critic(state, SPEC).device.type == "meta"
    assert FallConfig().fell(state.lying_time, state.tilt, state.touching).device.type == "meta"


def test_terrain():
    heights = torch.zeros(20, 30, device="meta")
    feet, knees, base = (torch.zeros(shape, device="meta") for shape in ((3, 4, 3), (3, 4, 3), (3, 19)))
    points = points_below(feet, knees, base, 0.17)
    laid = planes(
        points, *HeightField(heights, 0.1, (0.0, 0.0)).height_and_slopes(points[..., 0], points[..., 1]), 0.17
    )
    assert all(part.device.type == "meta" for part in laid)
    assert [tuple(part.shape) for part in laid] == [(3, 13, 3), (3, 13, 4), (3, 5)]
