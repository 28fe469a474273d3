"""Traverses over mixed grounds with every planner's plan for them, for ``lunar bench traverse``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.baselines import BASELINES
from policy.traverse.assign import Assignment, Problem, assign
from policy.traverse.config import PlanConfig
from policy.traverse.estimate import estimate
from policy.traverse.make import Ways, ways_of
from policy.traverse.options import Computers, Gait
from policy.traverse.table import Table
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField
from sim.terrain.segments import features, split, survey

BUDGETS = (0.6, 0.75, 0.9, 1.1)
"""Of what the teacher on the board takes, hopping fast and high."""
BLOCKS, BLOCK, BLEND = 6, 12.0, 3.0
"""Grounds along a traverse, m of each, and m over which one becomes the next."""
WIDTH, START, LENGTH = 12.0, 6.0, 60.0
"""m."""
EASY = (("mare", 6), ("highland", 6), ("mare", 9))
HARD = (("crater-field", 9), ("blocky", 9), ("polar-rough", 9))
TEACHER, STUDENT = "dual", "student_small"
PLANNERS = ("routed, robust", "routed", *BASELINES)
CHANGE, PRICE, RESERVE = PlanConfig.change, PlanConfig.energy, PlanConfig.reserve
"""Expected falls that a change and a joule count as, and share of the battery that every planner leaves."""


@dataclass(frozen=True)
class Traverse:
    """One way and what there is to choose on it."""

    ground: HeightField
    ends: np.ndarray
    ways: Ways
    budgets: tuple[float, ...]
    bunched: bool
    choices: dict[str, np.ndarray]
    """By plan, (S,) options; absent where a planner found none."""

    @property
    def plans(self) -> np.ndarray:
        """(U, S) plans that differ."""
        return np.unique(np.array(list(self.choices.values())), axis=0)


def make_traverse(seed: int, k: int, fitted: Table, computers: Computers, options: list[Any]) -> Traverse:
    """Traverse ``k``, planned by what the trials ``fitted`` say of ``options``."""
    bunched = k % 3 == 2
    ground = strip(np.random.default_rng([seed, k]), bunched)
    ends = split([[START, 0.0], [START + LENGTH, 0.0]])
    found = estimate(fitted, features(survey(ground), ends[:-1], ends[1:]), seed)
    ways = ways_of(found, np.hypot(*np.diff(ends, axis=0).T), options, computers)
    gaits = fitted.gaits

    def best(policy: str, computer: str) -> np.ndarray:
        """The best of that policy's gaits for all segments."""
        own = [j for j, o in enumerate(options) if gaits[o.gait].policy == policy and o.computer == computer]
        return np.full(len(ends) - 1, min(own, key=lambda j: (ways.falls_high + PRICE * ways.joules)[:, j].sum()))

    reference = next(
        j for j, o in enumerate(options) if gaits[o.gait] == Gait(TEACHER, 0.55, 0.35) and o.computer == "board"
    )
    budgets = tuple(share * float(ways.joules[:, reference].sum()) for share in BUDGETS)
    choices = {"teacher on board": best(TEACHER, "board"), "student on mcu": best(STUDENT, "mcu")}
    for share, budget in zip(BUDGETS, budgets, strict=True):
        for name in PLANNERS:
            problem = ways.problem(budget, None, name != "routed", CHANGE, PRICE, RESERVE)
            choice = _choice(name, problem)
            if choice is not None:
                choices[f"{name} {share:g}"] = choice
    choices["routed, robust"] = _choice("routed, robust", ways.problem(None, None, True, CHANGE, PRICE))  # type: ignore[assignment]
    return Traverse(ground, ends, ways, budgets, bunched, choices)


def strip(rng: np.random.Generator, bunched: bool) -> HeightField:
    """A strip of six grounds that pass into each other; hard ones side by side where they are ``bunched``."""
    hard = 3
    kinds = [EASY[k] for k in rng.integers(len(EASY), size=BLOCKS - hard)]
    kinds += [HARD[k] for k in rng.integers(len(HARD), size=hard)]
    if not bunched:
        kinds = [kinds[k] for k in rng.permutation(BLOCKS)]
    resolution, long = 0.05, BLOCKS * BLOCK
    x = np.arange(round(long / resolution) + 1) * resolution
    heights, weights = np.zeros((round(WIDTH / resolution) + 1, len(x))), np.zeros(len(x))
    side = BLOCK + 2 * BLEND
    for k, (kind, level) in enumerate(kinds):
        part = make_terrain(TerrainConfig(kind=kind, level=level, size=side), int(rng.integers(2**31)))
        begin = k * BLOCK - BLEND
        inside = (x >= begin) & (x <= begin + side)
        weight = np.clip((0.5 * side - np.abs(x[inside] - begin - 0.5 * side)) / (2.0 * BLEND), 0.0, 1.0)
        rows = part.heights.shape[0] // 2 + np.arange(heights.shape[0]) - heights.shape[0] // 2
        columns = np.round((x[inside] - begin) / resolution).astype(int)
        cut = part.heights[np.ix_(rows, columns)]
        heights[:, inside] += weight * (cut - cut.mean())
        weights[inside] += weight
    return HeightField((heights / weights).astype(np.float32), resolution, (0.0, -WIDTH / 2))


def _choice(name: str, problem: Problem) -> np.ndarray | None:
    if name in BASELINES:
        return BASELINES[name](problem)
    found = assign(problem)
    return found.choice if isinstance(found, Assignment) else None
