"""On-policy distillation: the student acts, the teacher says what it would have done there, the student moves to it.

Source: Agarwal et al., "On-policy distillation of language models" (GKD), ICLR 2024, arXiv 2306.13649; with
``divergence.kind: mse`` it is today's practice, rsl_rl's distillation. Positions (TIP), cells (PACED) and divergences
compose freely.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from policy.distill import tip
from policy.distill.config import PositionsConfig
from policy.distill.job import Job, Samples
from policy.distill.losses import DivergenceConfig, average, divergence
from policy.distill.paced import two_stage
from policy.networks.distributions import Output, cache

_BATCH = 1024  # positions scored at a time: scoring all shall not need more memory than learning from a few


def train(job: Job) -> None:
    """Rollouts of the student, each learnt from once and forgotten."""
    for _ in job.updates():
        samples = job.collect()
        said = cache(job.ask, samples.asked)
        loss, kept = learn(job, samples, said, divergence_at(job))
        job.record(loss, kept)


def divergence_at(job: Job) -> DivergenceConfig:
    """The divergence of this moment of the training."""
    cfg = job.cfg
    if job.progress < cfg.forward_until:
        return replace(cfg.divergence, kind=two_stage(job.progress, cfg.forward_until))
    return cfg.divergence


def learn(job: Job, samples: Samples, said: Output, cfg: DivergenceConfig) -> tuple[float, int]:
    """Passes over a rollout's positions worth learning from; returns the mean loss and how many those are."""
    weights = None
    if job.cfg.cells.rule != "uniform" and job.cfg.cells.use == "weights":
        weights = job.rates.weights()[samples.cell]
        if not bool((weights > 0).any()):
            return 0.0, 0  # a hard filter left out every cell that was visited
    kept = select(job, samples.observation, said)
    total = count = 0.0
    for rows in job.minibatches(kept, job.cfg.learning.epochs, len(samples.observation)):
        values = distances(job, samples.observation[rows], said.take(rows), cfg)
        loss = average(values, weights, rows)
        job.gradient_step(loss, job.progress)
        total, count = total + loss.item(), count + 1
    return total / max(count, 1), len(kept)


def select(job: Job, observation: Tensor, said: Output) -> Tensor:
    """Indices of the positions to learn from, by the student before this rollout's steps."""
    cfg: PositionsConfig = job.cfg.positions
    everything = torch.arange(len(observation), device=observation.device)
    if cfg.score == "all":
        return everything
    entropy, distance = [], []
    with torch.no_grad():
        for rows in everything.split(_BATCH):
            output = job.student.output(observation[rows])
            entropy.append(by_step(output.entropy()))
            distance.append(by_step(divergence(output, said.take(rows), DivergenceConfig(cfg.direction))))
    score = tip.scores(torch.cat(entropy), torch.cat(distance), cfg.score, cfg.quantile, job.generator)
    return tip.sample(score, cfg.rho, job.generator) if cfg.draw else tip.top(score, cfg.rho)


def distances(job: Job, observation: Tensor, said: Output, cfg: DivergenceConfig) -> Tensor:
    """(b,) divergences at positions whose observations are given and where the teacher said ``said``."""
    return by_step(divergence(job.student.output(observation), said, cfg, job.generator))


def by_step(values: Tensor) -> Tensor:
    """(P,) of positions (P,), or of the sums over the twelve tokens of a control step (P, 12)."""
    return values.sum(-1) if values.dim() == 2 else values
