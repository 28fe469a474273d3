"""How the internal model learns: regression of what the simulator knows, and swapped prototypes of the next state.

The embedding of the history is pulled to that of the state one step later, which is how a hybrid internal model (Long
et al., "Hybrid Internal Model", ICLR 2024) learns the robot's response without naming its parameters. The objective is
SwAV's (Caron et al., NeurIPS 2020, equations 1 to 3): both embeddings are assigned to prototypes, with equal shares by
Sinkhorn's iterations, and each must predict the other's assignment. No gradient of the policy reaches the encoders.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize
from torch.nn.utils import clip_grad_norm_

from policy.networks.actor import Actor
from policy.networks.layers import mlp
from policy.training.config import EstimatorConfig
from policy.training.distributed import ALONE, Group


class Targets(nn.Module):
    """What only training needs: embeddings of the successor state and prototypes, one set per horizon."""

    def __init__(self, actor: Actor, prototypes: int) -> None:
        super().__init__()
        sizes = {name: e.latent for name, e in actor.cfg.encoders.items()}
        self.embeddings = nn.ModuleDict({name: mlp(actor.state_size, (128, 64), size) for name, size in sizes.items()})
        self.prototypes = nn.ParameterDict(
            {name: nn.Parameter(normalize(torch.randn(prototypes, size), dim=1)) for name, size in sizes.items()}
        )


class EstimatorLearner:
    """Trains an actor's encoders.

    Args:
        actor: whose encoders are trained.
        cfg: how.
        device: of both.
        group: the processes that train together, each with its part of every minibatch.
    """

    def __init__(self, actor: Actor, cfg: EstimatorConfig, device: torch.device, group: Group = ALONE) -> None:
        assert actor.encoders is not None
        self.group = group
        self.actor, self.encoders, self.cfg = actor, actor.encoders, cfg
        self.targets = Targets(actor, cfg.prototypes).to(device)
        self.parameters = [*self.encoders.parameters(), *self.targets.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=cfg.learning_rate, eps=1e-5)

    def scale_rate(self, factor: float) -> None:
        """From now on learn at ``factor`` times the configured rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self.cfg.learning_rate

    def step(self, observation: Tensor, critic: Tensor, successor: Tensor, follows: Tensor) -> dict[str, float]:
        """One gradient step.

        Args:
            observation: (B, size) the policy's group.
            critic: (B, C) the critic's group at the same time.
            successor: (B, C) the critic's group one step later.
            follows: (B,) bool, whether it is of the same trial.

        Returns:
            ``estimate_loss`` and ``contrast_loss``.
        """
        estimate, latents = self.encoders(observation)
        count = self.group.sum(torch.full((), float(len(critic)), device=critic.device))
        error = estimate - critic[:, self.actor.truth_columns]
        regression = error.square().sum() / (count * max(error.shape[1], 1))
        contrast = self.contrast(latents, successor, follows) if self.cfg.contrast else torch.zeros_like(regression)
        loss = regression + self.cfg.contrast * contrast
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:  # else the encoders rest, and without a contrast nothing learns
            loss.backward()
        losses = self.group.sum_gradients(self.parameters, torch.stack([regression, contrast]).detach())
        clip_grad_norm_(self.parameters, 10.0)
        self.optimizer.step()
        with torch.no_grad():
            for prototypes in self.targets.prototypes.values():
                prototypes.copy_(normalize(prototypes, dim=1))
        return dict(zip(("estimate_loss", "contrast_loss"), losses.tolist(), strict=True))

    def contrast(self, latents: dict[str, Tensor], successor: Tensor, follows: Tensor) -> Tensor:
        """Scalar mean over the horizons of the swapped-prototype loss; this process's part of it."""
        cfg, rows = self.cfg, follows.nonzero().squeeze(1)
        state = successor[rows, : self.actor.state_size]
        count = self.group.sum(follows.sum()).clamp(min=1)
        losses = []
        for name, latent in latents.items():
            prototypes = self.targets.prototypes[name].T
            ours = latent[rows] @ prototypes
            theirs = normalize(self.targets.embeddings[name](state), dim=1, eps=1e-6) @ prototypes
            swapped = sinkhorn(theirs, cfg.sharpness, self.group) * log_softmax(ours / cfg.temperature, dim=1)
            swapped = swapped + sinkhorn(ours, cfg.sharpness, self.group) * log_softmax(theirs / cfg.temperature, dim=1)
            losses.append(-0.5 * swapped.sum() / count)
        return torch.stack(losses).mean()


@torch.no_grad()
def sinkhorn(scores: Tensor, sharpness: float, group: Group = ALONE, iterations: int = 3) -> Tensor:
    """Soft assignments (B, K), rows adding up to one, that use all K prototypes equally (Cuturi 2013).

    Args:
        scores: (B, K) similarities.
        sharpness: entropic regularisation; smaller is sharper.
        group: the processes that hold a part of the B rows each.
        iterations: of normalising columns, then rows.
    """
    highest = group.max(scores.max() if len(scores) else scores.new_full((), -torch.inf))
    q = torch.exp((scores - highest) / sharpness)
    for _ in range(iterations):
        q = q / group.sum(q.sum(0, keepdim=True)).clamp(min=1e-12)
        q = q / q.sum(1, keepdim=True).clamp(min=1e-12)
    return q
