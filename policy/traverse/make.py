"""Make a plan: the way over a map, what each option takes on each of its segments, and the choice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from policy.runtime.switch import check_alike
from policy.traverse.assign import Assignment, Carry, Problem, Row, Shortfall, Slots, assign
from policy.traverse.config import PlanConfig
from policy.traverse.estimate import QUANTILE, Estimate, estimate, upper
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
    again: np.ndarray
    """(B, N, K) by every bootstrap."""
    joules: np.ndarray
    """(N, K) J from the battery."""
    seconds: np.ndarray
    """(N, K) s."""

    @property
    def falls_high(self) -> np.ndarray:
        """(N, K) by the 90th percentile of the bootstraps."""
        return upper(self.falls, self.again)

    def against(self, usual: np.ndarray) -> np.ndarray:
        """(N, K) falls, of which those more than by the ``usual`` (N,) options count by their 90th percentile: what
        the bootstraps doubt of both alike cancels, and another option must be better in nine of ten of them."""
        rows = np.arange(len(usual))
        more = np.quantile(self.again - self.again[:, rows, usual][:, :, None], QUANTILE, axis=0)
        return self.falls[rows, usual][:, None] + more

    def problem(
        self, battery: float | None, time: float | None, robust: bool = True, change: float = 0.0, energy: float = 0.0,
        reserve: float = 0.0, robot: np.ndarray | None = None, store: float | None = None, worst: bool = False,
    ) -> Problem:  # fmt: skip
        """Most log-survival within the budgets, of which a share is kept in ``reserve``; a change and a joule cost so
        many expected falls.

        Args:
            battery: J of each robot; None: no limit.
            time: s of each.
            robust: whether options count by ``against`` the best one for all of a robot's way, instead of by what is
                expected: the best of many estimates is the luckiest one.
            change: see above.
            energy: see above.
            reserve: see above.
            robot: (N,) whole numbers, whose segment each is, in order; of one robot by default.
            store: J of all together.
            worst: the robot that is worst off counts, instead of the sum.
        """
        robot = np.zeros(len(self.length), dtype=int) if robot is None else robot
        everyone = range(int(robot.max()) + 1)
        rows = [
            Row(name if len(everyone) == 1 else f"{name} of robot {r + 1}", unit, (robot == r)[:, None] * use, limit)
            for name, unit, use, limit in (("battery", "J", self.joules, battery), ("time", "s", self.seconds, time))
            if limit is not None for r in everyone
        ]  # fmt: skip
        if store is not None:
            rows.append(Row("store", "J", self.joules, store))
        rows = [replace(row, use=row.use / (1.0 - reserve)) for row in rows]
        quality = -self.falls - energy * self.joules
        if robust:
            usual = np.concatenate([_best_alone(quality, rows, robot == r) for r in everyone])
            quality = -self.against(usual) - energy * self.joules
        follows = np.append(False, robot[1:] == robot[:-1])
        return Problem(quality, rows, change=change, worst=robot if worst else None, follows=follows)


def _best_alone(quality: np.ndarray, rows: Sequence[Row], own: np.ndarray) -> np.ndarray:
    """The best option for all of the segments ``own`` (N,) bool within the rows, as (n,); where none is, the one that
    exceeds them least."""
    over = [row.use[own].sum(0) / row.limit for row in rows]
    excess = np.maximum(np.max(over, axis=0), 1.0) if over else np.ones(quality.shape[1])
    best = np.lexsort((-quality[own].sum(0), excess))[0]
    return np.full(int(own.sum()), best)


def ways_of(found: Estimate, length: np.ndarray, options: Sequence[Option], computers: Computers) -> Ways:
    """Options on segments of ``length`` (N,) m."""
    gait = [option.gait for option in options]
    watts = np.array([computers.computers[option.computer].watts for option in options])
    metres, seconds = length[:, None], found.seconds[:, gait]
    joules = found.joules[:, gait] / computers.joint_efficiency + watts * seconds
    return Ways(
        tuple(options), length, found.falls[:, gait] * metres, found.again[:, :, gait] * metres, joules * metres,
        seconds * metres,
    )  # fmt: skip


def carries(ways: Ways, table: Table, computers: Computers, robot: np.ndarray) -> tuple[Carry, ...]:
    """Flash of every computer of every robot: all policies that a robot uses on one must lie there together."""
    policies = sorted({table.gaits[o.gait].policy for o in ways.options})
    kilobytes = np.array([weights_of(p).kilobytes for p in policies])
    part = np.array([policies.index(table.gaits[o.gait].policy) for o in ways.options])
    found = []
    for name in sorted({o.computer for o in ways.options if not computers.computers[o.computer].serves}):
        here = np.array([o.computer == name for o in ways.options])
        size = np.append(kilobytes, 0.0)  # the last part is what other computers run
        limit = np.full(robot.max() + 1, computers.computers[name].flash_kb)
        if size[np.unique(part[here])].sum() > limit[0]:
            found.append(Carry(robot, np.where(here, part, len(policies)), size, limit, f"flash of {name} of robot"))
    return tuple(found)


def slots(ways: Ways, computers: Computers, robot: np.ndarray) -> Slots | None:
    """What a computer at the lander serves at once: the first segments of all robots, then the second, and so on."""
    shared = next((name for name, c in computers.computers.items() if c.serves), None)
    if shared is None:
        return None
    at_lander, n = np.array([o.computer == shared for o in ways.options]), len(robot)
    batch = np.arange(n) - np.searchsorted(robot, robot)
    found = computers.computers[shared]
    return Slots(batch, np.where(at_lander, found.serves, n), at_lander.astype(float), found.count)


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


def make_plans(cfg: PlanConfig) -> list[Plan] | Shortfall:
    """What ``lunar traverse plan`` is told to plan, robot by robot; or which budget binds.

    Raises:
        LunarError: a point off the map, no trials, an unknown computer, a budget that is none, or a restored elevation
            model whose limits are not known.
    """
    for name, limit in (("battery", cfg.battery), ("time", cfg.time), ("store", cfg.store)):
        if limit is not None and not limit > 0.0:
            raise LunarError(f"{name} is {limit:g}; a budget is above 0, or left out")
    if not 0.0 <= cfg.reserve < 1.0:
        raise LunarError(f"reserve is {cfg.reserve:g}; it is a share of the budgets, from 0 to below 1")
    if not cfg.paths and (cfg.worst or cfg.store is not None):
        raise LunarError(f"{'worst' if cfg.worst else 'store'} is for a fleet: name the robots' ways with --paths")
    table, computers = load_table(cfg.table or SHIPPED), load_computers(cfg.computers or COMPUTERS)
    check_alike([(gait.policy, weights_of(gait.policy).card) for gait in table.gaits])
    options = options_of(table.gaits, computers, [name.strip() for name in cfg.only.split(",") if name.strip()])
    blank = Plan(cfg.terrain, cfg.level, cfg.seed, cfg.size, cfg.battery, cfg.time, computers.joint_efficiency)
    known = restored_ground(cfg)
    surface = survey(blank.ground())
    ends = [lead(surface, path, cfg.safe) for path in cfg.paths or [cfg.path]]
    start, end = np.concatenate([e[:-1] for e in ends]), np.concatenate([e[1:] for e in ends])
    robot = np.repeat(np.arange(len(ends)), [len(e) - 1 for e in ends])
    found = estimate(table, features(surface, start, end), cfg.seed)
    ways = ways_of(found, np.hypot(*(end - start).T), options, computers)
    problem = ways.problem(
        cfg.battery, cfg.time, cfg.robust, cfg.change, cfg.energy, cfg.reserve, robot, cfg.store, cfg.worst
    )
    solved = assign(replace(problem, carry=carries(ways, table, computers, robot), slots=slots(ways, computers, robot)))
    if isinstance(solved, Shortfall):
        return solved
    blanks = [replace(blank, limits=_limits(surface, points, known)) for points in ends]
    return [written(blanks[r], table, computers, ways, ends[r], solved, robot == r) for r in range(len(ends))]


def _limits(surface: Surface, points: np.ndarray, known: Restored | None) -> PlannedLimits | None:
    """By which limits the way through ``points`` (K + 1, 2) is judged on a restored map, where they hold."""
    if known is None or not known.holds:
        return None
    unsafe = [round(unsafe_along(surface.field, points, limits), 4) for limits in (known.limits, NOMINAL)]
    return PlannedLimits(known.method, known.noise, known.limits.slope, known.limits.step, *unsafe)


def written(
    blank: Plan, table: Table, computers: Computers, ways: Ways, ends: np.ndarray, solved: Assignment, own: np.ndarray
) -> Plan:
    """The plan of the robot whose segments are ``own`` (N,) bool, by a choice for all."""
    choice = solved.choice[own]
    used = list(dict.fromkeys(choice.tolist()))
    options = []
    for k in used:
        option, gait = ways.options[k], table.gaits[ways.options[k].gait]
        options.append(PlannedOption(
            gait.policy, table.digests[option.gait], option.computer, computers.computers[option.computer].watts,
            gait.vx, gait.apex, gait.economy,
        ))  # fmt: skip
    places = [(round(x, 4), round(y, 4)) for x, y in ends.tolist()]
    sums = np.stack([ways.joules, ways.seconds, ways.falls, ways.falls_high])[:, own]
    segments = [
        PlannedSegment(places[i], places[i + 1], used.index(k), *(float(f"{value:.5g}") for value in sums[:, i, k]))
        for i, k in enumerate(choice.tolist())
    ]
    return replace(blank, gap=float(f"{solved.gap:.3g}"), options=options, segments=segments)
