"""SODA's rival: adversarial on-policy distillation from a teacher's actions alone.

A discriminator tells the teacher's pairs of state and action from the student's, and PPO trains the student to be taken
for its teacher: Ho and Ermon, "Generative Adversarial Imitation Learning", NeurIPS 2016, arXiv 1606.03476; of language
models Ye et al., "Black-Box On-Policy Distillation of Large Language Models" (GAD), arXiv 2511.10643. Warmed up on the
teacher's log like SODA.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.nn.utils import clip_grad_norm_

from policy.distill.job import Job
from policy.distill.methods import imitate
from policy.networks.distributions import Gaussian
from policy.networks.layers import mlp
from policy.training.rollout import Rollout
from sim.physics.threads import physics_first


@dataclass(frozen=True)
class Adversary:
    """What the rival is made of."""

    log: int = 24_000
    """Environment steps of the teacher, SODA's."""
    warm_up: int = 28
    """Passes over the log at most, SODA's."""
    hidden: tuple[int, ...] = (64, 64)
    """Of discriminator and critic."""
    rate: float = 1e-3
    """Of discriminator and critic."""
    student_rate: float = 3e-4
    """Of the student in the game."""
    gamma: float = 0.98
    gae_lambda: float = 0.95
    clip: float = 0.2
    epochs: int = 4
    """Passes over each rollout, of the student and of the discriminator."""


class Adversarial:
    """``method`` of ``distill``: the teacher's log, a warm-up on it, then the game for the rest of the steps."""

    def __init__(self, cfg: Adversary = Adversary()) -> None:
        self.cfg = cfg

    def __call__(self, job: Job) -> None:
        cfg = self.cfg
        seen, actions = [], []
        while job.steps < cfg.log:
            samples = job.collect(teacher_acts=True)
            seen.append(samples.observation)
            actions.append(samples.action)
        shown, did = torch.cat(seen), torch.cat(actions)
        imitate(job, shown, did, cfg.warm_up, (0.0, 0.0), job.cfg.soda.patience)
        size = shown.shape[1]
        critic, judge = (mlp(n, cfg.hidden, 1).to(job.device) for n in (size, size + did.shape[1]))
        learners = {net: torch.optim.Adam(net.parameters(), lr=cfg.rate) for net in (critic, judge)}
        student = torch.optim.Adam(job.trained, lr=cfg.student_rate)
        for _ in job.updates():
            rollout, judged = self._act(job, critic)
            loss = self._judge(job, judge, learners[judge], torch.cat([shown, did], 1), judged)
            with torch.no_grad():
                rollout.rewards += softplus(judge(judged)).reshape(rollout.rewards.shape)  # −ln(1 − D)
                rollout.compute_advantages(critic(rollout.critic[-1])[:, 0], cfg.gamma, cfg.gae_lambda)
            self._learn(job, rollout, critic, learners[critic], student)
            job.record(loss, len(judged))

    @torch.no_grad()
    @physics_first()
    def _act(self, job: Job, critic: torch.nn.Module) -> tuple[Rollout, Tensor]:
        """A rollout with actions drawn from the student, its rewards what a trial cut by time would still have got; and
        its pairs (T * N, size + 12)."""
        steps, robots, size = job.cfg.rollout, job.world.num_envs, len(job.view)
        rollout = Rollout.empty(steps, robots, {"policy": size, "critic": size}, 0, job.device)
        for t in range(steps):
            seen = job.now["policy"][:, job.view]
            output = job.student.output(seen)
            assert isinstance(output, Gaussian)
            action = output.sample(job.generator)
            rollout.policy[t] = rollout.critic[t] = seen
            rollout.actions[t], rollout.log_probs[t] = action, output.log_prob(action)
            rollout.values[t] = critic(seen)[:, 0]
            step = job.world.step(action)
            job.now = step.observations
            rollout.dones[t] = (step.terminated | step.truncated).float()
            last = critic(step.final_observations["policy"][:, job.view])[:, 0]
            rollout.rewards[t, step.ended] = self.cfg.gamma * last * step.truncated[step.ended]
        rollout.critic[-1] = job.now["policy"][:, job.view]
        job.counted()
        return rollout, torch.cat([rollout.flat("policy"), rollout.flat("actions")], 1)

    def _judge(
        self, job: Job, judge: torch.nn.Module, learner: torch.optim.Optimizer, real: Tensor, made: Tensor
    ) -> float:
        """Binary cross-entropy of the discriminator on as many pairs of both; the mean over its steps."""
        total = count = 0.0
        for rows in job.minibatches(torch.arange(len(made), device=job.device), self.cfg.epochs, len(made)):
            drawn = torch.randint(len(real), (len(rows),), generator=job.generator, device=job.device)
            loss = softplus(-judge(real[drawn])).mean() + softplus(judge(made[rows])).mean()
            learner.zero_grad(set_to_none=True)
            loss.backward()
            learner.step()
            total, count = total + loss.item(), count + 1
        return total / count

    def _learn(
        self, job: Job, rollout: Rollout, critic: torch.nn.Module, values: torch.optim.Optimizer,
        student: torch.optim.Optimizer,
    ) -> None:  # fmt: skip
        """PPO's clipped passes."""
        cfg, clip = self.cfg, self.cfg.clip
        names = ("policy", "actions", "log_probs", "advantages", "returns")
        observation, action, before, advantage, target = map(rollout.flat, names)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        for rows in job.minibatches(torch.arange(len(action), device=job.device), cfg.epochs, len(action)):
            ratio = (job.student.output(observation[rows]).log_prob(action[rows]) - before[rows]).exp()
            gain = torch.minimum(ratio * advantage[rows], ratio.clamp(1 - clip, 1 + clip) * advantage[rows])
            miss = (critic(observation[rows])[:, 0] - target[rows]).square().mean()
            for loss, learner, weights in ((-gain.mean(), student, job.trained), (miss, values, critic.parameters())):
                learner.zero_grad(set_to_none=True)
                loss.backward()
                clip_grad_norm_(weights, job.cfg.learning.max_grad_norm)
                learner.step()
