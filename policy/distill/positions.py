"""What to learn from: positions by how unsure and how far off the student is (TIP), cells by its success (PACED).

TIP: Xu et al., "TIP: Token Importance in On-Policy Distillation", arXiv 2604.14084. Two axes, student entropy h and
divergence d from the teacher, each brought to [0, 1] over the batch (ĥ, d̂), make four regions; the informative ones
are uncertain positions and, the third quadrant Q3, overconfident wrong ones. ``product`` is the sampler of the OPD
repository that the paper extends.

PACED: Xu et al., "PACED: Distillation at the Frontier of Student Competence", arXiv 2603.11178: weight
w(p) = p^α (1−p)^β of a cell (terrain × level × command), because the signal-to-noise ratio of the gradient vanishes
where the student always fails and where it always succeeds. p comes from K rollouts per cell.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from policy.distill.config import Score
from policy.distill.losses import normalised
from sim.errors import LunarError


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


def cell_weights(rate: Tensor, alpha: float = 1.0, beta: float = 1.0, floor: float = 0.05) -> Tensor:
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


def sample_cells(weight: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """(count,) cells, drawn with replacement and chances proportional to their weights (C,): PACED as a sampler."""
    return torch.multinomial(normalised(weight), count, replacement=True, generator=generator)


def _check_rate(rate: Tensor) -> None:
    if not bool(((rate >= 0) & (rate <= 1)).all()):
        raise LunarError("a success rate lies outside 0 to 1")
