"""What a policy update learns from: T control steps of N robots."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Rollout:
    """T x N transitions on one device."""

    policy: Tensor
    """(T, N, P) observation group."""
    critic: Tensor
    """(T + 1, N, C) observation group, and that after the last step."""
    features: Tensor
    """(T, N, F) what the actor's head saw."""
    actions: Tensor
    """(T, N, 12)."""
    means: Tensor
    """(T, N, 12) of the actions' distribution."""
    log_probs: Tensor
    """(T, N) of the actions; as the following."""
    values: Tensor
    rewards: Tensor
    dones: Tensor
    """(T, N) 1 where a trial ended."""
    advantages: Tensor = field(init=False)
    returns: Tensor = field(init=False)

    @staticmethod
    def empty(steps: int, envs: int, groups: dict[str, int], features: int, device: torch.device) -> Rollout:
        """Room for ``steps`` x ``envs`` transitions with observation groups of these sizes."""
        return Rollout(
            torch.zeros(steps, envs, groups["policy"], device=device),
            torch.zeros(steps + 1, envs, groups["critic"], device=device),
            *(torch.zeros(steps, envs, size, device=device) for size in (features, 12, 12)),
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
        """A column of T steps as (T * N, ...)."""
        return getattr(self, name).flatten(0, 1)
