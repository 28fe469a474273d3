"""Terrain levels that follow each robot's skill."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.mdp.config import CurriculumConfig
from sim.terrain.generators import LEVELS

MEMORY = 0.02
"""Weight of a new trial in the remembered share of falls."""
EVEN = 0.1
"""Added to the share of falls: what is mastered stays in practice."""


class Curriculum:
    """Levels of the robots' next trials on K kinds of ground. ``cell = LEVELS * kind + level`` throughout."""

    def __init__(self, cfg: CurriculumConfig, kinds: int, device: torch.device) -> None:
        self.cfg = cfg
        self.falls = torch.zeros(kinds * LEVELS, device=device)
        """(K * LEVELS,) remembered share of trials that end by a fall."""

    def next(
        self,
        cell: Tensor,
        seconds: Tensor,
        full_seconds: float,
        fell: Tensor,
        hops: Tensor,
        distance: Tensor,
        commanded: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Cells (n,) of the next trials: a level up or down on the same kind of ground; who masters the hardest goes
        where robots fall.

        Args:
            cell: (n,) of the trials that ended.
            seconds: (n,) s, how long they lasted.
            full_seconds: s, how long a trial lasts that does not end by a fall.
            fell: (n,) bool.
            hops: (n,) hops made.
            distance: (n,) m covered along the command.
            commanded: (n,) m that the command asked for.
            generator: of the draw.
        """
        cfg = self.cfg
        trials = torch.zeros_like(self.falls).index_add_(0, cell, torch.ones_like(seconds))
        fallen = torch.zeros_like(self.falls).index_add_(0, cell, fell.float())
        kept = (1.0 - MEMORY) ** trials
        self.falls = kept * self.falls + (1.0 - kept) * fallen / trials.clamp(min=1.0)
        # who was told to stay in place, at under 5 cm/s, has covered its distance
        least = 0.05 * seconds
        share = torch.where(commanded > least, distance / torch.maximum(commanded, least), torch.ones_like(distance))
        up = ~fell & (hops >= cfg.promote_hops * seconds) & (share >= cfg.promote_distance)
        down = (fell & (seconds < 0.5 * full_seconds)) | (share < cfg.demote_distance)
        level = cell % LEVELS
        following = (level + up.long() - (down & ~up).long()).clamp(min=0)
        hard = torch.arange(len(self.falls), device=cell.device) % LEVELS >= cfg.return_to
        weight = hard * (EVEN + self.falls)
        drawn = torch.multinomial(weight, len(cell), replacement=True, generator=generator)
        return torch.where(following >= LEVELS, drawn, cell - level + following)
