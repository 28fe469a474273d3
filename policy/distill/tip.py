"""TIP: which positions to train on, by how unsure the student is and how far from its teacher.

Source: Xu et al., "TIP: Token Importance in On-Policy Distillation", arXiv 2604.14084. Two axes, student entropy h and
divergence d from the teacher, each brought to [0, 1] over the batch (ĥ, d̂), make four regions; the informative ones
are uncertain positions and, the third quadrant Q3, overconfident wrong ones. ``product`` is the sampler of the OPD
repository that the paper extends.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from sim.errors import LunarError

Score = Literal["entropy", "divergence", "product", "soft_or", "q3", "random"]


def min_max(x: Tensor, quantile: float = 1.0) -> Tensor:
    """x (N,) brought to [0, 1] over the batch; all zeros if it is constant.

    Args:
        quantile: in (0.5, 1]; below 1, values beyond this quantile and beyond its mirror image are clipped first, so
            that one outlier does not press all others together.

    Raises:
        LunarError: a value is not a number, or the quantile is out of range.
    """
    if not 0.5 < quantile <= 1:
        raise LunarError(f"quantile is {quantile}; it must lie above 0.5 and be at most 1")
    if not bool(torch.isfinite(x).all()):
        raise LunarError("an entropy or divergence is not a number: teacher or student diverged")
    if not len(x):
        return x
    cut = round((1 - quantile) * (len(x) - 1))  # order statistics: torch.quantile refuses large inputs
    low, high = x.kthvalue(1 + cut).values, x.kthvalue(len(x) - cut).values
    return ((x.clamp(low, high) - low) / (high - low)) if high > low else torch.zeros_like(x)


def scores(
    entropy: Tensor,
    divergence: Tensor,
    kind: Score = "soft_or",
    quantile: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(N,) how much each position is worth, in [0, 1].

    * ``entropy`` ĥ; ``divergence`` d̂; ``product`` ĥ·d̂
    * ``soft_or`` ĥ + d̂ − ĥd̂, the probability that either of two independent events happens
    * ``q3`` (1 − ĥ)·d̂, sure of itself and wrong
    * ``random``, the control

    Args:
        entropy: (N,) of the student. divergence: (N,) in either direction, any of policy.distill.losses.
        quantile: of ``min_max``.
        generator: of ``random``.
    """
    if kind == "random":
        return torch.rand(entropy.shape, generator=generator, device=entropy.device)
    h, d = min_max(entropy, quantile), min_max(divergence, quantile)
    if kind == "entropy":
        return h
    if kind == "divergence":
        return d
    if kind == "product":
        return h * d
    if kind == "soft_or":
        return h + d - h * d
    if kind == "q3":
        return (1 - h) * d
    raise LunarError(f"score is '{kind}'; it must be entropy, divergence, product, soft_or, q3 or random")


def budget(positions: int, rho: float) -> int:
    """⌈ρN⌉, ρ read as the decimal number that was written: 7% of 100 is 7, though 0.07 · 100 > 7 in floating point.

    Raises:
        LunarError: ρ outside (0, 1].
    """
    if not 0 < rho <= 1:
        raise LunarError(f"rho is {rho}; the share of positions kept must lie above 0 and be at most 1")
    return math.ceil(Fraction(repr(float(rho))) * positions)


def top(score: Tensor, rho: float) -> Tensor:
    """Indices, rising, of the ⌈ρN⌉ positions with the highest scores (N,)."""
    return score.topk(budget(len(score), rho), sorted=False).indices.sort().values


def sample(score: Tensor, rho: float, generator: torch.Generator | None = None) -> Tensor:
    """Indices, rising, of ⌈ρN⌉ different positions drawn with chances proportional to their scores (N,).

    Each score is divided by an exponential variable of its own and the highest are kept (Efraimidis and Spirakis, 2006:
    the same as drawing one after the other without putting back). Positions with a score of zero come last.
    """
    return top(score / torch.empty_like(score).exponential_(generator=generator), rho)
