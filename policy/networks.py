"""Actor and critic: the actor sees the ``policy`` group, the critic the privileged ``critic`` group as well."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

LOG_2PI = 1.8378770664093453


def mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    """ELU multilayer perceptron."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ELU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class AsymmetricPolicy(ActorCriticPolicy):
    """SB3 policy over a Dict observation with groups ``policy`` and ``critic``; Gaussian actions, state-free std.

    Args:
        hidden: widths of the hidden layers of both networks.
        initial_std: standard deviation of the actions at the start.
    """

    def __init__(
        self, *args: Any, hidden: tuple[int, ...] = (256, 128), initial_std: float = 0.5, **kwargs: Any
    ) -> None:
        self.hidden = list(hidden)
        self.initial_std = initial_std
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Any) -> None:
        groups = self.observation_space.spaces  # type: ignore[attr-defined]
        actions = self.action_space.shape[0]  # type: ignore[index]
        self.actor = mlp(groups["policy"].shape[0], self.hidden, actions)
        self.critic = mlp(groups["critic"].shape[0], self.hidden, 1)
        with torch.no_grad():  # the first policy stands still
            self.actor[-1].weight.mul_(0.01)  # type: ignore[operator]
            self.actor[-1].bias.zero_()  # type: ignore[operator]
        self.log_std = nn.Parameter(torch.full((actions,), self.initial_std).log())
        self.action_dist = DiagGaussianDistribution(actions)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5)

    def act(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sample from the ``policy`` group: actions (N, 12), their log probabilities (N,), means (N, 12)."""
        mean = self.actor(obs)
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
        mean = self.actor(obs["policy"])
        action = mean if deterministic else mean + self.log_std.exp() * torch.randn_like(mean)
        return action, self.critic(obs["critic"]), self.log_prob(mean, action)

    def evaluate_actions(self, obs: dict[str, Tensor], actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """SB3's interface: values, log probabilities, entropies."""
        mean = self.actor(obs["policy"])
        return self.critic(obs["critic"]), self.log_prob(mean, actions), self.entropy().expand(len(mean))

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """SB3's interface: (N, 1)."""
        return self.critic(obs["critic"])

    def _predict(self, observation: dict[str, Tensor], deterministic: bool = False) -> Tensor:  # type: ignore[override]
        return self.forward(observation, deterministic)[0]
