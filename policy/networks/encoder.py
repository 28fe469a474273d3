"""An encoder: frames of proprioception over one horizon to estimates of the state and a latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from policy.networks.config import EncoderConfig
from policy.networks.layers import frame_layers, mlp
from policy.runtime.card import ESTIMATES


class Encoder(nn.Module):
    """Frames (N, A, 42), and what is given (N, G), to estimates (N, E) and a latent (N, L) of length one.

    The layers that each frame passes alone, shared over time as in a convolution of width one, make of it what no other
    frame is needed for (where the feet are, how fast they move); the rest compares frames.
    """

    def __init__(self, cfg: EncoderConfig, frame_size: int, given: int) -> None:
        super().__init__()
        self.split = len(cfg.estimates)
        self.frame = frame_layers(frame_size, cfg.frame)
        width = cfg.frame[-1] if cfg.frame else frame_size
        self.head = mlp(width * len(cfg.ages) + given, cfg.hidden, self.split + cfg.latent)

    def forward(self, frames: Tensor, given: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Estimates, in the scale of the critic's observation, and latent."""
        out = self.head(torch.cat([self.frame(frames).flatten(1), *given], dim=1))
        return out[:, : self.split], normalize(out[:, self.split :], dim=1, eps=1e-6)


class Encoders(nn.Module):
    """All horizons of a policy side by side.

    Args:
        configs: by name.
        ages: of the observation's frames.
        frame_size: values of a frame.
    """

    def __init__(self, configs: dict[str, EncoderConfig], ages: tuple[int, ...], frame_size: int) -> None:
        super().__init__()
        self.frames = len(ages)
        self.frame_size = frame_size
        self.given = {name: cfg.given for name, cfg in configs.items()}
        outputs = {name: len(cfg.estimates) + cfg.latent for name, cfg in configs.items()} | {"": 0}
        self.horizons = nn.ModuleDict(
            {name: Encoder(cfg, frame_size, outputs[cfg.given]) for name, cfg in configs.items()}
        )
        self.places = {name: [ages.index(age) for age in cfg.ages] for name, cfg in configs.items()}
        estimated = [name for cfg in configs.values() for name in cfg.estimates]
        self.order = [estimated.index(name) for name in ESTIMATES if name in estimated]
        self.names = tuple(name for name in ESTIMATES if name in estimated)

    def forward(self, observation: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Estimates (N, E) in the order of ``ESTIMATES`` and the scale of the critic's observation; latents by name."""
        frames = observation[:, : self.frames * self.frame_size].unflatten(1, (self.frames, self.frame_size))
        estimates: dict[str, Tensor] = {}
        latents: dict[str, Tensor] = {}
        for name, encoder in self.horizons.items():
            places, given = self.places[name], self.given[name]
            seen = frames if len(places) == self.frames else frames[:, places]
            estimates[name], latents[name] = encoder(seen, [estimates[given], latents[given]] if given else [])
        return torch.cat(list(estimates.values()), dim=1)[:, self.order], latents
