"""Student networks: what they say of an action is a Gaussian with a spread of its own in every state, or action tokens.

With one spread for all states a position's entropy says nothing, and forward and reverse KL are equal where the teacher
has the same; a student that is to tell where it is unsure needs a spread that depends on the state. Tokens go further:
each joint target is one of K bins, twelve tokens a step, each with an entropy between 0 and ln K, and the formulas of
language models apply to the letter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softmax
from torch.special import log_ndtr

from policy.networks.actor import ActorOutput
from policy.networks.config import StudentConfig
from policy.networks.distributions import Categorical, Gaussian, Output, check_std, wide
from policy.networks.layers import frame_layers, mlp
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.spec.observation import ObservationSpec


@dataclass(frozen=True, eq=False)
class ActionBins:
    """Each joint's action range in K equal bins; what lies outside belongs to the outermost."""

    low: Tensor
    """(J,) lowest action of each joint."""
    high: Tensor
    """(J,) highest."""
    count: int
    """K."""

    def __post_init__(self) -> None:
        if self.count < 2 or not bool((torch.isfinite(self.high - self.low) & (self.low < self.high)).all()):
            raise LunarError(f"{self.count} bins of an action range that does not rise: at least 2 and low < high")

    def to(self, device: torch.device) -> ActionBins:
        """The same on ``device``."""
        return ActionBins(self.low.to(device), self.high.to(device), self.count)

    @property
    def width(self) -> Tensor:
        """(J,) of one bin, in units of the action."""
        return (self.high - self.low) / self.count

    def encode(self, action: Tensor) -> Tensor:
        """Tokens (..., J) of actions (..., J)."""
        return ((action - self.low) / self.width).floor().clamp(0, self.count - 1).long()

    def decode(self, token: Tensor) -> Tensor:
        """Actions (..., J) in the middle of the bins: within half a width of what was encoded, if it was in range."""
        return self.low + (token + 0.5) * self.width

    def mean(self, output: Categorical) -> Tensor:
        """Actions (..., J) that a robot with these tokens (..., J) moves to: the mean over the bins."""
        return (
            softmax(output.logits, -1) * self.decode(torch.arange(self.count, device=self.low.device)[:, None]).T
        ).sum(-1)


def joint_bins(card: Card, count: int) -> ActionBins:
    """Bins over the joints' whole range, in the actions of this policy."""
    low, high = ((torch.tensor(x) - torch.tensor(card.default_pose)) / card.action_scale for x in card.stops)
    return ActionBins(low.float(), high.float(), count)


def tokenise(teacher: Gaussian, bins: ActionBins, floor: float = 1e-6, neighbours: float = 0.0) -> Categorical:
    """A Gaussian teacher as the tokens (..., J) that its actions fall into, for a student with tokens.

    Args:
        floor: probability that every bin has at least: without it a far bin costs a student thousands of nats.
        neighbours: bins, the standard deviation of a normal distribution added to the teacher's: a target so soft that
            near bins share it tells a student which bins are near. The mean stays.

    Raises:
        LunarError: a std is zero or not a number, or the floor leaves nothing.
    """
    if not 0 < floor * bins.count < 1:
        raise LunarError(f"floor is {floor}; over {bins.count} bins it must leave probability for the teacher")
    check_std(teacher, "teacher")
    mean, std = wide(teacher.mean)[..., None], wide(teacher.log_std).exp()[..., None]
    if neighbours:
        std = torch.hypot(std, neighbours * bins.width[:, None])
    inner = bins.low[:, None] + bins.width[:, None] * torch.arange(1, bins.count, device=bins.low.device)
    z = (inner - mean) / std
    ends = torch.full_like(z[..., :1], math.inf)
    below, above = torch.cat([-ends, z], -1), torch.cat([z, ends], -1)
    flip = below > 0  # the upper tail is as exact as the lower one seen from the other side
    below, above = torch.where(flip, -above, below), torch.where(flip, -below, above)
    upper = log_ndtr(above)
    log_p = upper + torch.log(-torch.expm1(log_ndtr(below) - upper))
    return Categorical(
        torch.logaddexp(log_p + math.log1p(-floor * bins.count), torch.full_like(log_p, math.log(floor)))
    )


class Student(nn.Module):
    """A multilayer perceptron over a few frames, each through shared layers first, and the command.

    ``forward`` is what a robot runs, with the outputs of every policy here; ``output`` is what the losses compare.

    Args:
        spec: of its observations, with the frames of ``cfg.ages``.
        bins: of a student with tokens.

    Raises:
        LunarError: a setting makes no sense.
    """

    token: Tensor
    middle: Tensor
    width: Tensor

    def __init__(
        self, cfg: StudentConfig, spec: ObservationSpec, actions: int = 12, bins: ActionBins | None = None
    ) -> None:
        super().__init__()
        if cfg.ages != spec.ages:
            raise LunarError(f"the student sees frames {cfg.ages} steps back, the observation holds {spec.ages}")
        if not 0 < cfg.std_low < cfg.std_high:
            raise LunarError(
                f"student.std_low and std_high are {cfg.std_low} and {cfg.std_high}; they must rise above 0"
            )
        self.cfg, self.size, self.actions = cfg, spec.size, actions
        self.shape, self.commands = (len(spec.ages), spec.frame_size), len(spec.command)
        self.bins = bins
        if cfg.head == "tokens":
            if bins is None or bins.count != cfg.bins or len(bins.low) != actions:
                raise LunarError(f"a student with tokens needs {cfg.bins} bins for each of its {actions} joints")
            self.register_buffer("token", torch.arange(cfg.bins) - (cfg.bins - 1) / 2, persistent=False)
            self.register_buffer("middle", (bins.low + bins.high) / 2, persistent=False)
            self.register_buffer("width", bins.width, persistent=False)
        outputs = actions * (cfg.bins if cfg.head == "tokens" else 2)
        self.frame = frame_layers(spec.frame_size, cfg.frame)
        width = cfg.frame[-1] if cfg.frame else spec.frame_size
        self.net = mlp(width * len(cfg.ages) + self.commands, cfg.hidden, outputs)

    def output(self, observation: Tensor) -> Output:
        """The distribution of the action: Gaussian (N, J), or tokens at positions (N, J)."""
        return self._output(self._hidden(observation))

    def _hidden(self, observation: Tensor) -> Tensor:
        frames = self.frame(observation[:, : -self.commands].unflatten(1, self.shape))
        return self.net[:-1](torch.cat([frames.flatten(1), observation[:, -self.commands :]], dim=1))

    def _output(self, hidden: Tensor) -> Output:
        raw = self.net[-1](hidden)
        if self.cfg.head == "tokens":
            return Categorical(raw.unflatten(1, (self.actions, self.cfg.bins)))
        low, high = math.log(self.cfg.std_low), math.log(self.cfg.std_high)
        return Gaussian(raw[:, : self.actions], low + (high - low) * torch.sigmoid(raw[:, self.actions :]))

    def forward(self, observation: Tensor) -> ActorOutput:
        """Observations (N, size) to mean action, std, of tokens over their bins, and hidden layer; no estimates, no
        latents."""
        nothing, hidden = observation[:, :0], self._hidden(observation)
        output = self._output(hidden)
        if isinstance(output, Gaussian):
            return ActorOutput(output.mean, output.log_std.exp(), nothing, nothing, hidden)
        p = softmax(output.logits, -1)
        mean = linear(p, self.token[None])
        std = (p * (self.token - mean).square()).sum(-1).sqrt()  # E[t^2] - E[t]^2 would cancel where p is sharp
        return ActorOutput(self.middle + mean[..., 0] * self.width, std * self.width, nothing, nothing, hidden)
