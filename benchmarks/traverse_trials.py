"""What choosing per segment is worth by the table's own trials: of maps left out, the rows whose gait would be chosen.

Every gait was tried on every map, so that the rows of a choice are a fair sample of what it would have met: 44 km of
hops without a further step of simulation, where closed-loop runs of ``lunar bench traverse`` have a few.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from policy.traverse.estimate import estimate
from policy.traverse.make import Ways, ways_of
from policy.traverse.options import Computers, options_of
from policy.traverse.table import Table

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
