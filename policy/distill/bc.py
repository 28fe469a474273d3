"""Behaviour cloning: the likelihood of what the teacher did, at the states that the teacher visited.

Pomerleau, "ALVINN", NeurIPS 1988. All that it needs is a log of observations and actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policy.distill.job import Job, log_prob
from policy.distill.losses import average
from policy.distill.teachers import Demonstrations, columns


def train(job: Job) -> None:
    """As many gradient steps as on-policy distillation takes for as many environment steps."""
    observation, action = demonstrated(job)
    imitate(job, observation, action, job.cfg.learning.epochs, (0.0, 1.0))


def demonstrated(job: Job) -> tuple[Tensor, Tensor]:
    """Observations (P, size) as the student sees them and the teacher's actions (P, 12): its log, or its rollouts."""
    teacher = job.teacher
    if isinstance(teacher, Demonstrations):
        view = columns(teacher.card.observation, job.ages)
        job.steps = len(teacher.action)
        return teacher.observation[:, view].to(job.device), teacher.action.to(job.device)
    seen, actions = [], []
    for _ in job.updates():
        samples = job.collect(teacher_acts=True)
        seen.append(samples.observation)
        actions.append(samples.action)
        job.record(float("nan"), 0)
    return torch.cat(seen), torch.cat(actions)


def imitate(job: Job, observation: Tensor, action: Tensor, passes: int, share: tuple[float, float]) -> None:
    """Supervised passes over demonstrations; ``share`` of the whole training is done at their beginning and end."""
    everything = torch.arange(len(observation), device=job.device)
    count = passes * -(-len(everything) // job.cfg.learning.minibatch)
    losses: list[float] = []
    with job.task("imitate", count) as show:
        for k, rows in enumerate(job.minibatches(everything, passes, len(everything))):
            loss = average(-log_prob(job.student.output(observation[rows]), action[rows], job.bins))
            job.gradient_step(loss, share[0] + (share[1] - share[0]) * k / max(count, 1))
            losses.append(loss.item())
            if k % 20 == 0:
                show(k, f"loss {loss.item():.2f}")
        show(count, "")
    job.record(sum(losses[-20:]) / max(len(losses[-20:]), 1), len(everything))
