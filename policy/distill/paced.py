"""PACED: learn where the student succeeds sometimes, by its success rate in each cell (terrain × level × command).

Source: Xu et al., "PACED: Distillation at the Frontier of Student Competence", arXiv 2603.11178: weight
w(p) = p^α (1−p)^β, because the signal-to-noise ratio of the gradient vanishes where the student always fails and where
it always succeeds; and forward KL first (cover what the teacher does), reverse KL then (settle on it). p comes from K
rollouts per cell.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from policy.distill.losses import normalised
from sim.errors import LunarError


def success_rate(successes: Tensor, rollouts: Tensor | int, smoothing: float = 0.5) -> Tensor:
    """(C,) p = (s + c) / (K + 2c): never 0 or 1, and ½ where nothing was tried.

    Args:
        successes: (C,) s of each cell. rollouts: (C,) or one number, K. smoothing: c > 0.
    """
    if not smoothing > 0:
        raise LunarError(f"smoothing is {smoothing}; it must be above 0")
    tried = torch.as_tensor(rollouts, device=successes.device)
    if bool(((successes < 0) | (successes > tried)).any()):
        raise LunarError("a cell has fewer than none or more successes than rollouts")
    return (successes + smoothing) / (tried + 2 * smoothing)


def weights(rate: Tensor, alpha: float = 1.0, beta: float = 1.0, floor: float = 0.05) -> Tensor:
    """(C,) max(w(p)/w(p*), floor), 1 at the frontier p* = α/(α+β); no cell is forgotten while the floor is above 0.

    Args:
        rate: (C,) success rates p in [0, 1]. alpha, beta: not negative; larger alpha shuns hard cells, beta easy ones.
        floor: in [0, 1].
    """
    if not (alpha >= 0 and beta >= 0 and math.isfinite(alpha + beta)):
        raise LunarError(f"alpha and beta are {alpha} and {beta}; they must not be negative")
    if not 0 <= floor <= 1:
        raise LunarError(f"floor is {floor}; it must lie between 0 and 1")
    _check_rate(rate)
    peak = 1.0
    if alpha + beta > 0:
        frontier = alpha / (alpha + beta)
        peak = frontier**alpha * (1 - frontier) ** beta
    return (rate.pow(alpha) * (1 - rate).pow(beta) / peak).clamp(min=floor)


def hard_filter(rate: Tensor, low: float = 0.1, high: float = 0.9) -> Tensor:
    """(C,) control: 1 for cells with low ≤ p ≤ high, 0 for all others."""
    if not 0 <= low <= high <= 1:
        raise LunarError(f"low and high are {low} and {high}; they must rise within 0 to 1")
    _check_rate(rate)
    return ((rate >= low) & (rate <= high)).to(rate.dtype)


def uniform(rate: Tensor) -> Tensor:
    """(C,) control: all cells alike."""
    return torch.ones_like(rate)


def sample_cells(weight: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """(count,) cells, drawn with replacement and chances proportional to their weights (C,): PACED as a sampler."""
    return torch.multinomial(normalised(weight), count, replacement=True, generator=generator)


def two_stage(progress: float, switch: float = 0.5) -> Literal["forward_kl", "reverse_kl"]:
    """The divergence at ``progress`` (0 to 1) of the training: forward KL up to ``switch``, then reverse KL."""
    if not 0 <= switch <= 1:
        raise LunarError(f"switch is {switch}; it must lie between 0 and 1")
    return "forward_kl" if progress < switch else "reverse_kl"


def _check_rate(rate: Tensor) -> None:
    if not bool(((rate >= 0) & (rate <= 1)).all()):
        raise LunarError("a success rate lies outside 0 to 1")
