"""Terrain levels that follow each robot's skill."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CurriculumConfig:
    """Promotion and demotion between the ten levels of a terrain, decided when a trial ends."""

    enabled: bool = False
    """Off: every robot stays on ``terrain.level``."""
    start: int = 2
    """Highest level of the first trials; they are spread evenly over 0 to this."""
    promote_hops: float = 0.55
    """Hops per second of a trial that lasted to its end, at least, to go up ..."""
    promote_distance: float = 0.6
    """... with this share of the commanded distance covered, at least."""
    demote_distance: float = 0.3
    """Down below this share of the commanded distance, or after a fall in the first half of the trial."""


def next_level(
    cfg: CurriculumConfig,
    level: Tensor,
    top: int,
    seconds: Tensor,
    full_seconds: float,
    fell: Tensor,
    hops: Tensor,
    distance: Tensor,
    commanded: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Levels (n,) of the next trials.

    Args:
        cfg: thresholds.
        level: (n,) whole numbers, of the trials that ended.
        top: the hardest level; who masters it goes to a random one, so that nothing is forgotten.
        seconds: (n,) s, how long the trials lasted.
        full_seconds: s, how long a trial lasts that does not end by a fall.
        fell: (n,) bool.
        hops: (n,) hops made.
        distance: (n,) m covered along the command.
        commanded: (n,) m that the command asked for.
        generator: of the random levels.
    """
    # who was told to stay in place, at under 5 cm/s, has covered its distance
    least = 0.05 * seconds
    share = torch.where(commanded > least, distance / torch.maximum(commanded, least), torch.ones_like(distance))
    up = ~fell & (hops >= cfg.promote_hops * seconds) & (share >= cfg.promote_distance)
    down = (fell & (seconds < 0.5 * full_seconds)) | (share < cfg.demote_distance)
    following = (level + up.long() - (down & ~up).long()).clamp(min=0)
    anywhere = torch.randint(0, top + 1, level.shape, generator=generator, device=level.device)
    return torch.where(following > top, anywhere, following)
