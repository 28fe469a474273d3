"""What a table of trials says of segments: falls per metre with their doubt, joules and seconds, gait by gait.

Falls are a Poisson process along the way: metres are the exposure and a fall ends it. Doubt comes of resampling the
*maps* of the table, as rows of one map are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policy.traverse.table import Table
from sim.errors import LunarError
from sim.terrain.segments import FEATURES

BOOTSTRAPS, QUANTILE = 50, 0.9
_RIDGE = (1e-6, 2.0, 20.0, 60.0)
"""Falls that a coefficient of the common level, of a gait's, of a slope and of a trait's slope is worth, by likelihood
on maps left out."""
_LOGS = (-12.0, 2.0)  # of falls per metre
_SPREAD = ("bumps_5cm", "bumps_10cm")  # shares near zero, of which the square root is taken


@dataclass(frozen=True)
class Estimate:
    """Of N segments and G gaits."""

    falls: np.ndarray
    """(N, G) per metre."""
    again: np.ndarray
    """(B, N, G) per metre, by every bootstrap."""
    joules: np.ndarray
    """(N, G) per metre, positive work of the joints."""
    seconds: np.ndarray
    """(N, G) per metre."""


def estimate(table: Table, features: np.ndarray, seed: int = 0) -> Estimate:
    """Of segments with ``features`` (N, F), as ``sim.terrain.segments.features``; ``seed`` is the bootstrap's.

    Raises:
        LunarError: a gait without trials.
    """
    metres = np.bincount(table.gait, table.metres, len(table.gaits))
    for gait, tried in zip(table.gaits, metres, strict=True):
        if tried == 0.0:
            raise LunarError(f"the table has no trial of {gait.title}: run 'lunar traverse table' to its end")
    hazard = fit_hazard(table, seed)
    falls, again = hazard(features), hazard.again(features)
    return Estimate(falls, again, rates(table, table.joules, features), rates(table, table.seconds, features))


def upper(falls: np.ndarray, again: np.ndarray) -> np.ndarray:
    """The 90th percentile of ``again`` (B, ...) over the bootstraps, and no less than ``falls`` (...)."""
    return np.maximum(np.quantile(again, QUANTILE, axis=0), falls)


@dataclass(frozen=True)
class Hazard:
    """Falls per metre, log-linear in the features."""

    scale: _Scale
    traits: np.ndarray
    """(G, T) of the gaits."""
    weights: np.ndarray
    """(C,)."""
    bootstraps: np.ndarray
    """(B, C), of resampled maps."""

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N, G) per metre for ``features`` (N, F)."""
        return self.again(features, self.weights[None])[0]

    def again(self, features: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """(B, N, G), by every bootstrap."""
        n, gaits = len(features), len(self.traits)
        rows, gait = np.repeat(self.scale(features), gaits, axis=0), np.tile(np.arange(gaits), n)
        logs = _design(rows, gait, self.traits) @ (self.bootstraps if weights is None else weights).T
        return np.exp(np.clip(logs, *_LOGS)).T.reshape(-1, n, gaits)


def fit_hazard(table: Table, seed: int = 0, bootstraps: int = BOOTSTRAPS) -> Hazard:
    """A level of every gait, and slopes that differ by speed, apex and policy, all shrunk towards what is common:
    Poisson regression with a ridge, by Newton's method. A bootstrap is one more step of it, on maps drawn with
    replacement: their slopes and curvatures are known from the last step, so that fifty cost no more than one."""
    scale, traits = _Scale(table.features), _traits(table)
    design = _design(scale(table.features), table.gait, traits)
    weights = np.zeros(design.shape[1])
    weights[0] = np.log(max(float(table.fell.sum()), 0.5) / float(table.metres.sum()))
    parts = 1, len(traits), table.features.shape[1], traits.shape[1] * table.features.shape[1]
    ridge = np.repeat(_RIDGE, parts)
    for _ in range(30):
        expected = table.metres * np.exp(np.clip(design @ weights, *_LOGS))
        slope = design.T @ (table.fell - expected) - ridge * weights
        step = np.linalg.solve((design * expected[:, None]).T @ design + np.diag(ridge), slope)
        weights += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-9))
        if np.abs(step).max() < 1e-4:
            break
    expected = table.metres * np.exp(np.clip(design @ weights, *_LOGS))
    maps = [table.cell == cell for cell in np.unique(table.cell)]
    slopes = np.array([design[m].T @ (table.fell - expected)[m] for m in maps])
    curves = np.array([(design[m] * expected[m, None]).T @ design[m] for m in maps])
    drawn = np.random.default_rng(seed).multinomial(len(maps), np.full(len(maps), 1.0 / len(maps)), bootstraps)
    again = [
        weights + np.linalg.solve(np.tensordot(d, curves, 1) + np.diag(ridge), d @ slopes - ridge * weights)
        for d in drawn
    ]
    return Hazard(scale, traits, weights, np.array(again).reshape(-1, len(weights)))


class _Scale:
    """Features to zero mean and unit spread over a table, and not beyond its first and last percent."""

    def __init__(self, seen: np.ndarray) -> None:
        values = self._spread(seen)
        self._mean, self._deviation = values.mean(0), np.maximum(values.std(0), 1e-6)
        self._range = np.percentile((values - self._mean) / self._deviation, (1.0, 99.0), axis=0)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return np.clip((self._spread(features) - self._mean) / self._deviation, *self._range)

    @staticmethod
    def _spread(features: np.ndarray) -> np.ndarray:
        values = np.array(features, dtype=float)
        columns = [FEATURES.index(name) for name in _SPREAD]
        values[:, columns] = np.sqrt(np.maximum(values[:, columns], 0.0))
        return values


def _traits(table: Table) -> np.ndarray:
    """(G, 3 or more) of each gait: speed and apex about their means, scaled, and which policy it has."""
    numbers = np.array([[g.vx, g.apex] for g in table.gaits])
    numbers = (numbers - numbers.mean(0)) / np.maximum(numbers.std(0), 1e-6)
    policies = sorted({g.policy for g in table.gaits})
    return np.column_stack([numbers, [[g.policy == name for name in policies] for g in table.gaits]])


def _design(scaled: np.ndarray, gait: np.ndarray, traits: np.ndarray) -> np.ndarray:
    """(R, C): one, the gait, the features, and the features by each trait."""
    own = traits[gait]
    products = (scaled[:, :, None] * own[:, None, :]).reshape(len(scaled), -1)
    return np.column_stack([np.ones(len(scaled)), np.eye(len(traits))[gait], scaled, products])


def rates(table: Table, amount: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(N, G) of ``amount`` (R,) per metre, linear in the features, each gait for itself."""
    scale = _Scale(table.features)
    asked = np.column_stack([np.ones(len(features)), scale(features)])
    found = np.zeros((len(features), len(table.gaits)))
    for g in range(len(table.gaits)):
        mine = (table.gait == g) & ~table.fell
        mine = mine if mine.any() else table.gait == g
        known, metres = np.column_stack([np.ones(mine.sum()), scale(table.features[mine])]), table.metres[mine]
        ridge = np.diag([0.0, *[2.0] * (known.shape[1] - 1)])  # m of a slope's worth
        weights = np.linalg.solve((known * metres[:, None]).T @ known + ridge, known.T @ amount[mine])
        mean = float(amount[mine].sum() / metres.sum())
        found[:, g] = np.clip(asked @ weights, 0.5 * mean, 3.0 * mean)
    return found
