"""What a run was like: hops, trips, timing, and how well the rig kept gravity, place and ground."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from matrix_hil.control.counterweight import wanted_tension
from matrix_hil.control.platform import HopHeights
from matrix_hil.control.sync import SyncConfig
from matrix_hil.messages import MachineStates, RigTruth
from matrix_hil.run.loop import Cycle
from policy.runtime.monitor import NOTHING

_SHORTEST = 0.08  # s of rising or falling from which an acceleration can be fitted
_TURN = 0.05  # m/s of vertical speed around the apex that belong to neither
BASES = {"platform": "tracker", "treadmill": "tracker", "counterweight": "counterweight", "robot": "robot"}
"""Device and the measurement that its commands rest on."""


def percentiles(seconds: list[float], unit: float = 1e-6) -> dict[str, float]:
    """``p50``, ``p99`` and ``p999`` in ``unit`` s, microseconds by default; NaN without samples."""
    values = np.percentile(seconds, [50, 99, 99.9]) / unit if seconds else [np.nan] * 3
    return dict(zip(("p50", "p99", "p999"), (float(v) for v in values), strict=True))


class RunMetrics:
    """Collects cycles of one run.

    Args:
        cfg: rates, mass and delays.
        truth: of the virtual rig, whose true vertical speed shows the gravity in flight; None on real machines.
    """

    def __init__(self, cfg: SyncConfig, truth: Callable[[], RigTruth] | None) -> None:
        self._cfg = cfg
        self._truth = truth
        self._durations: list[float] = []
        self._lateness: list[float] = []
        self._rows: list[tuple[float, ...]] = []
        self._heights: list[HopHeights] = []
        self._heights_count = 0
        self._skew: list[float] = []
        self._wire: list[float] = []
        self._end_to_end: dict[str, list[float]] = {name: [] for name in BASES}
        self._newest: dict[str, float] = {}
        self._bases: dict[float, dict[str, float]] = {}
        self._last: Cycle | None = None
        self._doubt = NOTHING
        self._advised = 0

    def add(self, cycle: Cycle) -> None:
        """Take one cycle."""
        self._last = cycle
        if not cycle.info.running:
            return
        verdict = cycle.info.verdict
        self._advised += verdict.advice
        if verdict.doubt > self._doubt.doubt:
            self._doubt = verdict
        rope, belt, tracker = cycle.states.counterweight, cycle.states.treadmill, cycle.states.tracker
        speed = self._truth().vertical_speed if self._truth is not None else float(cycle.info.velocity[2])
        self._rows.append((
            cycle.time,
            float(cycle.info.airborne),
            speed,
            rope.tension if rope is not None else np.nan,
            belt.speed if belt is not None else np.nan,
            cycle.info.speed_over_belt,
            *(tracker.position[:2] if tracker is not None else (np.nan, np.nan)),
        ))  # fmt: skip
        if cycle.info.heights_count != self._heights_count and cycle.info.heights is not None:
            self._heights_count = cycle.info.heights_count
            self._heights.append(cycle.info.heights)
        measured = _measured(cycle.states, self._cfg.tracker.latency)
        if measured:
            self._skew.append(max(measured.values()) - min(measured.values()))
            self._bases[cycle.time] = measured
            if len(self._bases) > 64:  # commands that have not been written by then never will be
                self._bases.pop(next(iter(self._bases)))

    def timed(self, duration: float, lateness: float) -> None:
        """Take a cycle's computing time and how late it started, s."""
        self._durations.append(duration)
        self._lateness.append(max(0.0, lateness))

    def wired(self, written: Mapping[str, tuple[float, float] | None]) -> None:
        """Take, by device, the newest command that its driver wrote: when it was made and when written, s."""
        for name, base in BASES.items():
            pair = written.get(name)
            if pair is None or self._newest.get(name) == pair[0]:
                continue
            made, at = pair
            self._newest[name] = made
            measured = self._bases.get(made)
            if measured is not None and base in measured:
                self._wire.append(at - made)
                self._end_to_end[name].append(at - measured[base] + getattr(self._cfg.delays, name))

    def results(self, clock: str) -> dict[str, Any]:
        """Plain data; see docs/matrix.md for the keys."""
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
            "command_to_wire_us": percentiles(self._wire),
            "end_to_end_ms": {name: percentiles(values, 1e-3) for name, values in self._end_to_end.items()},
            "skew_ms": percentiles(self._skew, 1e-3),
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
                "doubt": {
                    "largest": self._doubt.doubt,
                    "advice_seconds": self._advised * period,
                    "worst": self._doubt.sentence if self._doubt.advice else "",
                },
            }
        return out | self._ground() | self._physics(period)

    def _ground(self) -> dict[str, Any]:
        within = np.array([h.error for h in self._heights if h.within])
        return {
            "hop_height_rms_mm": 1e3 * _rms(within),
            "hops_in_travel": len(within) / len(self._heights) if self._heights else float("nan"),
            "hops_over_known_ground": len(self._heights),
        }

    def _physics(self, period: float) -> dict[str, Any]:
        rows = np.array(self._rows).reshape(-1, 8)
        flying = rows[:, 1] > 0
        rising, falling = _flight_gravity(rows[:, 0], flying, rows[:, 2])
        miss = rows[:, 3] - wanted_tension(self._cfg.mass)
        belt = np.diff(rows[:, 4], prepend=rows[:1, 4]) / period
        place = np.abs(rows[:, 6:])
        return {
            "run_seconds": len(rows) * period,
            "flight_fraction": float(flying.mean()) if len(rows) else 0.0,
            "flight_gravity": {"rising": rising, "falling": falling},
            "rope_force_rms_n": _rms(miss),
            "tension_error_n": {"flight_rms": _rms(miss[flying]), "stance_rms": _rms(miss[~flying])},
            "belt_acceleration_flight_rms": _rms(belt[flying]),
            "speed_over_belt": float(rows[:, 5].mean()) if len(rows) else float("nan"),
            "belt_offset_max_m": float(np.nanmax(place)) if len(rows) else float("nan"),
            "rope_offset_max_m": float(np.nanmax(np.hypot(*place.T))) if len(rows) else float("nan"),
        }


def _measured(states: MachineStates, tracker_latency: float) -> dict[str, float]:
    """By device, when what it reports was so, s on the host's clock; without those that were not heard."""
    times = {name: state.time for name, state in vars(states).items() if state is not None}
    if "tracker" in times:
        times["tracker"] -= tracker_latency
    return times


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
