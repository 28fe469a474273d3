"""Divergences of diagonal Gaussians: the two KLs in closed form, the Jensen-Shannon divergence by a stated estimator.

**KL.** With δ = ln σ_a − ln σ_b, KL(a‖b) = Σ ½(e^{2δ} − 1) − δ + ½((μ_a − μ_b)/σ_b)².

**JSD.** A mixture of two Gaussians in many dimensions has no closed-form entropy. Let π(z) = βp_T/m be the probability
that a z drawn from m = βp_T + (1−β)p_S came from the teacher. Then

    β·KL(T‖m) + (1−β)·KL(S‖m) = E_{z∼m} KL(Bernoulli(π(z)) ‖ Bernoulli(β)),

an integrand between 0 and −ln min(β, 1−β) that is zero where both densities agree. So its mean over n draws is
unbiased, never negative, zero for equal distributions, and its error falls as 1/√n whatever the spreads are. Draws are
stratified (β from the teacher, 1−β from the student), both from the same standard normal noise; its negative, a usual
remedy, would gain nothing, as the integrand is even between near distributions.

**Its gradient** is that of the estimate itself with the noise held fixed (reparametrised), hence unbiased as well. With
ℓ = ln p_T − ln p_S the integrand has the derivative ℓ π(1−π) with respect to ℓ, so all is known while the draws are in
hand and none is kept.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

# Positions whose noise is drawn together. Not an option: another number would draw other noise.
_BLOCK = 1024


def kl(mean_a: Tensor, log_std_a: Tensor, mean_b: Tensor, log_std_b: Tensor) -> Tensor:
    """(P,) KL(a‖b) of means and log standard deviations (P, D)."""
    delta = log_std_a - log_std_b
    shift = (mean_a - mean_b) * torch.exp(-log_std_b)
    return (0.5 * torch.expm1(2 * delta) - delta + 0.5 * shift.square()).sum(-1).clamp(min=0.0)


def jsd(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    beta: float,
    draws: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Estimate of the Jensen-Shannon divergence and its standard error, both (P,).

    Args:
        student, teacher: mean and log standard deviation, (P, D); differentiable with respect to the student's.
        draws: of noise per position, each used in both distributions; at least 2.
        generator: of the noise, on the tensors' device.
    """
    return _Jsd.apply(*student, *teacher, beta, draws, generator)


class _Jsd(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mean_s: Tensor,
        log_std_s: Tensor,
        mean_t: Tensor,
        log_std_t: Tensor,
        beta: float,
        draws: int,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        value, error = mean_s.new_empty(len(mean_s)), mean_s.new_empty(len(mean_s))
        by_mean, by_log_std = torch.empty_like(mean_s), torch.empty_like(mean_s)
        for start in range(0, len(mean_s), _BLOCK):
            part = slice(start, start + _BLOCK)
            shape = (len(mean_s[part]), draws, mean_s.shape[1])
            noise = torch.randn(shape, generator=generator, dtype=mean_s.dtype, device=mean_s.device)
            value[part], error[part], by_mean[part], by_log_std[part] = _estimate(
                mean_s[part, None], log_std_s[part, None], mean_t[part, None], log_std_t[part, None], beta, noise
            )
        ctx.save_for_backward(by_mean, by_log_std)
        ctx.mark_non_differentiable(error)
        return value, error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        by_mean, by_log_std = ctx.saved_tensors
        scale = upstream[:, None]
        return by_mean * scale, by_log_std * scale, None, None, None, None, None


def _estimate(
    mean_s: Tensor, log_std_s: Tensor, mean_t: Tensor, log_std_t: Tensor, beta: float, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Value and standard error (R,), gradients (R, D), of distributions (R, 1, D) and noise (R, draws, D)."""
    std_s, std_t = log_std_s.exp(), log_std_t.exp()
    value = torch.zeros(noise.shape[:2], dtype=noise.dtype, device=noise.device)
    by_mean, by_log_std = torch.zeros_like(noise[:, 0]), torch.zeros_like(noise[:, 0])
    for from_teacher, share in ((True, beta), (False, 1 - beta)):
        z = mean_t + std_t * noise if from_teacher else mean_s + std_s * noise
        in_s, in_t = (z - mean_s) / std_s, (z - mean_t) / std_t
        log_ratio = (0.5 * (in_s.square() - in_t.square()) + log_std_s - log_std_t).sum(-1)
        logit = log_ratio + math.log(beta) - math.log1p(-beta)
        log_pi, log_rest = logsigmoid(logit), logsigmoid(-logit)
        pi, rest = log_pi.exp(), log_rest.exp()
        integrand = pi * (log_pi - math.log(beta)) + rest * (log_rest - math.log1p(-beta))
        value += share * integrand.clamp(min=0.0)
        slope = (share / noise.shape[1] * log_ratio * pi * rest)[..., None]
        # where z comes from the student it moves with mean and std, and only the teacher's density sees that
        by_mean += (slope * (-in_s / std_s if from_teacher else -in_t / std_t)).sum(1)
        by_log_std += (slope * (1 - (in_s.square() if from_teacher else in_t / std_t * std_s * noise))).sum(1)
    return value.mean(1), value.std(1) / math.sqrt(noise.shape[1]), by_mean, by_log_std
