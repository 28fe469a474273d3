"""What teacher and student say at each position, and what PPO explores with: distributions over actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from sim.errors import LunarError

LOG_2PI = math.log(2 * math.pi)


class _Positions:
    """Tensors whose last axis describes one distribution and whose other axes are positions."""

    @property
    def positions(self) -> torch.Size:
        """Shape of the positions."""
        return self._tensors()[0].shape[:-1]

    def flat(self) -> Self:
        """The same with positions (P,)."""
        return self._each(lambda x: x.flatten(0, -2))

    def take(self, index: Tensor) -> Self:
        """Those rows of the first axis, on the device of ``index``; a cache stays where it is."""
        return self._each(lambda x: x[index.to(x.device)].to(index.device))

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, f.name) for f in fields(self)]  # type: ignore[arg-type]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(*map(change, self._tensors()))


@dataclass(frozen=True, eq=False)
class Categorical(_Positions):
    """A choice among V tokens at each position. With action tokens a position is one joint at one control step."""

    logits: Tensor
    """(..., V), of any floating type."""

    @torch.no_grad()
    def entropy(self) -> Tensor:
        """(...) nats, between 0 and ln V. Without gradient, in chunks."""
        rows, parts = self.logits.flatten(0, -2), []
        for chunk in rows.split(chunk_rows(rows, None)):
            log_p = log_softmax(wide(chunk), -1)
            parts.append(-log_p.exp().mul_(log_p).sum(-1))
        return torch.cat(parts).reshape(self.positions)

    def log_prob(self, token: Tensor) -> Tensor:
        """(...) log probability of the tokens (...), which are whole numbers below V."""
        logits = wide(self.logits)
        return logits.gather(-1, token[..., None])[..., 0] - logits.logsumexp(-1)


@dataclass(frozen=True, eq=False)
class Gaussian(_Positions):
    """Independent normal distributions of D action components at each position, which is one control step."""

    mean: Tensor
    """(..., D)."""
    log_std: Tensor
    """Natural logarithm of the standard deviation: (..., D), or (D,) where it is one for all positions; the latter has
    neither ``flat`` nor ``take``."""

    def entropy(self) -> Tensor:
        """(...) nats, or one number where the spread is one; unbounded on both sides."""
        return (0.5 + 0.5 * LOG_2PI + wide(self.log_std)).sum(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """(...) log density of actions (..., D)."""
        log_std = wide(self.log_std)
        z = (action - wide(self.mean)) * torch.exp(-log_std)
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_2PI) - log_std.sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """(..., D) one action at each position."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.log_std.exp() * noise

    def kl(self, other: Gaussian) -> Tensor:
        """(...) KL(self‖other), nats: with δ = ln σ − ln σ', Σ ½(e^{2δ} − 1) − δ + ½((μ − μ')/σ')²."""
        delta = self.log_std - other.log_std
        shift = (self.mean - other.mean) * torch.exp(-other.log_std)
        return (0.5 * torch.expm1(2 * delta) - delta + 0.5 * shift.square()).sum(-1).clamp(min=0.0)


Output = Categorical | Gaussian


def gaussian(mean: Tensor, std: Tensor) -> Gaussian:
    """From standard deviations (..., D).

    Raises:
        LunarError: one is zero, negative or not a number.
    """
    good = (std > 0) & torch.isfinite(std)
    if not bool(good.all()):
        raise LunarError(f"the std is {_first(std, good)}; give it a spread above zero, or learn with 'mse' on means")
    return Gaussian(mean, std.log().expand_as(mean))


def check_pair(student: Output, teacher: Output) -> None:
    """Raise LunarError, in one sentence, when two outputs cannot be compared."""
    if type(student) is not type(teacher):
        raise LunarError(
            f"the student's actions are {type(student).__name__} and the teacher's {type(teacher).__name__}; give the "
            "student the teacher's head, or turn a Gaussian teacher into tokens with policy.networks.student.tokenise"
        )
    for field in fields(student):
        ours, theirs = (tuple(getattr(x, field.name).shape) for x in (student, teacher))
        if ours != theirs:
            raise LunarError(f"{field.name} has shape {ours} for the student and {theirs} for the teacher")


def check_std(output: Gaussian, who: str) -> None:
    """Raise LunarError when a standard deviation is zero or not a number."""
    good = torch.isfinite(output.log_std)
    if not bool(good.all()):
        raise LunarError(
            f"the std of the {who} is {_first(output.log_std.exp(), good)}; "
            "give it a spread above zero, or learn with 'mse' on means"
        )


def cache(
    teacher: Callable[[Tensor], Output],
    observations: Tensor,
    batch: int = 8192,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Output:
    """One teacher pass over observations (P, size) in batches, kept on ``device``: the teacher can leave the
    accelerator before the student's updates begin, which read it with ``take``.

    Args:
        dtype: to keep it in, such as ``torch.bfloat16`` for half the bytes; the teacher's own when None.
    """
    with torch.no_grad():
        parts = [teacher(rows) for rows in observations.split(batch)] or [teacher(observations)]

    return join(parts, device, dtype)


def join(parts: Sequence[Output], device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Output:
    """Outputs of one kind, one after the other along the first axis, on ``device`` and in ``dtype`` if given."""
    columns = zip(*(part._tensors() for part in parts), strict=True)
    return type(parts[0])(*(torch.cat([x.to(device=device, dtype=dtype) for x in column]) for column in columns))


def wide(x: Tensor) -> Tensor:
    """In float32, or in float64 if that is what it is."""
    return x if x.dtype == torch.float64 else x.float()


def chunk_rows(x: Tensor, chunk: int | None) -> int:
    """Rows of (P, V) in a chunk of that many elements. On a CPU a chunk's few arrays should stay in a core's second
    cache; an accelerator wants enough work per launch."""
    if chunk is None:
        chunk = 2**16 if x.device.type == "cpu" else 2**24
    return max(1, chunk // max(1, x.shape[-1]))


def _first(values: Tensor, good: Tensor) -> str:
    where = (~good).nonzero()[0].tolist()
    return f"{values[tuple(where)].item():g} at {where}"
