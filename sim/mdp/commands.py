"""Commands drawn for training and evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.mdp.config import CommandConfig
from sim.tensors import constant


def draw(cfg: CommandConfig, count: int, generator: torch.Generator) -> Tensor:
    """(count, 5) commands, on the generator's device."""
    device = generator.device
    low, high = constant(cfg.low(), device), constant(cfg.high(), device)
    return low + (high - low) * torch.rand((count, 5), generator=generator, device=device)
