"""What a plan of ``lunar traverse`` decides of a run's configuration; without loading its policies."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from matrix_hil.config import HilConfig
from policy.traverse.plan import load_plan
from sim.errors import LunarError
from sim.terrain.generators import load_terrain

PLAN_FILE = "plan.yaml"
"""A log's attachment: the plan that was followed."""
_ASTRAY = 0.5  # m that a way may lie beside the line from its start to its goal
_PATIENCE = 2.0  # times the expected time, after which a run ends that has not arrived


def along(cfg: HilConfig) -> HilConfig:
    """``cfg`` with the ground, start, heading and first policy of the plan that it names, and time enough for it unless
    it is to be quick; as it is without one.

    Raises:
        LunarError: the plan cannot be read, or the way turns.
    """
    if not cfg.plan.traverse:
        return cfg
    plan = load_plan(cfg.plan.traverse)
    points = plan.points
    way = points[-1] - points[0]
    heading = math.atan2(way[1], way[0])
    beside = (points - points[0]) @ np.array([-math.sin(heading), math.cos(heading)])
    if np.abs(beside).max() > _ASTRAY:
        raise LunarError(
            f"the way of plan {cfg.plan.traverse} leaves the line from start to goal by {np.abs(beside).max():.1f} m,"
            " but a belt cannot turn: plan with '--safe false' and a --path of two points"
        )
    terrain = replace(load_terrain(plan.terrain), level=plan.level, size=plan.size)
    sync = replace(cfg.sync, start_x=float(points[0, 0]), start_y=float(points[0, 1]), heading=heading)
    duration = cfg.sync.ramp + _PATIENCE * plan.sum("seconds")
    if cfg.quick:
        duration = min(duration, cfg.plan.duration)
    first = plan.options[plan.segments[0].option]
    return replace(
        cfg, terrain=terrain, seed=plan.seed, sync=sync, policy=first.policy, plan=replace(cfg.plan, duration=duration)
    )


def names_of(cfg: HilConfig) -> list[str]:
    """The policies that a run uses, by folder or name."""
    if not cfg.plan.traverse:
        return [cfg.policy]
    return list(dict.fromkeys(option.policy for option in load_plan(cfg.plan.traverse).options))
