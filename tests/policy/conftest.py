"""A policy trained for a moment: real files, useless skill."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.networks.config import ModelConfig
from policy.training.config import PPOConfig, TrainConfig
from policy.training.train import run
from sim.tasks.config import WorldConfig


def tiny(out: Path, seed: int = 1) -> TrainConfig:
    """Two updates of 16 robots."""
    return TrainConfig(
        out=str(out), steps=2 * 16 * 8, seed=seed, world=WorldConfig(num_envs=16),
        ppo=PPOConfig(rollout=8, minibatch=64, epochs=2, model=ModelConfig(hidden=(32, 16))),
    )  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """Folder of such a policy."""
    out = tmp_path_factory.mktemp("policy")
    run(tiny(out), "lunar train (test)")
    return out
