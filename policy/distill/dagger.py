"""DAgger: every state that a student ever visited stays in the lesson.

Source: Ross et al., "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning",
AISTATS 2011, algorithm 3.1, with its β_i = [i = 1]: the teacher acts in the first rollout, the student in all others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policy.distill.job import Job
from policy.distill.losses import average
from policy.distill.on_policy import distances, divergence_at
from policy.distill.outputs import Output, cache, join


def train(job: Job) -> None:
    """As many gradient steps per rollout as on-policy distillation takes, on samples of all rollouts so far."""
    cfg = job.cfg.learning
    seen: list[Tensor] = []
    said: list[Output] = []
    for update in job.updates():
        samples = job.collect(teacher_acts=update == 0)
        seen.append(samples.observation)
        said.append(cache(job.ask, samples.asked))
        observation, lesson = torch.cat(seen), join(said)
        count = cfg.epochs * -(-len(samples.observation) // cfg.minibatch)
        total = 0.0
        for _ in range(count):
            rows = torch.randint(len(observation), (cfg.minibatch,), generator=job.generator, device=job.device)
            loss = average(distances(job, observation[rows], lesson.take(rows), divergence_at(job)))
            job.gradient_step(loss, job.progress)
            total += loss.item()
        job.record(total / count, len(observation))
