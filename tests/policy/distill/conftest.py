"""Small tensors only: torch's worker threads would wait for a core longer than they compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from policy.distill.config import DistillConfig, LearningConfig, OpsdcConfig, SodaConfig
from policy.networks.config import StudentConfig
from sim.tasks.config import WorldConfig


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(trained, tmp_path) -> Callable[..., DistillConfig]:
    """``config(method=..., ...)``: four updates of 16 robots and 8 steps on flat ground, of a policy without skill."""

    def make(teacher: Path = trained, out: str = "student", updates: int = 4, **changes) -> DistillConfig:
        student = StudentConfig(hidden=(16,), frame=(8,), ages=(0, 1, 2), bins=16)
        return DistillConfig(**{
            "teacher": str(teacher), "out": str(tmp_path / out), "rollout": 8, "steps": updates * 8 * 16,
            "student": StudentConfig() if changes.get("method") == "opsdc" else student,
            "learning": LearningConfig(minibatch=64), "soda": SodaConfig(passes=4),
            "opsdc": OpsdcConfig(refresh=1, before=1), "world": WorldConfig(num_envs=16, episode_length=0.2),
            "threads": 1,
        } | changes)  # fmt: skip

    return make
