"""The adversarial rival: a judge that learns to tell, a student that learns to be taken for its teacher."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from benchmarks.distill_adversarial import Adversarial, Adversary
from policy.distill.config import DistillConfig, LearningConfig, SodaConfig
from policy.distill.distill import distill
from policy.distill.job import Job
from policy.distill.teachers import load_teacher
from policy.networks.config import StudentConfig
from policy.networks.layers import mlp
from policy.networks.student import Student
from policy.training.rollout import Rollout
from sim.tasks.config import WorldConfig

STUDENT = StudentConfig(hidden=(16,), frame=(8,), ages=(0, 1, 2))
RIVAL = Adversarial(Adversary(log=2 * 8 * 16, warm_up=2, hidden=(32,), rate=1e-2, student_rate=1e-2))


@pytest.fixture
def cfg(trained, tmp_path) -> DistillConfig:
    return DistillConfig(
        teacher=str(trained), out=str(tmp_path / "student"), method="soda", rollout=8, steps=4 * 8 * 16, threads=1,
        student=STUDENT, learning=LearningConfig(minibatch=64), soda=SodaConfig(passes=4),
        world=WorldConfig(num_envs=16, episode_length=0.2),
    )  # fmt: skip


@pytest.fixture
def job(cfg):
    teacher = load_teacher(cfg.teacher)
    with Job(cfg, teacher, Student(STUDENT, teacher.card.observation), STUDENT.ages) as job:
        yield job


def test_half_of_the_steps_are_the_teachers_and_the_others_a_game(cfg):
    results = distill(cfg, "test", method=RIVAL)
    with (Path(results["policy"]) / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["steps"]) for row in rows] == [256, 384, 512]  # the warm-up, two rollouts
    assert all(math.isfinite(float(row["loss"])) for row in rows)


def test_the_judge_learns_to_tell_pairs_apart(job):
    real, made = torch.randn(2, 512, 5) + torch.tensor([1.0, -1.0])[:, None, None]
    judge = mlp(5, (16,), 1)
    learner = torch.optim.Adam(judge.parameters(), lr=1e-2)
    first = RIVAL._judge(job, judge, learner, real, made)
    assert RIVAL._judge(job, judge, learner, real, made) < 0.7 * first
    assert (judge(real) > 0).float().mean() > 0.9 > 0.1 > (judge(made) > 0).float().mean()


def test_the_student_moves_to_actions_that_did_better_than_expected(job):
    rollout, pairs = RIVAL._act(job, mlp(len(job.view), (8,), 1))
    assert rollout.dones.any() and pairs.shape == (128, len(job.view) + 12)
    better = rollout.actions[..., 0] > rollout.actions[..., 0].mean()
    rollout.advantages = torch.where(better, 1.0, -1.0)
    rollout.returns = rollout.values
    seen = rollout.flat("policy")
    before = job.student(seen).action[:, 0].mean()
    critic = mlp(len(job.view), (8,), 1)
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-2) for net in (critic, job.student)]
    RIVAL._learn(job, rollout, critic, *optimizers)
    assert job.student(seen).action[:, 0].mean() > before + 0.02
    assert isinstance(rollout, Rollout)
