"""Which option for which segment, all segments at once: exact by scipy's HiGHS, or by ``near`` where that is faster.

max Σ a_ij x_ij, one option j per segment i, under rows Σ u_ij x_ij ≤ limit that segments share (battery, time); with
what a robot can carry (flash), what a base station can serve (slots), a penalty on changes, or the worst robot's sum in
place of the whole. What cannot be met is not an exception: a ``Shortfall`` says which row binds and by how much.

After the batch-level router of arXiv 2603.26796, whose published programs are special cases (tests/policy/traverse).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import coo_array, csr_array

from policy.traverse.near import Chain, best_near
from sim.errors import LunarError

TIME_LIMIT = 5.0
"""s, after which the best plan so far is taken, with its gap."""
_TIE = 1e-9


@dataclass(frozen=True)
class Row:
    """What all segments share."""

    name: str
    unit: str
    use: np.ndarray
    """(N, K) of option j on segment i."""
    limit: float


@dataclass(frozen=True)
class Carry:
    """What a robot must carry for the options that it uses."""

    robot: np.ndarray
    """(N,) whole numbers, whose segment it is."""
    part: np.ndarray
    """(K,) whole numbers, what each option needs carried: its policy."""
    size: np.ndarray
    """(P,) of each part."""
    limit: np.ndarray
    """(R,) of each robot."""
    name: str = "flash of robot"
    unit: str = "kB"


@dataclass(frozen=True)
class Slots:
    """What a base station runs: instances of options, each of which serves some segments of a batch at once."""

    batch: np.ndarray
    """(N,) whole numbers, segments that run at once."""
    serves: np.ndarray
    """(K,) segments per instance and batch."""
    cores: np.ndarray
    """(K,) of an instance."""
    limit: float = np.inf
    """Cores in all."""
    instances: np.ndarray | None = None
    """(K,) that already run; None: they are chosen too."""


@dataclass(frozen=True)
class Problem:
    """A batch of N segments and K options."""

    quality: np.ndarray
    """(N, K) a_ij, to be large; -infinity or NaN closes an option."""
    rows: Sequence[Row] = ()
    carry: Sequence[Carry] = ()
    slots: Slots | None = None
    change: float = 0.0
    """Of quality, lost where a segment's option is not that of the one before it; 0 or more."""
    worst: np.ndarray | None = None
    """(N,) whole numbers: maximise the smallest sum of quality over these groups instead of the sum over all."""
    follows: np.ndarray | None = None
    """(N,) bool, whether a segment follows the one before it in the list; all but the first by default."""


@dataclass(frozen=True)
class Assignment:
    """A solution."""

    choice: np.ndarray
    """(N,) options."""
    value: float
    """Of the objective."""
    bound: float
    """No solution has more."""
    instances: np.ndarray
    """(K,) of the base station; empty without one."""

    @property
    def gap(self) -> float:
        """How far from the bound, relative; 0 where it is proven best."""
        return max(0.0, self.bound - self.value) / max(abs(self.value), 1e-12) if self.bound > self.value else 0.0


@dataclass(frozen=True)
class Shortfall:
    """There is no solution; the least that the limits would have to be raised, together."""

    rows: tuple[tuple[str, float, str], ...]
    """Name, by how much, and unit, of every row that binds; and what segments have no option at all."""

    def __str__(self) -> str:
        return "; ".join(f"{name} is {by:.4g}{unit and ' '}{unit} short" for name, by, unit in self.rows)


@dataclass
class _Program:
    """Variables and constraints while they are gathered."""

    cost: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    entries: list[tuple[int, int, float]] = field(default_factory=list)
    limits: list[tuple[float, float]] = field(default_factory=list)
    elastic: list[tuple[str, str, float]] = field(default_factory=list)  # name, unit and scale by constraint; "" if not

    def variables(self, count: int, cost: np.ndarray | float, upper: float, whole: bool) -> np.ndarray:
        first = len(self.cost)
        self.cost += np.broadcast_to(cost, count).tolist()
        self.upper += [upper] * count
        self.whole += [int(whole)] * count
        return np.arange(first, first + count)

    def at_most(self, columns: np.ndarray, values: np.ndarray | float, limit: float, name: str = "", unit: str = "",
                scale: float = 1.0, least: float = -np.inf) -> None:  # fmt: skip
        row = len(self.limits)
        self.entries += [
            (row, int(c), float(v)) for c, v in zip(columns, np.broadcast_to(values, len(columns)), strict=True) if v
        ]
        self.limits.append((least, limit))
        self.elastic.append((name, unit, scale))

    def matrix(self) -> csr_array:
        rows, columns, values = (np.array(part) for part in zip(*self.entries, strict=True))
        return coo_array((values, (rows, columns)), (len(self.limits), len(self.cost))).tocsr()

    def solve(self, time_limit: float) -> object:
        low, high = np.array(self.limits).T
        return milp(
            np.array(self.cost), integrality=self.whole, bounds=Bounds(0.0, self.upper),
            constraints=LinearConstraint(self.matrix(), low, high),
            options={"mip_rel_gap": 0.0, "time_limit": time_limit},
        )  # fmt: skip

    def prices(self) -> np.ndarray | None:
        """By constraint, what a unit more of its upper limit is worth to the relaxation, 0 of equations; None where
        the relaxation has no solution."""
        low, high = np.array(self.limits).T
        matrix, equal = self.matrix(), low == high
        found = linprog(
            self.cost, matrix[~equal], high[~equal], matrix[equal], high[equal],
            bounds=np.column_stack([np.zeros(len(self.upper)), self.upper]),
        )  # fmt: skip
        if found.status != 0:
            return None
        prices = np.zeros(len(high))
        prices[~equal] = np.maximum(-found.ineqlin.marginals, 0.0)
        return prices


def assign(problem: Problem, time_limit: float = TIME_LIMIT) -> Assignment | Shortfall:
    """The best choice, or why there is none.

    Raises:
        LunarError: the problem makes no sense, or nothing was found in time.
    """
    quality = np.asarray(problem.quality, float)
    n, k = quality.shape
    if not n or not k:
        raise LunarError("there is nothing to plan: no segment, or no option")
    _check(problem)
    lost = [f"segment {i + 1}" for i in np.flatnonzero(~np.isfinite(quality).any(1))]
    if lost:
        return Shortfall(tuple((f"{name}: every option is closed; it", 1.0, "option") for name in lost))
    problem = replace(problem, rows=[row for row in problem.rows if row.limit < np.inf])
    program, x, instances = _program(problem)
    near = _near(problem, program)
    if near is not None:
        value = objective(problem, near)
        return Assignment(near, value, value, np.zeros(0, dtype=int))
    found = program.solve(time_limit)
    if found.x is None:  # type: ignore[attr-defined]
        if found.status == 2:  # type: ignore[attr-defined]
            return _shortfall(problem, time_limit)
        raise LunarError(f"no plan was found within {time_limit:g} s: take fewer segments or options")
    solution = found.x  # type: ignore[attr-defined]
    choice = solution[x].reshape(n, k).argmax(1)
    bound = -float(found.mip_dual_bound) if found.mip_dual_bound is not None else -float(found.fun)  # type: ignore[attr-defined]
    value = objective(problem, choice)
    return Assignment(choice, value, bound if bound - value > _TIE * max(1.0, abs(value)) else value,
                      np.round(solution[instances]).astype(int))  # fmt: skip


def objective(problem: Problem, choice: np.ndarray) -> float:
    """What ``assign`` maximises, of a choice (N,)."""
    gained = problem.quality[np.arange(len(choice)), choice]
    changes = problem.change * float((choice[1:] != choice[:-1])[_follows(problem)[1:]].sum())
    if problem.worst is None:
        return float(gained.sum()) - changes
    return float(np.bincount(problem.worst, gained).min()) - changes


def used(problem: Problem, choice: np.ndarray) -> dict[str, float]:
    """By row, what a choice (N,) takes."""
    return {row.name: float(row.use[np.arange(len(choice)), choice].sum()) for row in problem.rows}


def met(problem: Problem, choice: np.ndarray) -> bool:
    """Whether a choice (N,) stays within the rows and takes no closed option; not: what is carried, and slots."""
    usable = np.isfinite(problem.quality[np.arange(len(choice)), choice]).all()
    taken = used(problem, choice)
    return bool(usable) and all(taken[row.name] <= row.limit * (1.0 + 1e-9) for row in problem.rows)


def _program(problem: Problem) -> tuple[_Program, np.ndarray, np.ndarray]:
    """The program, and which of its variables are x (N * K,) and instances (K,)."""
    quality = np.asarray(problem.quality, float)
    n, k = quality.shape
    program = _Program()
    usable = np.isfinite(quality)
    safe = np.where(usable, quality, 0.0)
    x = program.variables(n * k, 0.0 if problem.worst is not None else -safe.ravel(), 1.0, True)
    for closed in x[~usable.ravel()].tolist():
        program.upper[closed] = 0.0
    each = x.reshape(n, k)
    for i in range(n):
        program.at_most(each[i], 1.0, 1.0, least=1.0)
    for row in problem.rows:
        use = np.where(usable, row.use, 0.0)
        scale = max(abs(row.limit), float(use.min(1).sum()), 1e-9)
        program.at_most(x, use.ravel(), row.limit, row.name, row.unit, scale)
    if problem.worst is not None:
        _add_worst(program, each, safe, problem.worst)
    for carry in problem.carry:
        _add_carry(program, each, carry)
    instances = _add_slots(program, each, problem.slots) if problem.slots is not None else x[:0]
    if problem.change:
        z = program.variables(n * k, problem.change, 1.0, False).reshape(n, k)  # 1 where an option begins
        for i in np.flatnonzero(_follows(problem)).tolist():
            for j in range(k):
                program.at_most(np.array([each[i, j], each[i - 1, j], z[i, j]]), np.array([1.0, -1.0, -1.0]), 0.0)
    return program, x, instances


def _near(problem: Problem, program: _Program) -> np.ndarray | None:
    """The best choice (N,) where segments share rows alone; None where ``best_near`` does not tell."""
    if problem.carry or problem.slots is not None or problem.worst is not None:
        return None
    n, usable = len(problem.quality), np.isfinite(problem.quality)
    prices = program.prices() if problem.rows else np.zeros(n)
    if prices is None:
        return None
    use = np.array([np.where(usable, row.use, 0.0) for row in problem.rows]).reshape(-1, *usable.shape)
    limit = np.array([row.limit for row in problem.rows])
    cost = np.where(usable, -problem.quality, np.inf)
    chain = Chain(cost, problem.change * _follows(problem), use, limit)
    return best_near(chain, prices[n : n + len(limit)])  # after one equation per segment


def _add_worst(program: _Program, each: np.ndarray, quality: np.ndarray, worst: np.ndarray) -> None:
    """The smallest group's sum t, as the difference of two variables that are not negative."""
    t = np.concatenate([program.variables(1, -1.0, np.inf, False), program.variables(1, 1.0, np.inf, False)])
    for group in np.unique(worst):
        mine = worst == group
        columns = np.concatenate([t, each[mine].ravel()])
        program.at_most(columns, np.concatenate([[1.0, -1.0], -quality[mine].ravel()]), 0.0)


def _add_carry(program: _Program, each: np.ndarray, carry: Carry) -> None:
    for robot in np.unique(carry.robot):
        y = program.variables(len(carry.size), 0.0, 1.0, True)
        for options in each[carry.robot == robot]:
            for part, carried in enumerate(y):
                own = options[carry.part == part]
                program.at_most(np.append(own, carried), np.append(np.ones(len(own)), -1.0), 0.0)
        limit = float(carry.limit[robot])
        program.at_most(y, carry.size, limit, f"{carry.name} {robot + 1}", carry.unit, max(limit, 1.0))


def _add_slots(program: _Program, each: np.ndarray, slots: Slots) -> np.ndarray:
    k = each.shape[1]
    chosen = slots.instances is None
    instances = program.variables(k, 0.0, np.inf, True)
    if chosen:
        program.at_most(instances, slots.cores, slots.limit, "cores", "", max(slots.limit, 1.0))
    else:
        for j in range(k):
            program.upper[instances[j]] = float(slots.instances[j])  # type: ignore[index]
    for batch in np.unique(slots.batch):
        mine = each[slots.batch == batch]
        for j in range(k):
            program.at_most(
                np.append(mine[:, j], instances[j]),
                np.append(np.ones(len(mine)), -float(min(slots.serves[j], len(mine)))), 0.0,
                "" if chosen else f"slots of option {j + 1}",
            )  # fmt: skip
    return instances


def _shortfall(problem: Problem, time_limit: float) -> Shortfall:
    """Phase one: every limit may be exceeded, and the sum of the relative excesses is least."""
    program, _, _ = _program(problem)
    program.cost = [0.0] * len(program.cost)
    slack = {}
    for row, (name, _, scale) in enumerate(program.elastic):
        if name:
            slack[row] = program.variables(1, 1.0 / scale, np.inf, False)[0]
            program.entries.append((row, int(slack[row]), -1.0))
    found = program.solve(time_limit)
    if found.x is None:  # type: ignore[attr-defined]
        raise LunarError("no plan meets the limits, and no way to mend them was found in time: take fewer segments")
    short = {row: float(found.x[column]) for row, column in slack.items()}  # type: ignore[attr-defined]
    names = [(row, *program.elastic[row]) for row in short]
    return Shortfall(tuple((name, short[row], unit) for row, name, unit, scale in names if short[row] > 1e-9 * scale))


def _follows(problem: Problem) -> np.ndarray:
    if problem.follows is not None:
        return problem.follows
    return np.arange(len(problem.quality)) > 0


def _check(problem: Problem) -> None:
    """Refuse what makes no sense, by name."""
    shape = problem.quality.shape
    usable = np.isfinite(problem.quality)
    for row in problem.rows:
        if row.use.shape != shape or np.isnan(row.limit):
            raise LunarError(f"{row.name}: {row.use.shape} uses under a limit of {row.limit}, {shape} are planned")
        if not np.isfinite(row.use[usable]).all():
            raise LunarError(f"{row.name}: what an open option takes is no number")
    if problem.change < 0.0:
        raise LunarError(f"a change costs {problem.change:g}; it must not be negative")
