"""SODA: learn from a teacher's log alone, by preferring its actions over a snapshot of the student's own.

Source: Chen et al., "SODA: Semi On-Policy Black-Box Distillation for Large Language Models", arXiv 2604.03873; the
loss is DPO's, Rafailov et al., NeurIPS 2023, arXiv 2305.18290, equation 7. At each state of the teacher's rollouts a⁺
is the teacher's action and a⁻ what the student did there, drawn once and frozen; π_w, the student after a supervised
warm-up on a⁺, is the reference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softmax, softplus

from policy.distill.bc import demonstrated, imitate
from policy.distill.job import Job, log_prob
from policy.distill.losses import average
from policy.networks.distributions import Gaussian
from sim.errors import LunarError

_BATCH = 8192  # positions at a time, without gradient


def dpo(
    preferred: Tensor, rejected: Tensor, reference_preferred: Tensor, reference_rejected: Tensor, beta: float
) -> Tensor:
    """(P,) −ln σ(β[ln π(a⁺)/π_w(a⁺) − ln π(a⁻)/π_w(a⁻)]), to be averaged with ``losses.average``.

    ln 2 where the student is its reference. The gradient shrinks as the preference is learnt, which holds the student
    near π_w.

    Args:
        preferred, rejected: (P,) ln π(a⁺) and ln π(a⁻) of the student, as ``Output.log_prob`` gives them (of tokens,
            summed over the joints of a step); the gradient flows.
        reference_preferred, reference_rejected: (P,) the same of π_w, taken as constant.
        beta: above 0, how far from π_w the student may go: less is further.
    """
    if not (beta > 0 and math.isfinite(beta)):
        raise LunarError(f"beta is {beta}; it must be a number above 0")
    margin = (preferred - reference_preferred.detach()) - (rejected - reference_rejected.detach())
    return softplus(-beta * margin)


def train(job: Job) -> None:
    """Teacher's rollouts or log; a snapshot of the student's own actions there; warm-up; then preference. The student
    never acts."""
    cfg = job.cfg.soda
    if not (0 < cfg.warm_up < 1 and 0 <= cfg.snapshot <= 1 and cfg.passes >= 2):
        raise LunarError("soda.warm_up must lie between 0 and 1, soda.snapshot in [0, 1], and passes be at least 2")
    observation, preferred = demonstrated(job)
    warm = min(max(1, round(cfg.warm_up * cfg.passes)), cfg.passes - 1)
    early = round(cfg.snapshot * warm)
    if early:
        imitate(job, observation, preferred, early, (0.0, cfg.warm_up * cfg.snapshot))
    rejected = _own_actions(job, observation)
    if warm > early:
        imitate(job, observation, preferred, warm - early, (cfg.warm_up * cfg.snapshot, cfg.warm_up))
    reference = [_log_probs(job, observation, action) for action in (preferred, rejected)]
    everything = torch.arange(len(observation), device=job.device)
    passes = cfg.passes - warm
    count = passes * -(-len(everything) // job.cfg.learning.minibatch)
    total = 0.0
    with job.task("prefer", count) as show:
        for k, rows in enumerate(job.minibatches(everything, passes, len(everything))):
            output = job.student.output(observation[rows])
            good, bad = (log_prob(output, action[rows], job.bins) for action in (preferred, rejected))
            loss = average(dpo(good, bad, reference[0][rows], reference[1][rows], cfg.beta))
            job.gradient_step(loss, cfg.warm_up + (1.0 - cfg.warm_up) * k / max(count, 1))
            total += loss.item()
            if k % 20 == 0:
                show(k, f"loss {loss.item():.3f}")
        show(count, "")
    job.record(total / max(count, 1), len(everything))


@torch.no_grad()
def _own_actions(job: Job, observation: Tensor) -> Tensor:
    """(P, 12) drawn from the student as it is now."""
    actions = []
    for rows in observation.split(_BATCH):
        output = job.student.output(rows)
        if isinstance(output, Gaussian):
            noise = torch.randn(output.mean.shape, generator=job.generator, device=job.device)
            actions.append(output.mean + output.log_std.exp() * noise)
        else:
            assert job.bins is not None
            p = softmax(output.logits, -1).flatten(0, 1)
            token = torch.multinomial(p, 1, generator=job.generator).reshape(output.positions)
            actions.append(job.bins.decode(token))
    return torch.cat(actions)


@torch.no_grad()
def _log_probs(job: Job, observation: Tensor, action: Tensor) -> Tensor:
    pairs = zip(observation.split(_BATCH), action.split(_BATCH), strict=True)
    return torch.cat([log_prob(job.student.output(seen), did, job.bins) for seen, did in pairs])
