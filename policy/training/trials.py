"""What the robots of a training do, for its log: returns and lengths of trials, hops, and what each term pays."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.logger import Logger
from torch import Tensor

from sim.envs.world import PronkWorld, Step


class TrialLog:
    """Follows the robots of ``world`` through rollouts."""

    def __init__(self, world: PronkWorld) -> None:
        self.world = world
        self._returns = torch.zeros(world.num_envs, device=world.device)
        self._lengths = torch.zeros(world.num_envs, dtype=torch.long, device=world.device)
        self.hops_per_20s = self.ends_per_20s = 0.0

    def add(self, step: Step) -> list[dict[str, Any]]:
        """Count a step; return of the trials that ended ``r`` and ``l``, as SB3's Monitor does."""
        self._returns += step.reward
        self._lengths += 1
        if not len(step.ended):
            return []
        ended = zip(self._returns[step.ended].tolist(), self._lengths[step.ended].tolist(), strict=True)
        self._returns[step.ended] = 0.0
        self._lengths[step.ended] = 0
        return [{"r": paid, "l": steps} for paid, steps in ended]

    def record(self, logger: Logger, rewards: Tensor, dones: Tensor, terms: list[dict[str, Tensor]]) -> None:
        """Log a rollout of T steps: ``rewards`` and ``dones`` (T, N), and the terms of each step, per second."""
        world, record = self.world, logger.record
        table = world.hops.drain()
        seconds = rewards.numel() * world.dt
        self.hops_per_20s = 20.0 * len(table) / seconds
        self.ends_per_20s = float(dones.mean()) / world.dt * 20.0
        record("hops/hops_per_20s", self.hops_per_20s)
        record("hops/pronks_per_20s", 20.0 * float(table.pronk.sum()) / seconds)
        record("hops/ends_per_20s", self.ends_per_20s)
        record("hops/limbs_down", float(world.state.limb_contact.float().mean()))
        record("train/reward", float(rewards.mean()) / world.dt)
        for name, weight in world.weights.items():
            record(f"rewards/{name}", weight * float(torch.stack([of_step[name] for of_step in terms]).mean()))
        if len(table):
            record("hops/apex_gain", float(table.apex_gain.mean()))
            record("hops/peak_force", _median(table.peak_force))
            record("hops/touchdown_tilt", _median(table.touchdown_tilt))


def _median(column: Any) -> float:
    return float(torch.as_tensor(column).median())
