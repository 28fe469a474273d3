"""The numbers of ``lunar eval``: pure functions of what ``trials`` recorded. docs/evaluation.md defines each key."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from policy.evaluation.trials import Trials
from policy.runtime.card import STEADY
from sim.spec.hops import HopTable, longest_run

COUNT_TIME = 20.0  # s that counts are scaled to
MOVING = 0.1  # m/s: robots commanded to go slower have no cost of transport
TOUCHDOWN = 0.1  # s before touch-down over which estimates are judged apart
RECOVERY = 2.0  # s that a robot must stay up after a push
HOPPING = 2.5  # s before the end within which a robot that hops has landed
UPRIGHT = math.radians(60.0)
BINS = 4  # of gravity


def summarise(trials: Trials) -> dict[str, Any]:
    """All metrics by name; medians with ``_p95`` beside them where spread matters, NaN for what did not happen."""
    n, t = len(trials.survived), trials.hops
    low, high = wilson(int(trials.survived.sum()), n)
    alive, flying = trials.alive, trials.alive & trials.airborne
    along = np.linalg.norm(trials.velocity[:, :, :2] - trials.command[:, :2], axis=2)
    turn = np.abs(trials.yaw_rate - trials.command[:, 2])
    scale = COUNT_TIME / trials.duration / n
    return {
        "robots": n,
        "seconds": trials.duration,
        "survival": float(trials.survived.mean()),
        "survival_low": low,
        "survival_high": high,
        **_by_map(trials),
        **_at_end(trials),
        "knee_strikes": float((trials.strikes * alive).sum()) * scale,
        "hops": len(t) * scale,
        "pronks": float(t.pronk.sum()) * scale,
        "longest_run": float(longest_run(t, n).mean()),
        "flight_fraction": float(flying.sum() / alive.sum()),
        "apex_gain": _mean(t.apex_gain),
        "apex_error": _mean(np.abs(t.apex_gain - trials.command[t.robot, 3])),
        "velocity_error": _mean(along[flying]),
        "yaw_rate_error": _mean(turn[alive]),
        **_spreads(t),
        **_effort(trials),
        **estimator_errors(
            trials.estimate - trials.truth, trials.estimates, alive, trials.airborne,
            before_touchdown(t, trials.dt, *alive.shape),
        ),
        **_pushes(trials),
        **_by_gravity(trials),
    }  # fmt: skip


def _by_map(trials: Trials) -> dict[str, float]:
    """How survival differs from map to map: standard deviation over maps, and the worst."""
    shares = [float(trials.survived[trials.map == k].mean()) for k in np.unique(trials.map)]
    if len(shares) < 2:
        return {}
    return {"survival_sd_maps": float(np.std(shares, ddof=1)), "survival_worst_map": min(shares)}


def _at_end(trials: Trials) -> dict[str, float]:
    """Who is upright and hopping at the end, and which of those who fell are."""
    well = (trials.tilt[-1] <= UPRIGHT) & (trials.landings >= trials.duration - HOPPING)
    return {"hopping_at_end": float(well.mean()), "recovered": _mean(well[~trials.survived])}


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95% confidence interval of a proportion (Wilson 1927)."""
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def cost_of_transport(
    power: np.ndarray, velocity: np.ndarray, command: np.ndarray, alive: np.ndarray, weight: np.ndarray
) -> float:
    """Positive mechanical work over weight and distance along the command, of all robots commanded to go, together.

    Args:
        power: (T, N) W.
        velocity: (T, N, 2) m/s, in the command's frame.
        command: (N, 2) m/s; robots commanded to go slower than ``MOVING`` are left out.
        alive: (T, N) bool, rows that count.
        weight: (N,) N where the robot is.

    Returns:
        1; NaN when nobody was commanded to go, infinity when all together got nowhere.
    """
    speed = np.linalg.norm(command, axis=1)
    moving = speed >= MOVING
    if not moving.any():
        return math.nan
    along = np.einsum("tnk,nk->tn", velocity[:, moving], command[moving] / speed[moving, None])
    rows = alive[:, moving]
    distance = float((along * weight[moving])[rows].sum())
    return float(power[:, moving][rows].sum()) / distance if distance > 0.0 else math.inf


def before_touchdown(hops: HopTable, dt: float, steps: int, robots: int) -> np.ndarray:
    """(T, N) bool, states within ``TOUCHDOWN`` seconds before the end of a hop's flight; row k is at k * dt."""
    window = np.zeros((steps, robots), dtype=bool)
    touchdown = hops.liftoff_time + hops.flight_time
    first = np.ceil((touchdown - TOUCHDOWN) / dt - 1e-6).astype(int)
    for i in range(math.ceil(TOUCHDOWN / dt - 1e-6)):
        row = first + i
        inside = (row >= 0) & (row < steps) & (row * dt < touchdown - 1e-9)
        window[row[inside], hops.robot[inside]] = True
    return window


def estimator_errors(
    error: np.ndarray, names: tuple[str, ...], alive: np.ndarray, airborne: np.ndarray, touchdown: np.ndarray
) -> dict[str, float]:
    """Root mean squares of ``vz`` (m/s), ``vxy`` (m/s, length of the horizontal error), ``height`` (m), and of gravity
    and the joints' friction and damping where they are estimated: over all states, in flight, in stance and shortly
    before touch-down.

    Args:
        error: (T, N, E) estimate minus truth.
        names: of the E columns; quantities that are not among them get NaN.
        alive: (T, N) bool, states that count.
        airborne: (T, N) bool.
        touchdown: (T, N) bool.
    """
    quantities = {"vz": ("vz",), "vxy": ("vx", "vy"), "height": ("height",)}
    quantities |= {name: (name,) for name in STEADY if name in names}
    phases = {"": alive, "_flight": alive & airborne, "_stance": alive & ~airborne, "_touchdown": alive & touchdown}
    results = {}
    for phase, rows in phases.items():
        for quantity, parts in quantities.items():
            mean = math.nan
            if set(parts) <= set(names) and rows.any():
                columns = [names.index(part) for part in parts]
                mean = float(np.square(error[rows][:, columns], dtype=float).sum(1).mean())
            results[f"{quantity}_rmse{phase}"] = math.sqrt(mean)
    return results


def push_survival(pushed: np.ndarray, alive: np.ndarray, kind: int, dt: float) -> tuple[int, float]:
    """Number of pushes of a kind with at least ``RECOVERY`` seconds of trial after them, and the share of them after
    which the robot was still up then. ``pushed`` (T, N) kinds, ``alive`` (T, N)."""
    wait = round(RECOVERY / dt)
    rows, robots = np.nonzero((pushed[:-wait] == kind) & alive[:-wait])
    return len(rows), _mean(alive[rows + wait, robots])


def _spreads(t: HopTable) -> dict[str, float]:
    columns = {
        "touchdown_tilt_deg": np.degrees(t.touchdown_tilt),
        "liftoff_spread_ms": 1e3 * t.liftoff_spread,
        "touchdown_spread_ms": 1e3 * t.touchdown_spread,
        "peak_force_lunar_bw": t.peak_force,
    }
    return {
        name + suffix: float(np.quantile(column, level, method="lower")) if len(t) else math.nan
        for name, column in columns.items()
        for suffix, level in (("", 0.5), ("_p95", 0.95))
    }


def _effort(trials: Trials) -> dict[str, float]:
    alive = trials.alive
    results = {
        "power_w": _mean(trials.power[alive]),
        "cost_of_transport": cost_of_transport(
            trials.power, trials.velocity[:, :, :2], trials.command[:, :2], alive, trials.mass * trials.gravity
        ),
    }
    for name in ("torque_share", "speed_share", "power_share"):
        values = getattr(trials, name)[alive]
        results |= {f"{name}_p95": float(np.quantile(values, 0.95)), f"{name}_max": float(values.max())}
    return results


def _pushes(trials: Trials) -> dict[str, Any]:
    if not trials.pushed.any():
        return {}
    results: dict[str, Any] = {}
    for kind, name in ((2, "flight"), (1, "stance")):
        count, share = push_survival(trials.pushed, trials.alive, kind, trials.dt)
        results |= {f"pushes_{name}": count, f"push_{name}_survival": share}
    return results


def _by_gravity(trials: Trials) -> dict[str, Any]:
    """The chief metrics apart for ``BINS`` equal parts of the range, where gravity differs from robot to robot."""
    g, t = trials.gravity, trials.hops
    edges = np.linspace(g.min(), g.max(), BINS + 1)
    if np.ptp(g) < 0.01:
        return {}
    place = np.clip(np.searchsorted(edges, g, side="right") - 1, 0, BINS - 1)
    error = np.abs(t.apex_gain - trials.command[t.robot, 3])
    scale = COUNT_TIME / trials.duration
    return {
        "by_gravity": [
            {
                "gravity": [float(edges[i]), float(edges[i + 1])],
                "robots": int((place == i).sum()),
                "survival": _mean(trials.survived[place == i]),
                "pronks": float(t.pronk[place[t.robot] == i].sum()) * scale / max(int((place == i).sum()), 1),
                "apex_error": _mean(error[place[t.robot] == i]),
            }
            for i in range(BINS)
        ]
    }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=float)) if len(values) else math.nan
