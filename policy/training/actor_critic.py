"""Actor and critic as an SB3 policy; the critic sees the privileged ``critic`` group."""

from __future__ import annotations

import math
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from policy.networks.actor import Actor
from policy.networks.config import ModelConfig
from policy.networks.distributions import Gaussian
from policy.networks.layers import mlp
from sim.errors import LunarError
from sim.mdp.observations import group_specs
from sim.spec.observation import PRONK_OBSERVATION, ObservationSpec


class AsymmetricPolicy(ActorCriticPolicy):
    """SB3 policy over a Dict observation with the groups ``policy`` and, to learn, ``critic``; or, once it has learnt,
    over the former as a flat array. Gaussian actions, state-free std.

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
        actions = self.action_space.shape[0]  # type: ignore[index]
        self.actor = Actor(self.model, self.spec, actions, self.initial_std)
        self.log_std = self.actor.log_std  # SB3's name for it
        self.critic = mlp(sum(c.size for c in group_specs(self.spec)["critic"]), self.model.hidden, 1)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5)

    def distribution(self, features: Tensor) -> Gaussian:
        """Of the actions (N, 12), from the actor's features."""
        return Gaussian(self.actor.head(features), self.log_std)

    @torch.no_grad()
    def fix_std(self, std: float | None) -> None:
        """Give all actions this standard deviation, unless it is None."""
        if std is not None:
            self.log_std.fill_(math.log(std))

    def forward(self, obs: dict[str, Tensor], deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """SB3's interface: actions, values, log probabilities."""
        said = self._said(obs)
        action = said.mean if deterministic else said.sample()
        return action, self.predict_values(obs), said.log_prob(action)

    def evaluate_actions(self, obs: dict[str, Tensor], actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """SB3's interface: values, log probabilities, entropies."""
        said = self._said(obs)
        return self.predict_values(obs), said.log_prob(actions), said.entropy().expand(len(actions))

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """SB3's interface: (N, 1).

        Raises:
            LunarError: the group ``critic`` is not observed.
        """
        if not isinstance(obs, dict) or "critic" not in obs:
            raise LunarError("the critic judges the group 'critic': make the environment with privileged=True")
        return self.critic(obs["critic"])

    def _predict(self, observation: dict[str, Tensor], deterministic: bool = False) -> Tensor:  # type: ignore[override]
        said = self._said(observation)
        return said.mean if deterministic else said.sample()

    def _said(self, obs: dict[str, Tensor] | Tensor) -> Gaussian:
        """The actions' distribution, from what a robot senses."""
        return self.distribution(self.actor.features(obs["policy"] if isinstance(obs, dict) else obs))
