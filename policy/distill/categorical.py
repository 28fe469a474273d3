"""Divergences of categorical distributions from logits, in chunks of rows and with the gradient written down.

Plain torch makes half a dozen arrays of the size of the logits, each too large for any cache. Here a chunk of rows is
read, its divergence and gradient are finished while it lies in the cache, and nothing but one number per position and
the gradient itself is kept. p and q are the student's and the teacher's probabilities, s the student's logits:

* reverse KL  d = Σ p ln(p/q),  ∂d/∂s = p (ln(p/q) − d)
* forward KL  d = Σ q ln(q/p),  ∂d/∂s = p − q
* Jensen-Shannon with m = βq + (1−β)p:  d = β Σ q ln(q/m) + (1−β) k,  k = Σ p ln(p/m),  ∂d/∂s = (1−β) p (ln(p/m) − k)

The last gradient is that short because what m itself contributes, −(βq + (1−β)p)/m per unit of p, is constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import log_softmax, logsigmoid

from policy.networks.distributions import chunk_rows

# log p and log q of a chunk (R, V), both may be overwritten, and where its gradient goes, if anywhere; to (R,) values.
Kernel = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def reverse_kl(log_p: Tensor, log_q: Tensor, gradient: Tensor | None) -> Tensor:
    """Kernel of KL(student‖teacher)."""
    p = log_p.exp()
    ratio = log_p.sub_(log_q)
    value = torch.mul(p, ratio, out=log_q).sum(-1)
    if gradient is not None:
        torch.mul(p, ratio.sub_(value[:, None]), out=gradient)
    return value


def forward_kl(log_p: Tensor, log_q: Tensor, gradient: Tensor | None) -> Tensor:
    """Kernel of KL(teacher‖student)."""
    q = log_q.exp()
    if gradient is not None:
        torch.sub(log_p.exp(), q, out=gradient)
    return q.mul_(log_q.sub_(log_p)).sum(-1)


def jsd(beta: float) -> Kernel:
    """Kernel of β·KL(teacher‖m) + (1−β)·KL(student‖m), m = β·teacher + (1−β)·student."""
    logit = math.log(beta) - math.log1p(-beta)

    def kernel(log_p: Tensor, log_q: Tensor, gradient: Tensor | None) -> Tensor:
        # ln(p/m) = −ln(1−β) − ln(1+e^x) and ln(q/m) = −ln β − ln(1+e^−x), both exact where p or q is nearly all of m
        x = (log_q - log_p).add_(logit)
        p, q = log_p.exp_(), log_q.exp_()
        tail = logsigmoid(x.abs())
        of_p, of_q = tail - x.clamp(min=0.0), tail.add_(x.clamp_(max=0.0))
        if gradient is not None:
            mean = torch.mul(p, of_p, out=x).sum(-1, keepdim=True)
            torch.mul(torch.sub(of_p, mean, out=x).mul_(1 - beta), p, out=gradient)
        of_teacher = q.mul_(of_q.sub_(math.log(beta))).sum(-1)
        of_student = p.mul_(of_p.sub_(math.log1p(-beta))).sum(-1)
        return beta * of_teacher + (1 - beta) * of_student

    return kernel


def divergence(student: Tensor, teacher: Tensor, kernel: Kernel, chunk: int | None = None) -> Tensor:
    """(P,) divergence of logits (P, V), differentiable with respect to the student's.

    Args:
        chunk: elements of a chunk; None takes what suits the device. It changes time and memory, no result.
    """
    rows = chunk_rows(student, chunk)
    if not (torch.is_grad_enabled() and student.requires_grad):
        return _run(student, teacher, kernel, rows, None)
    return _Divergence.apply(student, teacher, kernel, rows)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _run(student: Tensor, teacher: Tensor, kernel: Kernel, rows: int, gradient: Tensor | None) -> Tensor:
    dtype = _wide(student)
    values = torch.empty(len(student), dtype=dtype, device=student.device)
    for start in range(0, len(student), rows):
        part = slice(start, start + rows)
        log_p, log_q = (log_softmax(x[part].detach(), -1, dtype=dtype) for x in (student, teacher))
        values[part] = kernel(log_p, log_q, None if gradient is None else gradient[part])
    return values.clamp_(min=0.0)  # rounding alone can bring equal distributions below zero


class _Divergence(torch.autograd.Function):
    """Values and gradient in one pass; ``backward`` scales each row in place by what comes from above."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, kernel: Kernel, rows: int) -> Tensor:
        ctx.gradient = torch.empty_like(student)
        ctx.save_for_backward(student, teacher)
        ctx.kernel, ctx.rows = kernel, rows
        return _run(student, teacher, kernel, rows, ctx.gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        student, teacher = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # the graph was retained, and the first backward gave the gradient away
            gradient = torch.empty_like(student)
            _run(student, teacher, ctx.kernel, ctx.rows, gradient)
        return gradient.mul_(upstream[:, None]), None, None, None
