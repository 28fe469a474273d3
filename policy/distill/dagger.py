"""DAgger: every state that a student ever visited stays in the lesson.

Source: Ross et al., "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning",
AISTATS 2011, algorithm 3.1, with its β_i = [i = 1]: the teacher acts in the first rollout, the student in all others.
"""

from __future__ import annotations

import torch

from policy.distill.job import Job
from policy.distill.losses import average
from policy.distill.on_policy import distances, divergence_at
from policy.networks.distributions import Output, cache, join


def train(job: Job) -> None:
    """As many gradient steps per rollout as on-policy distillation takes, on samples of all rollouts so far."""
    cfg, each = job.cfg.learning, job.cfg.rollout * job.world.num_envs
    memory = torch.empty(-(-job.cfg.steps // each) * each, len(job.view), device=job.device)
    said: list[Output] = []
    for update in job.updates():
        samples = job.collect(teacher_acts=update == 0)
        memory[job.steps - each : job.steps] = samples.observation
        said.append(cache(job.ask, samples.asked))
        lesson = join(said)
        count = cfg.epochs * -(-each // cfg.minibatch)
        total = 0.0
        for _ in range(count):
            rows = torch.randint(job.steps, (cfg.minibatch,), generator=job.generator, device=job.device)
            loss = average(distances(job, memory[rows], lesson.take(rows), divergence_at(job)))
            job.gradient_step(loss, job.progress)
            total += loss.item()
        job.record(total / count, job.steps)
