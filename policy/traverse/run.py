"""A plan in ``PronkWorld``: who arrives, and what it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from policy.evaluation.metrics import wilson
from policy.traverse.drive import Crew, Driven, drive, world_on
from policy.traverse.plan import Plan
from sim.spec.observation import PRONK_OBSERVATION
from sim.terrain.height_field import stack


@dataclass(frozen=True)
class Seen:
    """What N robots did on a plan's S segments."""

    driven: Driven
    joules: np.ndarray
    """(N, S) J from the battery: joints over their efficiency, and the computers."""

    @property
    def spent(self) -> np.ndarray:
        """(N,) J."""
        return self.joules.sum(1)

    @property
    def seconds(self) -> np.ndarray:
        """(N,) s."""
        return self.driven.seconds.sum(1)

    def within(self, plan: Plan) -> np.ndarray:
        """(N,) bool, arrived without exceeding battery and time."""
        limits = [np.inf if limit is None else limit for limit in (plan.battery, plan.time)]
        return self.driven.arrived & (self.spent <= limits[0]) & (self.seconds <= limits[1])


def see(plan: Plan, robots: int, seed: int, patience: float, tick: Callable[[], None] = lambda: None) -> Seen:
    """Run it.

    Raises:
        LunarError: a policy does not load.
    """
    crew = Crew([option.gait for option in plan.options])
    world = world_on(crew, stack([plan.ground()]), robots, seed)
    points = np.repeat(plan.points[None], robots, axis=0)
    choice = np.repeat(plan.choice[None], robots, axis=0)
    driven, _ = drive(crew, world, points, choice, steps_of(plan, patience) * world.dt, tick=tick)
    watts = np.array([option.watts for option in plan.options])[driven.choice]
    return Seen(driven, driven.joules / plan.joint_efficiency + watts * driven.seconds)


def steps_of(plan: Plan, patience: float) -> int:
    """Control steps of a run."""
    return round(PRONK_OBSERVATION.rate * patience * plan.sum("seconds"))


def results(plan: Plan, seen: Seen) -> dict[str, Any]:
    """Expected and seen, as data."""
    n, arrived = len(seen.spent), seen.driven.arrived
    expected, low = plan.arrival
    mean = {name: float(v[arrived].mean()) if arrived.any() else None for name, v in
            (("joules", seen.spent), ("seconds", seen.seconds))}  # fmt: skip
    return {
        "robots": n, "segments": len(plan.segments), "metres": plan.sum("length"),
        "battery": plan.battery, "time": plan.time,
        "arrived": float(arrived.mean()), "arrived_low95": wilson(int(arrived.sum()), n)[0],
        "arrived_within_budget": float(seen.within(plan).mean()),
        "arrived_expected": expected, "arrived_promised": low,
        "fell": float((seen.driven.fell >= 0).mean()), "falls_expected": plan.sum("falls"),
        "joules": mean["joules"], "joules_expected": plan.sum("joules"),
        "seconds": mean["seconds"], "seconds_expected": plan.sum("seconds"),
        "options": [option.title for option in plan.options], "choice": plan.choice.tolist(),
    }  # fmt: skip
