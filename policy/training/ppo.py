"""PPO on Stable-Baselines3's API with rollouts that stay torch tensors, so that hundreds of robots keep two cores busy.

``learn``, callbacks and the logger are SB3's; collecting and updating are ours. Differences from SB3's PPO: adaptive
learning rate by the KL divergence of an update (as in rsl_rl), value targets bootstrapped through time limits with the
critic's value of the final observation, mirrored samples, an internal model that learns beside the policy, no per-robot
Python in the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from policy.networks.actor import ModelConfig
from policy.training import checkpoint
from policy.training.actor_critic import AsymmetricPolicy
from policy.training.distributed import ALONE, Group
from policy.training.internal_model import EstimatorConfig, EstimatorLearner
from policy.training.rollout import Rollout
from policy.training.vec_env import LunarVecEnv
from sim.errors import LunarError
from sim.mdp.mirror import ACTION, Mirror
from sim.mdp.observations import group_specs
from sim.physics.threads import physics_first


@dataclass(frozen=True)
class PPOConfig:
    """Hyperparameters of PPO (Schulman et al. 2017)."""

    rollout: int = 24
    """Control steps per robot and update."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatch: int = 4096
    """Samples per gradient step, over all processes."""
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
    initial_std: float = 0.5
    """Standard deviation of actions at the start."""
    mirror: bool = True
    """Whether half of each minibatch is exchanged left for right."""
    model: ModelConfig = field(default_factory=ModelConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)


class LunarPPO(PPO):
    """PPO over a ``LunarVecEnv``.

    Args:
        env: the robots.
        config: hyperparameters.
        seed: of networks, action noise and the order of samples; the same in all processes.
        device: of networks and rollouts.
        group: the processes that train together; all call ``learn`` and ``save`` alike.
    """

    policy: AsymmetricPolicy

    def __init__(
        self, env: LunarVecEnv, config: PPOConfig, seed: int, device: str = "cpu", group: Group = ALONE, **kwargs: Any
    ) -> None:
        self.config, self.group = config, group
        self.lr = self.max_lr = config.learning_rate
        self.entropy_weight = config.entropy
        super().__init__(
            AsymmetricPolicy,
            env,
            learning_rate=config.learning_rate,
            n_steps=config.rollout,
            batch_size=config.minibatch // group.size,
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            policy_kwargs={"model": config.model, "spec": env.world.spec, "initial_std": config.initial_std},
            seed=seed,
            device=device,
            **kwargs,
        )

    def set_schedule(self, learning_rate: float, entropy: float) -> None:
        """Change the highest learning rate, the encoders' with it, and the entropy weight from the next update on."""
        self.max_lr, self.entropy_weight = learning_rate, entropy
        self.lr = min(self.lr, learning_rate)
        if self.estimator:
            self.estimator.scale_rate(learning_rate / self.config.learning_rate)

    def _setup_model(self) -> None:
        super()._setup_model()
        world, actor, cfg = self.env.world, self.policy.actor, self.config  # type: ignore[union-attr]
        groups = group_specs(world.spec)
        self.mirrors = {name: Mirror(channels, self.device) for name, channels in groups.items()}
        self.mirrors["actions"] = Mirror([ACTION], self.device)
        self.estimator = EstimatorLearner(actor, cfg.estimator, self.device, self.group) if actor.encoders else None
        learned = set(self.estimator.parameters) if self.estimator and not cfg.estimator.policy_gradient else set()
        self.parameters = [p for p in self.policy.parameters() if p not in learned]
        self.policy.optimizer = torch.optim.Adam(self.parameters, lr=self.lr, eps=1e-5)
        self.rollout_buffer = None  # type: ignore[assignment]  # SB3's NumPy buffer is not used
        sizes = {name: sum(c.size for c in channels) for name, channels in groups.items()}
        self.rollout = Rollout.empty(cfg.rollout, self.n_envs, sizes, actor.feature_size, self.device)
        self.shuffle = torch.Generator(self.device).manual_seed(self.seed or 0)  # the same in all processes

    @torch.no_grad()
    @physics_first()
    def collect_rollouts(self, env: Any, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int) -> bool:
        """Fill the rollout; False when a callback asks to stop."""
        world, policy = env.world, self.policy
        obs = {name: torch.as_tensor(value, device=self.device) for name, value in self._last_obs.items()}  # type: ignore[union-attr]
        data = self.rollout
        callback.on_rollout_start()
        for t in range(n_rollout_steps):
            features = policy.actor.features(obs[policy.model.group])
            action, log_prob, mean = policy.sample(features)
            values = policy.critic(obs["critic"]).squeeze(1)
            step = world.step(action)
            reward = step.reward
            if step.truncated.any():
                final = policy.critic(step.final_observations["critic"]).squeeze(1)
                reward = reward.clone()
                reward[step.ended] += self.gamma * final * step.truncated[step.ended]
            data.policy[t], data.critic[t], data.features[t] = obs["policy"], obs["critic"], features
            data.actions[t], data.means[t], data.log_probs[t] = action, mean, log_prob
            data.values[t], data.rewards[t] = values, reward
            data.dones[t] = (step.terminated | step.truncated).float()
            self._last_obs = obs = step.observations
            self.num_timesteps += world.num_envs * self.group.size
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        data.critic[-1] = obs["critic"]
        data.compute_advantages(policy.critic(obs["critic"]).squeeze(1), self.gamma, self.gae_lambda)
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """One update of the policy, then of the internal model, from the rollout."""
        cfg = self.config
        if cfg.mirror:
            self._mirror_half()
        columns = self._columns()
        old_log_std = self.policy.log_std.detach().clone()
        sums = dict.fromkeys(("policy_loss", "value_loss", "kl"), 0.0)
        count = 0
        for rows, size in self._minibatches(cfg.epochs, cfg.rollout):
            losses = self._minibatch({name: column[rows] for name, column in columns.items()}, size, old_log_std)
            for name, value in losses.items():
                sums[name] += value
            count += 1
        self._n_updates += cfg.epochs
        for name, total in sums.items():
            self.logger.record(f"train/{name}", total / count)
        self.logger.record("train/learning_rate", self.lr)
        self.logger.record("train/std", self.policy.log_std.exp().mean().item())
        if self.estimator:
            self._train_estimator(self.estimator)

    @torch.no_grad()
    def _mirror_half(self) -> None:
        """Exchange left for right in what every second robot lived through, by turns.

        Its actions keep the probability that they had: a policy that is even from side to side starts from a ratio of
        one, and an uneven one is pulled towards evenness without ratios that overflow.
        """
        data, actor = self.rollout, self.policy.actor
        turn = self._n_updates // self.config.epochs + self.group.rank * self.n_envs
        robots = slice(turn % 2, None, 2)
        for name, mirror in self.mirrors.items():
            column = getattr(data, name)[:, robots]
            column[:] = mirror(column.flatten(0, 1)).unflatten(0, column.shape[:2])
        seen = data.critic[:-1, robots] if actor.cfg.group == "critic" else data.policy[:, robots]
        features = actor.features(seen.flatten(0, 1))
        data.features[:, robots] = features.unflatten(0, seen.shape[:2])
        data.means[:, robots] = actor.head(features).unflatten(0, seen.shape[:2])

    def _columns(self) -> dict[str, Tensor]:
        """What the policy learns from, (T * N, ...)."""
        data = self.rollout
        columns = {n: data.flat(n) for n in ("features", "actions", "means", "log_probs", "returns")}
        columns["critic"] = data.critic[:-1].flatten(0, 1)
        columns["advantages"] = self._normalised(data.flat("advantages"))
        if self.config.estimator.policy_gradient and self.estimator:
            columns["features"] = data.flat("policy")  # features are computed anew, with their gradient
        return columns

    def _normalised(self, advantages: Tensor) -> Tensor:
        """Mean 0 and standard deviation 1 over the samples of all processes."""
        count = len(advantages) * self.group.size
        centred = advantages - self.group.sum(advantages.sum()) / count
        std = (self.group.sum(centred.square().sum()) / (count - 1)).sqrt()
        return centred / (std + 1e-8)

    def _minibatches(self, epochs: int, steps: int) -> Iterator[tuple[Tensor, int]]:
        """Passes in random order over ``steps`` of all robots in all processes, the same order in all of them.

        Yields:
            Of a minibatch, the rows (b,) that this process holds, and the whole minibatch's size.
        """
        robots = self.n_envs
        count = steps * robots * self.group.size
        for _ in range(epochs):
            for batch in torch.randperm(count, generator=self.shuffle, device=self.device).split(self.config.minibatch):
                yield self.group.cards(batch, robots), len(batch)

    def _minibatch(self, rows: dict[str, Tensor], size: int, old_log_std: Tensor) -> dict[str, float]:
        """One gradient step; ``rows`` are this process's part of ``size`` samples. Losses are over all of them."""
        cfg, policy = self.config, self.policy
        features = rows["features"]
        if cfg.estimator.policy_gradient and self.estimator:
            features = policy.actor.features(features)
        mean = policy.actor.head(features)
        ratio = torch.exp(policy.log_prob(mean, rows["actions"]) - rows["log_probs"])
        advantage = rows["advantages"]
        gain = torch.min(ratio * advantage, ratio.clamp(1.0 - cfg.clip, 1.0 + cfg.clip) * advantage)
        error = (policy.critic(rows["critic"]).squeeze(1) - rows["returns"]).square()
        loss = (cfg.value_weight * error.sum() - gain.sum()) / size
        loss = loss - len(gain) / size * self.entropy_weight * policy.entropy()
        policy.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        divergence = self._divergence(mean.detach(), rows["means"], old_log_std)
        sums = torch.stack([-gain.detach().sum(), error.detach().sum(), divergence.sum()]) / size
        policy_loss, value_loss, kl = self.group.sum_gradients(self.parameters, sums).tolist()
        self._adapt(kl)
        clip_grad_norm_(self.parameters, cfg.max_grad_norm)
        policy.optimizer.step()
        return {"policy_loss": policy_loss, "value_loss": value_loss, "kl": kl}

    def _train_estimator(self, estimator: EstimatorLearner) -> None:
        """Passes over every few steps of the rollout."""
        data, cfg = self.rollout, self.config.estimator
        steps = slice(None, None, cfg.stride)
        observation, critic = data.policy[steps].flatten(0, 1), data.critic[:-1][steps].flatten(0, 1)
        successor, follows = data.critic[1:][steps].flatten(0, 1), data.dones[steps].flatten() == 0.0
        sums: dict[str, float] = {}
        count = 0
        for batch, _ in self._minibatches(cfg.epochs, len(data.dones[steps])):
            losses = estimator.step(observation[batch], critic[batch], successor[batch], follows[batch])
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
        for name, total in sums.items():
            self.logger.record(f"train/{name}", total / count)

    @torch.no_grad()
    def _divergence(self, mean: Tensor, old_mean: Tensor, old_log_std: Tensor) -> Tensor:
        """(b,) Kullback-Leibler divergence from the policy that took the samples, nats."""
        log_std = self.policy.log_std
        variance, old_variance = torch.exp(2.0 * log_std), torch.exp(2.0 * old_log_std)
        return (log_std - old_log_std + (old_variance + (old_mean - mean).square()) / (2.0 * variance) - 0.5).sum(1)

    def _adapt(self, kl: float) -> None:
        """The learning rate follows the divergence within [1e-5, ``max_lr``]."""
        if kl > 2.0 * self.config.target_kl:
            self.lr = max(1e-5, self.lr / 1.5)
        elif kl < 0.5 * self.config.target_kl:
            self.lr = min(self.max_lr, self.lr * 1.5)
        for group in self.policy.optimizer.param_groups:
            group["lr"] = self.lr

    def save(self, path: str | Path) -> None:  # type: ignore[override]
        """Write a checkpoint (``policy/training/checkpoint.py``) to exactly this path; nothing is pickled."""
        checkpoint.save(Path(path), self, {})

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | Path, env: LunarVecEnv | None = None, device: str = "cpu", **kwargs: Any
    ) -> LunarPPO:
        """A model that goes on learning where ``save`` was called; ``learn(..., reset_num_timesteps=False)`` keeps
        counting its steps. The robots of ``env`` start new trials.

        Args:
            path: the file.
            env: as ``get_env()`` was; needed, since a checkpoint holds no world.
            device: of networks and rollouts.
            kwargs: other arguments of the constructor.

        Raises:
            LunarError: no env, a damaged file, or one of another robot or network.
        """
        if env is None:
            raise LunarError("LunarPPO.load needs env=LunarVecEnv(PronkWorld(...)): a checkpoint holds no world")
        document = checkpoint.read(Path(path))
        model = cls(env, checkpoint.ppo_config(document, Path(path)), 0, device, **kwargs)
        checkpoint.restore(model, document, Path(path))
        return model
