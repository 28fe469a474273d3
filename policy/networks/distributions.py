"""What teacher and student say at each position: a distribution over actions, as tensors. Networks are in heads.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from policy.distill.categorical import entropy
from sim.errors import LunarError

_HALF_LOG_2PI_E = 0.5 * math.log(2 * math.pi * math.e)
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Categorical:
    """A choice among V tokens at each position. With action tokens a position is one joint at one control step."""

    logits: Tensor
    """(..., V), of any floating type."""

    @property
    def positions(self) -> torch.Size:
        """Shape of the positions."""
        return self.logits.shape[:-1]

    def entropy(self) -> Tensor:
        """(...) nats, between 0 and ln V. Without gradient, in chunks."""
        return entropy(self.logits)

    def log_prob(self, token: Tensor) -> Tensor:
        """(...) log probability of the tokens (...), which are whole numbers below V."""
        logits = wide(self.logits)
        return logits.gather(-1, token[..., None])[..., 0] - logits.logsumexp(-1)

    def flat(self) -> Categorical:
        """The same with positions (P,)."""
        return Categorical(self.logits.flatten(0, -2))

    def take(self, index: Tensor) -> Categorical:
        """Those rows of the first axis, on the device of ``index``; a cache stays where it is."""
        return Categorical(_rows(self.logits, index))


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Independent normal distributions of D action components at each position, which is one control step."""

    mean: Tensor
    """(..., D)."""
    log_std: Tensor
    """(..., D) natural logarithm of the standard deviation."""

    @property
    def positions(self) -> torch.Size:
        """Shape of the positions."""
        return self.mean.shape[:-1]

    def entropy(self) -> Tensor:
        """(...) nats, without gradient; unbounded on both sides."""
        return (wide(self.log_std.detach()) + _HALF_LOG_2PI_E).sum(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """(...) log density of actions (..., D)."""
        log_std = wide(self.log_std)
        z = (action - wide(self.mean)) * torch.exp(-log_std)
        return -(0.5 * z.square() + log_std + _HALF_LOG_2PI).sum(-1)

    def flat(self) -> Gaussian:
        """The same with positions (P,)."""
        return Gaussian(self.mean.flatten(0, -2), self.log_std.flatten(0, -2))

    def take(self, index: Tensor) -> Gaussian:
        """Those rows of the first axis, on the device of ``index``; a cache stays where it is."""
        return Gaussian(_rows(self.mean, index), _rows(self.log_std, index))


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
    for name in ("logits",) if isinstance(student, Categorical) else ("mean", "log_std"):
        ours, theirs = getattr(student, name).shape, getattr(teacher, name).shape
        if ours != theirs:
            raise LunarError(f"{name} has shape {tuple(ours)} for the student and {tuple(theirs)} for the teacher")


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

    def whole(name: str) -> Tensor:
        return torch.cat([getattr(part, name).to(device=device, dtype=dtype) for part in parts])

    if isinstance(parts[0], Categorical):
        return Categorical(whole("logits"))
    return Gaussian(whole("mean"), whole("log_std"))


def wide(x: Tensor) -> Tensor:
    """In float32, or in float64 if that is what it is."""
    return x if x.dtype == torch.float64 else x.float()


def _rows(x: Tensor, index: Tensor) -> Tensor:
    return x[index.to(x.device)].to(index.device)


def _first(values: Tensor, good: Tensor) -> str:
    where = (~good).nonzero()[0].tolist()
    return f"{values[tuple(where)].item():g} at {where}"
