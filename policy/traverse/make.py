"""Make a plan: the way over a map, what each option takes on each of its segments, and the choice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from policy.runtime.switch import check_alike
from policy.traverse.assign import Assignment, Carry, Problem, Row, Shortfall, assign
from policy.traverse.config import PlanConfig
from policy.traverse.estimate import Estimate, estimate
from policy.traverse.options import COMPUTERS, Computers, Option, load_computers, options_of, weights_of
from policy.traverse.plan import Plan, PlannedLimits, PlannedOption, PlannedSegment
from policy.traverse.table import SHIPPED, Table
from policy.traverse.table import load as load_table
from sim.errors import LunarError
from sim.terrain.cards import Restored, restored_map
from sim.terrain.danger import NOMINAL
from sim.terrain.generators import load_terrain
from sim.terrain.segments import Surface, features, safe_path, split, survey, unsafe_along


@dataclass(frozen=True)
class Ways:
    """What there is to choose from on N segments: K options, and what each takes there."""

    options: tuple[Option, ...]
    length: np.ndarray
    """(N,) m."""
    falls: np.ndarray
    """(N, K) expected."""
    falls_high: np.ndarray
    """(N, K) by the 90th percentile."""
    joules: np.ndarray
    """(N, K) J from the battery."""
    seconds: np.ndarray
    """(N, K) s."""

    def problem(
        self, battery: float | None, time: float | None, robust: bool = True, change: float = 0.0, energy: float = 0.0,
        reserve: float = 0.0,
    ) -> Problem:  # fmt: skip
        """Most log-survival within the budgets, of which a share is kept in ``reserve``, for one robot; a change and a
        joule cost so many expected falls."""
        rows = [
            Row(name, unit, use / (1.0 - reserve), limit)
            for name, unit, use, limit in (("battery", "J", self.joules, battery), ("time", "s", self.seconds, time))
            if limit is not None
        ]  # fmt: skip
        return Problem(-(self.falls_high if robust else self.falls) - energy * self.joules, rows, change=change)


def ways_of(found: Estimate, length: np.ndarray, options: Sequence[Option], computers: Computers) -> Ways:
    """Options on segments of ``length`` (N,) m."""
    gait = [option.gait for option in options]
    watts = np.array([computers.computers[option.computer].watts for option in options])
    metres, seconds = length[:, None], found.seconds[:, gait]
    joules = found.joules[:, gait] / computers.joint_efficiency + watts * seconds
    return Ways(
        tuple(options), length, found.falls[:, gait] * metres, found.falls_high[:, gait] * metres, joules * metres,
        seconds * metres,
    )  # fmt: skip


def carries(ways: Ways, table: Table, computers: Computers, robot: np.ndarray) -> tuple[Carry, ...]:
    """Flash of every computer of every robot: all policies that a robot uses on one must lie there together."""
    policies = sorted({table.gaits[o.gait].policy for o in ways.options})
    kilobytes = np.array([weights_of(p).kilobytes for p in policies])
    part = np.array([policies.index(table.gaits[o.gait].policy) for o in ways.options])
    found = []
    for name in sorted({o.computer for o in ways.options}):
        here = np.array([o.computer == name for o in ways.options])
        size = np.append(kilobytes, 0.0)  # the last part is what other computers run
        limit = np.full(robot.max() + 1, computers.computers[name].flash_kb)
        if size[np.unique(part[here])].sum() > limit[0]:
            found.append(Carry(robot, np.where(here, part, len(policies)), size, limit, f"flash of {name} of robot"))
    return tuple(found)


def lead(surface: Surface, path: Sequence[Sequence[float]], safe: bool) -> np.ndarray:
    """Ends (S + 1, 2) m of the segments of a way by ``path``, straight from point to point or around what is steep."""
    if not safe or len(path) < 2:
        return split(path)
    legs = [safe_path(surface, a, b) for a, b in itertools.pairwise(path)]
    return split(np.concatenate([legs[0][:1], *(leg[1:] for leg in legs)]))


def restored_ground(cfg: PlanConfig) -> Restored | None:
    """What is known of the elevation model of the ground if a filter restored it, else None.

    Raises:
        LunarError: no such ground, or what is known of the map cannot be used.
    """
    dem = load_terrain(cfg.terrain).dem
    return restored_map(dem.path) if dem else None


def make_plan(cfg: PlanConfig) -> Plan | Shortfall:
    """What ``lunar traverse plan`` is told to plan; or which budget binds.

    Raises:
        LunarError: a point off the map, no trials, an unknown computer, a budget that is none, or a restored elevation
            model whose limits are not known.
    """
    for name, limit in (("battery", cfg.battery), ("time", cfg.time)):
        if limit is not None and not limit > 0.0:
            raise LunarError(f"{name} is {limit:g}; a budget is above 0, or left out")
    if not 0.0 <= cfg.reserve < 1.0:
        raise LunarError(f"reserve is {cfg.reserve:g}; it is a share of the budgets, from 0 to below 1")
    table, computers = load_table(cfg.table or SHIPPED), load_computers(cfg.computers or COMPUTERS)
    check_alike([(gait.policy, weights_of(gait.policy).card) for gait in table.gaits])
    options = options_of(table.gaits, computers, [name.strip() for name in cfg.only.split(",") if name.strip()])
    blank = Plan(cfg.terrain, cfg.level, cfg.seed, cfg.size, cfg.battery, cfg.time, computers.joint_efficiency)
    known = restored_ground(cfg)
    surface = survey(blank.ground())
    ends = lead(surface, cfg.path, cfg.safe)
    if known and known.holds:
        unsafe = [round(unsafe_along(surface.field, ends, limits), 4) for limits in (known.limits, NOMINAL)]
        used = PlannedLimits(known.method, known.noise, known.limits.slope, known.limits.step, *unsafe)
        blank = replace(blank, limits=used)
    start, end = ends[:-1], ends[1:]
    found = estimate(table, features(surface, start, end), cfg.seed)
    ways = ways_of(found, np.hypot(*(end - start).T), options, computers)
    problem = ways.problem(cfg.battery, cfg.time, cfg.robust, cfg.change, cfg.energy, cfg.reserve)
    robot = np.zeros(len(start), dtype=int)
    solved = assign(replace(problem, carry=carries(ways, table, computers, robot)))
    if isinstance(solved, Shortfall):
        return solved
    return written(blank, table, computers, ways, ends, solved)


def written(
    blank: Plan, table: Table, computers: Computers, ways: Ways, ends: np.ndarray, solved: Assignment
) -> Plan:  # fmt: skip
    """The plan of a choice."""
    used = list(dict.fromkeys(solved.choice.tolist()))
    options = []
    for k in used:
        option, gait = ways.options[k], table.gaits[ways.options[k].gait]
        options.append(PlannedOption(
            gait.policy, table.digests[option.gait], option.computer, computers.computers[option.computer].watts,
            gait.vx, gait.apex, gait.economy,
        ))  # fmt: skip
    places = [(round(x, 4), round(y, 4)) for x, y in ends.tolist()]
    sums = np.stack([ways.joules, ways.seconds, ways.falls, ways.falls_high])
    segments = [
        PlannedSegment(places[i], places[i + 1], used.index(k), *(float(f"{value:.5g}") for value in sums[:, i, k]))
        for i, k in enumerate(solved.choice.tolist())
    ]
    return replace(blank, gap=float(f"{solved.gap:.3g}"), options=options, segments=segments)
