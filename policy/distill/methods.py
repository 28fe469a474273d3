"""The methods: who acts, what the teacher is asked, and which loss the student descends.

* ``on_policy``: the student acts, the teacher says what it would have done there, the student moves to it. Agarwal et
  al., "On-policy distillation of language models" (GKD), ICLR 2024, arXiv 2306.13649; with ``divergence.kind: mse`` it
  is today's practice, rsl_rl's distillation. Positions (TIP), cells (PACED) and divergences compose freely.
* ``dagger``: every state that a student ever visited stays in the lesson. Ross et al., "A Reduction of Imitation
  Learning and Structured Prediction to No-Regret Online Learning", AISTATS 2011, algorithm 3.1, with its β_i = [i = 1]:
  the teacher acts in the first rollout, the student in all others.
* ``bc``, behaviour cloning: the likelihood of what the teacher did, at the states that the teacher visited. Pomerleau,
  "ALVINN", NeurIPS 1988. All that it needs is a log of observations and actions.
* ``soda``: from a teacher's log alone, by preferring its actions over a snapshot of the student's own. Chen et al.,
  "SODA: Semi On-Policy Black-Box Distillation for Large Language Models", arXiv 2604.03873; the loss is DPO's, Rafailov
  et al., NeurIPS 2023, arXiv 2305.18290, equation 7. At each state of the teacher's rollouts a⁺ is the teacher's action
  and a⁻ what the student did there, drawn once and frozen; π_w, the student after a supervised warm-up on a⁺, is the
  reference.
* ``opsdc``: a policy told to be thrifty teaches itself to be thrifty without being told. "On-Policy Self-Distillation
  for Compression", arXiv 2603.05433, in which a model told to be concise does so. Here the words are the command's
  fifth number: the teacher is the policy with economy = 1 at the states that the student visits with economy = 0;
  reverse KL; renewed every M updates; ended by a gate on the success rate.

Logs for ``bc`` and ``soda`` may come from a teacher whose actions are disturbed and whose means are the labels: Laskey
et al., "DART: Noise Injection for Robust Imitation Learning", CoRL 2017, arXiv 1703.09327.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import softmax, softplus

from policy.distill.config import DivergenceConfig
from policy.distill.job import Job, Samples, log_prob
from policy.distill.losses import average, divergence
from policy.distill.positions import sample, scores, top
from policy.distill.teachers import Demonstrations, columns
from policy.networks.distributions import Gaussian, Output, cache, join
from sim.errors import LunarError
from sim.terminal import Terminal

_ASKED = 8192  # positions at a time, without gradient


def on_policy(job: Job) -> None:
    """Rollouts of the student, each learnt from once and forgotten."""
    for _ in job.updates():
        samples = job.collect()
        said = cache(job.ask, samples.asked)
        loss, kept = learn(job, samples, said, _divergence_now(job))
        job.record(loss, kept)


def dagger(job: Job) -> None:
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
            output = job.student.output(memory[rows])
            loss = average(_by_step(divergence(output, lesson.take(rows), _divergence_now(job))))
            job.gradient_step(loss, job.progress)
            total += loss.item()
        job.record(total / count, job.steps)


def bc(job: Job) -> None:
    """As many gradient steps as on-policy distillation takes for as many environment steps."""
    observation, action = _demonstrated(job)
    imitate(job, observation, action, job.cfg.learning.epochs, (0.0, 1.0))


def soda(job: Job) -> None:
    """Teacher's rollouts or log; a snapshot of the student's own actions there; warm-up; then preference. The student
    never acts."""
    cfg = job.cfg.soda
    if not (0 < cfg.warm_up < 1 and 0 <= cfg.snapshot <= 1 and cfg.passes >= 2 and cfg.patience >= 0):
        raise LunarError(
            "soda.warm_up must lie between 0 and 1, soda.snapshot in [0, 1], passes be at least 2, patience 0 or more"
        )
    observation, preferred = _demonstrated(job)
    warm = min(max(1, round(cfg.warm_up * cfg.passes)), cfg.passes - 1)
    early = round(cfg.snapshot * warm)
    if early:
        imitate(job, observation, preferred, early, (0.0, cfg.warm_up * cfg.snapshot), cfg.patience)
    rejected = _own_actions(job, observation)
    if warm > early:
        imitate(job, observation, preferred, warm - early, (cfg.warm_up * cfg.snapshot, cfg.warm_up), cfg.patience)
    reference = [_log_probs(job, observation, action) for action in (preferred, rejected)]

    def prefer(rows: Tensor) -> Tensor:
        output = job.student.output(observation[rows])
        good, bad = (log_prob(output, action[rows], job.bins) for action in (preferred, rejected))
        return dpo(good, bad, reference[0][rows], reference[1][rows], cfg.beta)

    losses = _passes(job, "prefer", len(observation), cfg.passes - warm, (cfg.warm_up, 1.0), prefer)
    job.record(sum(losses) / max(len(losses), 1), len(observation))


def opsdc(job: Job) -> None:
    """A student learns as a whole, of an actor the head; its internal model stays, so that its estimates stay true.
    Only what passed the gate is kept, also after an interruption."""
    cfg, student = job.cfg.opsdc, job.student
    if min(cfg.refresh, cfg.look, cfg.before) < 1 or not 0 <= cfg.tolerance < 1:
        raise LunarError("opsdc.refresh, look and before must be at least 1 and opsdc.tolerance lie in [0, 1)")
    memory = job.cfg.cells.memory
    lag = math.ceil(memory / (1 - memory) / cfg.look) if memory < 1 else sys.maxsize  # looks, by a trial's mean age
    thrift = job.world.spec.command[-1].scale  # of economy, the last command
    teacher, passed = copy.deepcopy(student), [copy.deepcopy(student.state_dict())]
    least, learnt = math.nan, 0
    try:
        for update in job.updates():
            samples = job.collect()
            success = job.skill["success"]
            if update < cfg.before or math.isnan(least):
                least = success - cfg.tolerance  # no number, and no gate, before a trial has ended
            if update < cfg.before:
                job.record(0.0, 0)
                continue
            if learnt and learnt % cfg.look == 0:
                if success < least:
                    Terminal(stderr=True).print(f"success fell to {success:.3f}, below {least:.3f}: training ends here")
                    break
                passed = [*passed, copy.deepcopy(student.state_dict())][-1 - lag :]
            if learnt and learnt % cfg.refresh == 0:
                teacher = copy.deepcopy(student)
            told = samples.observation.clone()
            told[:, -1] = thrift
            said = teacher.output(told)
            assert isinstance(said, Gaussian)
            said = Gaussian(said.mean.detach(), said.log_std.detach())
            loss, kept = learn(job, samples, said, _divergence_now(job))
            job.record(loss, kept)
            learnt += 1
        else:
            if not job.skill["success"] < least:
                passed = [copy.deepcopy(student.state_dict())]
    finally:
        student.load_state_dict(passed[0])


METHODS: dict[str, Callable[[Job], None]] = {f.__name__: f for f in (on_policy, dagger, bc, soda, opsdc)}
"""What a config's ``method`` names."""


def learn(job: Job, samples: Samples, said: Output, cfg: DivergenceConfig) -> tuple[float, int]:
    """Passes over a rollout's positions worth learning from; returns the mean loss and how many those are."""
    weights = None
    if job.cfg.cells.rule != "uniform" and job.cfg.cells.use == "weights":
        weights = job.rates.weights()[samples.cell]
        if not bool((weights > 0).any()):
            return 0.0, 0  # a hard filter left out every cell that was visited
    kept, tokens = select(job, samples, said)
    total = count = 0.0
    for rows in job.minibatches(kept, job.cfg.learning.epochs, len(samples.observation)):
        values = divergence(job.student.output(samples.observation[rows]), said.take(rows), cfg)
        if tokens is None:
            loss = average(_by_step(values), weights, rows)
        else:  # a step's loss is the sum over its tokens, hence the factor
            share = None if weights is None else weights[:, None].expand_as(tokens)
            places = torch.arange(tokens.numel(), device=rows.device).reshape(tokens.shape)[rows]
            loss = tokens.shape[1] * average(values[tokens[rows]], share, places[tokens[rows]])
        job.gradient_step(loss, job.progress)
        total, count = total + loss.item(), count + 1
    return total / max(count, 1), len(kept) if tokens is None else int(tokens.sum())


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


def _divergence_now(job: Job) -> DivergenceConfig:
    """The divergence of this moment of the training."""
    cfg = job.cfg
    return replace(cfg.divergence, kind="forward_kl") if job.progress < cfg.forward_until else cfg.divergence


@torch.no_grad()
def select(job: Job, samples: Samples, said: Output) -> tuple[Tensor, Tensor | None]:
    """Indices of the control steps to learn from, by what the student said as it acted; and where single tokens are
    the positions, which of the steps' tokens (P, J) those are."""
    cfg = job.cfg.positions
    if cfg.score == "all" or samples.output is None:
        return torch.arange(len(samples.observation), device=samples.observation.device), None
    output = samples.output
    entropy, distance = output.entropy(), divergence(output, said, DivergenceConfig(cfg.direction))
    shape = distance.shape
    entropy, distance = (_by_step(x) if cfg.unit == "step" else x.flatten() for x in (entropy, distance))
    score = scores(entropy, distance, cfg.score, cfg.quantile, job.generator)
    kept = sample(score, cfg.rho, job.generator) if cfg.draw else top(score, cfg.rho)
    if cfg.unit == "step":
        return kept, None
    tokens = torch.zeros(shape.numel(), dtype=torch.bool, device=kept.device).index_fill_(0, kept, True).reshape(shape)
    return tokens.any(-1).nonzero()[:, 0], tokens


def _by_step(values: Tensor) -> Tensor:
    """(P,) of positions (P,), or of the sums over the twelve tokens of a control step (P, 12)."""
    return values.sum(-1) if values.dim() == 2 else values


def _demonstrated(job: Job) -> tuple[Tensor, Tensor]:
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


def imitate(
    job: Job, observation: Tensor, action: Tensor, passes: int, share: tuple[float, float], patience: int = 0
) -> None:
    """Supervised passes over demonstrations; ``share`` of the whole training is done at their beginning and end. With
    ``patience`` their last tenth is held out, and after so many passes without a better likelihood there they end with
    the best student."""
    begin = max(1, len(observation) * 9 // 10) if patience else len(observation)
    held = torch.arange(begin, len(observation), device=job.device)

    def surprise(rows: Tensor) -> Tensor:
        return -log_prob(job.student.output(observation[rows]), action[rows], job.bins)

    best, weights, waited = math.inf, copy.deepcopy(job.student.state_dict()), 0

    def enough() -> bool:
        nonlocal best, weights, waited
        loss = float(-_log_probs(job, observation[held], action[held]).mean())
        if loss < best:
            best, weights, waited = loss, copy.deepcopy(job.student.state_dict()), 0
        else:
            waited += 1
        return waited >= patience

    count = len(observation) - len(held)
    last = _passes(job, "imitate", count, passes, share, surprise, enough if len(held) else None)[-20:]
    if len(held):
        job.student.load_state_dict(weights)
    job.record(sum(last) / max(len(last), 1), count)


def _passes(
    job: Job,
    name: str,
    count: int,
    passes: int,
    share: tuple[float, float],
    values: Callable[[Tensor], Tensor],
    enough: Callable[[], bool] | None = None,
) -> list[float]:
    """Passes over the first ``count`` positions with a line of the bar; ``values`` gives the losses at rows, ``enough``
    is asked after each pass. Returns the steps' losses; ``share`` as of ``imitate``."""
    everything = torch.arange(count, device=job.device)
    each = -(-count // job.cfg.learning.minibatch)
    steps = passes * each
    losses: list[float] = []
    show = job.task(name, steps)
    for k, rows in enumerate(job.minibatches(everything, passes, count)):
        loss = average(values(rows))
        job.gradient_step(loss, share[0] + (share[1] - share[0]) * k / max(steps, 1))
        losses.append(loss.item())
        if k % 20 == 0:
            show(k, f"loss {losses[-1]:.3f}")
        if enough and (k + 1) % each == 0 and enough():
            break
    show(steps, "")
    return losses


@torch.no_grad()
def _own_actions(job: Job, observation: Tensor) -> Tensor:
    """(P, 12) drawn from the student as it is now."""
    actions = []
    for rows in observation.split(_ASKED):
        output = job.student.output(rows)
        if isinstance(output, Gaussian):
            actions.append(output.sample(job.generator))
        else:
            assert job.bins is not None
            p = softmax(output.logits, -1).flatten(0, 1)
            token = torch.multinomial(p, 1, generator=job.generator).reshape(output.positions)
            actions.append(job.bins.decode(token))
    return torch.cat(actions)


@torch.no_grad()
def _log_probs(job: Job, observation: Tensor, action: Tensor) -> Tensor:
    pairs = zip(observation.split(_ASKED), action.split(_ASKED), strict=True)
    return torch.cat([log_prob(job.student.output(seen), did, job.bins) for seen, did in pairs])
