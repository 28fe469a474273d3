"""A world of few robots computes with NumPy what others compute with PyTorch, from the same functions."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

import sim.envs.world as worlds
from sim.envs.world import PronkWorld, WorldConfig
from sim.mdp.observations import critic
from sim.mdp.state import State
from sim.rows import Rows, tensor
from sim.spec.observation import ScanGrid
from sim.tasks.pronk import TERMS, reward
from sim.terrain.generators import TerrainConfig

FLAT = WorldConfig(num_envs=4, episode_length=0.4)


def steps(cfg: WorldConfig, few: int, monkeypatch):
    monkeypatch.setattr(worlds, "FEW", few)
    world = PronkWorld(cfg, 3, threads=1)
    assert world.few == (few > 0)
    yield world.reset()
    for action in np.random.default_rng(0).uniform(-2.0, 2.0, (45, cfg.num_envs, 12)):
        yield world.step(torch.from_numpy(action))


@pytest.mark.parametrize(
    "cfg",
    [
        FLAT,
        replace(FLAT, terrain=TerrainConfig(kind="rough", size=16.0), scan=ScanGrid(), ages=(0, 2, 7)),
        replace(FLAT, rewards={}),
    ],
    ids=["flat", "rough", "without rewards"],
)
def test_few_robots_live_the_life_of_many(cfg, monkeypatch):
    """Through falls and new trials: observations, rewards, terms, ends, states and hops."""
    ended = 0
    with pytest.MonkeyPatch.context() as other:
        many = list(_outcomes(steps(cfg, 0, other)))
    for ours, theirs in zip(_outcomes(steps(cfg, 32, monkeypatch)), many, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], atol=2e-3, rtol=1e-4, err_msg=name)
        ended += len(ours.get("ended", ()))
    assert ended >= 8


def _outcomes(lives):
    for outcome in lives:
        if isinstance(outcome, dict):
            yield {name: value.numpy().copy() for name, value in outcome.items()}
            continue
        found = {f.name: getattr(outcome, f.name) for f in fields(outcome)}
        found |= {f"final_{n}": v for n, v in found.pop("final_observations").items()}
        found |= {f"seen_{n}": v for n, v in found.pop("observations").items()} | found.pop("terms")
        yield {name: np.array(value) for name, value in found.items()}


@pytest.mark.parametrize("name", list(TERMS))
def test_every_term_says_the_same(name):
    world = PronkWorld(FLAT, 0, threads=1)
    world.reset()
    for _ in range(5):
        world.step(torch.randn(4, 12))
    by_torch = State(*(getattr(world.state, f.name) for f in fields(State)))
    by_numpy = State(*(Rows(getattr(world.state, f.name).numpy()) for f in fields(State)))
    ours, theirs = TERMS[name](by_numpy, FLAT.shaping), TERMS[name](by_torch, FLAT.shaping)
    assert isinstance(ours, Rows)
    torch.testing.assert_close(tensor(ours.float()), theirs.float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tensor(critic(by_numpy, world.spec)), critic(by_torch, world.spec), atol=1e-4, rtol=1e-4)


def test_a_users_term_may_use_all_of_pytorch(monkeypatch):
    monkeypatch.setattr("sim.tasks.pronk.TERMS", dict(TERMS))

    def exotic(s, p):
        way = torch.linalg.norm(s.velocity, dim=1) + s.joint_position.max(dim=1).values - s.torque.std(1)
        way = way + s.foot_force.norm(dim=1).log1p() + torch.nn.functional.softplus(s.height)
        way = way + (1.0 - s.contact.float()).prod(1)
        return torch.where(s.height > 0.1, way, torch.zeros_like(s.height)) + s.quaternion.transpose(0, 1)[0].tanh()

    reward(exotic)
    cfg = replace(FLAT, rewards={"exotic": 1.0})
    few = list(steps(cfg, 32, monkeypatch))[1:20]
    many = list(steps(cfg, 0, monkeypatch))[1:20]
    for ours, theirs in zip(few, many, strict=True):
        torch.testing.assert_close(ours.terms["exotic"], theirs.terms["exotic"], atol=1e-3, rtol=1e-3)


def test_truth_values_and_whole_numbers_become_floats_as_in_pytorch():
    flags, counts = torch.tensor([True, False]), torch.tensor([3, 4])
    for operation in (lambda a: 0.5 * a, lambda a: a * 0.5, lambda a: 1.5 + a, lambda a: a / 2.0):
        for value in (flags, counts):
            ours, theirs = operation(Rows(value.numpy())), operation(value)
            assert ours.array.dtype == np.float32
            torch.testing.assert_close(tensor(ours), theirs)
