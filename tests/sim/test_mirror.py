"""A robot in the mirror lives a mirrored life: what is mirrored is observed, rewarded and ended alike."""

from __future__ import annotations

import pytest
import torch

from sim.envs.world import PronkWorld
from sim.mdp.config import NoiseConfig
from sim.mdp.mirror import ACTION, Mirror
from sim.mdp.observations import group_specs
from sim.spec.observation import Channel
from sim.tasks.config import WorldConfig


def test_twins_on_both_sides_of_the_mirror():
    world = PronkWorld(WorldConfig(num_envs=2, noise=NoiseConfig(0.0, 0.0, 0.0, 0.0)), 0)
    world.reset()
    mirrors = {name: Mirror(channels) for name, channels in group_specs(world.spec).items()}
    exchange = Mirror([ACTION])
    torch.manual_seed(0)
    qpos, qvel = world.physics.qpos.clone(), 0.3 * torch.randn(2, 18)
    qpos[0, :3] = torch.tensor([0.0, 0.0, 0.4])
    qpos[0, 3:7] = torch.nn.functional.normalize(torch.tensor([1.0, 0.02, 0.05, 0.0]), dim=0)
    qpos[1] = qpos[0]
    qpos[1, 3:7] *= torch.tensor([1.0, -1.0, 1.0, -1.0])
    qpos[1, 7:] = exchange(qpos[:1, 7:])[0]
    qvel[1, :3] = qvel[0, :3] * torch.tensor([1.0, -1.0, 1.0])
    qvel[1, 3:6] = qvel[0, 3:6] * torch.tensor([-1.0, 1.0, -1.0])
    qvel[1, 6:] = exchange(qvel[:1, 6:])[0]
    world.physics.reset(torch.arange(2), qpos, qvel)
    world.command[1] = world.command[0] * torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0])
    landed = False
    for k in range(40):
        action = 0.3 * torch.randn(1, 12)
        step = world.step(torch.cat([action, exchange(action)]))
        assert not len(step.ended)
        landed |= bool(world.state.contact.any())
        if k < len(world.spec.ages):
            continue  # the observation still holds frames from before the robots were put there
        for name, mirror in mirrors.items():
            ours, twin = step.observations[name]
            torch.testing.assert_close(mirror(ours[None])[0], twin, atol=1e-4, rtol=0.0)
        torch.testing.assert_close(step.reward[0], step.reward[1], atol=1e-5, rtol=0.0)
    assert landed


def test_twice_mirrored_is_itself():
    world = PronkWorld(WorldConfig(num_envs=1), 0)
    for channels in group_specs(world.spec).values():
        x = torch.randn(4, sum(c.size for c in channels))
        assert torch.equal(Mirror(channels)(Mirror(channels)(x)), x)


def test_a_channel_without_an_image_is_no_guess():
    with pytest.raises(KeyError, match="'magnetic_field'"):
        Mirror([Channel("magnetic_field", 3, "T", 1.0)])
