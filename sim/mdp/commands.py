"""Commands drawn for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.tensors import constant


@dataclass(frozen=True)
class CommandConfig:
    """Ranges that commands are drawn from, uniformly, and how often."""

    vx: tuple[float, float] = (0.0, 0.6)
    """m/s."""
    vy: tuple[float, float] = (-0.2, 0.2)
    """m/s."""
    yaw_rate: tuple[float, float] = (-0.4, 0.4)
    """rad/s."""
    apex_gain: tuple[float, float] = (0.15, 0.40)
    """m."""
    economy: tuple[float, float] = (0.0, 1.0)
    """1."""
    period: float = 8.0
    """s between new commands; 0 keeps one command for the whole trial."""

    def low(self) -> list[float]:
        """Lower bounds, shape (5,)."""
        return [r[0] for r in self._ranges()]

    def high(self) -> list[float]:
        """Upper bounds, shape (5,)."""
        return [r[1] for r in self._ranges()]

    def _ranges(self) -> tuple[tuple[float, float], ...]:
        return self.vx, self.vy, self.yaw_rate, self.apex_gain, self.economy


def draw(cfg: CommandConfig, count: int, generator: torch.Generator) -> Tensor:
    """(count, 5) commands, on the generator's device."""
    device = generator.device
    low, high = constant(cfg.low(), device), constant(cfg.high(), device)
    return low + (high - low) * torch.rand((count, 5), generator=generator, device=device)
