"""System identification: the mass, friction, motor strength and delay with which the simulator does what a robot did.

Nonlinear least squares (``scipy.optimize.least_squares``, trust region, soft-L1 loss) over many short stretches of
a log that start in logged states. A Jacobian costs one call: every stretch is simulated for every shifted parameter at
once. Uncertainty is the sandwich estimate with one cluster per stretch, as misses within a stretch hang together; what
a log does not tell (friction, when no foot slips) is found out by that and left at its nominal value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from matrix_hil.replay.plants import Body, Motion, Robots, logged
from matrix_hil.replay.trajectory import DT


@dataclass(frozen=True)
class Unknown:
    """One parameter of ``Body`` that is fitted."""

    low: float
    high: float
    step: float
    """Shift for the Jacobian."""
    known: float
    """Standard deviation within which the log must tell it."""
    margin: float
    """Half width that its randomisation range has at least."""


UNKNOWNS = {
    "added_mass": Unknown(-4.0, 8.0, 0.05, 0.5, 0.2),
    "friction": Unknown(0.1, 1.5, 0.02, 0.08, 0.05),
    "strength": Unknown(0.4, 1.6, 0.01, 0.05, 0.03),
    "delay": Unknown(0.0, 0.02, 2e-4, 0.002, 0.001),
}
"""By field of ``Body``."""
_SCALES = {"joint_position": 0.01, "joint_velocity": 0.5, "base_position": 0.003, "base_quaternion": 0.005}
"""rad, rad/s, m, 1: what simulation and measurement may differ by after a stretch with the right robot."""
_OUTLIER = 20.0  # scales; a simulation that fell over says no more than that
_CHECKED = 4  # every so many-th sample is compared


@dataclass(frozen=True)
class Fit:
    """What a log says of its robot."""

    body: Body
    """Fitted; what is not identified has its nominal value."""
    deviation: dict[str, float]
    """Standard deviation of what was looked for; see ``_SCALES``."""
    identified: tuple[str, ...]
    cost_before: float
    """Mean loss per compared value at the nominal robot."""
    cost: float
    evaluations: int
    """Jacobians computed."""

    def ranges(self) -> dict[str, list[float]]:
        """Two standard deviations around each identified parameter, in the words of ``RandomisationConfig``."""
        out = {}
        for name in self.identified:
            unknown, value = UNKNOWNS[name], getattr(self.body, name)
            half = max(2.0 * self.deviation[name], unknown.margin)
            out[name] = [round(max(unknown.low, value - half), 4), round(min(unknown.high, value + half), 4)]
        return out


def fit(
    robots: Robots, starts: np.ndarray, length: float, nominal: Body, names: Sequence[str] = tuple(UNKNOWNS)
) -> Fit:
    """Fit ``names``, from ``nominal`` on, to stretches of ``length`` s from samples ``starts`` (W,) on."""
    problem = _Problem(robots, starts, round(length / DT), nominal)
    identified: tuple[str, ...] = tuple(names)
    deviation: dict[str, float] = {}
    while True:
        solved = problem.solve(identified)
        found = problem.deviations(identified, solved.x)
        deviation |= dict(zip(identified, found.tolist(), strict=True))
        unsure = [n for n in identified if not deviation[n] <= UNKNOWNS[n].known]
        if not unsure:
            break
        # the least certain one first: without it the others may stand out
        worst = max(unsure, key=lambda n: deviation[n] / UNKNOWNS[n].known)
        identified = tuple(n for n in identified if n != worst)
        if not identified:
            break
    body = problem.body(identified, solved.x) if identified else problem.nominal
    return Fit(body, deviation, identified, problem.first, problem.cost(body), problem.evaluations)


class _Problem:
    """Residuals and Jacobian, both from one batch, kept for the point where they were last asked for."""

    def __init__(self, robots: Robots, starts: np.ndarray, count: int, nominal: Body) -> None:
        self.robots = robots
        self.starts = starts
        self.count = count
        self.nominal = nominal
        self.evaluations = 0
        self.first = np.nan
        self._logged = logged(robots.path, starts, count)
        self._at: tuple[tuple[str, ...], bytes] | None = None
        self._values: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))

    def body(self, names: Sequence[str], x: np.ndarray) -> Body:
        """The candidate; ``x`` is in units of ``Unknown.step``."""
        return replace(self.nominal, **{n: float(v) * UNKNOWNS[n].step for n, v in zip(names, x, strict=True)})

    def solve(self, names: tuple[str, ...]) -> Any:
        """Least squares from the nominal robot on."""
        steps = np.array([UNKNOWNS[n].step for n in names])
        low, high = (np.array([getattr(UNKNOWNS[n], end) for n in names]) / steps for end in ("low", "high"))
        start = np.clip(np.array([getattr(self.nominal, n) for n in names]) / steps, low + 0.1, high - 0.1)
        result = least_squares(
            lambda x: self._evaluate(names, x)[0].ravel(),
            start,
            jac=lambda x: self._evaluate(names, x)[1].reshape(-1, len(names)),
            bounds=(low, high),
            loss="soft_l1",
            x_scale="jac",
            ftol=1e-4,
            xtol=1e-4,
            max_nfev=25,
        )
        return result

    def deviations(self, names: tuple[str, ...], x: np.ndarray) -> np.ndarray:
        """Standard deviations of the parameters, in their own units; infinite where the log says nothing.

        That of the stretches' scatter, and that of an error of one ``_SCALES`` in every value, so that a log which
        happens to fit well is not believed to tell what hardly moves the robot.
        """
        residual, jacobian = self._evaluate(names, x)
        weight = 1.0 / np.sqrt(1.0 + residual**2)  # of soft-L1, to first order
        jacobian = jacobian.reshape(len(self.starts), -1, len(names))
        residual, weight = residual.reshape(len(self.starts), -1), weight.reshape(len(self.starts), -1)
        curvature = np.einsum("wri,wr,wrj->ij", jacobian, weight, jacobian)
        scores = np.einsum("wri,wr->wi", jacobian, weight * residual)
        observable = np.diag(curvature) > 1e-9 * np.diag(curvature).max(initial=1e-12)
        out = np.full(len(names), np.inf)
        both = np.ix_(observable, observable)
        if np.linalg.matrix_rank(curvature[both]) == observable.sum() > 0:
            inverse = np.linalg.inv(curvature[both])
            clusters = len(self.starts) / max(1, len(self.starts) - observable.sum())
            scatter = scores[:, observable].T @ scores[:, observable]
            out[observable] = np.sqrt(np.diag(inverse + clusters * inverse @ scatter @ inverse))
        return out * np.array([UNKNOWNS[n].step for n in names])

    def cost(self, body: Body) -> float:
        """Mean loss per compared value."""
        residual = self._residuals(self.robots.simulate(self.starts, self.count, [body]))
        return float(np.mean(2.0 * (np.sqrt(1.0 + residual**2) - 1.0)))

    def _evaluate(self, names: tuple[str, ...], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (W, R) and Jacobian (W, R, P) at ``x``."""
        key = (names, x.tobytes())
        if key != self._at:
            shifts = np.eye(len(names))
            bodies = [self.body(names, x), *(self.body(names, x + s) for s in shifts)]
            residual = self._residuals(self.robots.simulate(self.starts, self.count, bodies))
            jacobian = np.moveaxis(residual[1:] - residual[0], 0, -1)
            self._at, self._values = key, (residual[0], jacobian)
            self.evaluations += 1
            if np.isnan(self.first):
                self.first = float(np.mean(2.0 * (np.sqrt(1.0 + residual[0] ** 2) - 1.0)))
        return self._values

    def _residuals(self, motion: Motion) -> np.ndarray:
        """(B, W, R), in units of ``_SCALES``."""
        parts = []
        for name, scale in _SCALES.items():
            gap = (getattr(motion, name) - getattr(self._logged, name))[:, :, _CHECKED::_CHECKED] / scale
            parts.append(gap.reshape(*gap.shape[:2], -1))
        return np.clip(np.nan_to_num(np.concatenate(parts, axis=-1), nan=_OUTLIER), -_OUTLIER, _OUTLIER)
