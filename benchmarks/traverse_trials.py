"""What choosing per segment is worth by the table's own trials: of maps left out, the rows whose gait would be chosen.

Every gait was tried on every map, so that the rows of a choice are a fair sample of what it would have met: 44 km of
hops without a further step of simulation, where closed-loop runs of ``lunar bench traverse`` have a few.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from policy.traverse.assign import Problem, Row, assign
from policy.traverse.estimate import estimate, fit_hazard
from policy.traverse.make import Ways, ways_of
from policy.traverse.options import Computers, options_of
from policy.traverse.table import Table

HELD_GROUND = "polar-rough"
FOLDS = 3
PRICES = (0.0, 1e-5, 1e-4, 3e-4)
"""Expected falls that a joule counts as."""


def by_trials(table: Table, computers: Computers, seed: int = 0) -> list[dict[str, Any]]:
    """Falls and joules per metre of the best option for all and of the best option row by row, both chosen by what maps
    of other seeds say."""
    options = options_of(table.gaits, computers)
    gait = np.array([o.gait for o in options])
    watts = np.array([computers.computers[o.computer].watts for o in options])
    fold = np.array([cell.seed % FOLDS for cell in table.cells])[table.cell]
    rows = np.arange(len(fold))
    ways: list[tuple[np.ndarray, Ways]] = []
    for k in range(FOLDS):
        out = rows[fold == k]
        found = estimate(table.rows(fold != k), table.features[out].astype(float), seed)
        ways.append((out, ways_of(found, table.metres[out], options, computers)))
    results = []
    for price in PRICES:
        chosen = {name: np.zeros(len(rows), dtype=int) for name in ("constant", "per segment", "per segment, robust")}
        expected = np.zeros((len(rows), len(options)))
        for out, w in ways:
            plain, robust = (w.problem(None, None, r, energy=price).quality for r in (False, True))
            chosen["constant"][out] = plain.sum(0).argmax()
            chosen["per segment"][out], chosen["per segment, robust"][out] = plain.argmax(1), robust.argmax(1)
            expected[out] = w.falls
        for name, choice in chosen.items():
            mine = gait[choice] == table.gait
            metres, falls = float(table.metres[mine].sum()), int(table.fell[mine].sum())
            joules = table.joules / computers.joint_efficiency + watts[choice] * table.seconds
            results.append({
                "choice": name, "price": price, "metres": metres, "falls": falls, "per_100_m": 100.0 * falls / metres,
                "expected": float(expected[rows, choice][mine].sum()),
                "joules_per_metre": float(joules[mine].sum() / metres),
            })  # fmt: skip
    return results


def calibration(table: Table, train: int) -> dict[str, list[float]]:
    """Expected over seen falls on held-out maps, in thirds of expected difficulty, by way of estimating."""
    fitted = table.on(lambda c: c.seed <= train and c.ground != HELD_GROUND)
    held = table.on(lambda c: c.seed > train or c.ground == HELD_GROUND)
    own = np.arange(len(held.gait)), held.gait
    falls, metres = (np.bincount(fitted.gait, v, len(table.gaits)) for v in (fitted.fell, fitted.metres))
    means = (falls + 0.5) / metres
    rates = {
        "hazard": fit_hazard(fitted, bootstraps=1)(held.features.astype(float))[own], "mean": means[held.gait],
        "neighbours": _neighbours(fitted, held, means),
    }  # fmt: skip
    found = {}
    for name, rate in rates.items():
        thirds = np.array_split(np.argsort(rate, kind="stable"), 3)
        found[name] = [float((rate * held.metres)[i].sum() / max(held.fell[i].sum(), 0.5)) for i in thirds]
    return found


def _neighbours(fitted: Table, held: Table, means: np.ndarray, count: int = 150) -> np.ndarray:
    """Falls per metre of the rows of the same gait that are most alike, with half a fall of its mean rate beside."""
    deviation = np.maximum(fitted.features.astype(float).std(0), 1e-6)
    rate = np.zeros(len(held.gait))
    for g in range(len(means)):
        mine, asked = fitted.rows(fitted.gait == g), held.gait == g
        known, wanted = mine.features / deviation, held.features[asked] / deviation
        far = (known**2).sum(1) - 2.0 * wanted @ known.T
        near = np.argpartition(far, count, axis=1)[:, :count]
        rate[asked] = (mine.fell[near].sum(1) + 0.5) / (mine.metres[near].sum(1) + 0.5 / means[g])
    return rate


def speed(times: int) -> float:
    """s of computing time, 95th percentile over random batches of 200 segments and 20 options with two budgets that
    bind; in every other one changes cost too."""
    rng, taken = np.random.default_rng(0), []
    for k in range(times):
        falls, use = rng.exponential(0.02, (200, 20)), rng.uniform(20.0, 60.0, (200, 20))
        rows = (
            Row("battery", "J", use, 200 * 30.0),
            Row("time", "s", (spent := 100.0 / use), 0.75 * float(spent.max(1).sum())),
        )
        begin = time.process_time()
        assign(
            Problem(-falls, rows, change=0.003 * (k % 2)), time_limit=120.0
        )  # by the wall, which a busy computer stretches
        taken.append(time.process_time() - begin)
    return float(np.percentile(taken, 95))
