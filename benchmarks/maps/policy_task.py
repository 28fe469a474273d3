"""A policy that looks at the ground, hopping on the true ground with heights ahead from a restored map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.maps.rows import measured_map, restored_by
from policy.evaluation.metrics import wilson
from policy.evaluation.suites import load_suite, world_for
from policy.evaluation.trials import run_trials
from policy.networks.policy_file import load_actor
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.terrain.height_field import HeightField

SENSITIVE = 0.05
"""Share of trials that a policy must survive more with its map than with level ground in its place; one that does not
is left out of rankings: no filter can help or harm it."""
SUITE, ROBOTS, SECONDS = "craters", 256, 10.0
PAIRS = (
    ("white-5cm", "fill"), ("white-5cm", "gauss2"), ("white-5cm", "wiener"), ("stereo", "fill"),
    ("stereo", "adaptive"), ("holes-30", "fill"), ("holes-30", "nlm"), ("coarse-4x", "fill"),
    ("stripes-6cm", "fill"), ("stripes-6cm", "destripe"),
)  # fmt: skip
"""Noise and method, where the policy is sensitive."""


class SeeingWorld(PronkWorld):
    """Robots on the true ground whose heights ahead come from ``seen``, or where that is None from the truth."""

    seen: HeightField | None = None

    def _ground_ahead(self, qpos: Any, level: Any) -> Any:
        true = self.physics.terrain
        self.physics.terrain = self.seen or true
        try:
            return super()._ground_ahead(qpos, level)
        finally:
            self.physics.terrain = true

    def see_level_ground(self) -> None:
        """Every point ahead has the height of the ground below the robot."""
        self._scan = torch.zeros_like(self._scan)


def survival(policy: str, robots: int = ROBOTS, seconds: float = SECONDS) -> dict[str, Any]:
    """Shares of trials that the policy survives with the true map, with level ground in its place, and, if that makes a
    difference of ``SENSITIVE``, with each of ``PAIRS``; with Wilson's 95%.

    Raises:
        LunarError: the policy cannot be read, or does not look at the ground.
    """
    actor, card = load_actor(Path(policy))
    if card.observation.scan is None:
        raise LunarError(f"policy {policy} does not look at the ground: no filter can help or harm it")
    suite = load_suite(SUITE)

    def run(noise: str, method: str) -> dict[str, float]:
        world = SeeingWorld(world_for(suite, card, robots), suite.seed, "cpu", restart=False)
        if method == "level":
            world.see_level_ground()
        elif noise:
            world.seen = _restored(world.physics.terrain, noise, method, suite.seed)
        alive = run_trials(actor, world, seconds).survived
        low, high = wilson(int(alive.sum()), len(alive))
        return {"survival": float(alive.mean()), "low": low, "high": high}

    found = {"true map": run("", ""), "level ground": run("", "level")}
    gain = found["true map"]["survival"] - found["level ground"]["survival"]
    if gain >= SENSITIVE:
        found |= {f"{noise}, {method}": run(noise, method) for noise, method in PAIRS}
    return {"policy": policy, "sensitive": gain >= SENSITIVE, "gain_points": 100.0 * gain, "survival": found}


def _restored(true: HeightField, noise: str, method: str, seed: int) -> HeightField:
    """Each of the stack's maps as a filter makes it of what a sensor measures."""
    maps = np.asarray(true.heights, float).reshape(-1, *true.heights.shape[-2:])
    restored = [
        restored_by(method, measured_map(z, true.resolution, noise, seed + k), true.resolution, seed + k)
        for k, z in enumerate(maps)
    ]
    heights = np.stack(restored).reshape(true.heights.shape).astype(np.float32)
    return HeightField(heights, true.resolution, true.origin)
