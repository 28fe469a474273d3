"""The world that students act in: every trial belongs to a cell, and who survives it tells how hard the cell is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from policy.distill.config import CellsConfig
from policy.distill.losses import normalised
from policy.distill.positions import cell_weights, hard_filter, success_rate
from sim.envs.world import PronkWorld
from sim.tasks.config import WorldConfig
from sim.terrain.generators import LEVELS

SPEEDS = 2
"""Halves of the range of vx: slow and fast."""
SUCCESS_HOPS = 0.3
"""1/s. Who hops less often has not done what it was told, although it did not fall."""
SHORTEST = 2.0
"""s. A trial that ends by time before that tells nothing."""


class CellWorld(PronkWorld):
    """Robots that live one trial after another, each with one command in a cell: terrain x level x half of the speeds.

    Args:
        cfg: its curriculum's and its commands' periods are replaced.
        seed, device, threads: as of ``PronkWorld``.
        choose: gives the cells (n,) of n new trials; all alike when None.
    """

    def __init__(
        self, cfg: WorldConfig, seed: int, device: str, threads: int, choose: Callable[[int], Tensor] | None = None
    ) -> None:
        cfg = replace(
            cfg, rewards={}, commands=replace(cfg.commands, period=0.0),
            curriculum=replace(cfg.curriculum, enabled=True),
        )  # fmt: skip
        super().__init__(cfg, seed, device, threads=threads)
        self.cells = self.kinds * cfg.maps * LEVELS * SPEEDS
        self.cell = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        self.choose = choose or self._any
        self.began = torch.zeros_like(self.steps)
        self.falls = 0
        self.ended: list[tuple[Tensor, Tensor]] = []

    def reset(self) -> dict[str, Tensor]:
        """Start all trials, each at another moment of its time, so that they do not all end at once."""
        observations = super().reset()
        self.steps[:] = torch.randint(self.max_steps, self.steps.shape, generator=self.generator, device=self.device)
        self.began[:] = self.steps
        return observations

    def drain(self) -> tuple[Tensor, Tensor]:
        """Cells (n,) and success (n,), 1 for no fall and enough hops, of the trials that ended since the last call."""
        cells, success = zip(*self.ended, strict=True) if self.ended else ((), ())
        self.ended = []
        empty = torch.zeros(0, device=self.device)
        return torch.cat([empty.long(), *cells]), torch.cat([empty, *success])

    def _any(self, count: int) -> Tensor:
        return torch.randint(self.cells, (count,), generator=self.generator, device=self.device)

    def _start(self, ids: Tensor) -> None:
        self.cell[ids] = cell = self.choose(len(ids))
        self.physics.level[ids] = cell // SPEEDS
        super()._start(ids)
        self.began[ids] = 0
        low, high = self.cfg.commands.vx
        half = (high - low) / SPEEDS
        self.command[ids, 0] = low + (self.command[ids, 0] - low) / SPEEDS + half * (cell % SPEEDS)

    def _promote(self, ended: Tensor, fell: Tensor) -> None:
        seconds = (self.steps - self.began)[ended] * self.dt
        hops = torch.as_tensor(self.hops.hops, device=self.device)[ended]
        success = ~fell[ended] & (hops >= SUCCESS_HOPS * seconds)
        telling = fell[ended] | (seconds >= SHORTEST)
        self.falls += int(fell[ended].sum())
        self.ended.append((self.cell[ended][telling], success[telling].float()))


class SuccessRates:
    """Success rate of every cell, from recent trials.

    Args:
        cfg: smoothing, memory and the rule of the weights.
        cells: their number.
    """

    def __init__(self, cfg: CellsConfig, cells: int, device: torch.device) -> None:
        self.cfg = cfg
        self.successes = torch.zeros(cells, device=device)
        self.tried = torch.zeros(cells, device=device)

    def add(self, cells: Tensor, success: Tensor) -> None:
        """Take in the trials of one update."""
        self.successes *= self.cfg.memory
        self.tried *= self.cfg.memory
        self.successes.index_add_(0, cells, success)
        self.tried.index_add_(0, cells, torch.ones_like(success))

    def rates(self) -> Tensor:
        """(C,) smoothed; one half where nothing was tried."""
        return success_rate(torch.minimum(self.successes, self.tried), self.tried, self.cfg.smoothing)

    def weights(self) -> Tensor:
        """(C,) by the config's rule, their mean 1 over cells with enough trials; 1 for the others. A hard filter that
        leaves nothing lets everything pass.

        Raises:
            LunarError: all are zero.
        """
        cfg, rates = self.cfg, self.rates()
        weights, known = torch.ones_like(rates), self.tried >= cfg.least
        if cfg.rule == "paced":
            weights[known] = normalised(cell_weights(rates[known], cfg.alpha, cfg.beta, cfg.floor))
        elif cfg.rule == "hard_filter":
            weights[known] = hard_filter(rates[known], cfg.low, cfg.high)
        return weights if bool((weights > 0).any()) else torch.ones_like(weights)
