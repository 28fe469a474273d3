"""PPO on Stable-Baselines3's API with rollouts that stay torch tensors, so that hundreds of robots keep two cores busy.

``learn``, callbacks and the logger are SB3's; collecting and updating are ours. Differences from SB3's PPO: adaptive
learning rate by the KL divergence of an update (as in rsl_rl), value targets bootstrapped through time limits with the
critic's value of the final observation, no per-robot Python in the loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from policy.networks import AsymmetricPolicy
from policy.vec_env import LunarVecEnv
from sim.physics.threads import physics_first


@dataclass(frozen=True)
class PPOConfig:
    """Hyperparameters of PPO (Schulman et al. 2017)."""

    rollout: int = 24
    """Control steps per robot and update."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatch: int = 4096
    """Samples per gradient step."""
    gamma: float = 0.99
    """1. Discount per control step."""
    gae_lambda: float = 0.95
    """1. Of generalised advantage estimation (Schulman et al. 2016)."""
    clip: float = 0.2
    """1. Clip range of the probability ratio."""
    learning_rate: float = 1e-3
    """1. Highest learning rate; adapted downwards and back by the KL divergence."""
    target_kl: float = 0.01
    """nats per update."""
    entropy: float = 0.003
    """Weight of the entropy bonus."""
    value_weight: float = 1.0
    """Weight of the value loss."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    hidden: tuple[int, ...] = (256, 128)
    """Widths of the hidden layers, actor and critic alike."""
    initial_std: float = 0.5
    """Standard deviation of actions at the start."""


@dataclass
class Rollout:
    """T x N transitions on one device."""

    policy: Tensor
    critic: Tensor
    actions: Tensor
    means: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    dones: Tensor
    advantages: Tensor = field(init=False)
    returns: Tensor = field(init=False)

    @staticmethod
    def empty(steps: int, envs: int, policy: int, critic: int, device: torch.device) -> Rollout:
        """Room for ``steps`` x ``envs`` transitions."""
        return Rollout(
            *(torch.zeros(steps, envs, size, device=device) for size in (policy, critic, 12, 12)),
            *(torch.zeros(steps, envs, device=device) for _ in range(4)),
        )

    def compute_advantages(self, last_values: Tensor, gamma: float, gae_lambda: float) -> None:
        """Generalised advantage estimation; ``last_values`` (N,) follow the last step."""
        self.advantages = torch.zeros_like(self.rewards)
        running = torch.zeros_like(last_values)
        following = last_values
        for t in reversed(range(len(self.rewards))):
            alive = 1.0 - self.dones[t]
            delta = self.rewards[t] + gamma * following * alive - self.values[t]
            running = delta + gamma * gae_lambda * alive * running
            self.advantages[t] = running
            following = self.values[t]
        self.returns = self.advantages + self.values

    def flat(self, name: str) -> Tensor:
        """A column as (T * N, ...)."""
        return getattr(self, name).flatten(0, 1)


class LunarPPO(PPO):
    """PPO over a ``LunarVecEnv``.

    Args:
        env: the robots.
        config: hyperparameters.
        seed: of networks and action noise.
    """

    policy: AsymmetricPolicy

    def __init__(self, env: LunarVecEnv, config: PPOConfig, seed: int, device: str = "cpu", **kwargs: Any) -> None:
        self.config = config
        self.lr = self.max_lr = config.learning_rate
        self.entropy_weight = config.entropy
        super().__init__(
            AsymmetricPolicy,
            env,
            learning_rate=config.learning_rate,
            n_steps=config.rollout,
            batch_size=config.minibatch,
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            policy_kwargs={"hidden": config.hidden, "initial_std": config.initial_std},
            seed=seed,
            device=device,
            **kwargs,
        )

    def set_schedule(self, learning_rate: float, entropy: float) -> None:
        """Change the highest learning rate and the entropy weight from the next update on."""
        self.max_lr, self.entropy_weight = learning_rate, entropy
        self.lr = min(self.lr, learning_rate)

    def _setup_model(self) -> None:
        super()._setup_model()
        groups = self.observation_space.spaces  # type: ignore[attr-defined]
        sizes = groups["policy"].shape[0], groups["critic"].shape[0]
        self.rollout_buffer = None  # type: ignore[assignment]  # SB3's NumPy buffer is not used
        self.rollout = Rollout.empty(self.config.rollout, self.n_envs, *sizes, self.device)
        self._obs: dict[str, Tensor] | None = None

    @torch.no_grad()
    @physics_first()
    def collect_rollouts(self, env: Any, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int) -> bool:
        """Fill the rollout; False when a callback asks to stop."""
        world = env.world
        obs = self._obs if self._obs is not None else world.reset()
        data = self.rollout
        callback.on_rollout_start()
        for t in range(n_rollout_steps):
            action, log_prob, mean = self.policy.act(obs["policy"])
            values = self.policy.critic(obs["critic"]).squeeze(1)
            step = world.step(action)
            reward = step.reward
            if step.truncated.any():
                final = self.policy.critic(step.final_observations["critic"]).squeeze(1)
                reward = reward.clone()
                reward[step.ended] += self.gamma * final * step.truncated[step.ended]
            data.policy[t], data.critic[t], data.actions[t], data.means[t] = obs["policy"], obs["critic"], action, mean
            data.log_probs[t], data.values[t], data.rewards[t] = log_prob, values, reward
            data.dones[t] = (step.terminated | step.truncated).float()
            obs = step.observations
            self.num_timesteps += world.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        self._obs = obs
        data.compute_advantages(self.policy.critic(obs["critic"]).squeeze(1), self.gamma, self.gae_lambda)
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """One PPO update from the rollout."""
        cfg, data = self.config, self.rollout
        columns = {n: data.flat(n) for n in ("policy", "critic", "actions", "means", "log_probs", "returns")}
        advantages = data.flat("advantages")
        columns["advantages"] = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        old_log_std = self.policy.log_std.detach().clone()
        sums = dict.fromkeys(("policy_loss", "value_loss", "kl"), 0.0)
        count = 0
        for _ in range(cfg.epochs):
            for batch in torch.randperm(len(advantages), device=self.device).split(cfg.minibatch):
                rows = {name: column[batch] for name, column in columns.items()}
                losses = self._minibatch(rows, old_log_std)
                for name, value in losses.items():
                    sums[name] += value
                count += 1
        self._n_updates += cfg.epochs
        for name, total in sums.items():
            self.logger.record(f"train/{name}", total / count)
        self.logger.record("train/learning_rate", self.lr)
        self.logger.record("train/std", self.policy.log_std.exp().mean().item())

    def _minibatch(self, rows: dict[str, Tensor], old_log_std: Tensor) -> dict[str, float]:
        cfg, policy = self.config, self.policy
        mean = policy.actor(rows["policy"])
        kl = self._adapt(mean.detach(), rows["means"], old_log_std)
        ratio = torch.exp(policy.log_prob(mean, rows["actions"]) - rows["log_probs"])
        advantage = rows["advantages"]
        gain = torch.min(ratio * advantage, ratio.clamp(1.0 - cfg.clip, 1.0 + cfg.clip) * advantage)
        value_loss = (policy.critic(rows["critic"]).squeeze(1) - rows["returns"]).square().mean()
        loss = -gain.mean() + cfg.value_weight * value_loss - self.entropy_weight * policy.entropy()
        policy.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(policy.parameters(), cfg.max_grad_norm)
        policy.optimizer.step()
        return {"policy_loss": -gain.mean().item(), "value_loss": value_loss.item(), "kl": kl}

    @torch.no_grad()
    def _adapt(self, mean: Tensor, old_mean: Tensor, old_log_std: Tensor) -> float:
        """Divergence from the rollout's policy; the learning rate follows it within [1e-5, ``max_lr``]."""
        log_std = self.policy.log_std
        variance, old_variance = torch.exp(2.0 * log_std), torch.exp(2.0 * old_log_std)
        kl = (log_std - old_log_std + (old_variance + (old_mean - mean).square()) / (2.0 * variance) - 0.5).sum(1)
        value = kl.mean().item()
        if value > 2.0 * self.config.target_kl:
            self.lr = max(1e-5, self.lr / 1.5)
        elif value < 0.5 * self.config.target_kl:
            self.lr = min(self.max_lr, self.lr * 1.5)
        for group in self.policy.optimizer.param_groups:
            group["lr"] = self.lr
        return value
