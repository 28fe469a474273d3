"""The actor of every policy: observation in; action, its spread, estimates, latents and last hidden layer out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from policy.networks.config import ModelConfig
from policy.networks.distributions import Gaussian
from policy.networks.encoder import Encoders
from policy.networks.layers import mlp
from policy.runtime.card import ESTIMATES, STEADY
from sim.errors import LunarError
from sim.mdp.observations import CRITIC, group_specs
from sim.spec.observation import ObservationSpec

# Truth of the estimates in the critic's observation: column and scale.
_STARTS = {c.name: (sum(d.size for d, _ in CRITIC[:i]), c.scale) for i, (c, _) in enumerate(CRITIC)}
_TRUTH = (
    {f"v{axis}": (_STARTS["velocity"][0] + k, _STARTS["velocity"][1]) for k, axis in enumerate("xyz")}
    | {"height": _STARTS["com_height"]}
    | {name: _STARTS[name] for name in STEADY}
)


class ActorOutput(NamedTuple):
    """What a policy says of one observation."""

    action: Tensor
    """(N, 12) mean action; joint target = default pose + action scale * action."""
    std: Tensor
    """(N, 12) standard deviation that it was trained to explore with."""
    estimate: Tensor
    """(N, E) in SI units, in the order of ``ESTIMATES``."""
    latent: Tensor
    """(N, L) all horizons' latents side by side."""
    hidden: Tensor
    """(N, H) the last hidden layer, of which the action is a linear function."""


class Actor(nn.Module):
    """Gaussian actor with state-free spread over ``features``.

    Raises:
        LunarError: an encoder looks at a frame that the observation lacks, or two estimate the same.
    """

    def __init__(self, cfg: ModelConfig, spec: ObservationSpec, actions: int = 12, initial_std: float = 0.5) -> None:
        super().__init__()
        _check(cfg, spec)
        self.cfg = cfg
        self.size = spec.size
        self.newest = cfg.newest * spec.frame_size
        self.after = len(spec.ages) * spec.frame_size
        self.state_size = sum(c.size for c in group_specs(spec)["critic"]) - len(spec.command)
        """Values of the privileged state in the critic's observation, before the command."""
        self.encoders = Encoders(cfg.encoders, spec.ages, spec.frame_size) if cfg.encoders else None
        names = self.encoders.names if self.encoders else ()
        self.estimates = names
        self.truth_columns = [_TRUTH[name][0] for name in names]
        self._scales: Tensor
        self.register_buffer("_scales", torch.tensor([_TRUTH[name][1] for name in names]), persistent=False)
        plain = self.newest + spec.size - self.after
        self.feature_size = plain + len(names) + sum(e.latent for e in cfg.encoders.values())
        self.head = mlp(self.feature_size, cfg.hidden, actions)
        with torch.no_grad():  # the first policy stands still
            self.head[-1].weight.mul_(0.01)  # type: ignore[operator]
            self.head[-1].bias.zero_()  # type: ignore[operator]
        self.log_std = nn.Parameter(torch.full((actions,), initial_std).log())

    def features(self, observation: Tensor) -> Tensor:
        """(N, F) what the head sees: newest frames, command, scan, estimates, latents."""
        return self._features(observation)[0]

    def forward(self, observation: Tensor) -> ActorOutput:
        """Observations (N, size)."""
        features, estimate, latent = self._features(observation)
        hidden = self.head[:-1](features)
        action = self.head[-1](hidden)
        return ActorOutput(action, self.log_std.exp().expand_as(action), estimate / self._scales, latent, hidden)

    def output(self, observation: Tensor) -> Gaussian:
        """The distribution of the action, for distillation."""
        mean = self.head(self.features(observation))
        return Gaussian(mean, self.log_std.expand_as(mean))

    def _features(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nothing = observation[:, :0]
        plain = torch.cat([observation[:, : self.newest], observation[:, self.after :]], dim=1)
        if self.encoders is None:
            return plain, nothing, nothing
        estimate, latents = self.encoders(observation)
        latent = torch.cat(list(latents.values()), dim=1)
        return torch.cat([plain, estimate, latent], dim=1), estimate, latent


def _check(cfg: ModelConfig, spec: ObservationSpec) -> None:
    if cfg.scan != spec.scan:
        raise LunarError(f"model.scan is {cfg.scan}, the observation's is {spec.scan}: they must be the same")
    if not 0 < cfg.newest <= len(spec.ages):
        raise LunarError(f"model.newest is {cfg.newest}; the observation has {len(spec.ages)} frames")
    seen: list[str] = []
    for name, encoder in cfg.encoders.items():
        if missing := set(encoder.ages) - set(spec.ages):
            raise LunarError(f"model.encoders.{name} sees the frame {min(missing)} steps back: add it to world.ages")
        if encoder.given and encoder.given not in list(cfg.encoders)[: list(cfg.encoders).index(name)]:
            raise LunarError(f"model.encoders.{name}.given is '{encoder.given}', which must be named before it")
        for estimate in encoder.estimates:
            if estimate not in ESTIMATES or estimate in seen:
                raise LunarError(
                    f"model.encoders.{name}.estimates: '{estimate}' is not one of {', '.join(ESTIMATES)}, each once"
                )
            seen.append(estimate)
