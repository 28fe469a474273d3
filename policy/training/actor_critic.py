"""Actor and critic as an SB3 policy; the critic sees the privileged ``critic`` group."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from policy.networks.actor import Actor, ModelConfig
from policy.networks.layers import mlp
from sim.spec.observation import PRONK_OBSERVATION, ObservationSpec

LOG_2PI = 1.8378770664093453


class AsymmetricPolicy(ActorCriticPolicy):
    """SB3 policy over a Dict observation with groups ``policy`` and ``critic``; Gaussian actions, state-free std.

    Args:
        model: the actor; its hidden widths are the critic's too.
        spec: of the ``policy`` group.
        initial_std: standard deviation of the actions at the start.
    """

    def __init__(
        self, *args: Any, model: ModelConfig | None = None, spec: ObservationSpec = PRONK_OBSERVATION,
        initial_std: float = 0.5, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.model = model or ModelConfig()
        self.spec = spec
        self.initial_std = initial_std
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Any) -> None:
        groups = self.observation_space.spaces  # type: ignore[attr-defined]
        actions = self.action_space.shape[0]  # type: ignore[index]
        self.actor = Actor(self.model, self.spec, actions, self.initial_std)
        self.log_std = self.actor.log_std  # SB3's name for it
        self.critic = mlp(groups["critic"].shape[0], self.model.hidden, 1)
        self.action_dist = DiagGaussianDistribution(actions)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5)

    def sample(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the actor's features: actions (N, 12), their log probabilities (N,), means (N, 12)."""
        mean = self.actor.head(features)
        action = mean + self.log_std.exp() * torch.randn_like(mean)
        return action, self.log_prob(mean, action), mean

    def log_prob(self, mean: Tensor, action: Tensor) -> Tensor:
        """(N,) log density of ``action`` under the Gaussian around ``mean``."""
        z = (action - mean) * torch.exp(-self.log_std)
        return -0.5 * (z.square().sum(1) + mean.shape[1] * LOG_2PI) - self.log_std.sum()

    def entropy(self) -> Tensor:
        """Scalar entropy of the action distribution, nats."""
        return (0.5 + 0.5 * LOG_2PI + self.log_std).sum()

    def forward(self, obs: dict[str, Tensor], deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """SB3's interface: actions, values, log probabilities."""
        mean = self.actor(obs[self.model.group]).action
        action = mean if deterministic else mean + self.log_std.exp() * torch.randn_like(mean)
        return action, self.critic(obs["critic"]), self.log_prob(mean, action)

    def evaluate_actions(self, obs: dict[str, Tensor], actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """SB3's interface: values, log probabilities, entropies."""
        mean = self.actor(obs[self.model.group]).action
        return self.critic(obs["critic"]), self.log_prob(mean, actions), self.entropy().expand(len(mean))

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """SB3's interface: (N, 1)."""
        return self.critic(obs["critic"])

    def _predict(self, observation: dict[str, Tensor], deterministic: bool = False) -> Tensor:  # type: ignore[override]
        return self.forward(observation, deterministic)[0]
