"""The loss core: a divergence per position, then weights, selection and mean in one place.

    values = divergence(student(obs[kept]), teacher.take(kept), DivergenceConfig("reverse_kl"))
    loss = average(values, weights, kept)

Sources: on-policy distillation as in Agarwal et al., "On-policy distillation of language models" (GKD, ICLR 2024,
arXiv 2306.13649); reverse KL per position of the student's own rollout; MSE on means as in rsl_rl's distillation. The
Jensen-Shannon divergence of Gaussians is the geometric one of Nielsen, "On the Jensen-Shannon symmetrization of
distances relying on abstract means", Entropy 21(5), 2019.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from policy.distill import categorical
from policy.distill.config import DivergenceConfig
from policy.networks.distributions import Categorical, Gaussian, Output, check_pair, check_std, wide
from sim.errors import LunarError

PLAIN = DivergenceConfig()
"""Reverse KL."""


def divergence(student: Output, teacher: Output, cfg: DivergenceConfig = PLAIN) -> Tensor:
    """Divergence at each position, in the positions' shape: nats, but for mse; float32, or float64 if the student is.

    Args:
        student: its gradient flows.
        teacher: taken as constant, on the same device.

    Raises:
        LunarError: heads or shapes differ, a std is zero or not a number, or ``mse`` of tokens.
    """
    check_pair(student, teacher)
    if isinstance(student, Categorical):
        assert isinstance(teacher, Categorical)
        return _of_tokens(student, teacher, cfg)
    assert isinstance(student, Gaussian) and isinstance(teacher, Gaussian)
    ours = Gaussian(wide(student.mean), wide(student.log_std))
    mean, log_std = (x.detach().to(ours.mean) for x in (teacher.mean, teacher.log_std))
    theirs = Gaussian(mean, log_std.clamp(min=math.log(cfg.std_floor)))
    if cfg.kind == "mse":
        return (ours.mean - theirs.mean).square().mean(-1)
    check_std(student, "student")
    check_std(teacher, "teacher")
    if cfg.kind == "jsd":
        middle = between(theirs, ours, cfg.beta)
        return cfg.beta * theirs.kl(middle) + (1 - cfg.beta) * ours.kl(middle)
    return ours.kl(theirs) if cfg.kind == "reverse_kl" else theirs.kl(ours)


def between(first: Gaussian, second: Gaussian, share: float) -> Gaussian:
    """The normalised geometric mean p₁^share · p₂^(1−share), which of Gaussians is one, unlike their mixture."""
    precisions = share * torch.exp(-2 * first.log_std), (1 - share) * torch.exp(-2 * second.log_std)
    both = precisions[0] + precisions[1]
    return Gaussian((precisions[0] * first.mean + precisions[1] * second.mean) / both, -0.5 * both.log())


def average(values: Tensor, weights: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
    """The loss of N positions of which k were kept: (1/N) Σ_kept (N/k) ŵ_i d_i, with ŵ = w / mean(w) over all N.

    N/k makes up for what was left out, so that selection is no hidden cut of the learning rate; and only the ratios of
    weights matter. Without any position it is zero, with a gradient of zero.

    Args:
        values: (N,) per position; of the kept ones only, (k,), when ``kept`` is given. Other shapes are flattened.
        weights: (N,) of all positions, not negative; equal when None.
        kept: (k,) indices of the positions in ``values``.

    Raises:
        LunarError: a value is not a number; weights are all zero, negative, not numbers, or of another count.
    """
    values = values.flatten()
    if kept is not None and kept.shape != values.shape:
        raise LunarError(f"{values.numel()} losses are given for {kept.numel()} kept positions")
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise LunarError(
            f"the divergence is not a number at {bad} of {len(values)} positions: teacher or student diverged"
        )
    if weights is not None:
        weights = normalised(weights.flatten())
        if len(weights) != len(values) and kept is None:
            raise LunarError(f"{len(weights)} weights are given for {len(values)} positions")
        values = values * (weights if kept is None else weights[kept])
    return values.sum() / max(1, len(values))


def normalised(weights: Tensor) -> Tensor:
    """Weights (N,) over their mean.

    Raises:
        LunarError: all are zero, or one is negative or not a number.
    """
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise LunarError("a weight is negative or not a number")
    mean = wide(weights).mean()
    if len(weights) and not mean > 0:
        raise LunarError("all weights are zero: nothing would be learnt; lower the filter or raise the floor")
    return wide(weights) / mean


def _of_tokens(student: Categorical, teacher: Categorical, cfg: DivergenceConfig) -> Tensor:
    kernels = {
        "reverse_kl": categorical.reverse_kl,
        "forward_kl": categorical.forward_kl,
        "jsd": categorical.jsd(cfg.beta),
    }
    if cfg.kind not in kernels:
        raise LunarError("divergence.kind 'mse' compares Gaussian means and a token head has none; use a KL or jsd")
    values = categorical.divergence(student.flat().logits, teacher.flat().logits, kernels[cfg.kind], cfg.chunk)
    return values.reshape(student.positions)
