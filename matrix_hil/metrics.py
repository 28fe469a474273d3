"""What a run was like: hops, trips, lateness, and how well the rig kept lunar gravity."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix_hil.loop import Cycle
from matrix_hil.rig.counterweight import wanted_tension
from matrix_hil.sync import SyncConfig
from sim.rig import VirtualRig

_SHORTEST = 0.08  # s of rising or falling from which an acceleration can be fitted
_TURN = 0.05  # m/s of vertical speed around the apex that belong to neither


def percentiles(seconds: list[float]) -> dict[str, float]:
    """``p50``, ``p99`` and ``p999`` in microseconds; NaN without samples."""
    values = np.percentile(seconds, [50, 99, 99.9]) * 1e6 if seconds else [np.nan] * 3
    return dict(zip(("p50", "p99", "p999"), (float(v) for v in values), strict=True))


class RunMetrics:
    """Collects cycles of one run.

    Args:
        cfg: rates and mass.
        rig: the virtual rig, whose true vertical speed shows the gravity in flight; None on real machines.
    """

    def __init__(self, cfg: SyncConfig, rig: VirtualRig | None) -> None:
        self._cfg = cfg
        self._rig = rig
        self._durations: list[float] = []
        self._lateness: list[float] = []
        self._rows: list[tuple[float, ...]] = []
        self._last: Cycle | None = None

    def add(self, cycle: Cycle) -> None:
        """Take one cycle."""
        self._last = cycle
        if not cycle.info.running:
            return
        rope, belt, tracker = cycle.states.counterweight, cycle.states.treadmill, cycle.states.tracker
        speed = float(self._rig.center_of_mass()[1][2]) if self._rig is not None else float(cycle.info.velocity[2])
        self._rows.append((
            cycle.time,
            float(cycle.info.airborne),
            speed,
            rope.tension if rope is not None else np.nan,
            belt.speed if belt is not None else np.nan,
            cycle.info.speed_over_belt,
            *(tracker.position[:2] if tracker is not None else (np.nan, np.nan)),
        ))  # fmt: skip

    def timed(self, duration: float, lateness: float) -> None:
        """Take a cycle's computing time and how late it started, s."""
        self._durations.append(duration)
        self._lateness.append(max(0.0, lateness))

    def results(self, clock: str) -> dict[str, Any]:
        """Plain data; see README for the keys."""
        period = 1.0 / self._cfg.rate
        if clock == "wall":
            kind, late = "start of a cycle after its deadline", self._lateness
        else:
            # nobody is late in simulated time; this is what the bridge's own work would have cost
            kind, late = (
                "computing time beyond the period, clock waits",
                [max(0.0, d - period) for d in self._durations],
            )
        out: dict[str, Any] = {
            "clock": clock,
            "lateness_kind": kind,
            "lateness_us": percentiles(late),
            "cycle_us": percentiles(self._durations),
            "cycles": len(self._durations),
        }
        last = self._last
        if last is not None:
            out |= {
                "hops": last.info.hops,
                "pronks": last.info.pronks,
                "trips": last.supervisor.trips,
                "stale_commands": last.supervisor.stale_commands,
                "terrain_error_m": last.info.terrain_error,
            }
        return out | self._physics(period)

    def _physics(self, period: float) -> dict[str, Any]:
        rows = np.array(self._rows).reshape(-1, 8)
        flying = rows[:, 1] > 0
        rising, falling = _flight_gravity(rows[:, 0], flying, rows[:, 2])
        miss = rows[:, 3] - wanted_tension(self._cfg.mass)
        belt = np.diff(rows[:, 4], prepend=rows[:1, 4]) / period
        return {
            "run_seconds": len(rows) * period,
            "flight_fraction": float(flying.mean()) if len(rows) else 0.0,
            "flight_gravity": {"rising": rising, "falling": falling},
            "tension_error_n": {"flight_rms": _rms(miss[flying]), "stance_rms": _rms(miss[~flying])},
            "belt_acceleration_flight_rms": _rms(belt[flying]),
            "speed_over_belt": float(rows[:, 5].mean()) if len(rows) else float("nan"),
            "offset_max_m": float(np.nanmax(np.abs(rows[:, 6:]))) if len(rows) else float("nan"),
        }


def _flight_gravity(time: np.ndarray, flying: np.ndarray, speed: np.ndarray) -> tuple[float, float]:
    """Median over flights of the downward acceleration while rising and while falling, m/s^2."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flying, [False]]).astype(int)))
    fits: tuple[list[float], list[float]] = ([], [])
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        t, v = time[begin:end], speed[begin:end]
        for out, part in zip(fits, (v > _TURN, v < -_TURN), strict=True):
            if part.sum() >= 3 and np.ptp(t[part]) >= _SHORTEST:
                out.append(-np.polyfit(t[part], v[part], 1)[0])
    return tuple(float(np.median(f)) if f else float("nan") for f in fits)  # type: ignore[return-value]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")
