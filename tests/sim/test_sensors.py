"""A sensor is one entry of one list: frame, noise, bias, mirror and the robot's own computer follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sim.config import parse
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.mdp import observations
from sim.mdp.config import NoiseConfig, noise_config
from sim.mdp.mirror import REFLECTIONS
from sim.spec.observation import PRONK_OBSERVATION, SENSORS, Sensor, make_frame
from sim.spec.reflection import FEET
from sim.tasks.config import WorldConfig

FEET_SENSOR = Sensor("foot_height", 4, "m above ground", 2.0, FEET, noise=0.05, bias=0.1, offset=0.3)
MORE = (*SENSORS[:2], FEET_SENSOR, *SENSORS[2:])
PLACE = slice(6, 10)


@pytest.fixture(scope="module")
def state() -> Any:
    world = PronkWorld(WorldConfig(num_envs=3), 0)
    world.reset()
    return world.state


def test_one_more_entry_is_one_more_channel_in_its_place(state):
    errors = noise_config(MORE)
    assert (errors().foot_height, errors().foot_height_bias) == (0.05, 0.1)
    clean = observations.frame(state, errors(), None, MORE)
    assert clean.shape == (3, 46)
    torch.testing.assert_close(clean[:, PLACE], 2.0 * (state.foot_height - 0.3))
    generator = torch.Generator().manual_seed(0)
    bias = observations.sensor_bias(errors(), 3, generator, MORE)
    assert 0.0 < bias[:, PLACE].abs().max() <= 0.2 and not bias[:, :6].any()
    noisy = observations.frame(replace(state, sensor_bias=bias), errors(), generator, MORE)
    error = (noisy - clean - bias)[:, PLACE].abs()
    assert 0.0 < error.max() <= 0.1 + 1e-6
    values = {s.name: getattr(state, s.name)[1].double().numpy() for s in MORE}
    np.testing.assert_allclose(make_frame(values, MORE), clean[1], atol=1e-6)
    with pytest.raises(KeyError, match="foot_height"):
        make_frame({name: value for name, value in values.items() if name != "foot_height"}, MORE)


def test_the_lists_of_today_follow_from_the_sensors():
    assert tuple(s.channel for s in SENSORS) == PRONK_OBSERVATION.frame
    assert all(REFLECTIONS[s.name] is s.mirror for s in SENSORS)
    assert all(len(s.mirror[0]) == len(s.mirror[1]) == s.size for s in SENSORS)


def test_errors_are_a_config_like_any_other(capsys):
    assert parse(NoiseConfig, ["--joint_velocity", "0.2"], "noise").joint_velocity == 0.2
    with pytest.raises(LunarError, match="did you mean 'joint_velocity'"):
        parse(NoiseConfig, ["--joint_velocty", "0.2"], "noise")
    with pytest.raises(SystemExit):
        parse(WorldConfig, ["--help"], "world")
    assert "rad/s" in capsys.readouterr().out.split("--noise.angular_velocity ")[-1].partition("--noise.proj")[0]
