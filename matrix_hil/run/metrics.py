"""What a run was like: hops, trips, timing, and how well the rig kept gravity, place and ground."""

from __future__ import annotations

import random
from array import array
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


_LONGEST = 4096  # cycles after which a stance is summed up before it ends


class Samples:
    """All numbers that are added, or of more than ``most`` an even draw (Vitter 1985, algorithm R), so that a run of a
    day takes no more memory than one of five minutes."""

    def __init__(self, most: int = 1 << 16) -> None:
        self.most = most
        self.count = 0
        self._kept = array("d")
        self._rng = random.Random(0)

    def add(self, value: float) -> None:
        """Take one."""
        self.count += 1
        if len(self._kept) < self.most:
            self._kept.append(value)
        elif (place := self._rng.randrange(self.count)) < self.most:
            self._kept[place] = value

    @property
    def values(self) -> np.ndarray:
        """(k,) those that were kept."""
        return np.array(self._kept)


def percentiles(seconds: np.ndarray, unit: float = 1e-6) -> dict[str, float]:
    """``p50``, ``p99`` and ``p999`` in ``unit`` s, microseconds by default; NaN without samples."""
    values = np.percentile(seconds, [50, 99, 99.9]) / unit if len(seconds) else [np.nan] * 3
    return dict(zip(("p50", "p99", "p999"), (float(v) for v in values), strict=True))


class RunMetrics:
    """Collects cycles of one run; its memory does not grow with the run but by some numbers per hop.

    Args:
        cfg: rates, mass and delays.
        truth: of the virtual rig, whose true vertical speed shows the gravity in flight; None on real machines.
    """

    def __init__(self, cfg: SyncConfig, truth: Callable[[], RigTruth] | None) -> None:
        self._cfg = cfg
        self._truth = truth
        self._durations, self._lateness, self._skew, self._wire = (Samples() for _ in range(4))
        self._end_to_end = {name: Samples() for name in BASES}
        self._physics = Physics(cfg.rate, cfg.mass)
        self._heights: list[HopHeights] = []
        self._heights_count = 0
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
        self._physics.add((
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
            self._skew.add(max(measured.values()) - min(measured.values()))
            self._bases[cycle.time] = measured
            if len(self._bases) > 64:  # commands that have not been written by then never will be
                self._bases.pop(next(iter(self._bases)))

    def timed(self, duration: float, lateness: float) -> None:
        """Take a cycle's computing time and how late it started, s."""
        self._durations.add(duration)
        self._lateness.add(max(0.0, lateness))

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
                self._wire.add(at - made)
                self._end_to_end[name].add(at - measured[base] + getattr(self._cfg.delays, name))

    def results(self, clock: str) -> dict[str, Any]:
        """Plain data; see docs/matrix.md for the keys."""
        period = 1.0 / self._cfg.rate
        if clock == "wall":
            kind, late = "start of a cycle after its deadline", self._lateness.values
        else:
            # nobody is late in simulated time; this is what the bridge's own work would have cost
            kind = "computing time beyond the period, clock waits"
            late = np.maximum(self._durations.values - period, 0.0)
        out: dict[str, Any] = {
            "clock": clock,
            "lateness_kind": kind,
            "lateness_us": percentiles(late),
            "cycle_us": percentiles(self._durations.values),
            "command_to_wire_us": percentiles(self._wire.values),
            "end_to_end_ms": {name: percentiles(s.values, 1e-3) for name, s in self._end_to_end.items()},
            "skew_ms": percentiles(self._skew.values, 1e-3),
            "cycles": self._durations.count,
        }
        last = self._last
        if last is not None:
            out |= {
                "hops": last.info.hops,
                "pronks": last.info.pronks,
                "trips": last.supervisor.trips,
                "stale_commands": last.supervisor.stale_commands,
                "terrain_error_m": last.info.terrain_error,
                "doubt": None  # no monitor has judged
                if self._doubt is NOTHING
                else {
                    "largest": self._doubt.doubt,
                    "advice_seconds": self._advised * period,
                    "worst": self._doubt.sentence if self._doubt.advice else "",
                },
            }
        return out | self._ground() | self._physics.results()

    def _ground(self) -> dict[str, Any]:
        within = np.array([h.error for h in self._heights if h.within])
        return {
            "hop_height_rms_mm": 1e3 * _rms(within),
            "hops_in_travel": len(within) / len(self._heights) if self._heights else float("nan"),
            "hops_over_known_ground": len(self._heights),
        }


class Physics:
    """Gravity in flight, rope, belt and place over the cycles of a run, summed up at each touch-down.

    Args:
        rate: Hz, of the cycles.
        mass: kg, the robot's.
    """

    def __init__(self, rate: float, mass: float) -> None:
        self._rate, self._tension = rate, wanted_tension(mass)
        self._rows: list[tuple[float, ...]] = []  # since the last touch-down
        self._belt = np.nan  # m/s in the cycle before them
        self._gravity: tuple[list[float], list[float]] = ([], [])  # m/s^2, of each flight
        self._cycles = {False: 0, True: 0}  # in stance and in flight
        self._miss = {False: np.zeros(2), True: np.zeros(2)}  # N^2: sum and count
        self._acceleration, self._over = np.zeros(2), np.zeros(2)  # (m/s^2)^2 in flight, m/s: sum and count
        self._farthest = np.full(2, np.nan)  # m: along one axis, and as the crow flies

    def add(self, row: tuple[float, ...]) -> None:
        """Take a cycle: time in s, whether it flies, vertical speed, tension, belt speed, speed over the belt, x and y,
        in SI units; NaN for what is not known."""
        landed = bool(self._rows) and self._rows[-1][1] > row[1]
        if landed or (len(self._rows) >= _LONGEST and not row[1]):
            self._sum_up()
        self._rows.append(row)

    def results(self) -> dict[str, Any]:
        """Plain data, NaN for what is not known."""
        self._sum_up()
        stance, flight = (self._miss[flying] for flying in (False, True))
        count = sum(self._cycles.values())
        rising, falling = (float(np.median(fits)) if fits else float("nan") for fits in self._gravity)
        return {
            "run_seconds": count / self._rate,
            "flight_fraction": self._cycles[True] / count if count else 0.0,
            "flight_gravity": {"rising": rising, "falling": falling},
            "rope_force_rms_n": _root_mean(stance + flight),
            "tension_error_n": {"flight_rms": _root_mean(flight), "stance_rms": _root_mean(stance)},
            "belt_acceleration_flight_rms": _root_mean(self._acceleration),
            "speed_over_belt": float(self._over[0] / self._over[1]) if self._over[1] else float("nan"),
            "belt_offset_max_m": float(self._farthest[0]),
            "rope_offset_max_m": float(self._farthest[1]),
        }

    def _sum_up(self) -> None:
        if not self._rows:
            return
        time, airborne, speed, tension, belt, over, x, y = np.array(self._rows).T
        self._rows.clear()
        flying = airborne > 0
        for which in (False, True):
            mine = flying == which
            self._cycles[which] += int(mine.sum())
            self._miss[which] += _summed((tension[mine] - self._tension) ** 2)
        for kept, found in zip(self._gravity, flight_gravity(time, flying, speed), strict=True):
            kept += found
        self._acceleration += _summed(((np.diff(belt, prepend=self._belt) * self._rate) ** 2)[flying])
        self._belt = belt[-1]
        self._over += _summed(over)
        here = [np.fmax.reduce(np.abs([*x, *y])), np.fmax.reduce(np.hypot(x, y))]
        self._farthest = np.fmax(self._farthest, here)


def _measured(states: MachineStates, tracker_latency: float) -> dict[str, float]:
    """By device, when what it reports was so, s on the host's clock; without those that were not heard."""
    times = {name: state.time for name, state in vars(states).items() if state is not None}
    if "tracker" in times:
        times["tracker"] -= tracker_latency
    return times


def flight_gravity(time: np.ndarray, flying: np.ndarray, speed: np.ndarray) -> tuple[list[float], list[float]]:
    """Of each flight among n cycles the downward acceleration while rising and while falling, m/s^2.

    Args:
        time: (n,) s.
        flying: (n,) bool.
        speed: (n,) m/s, vertical.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flying, [False]]).astype(int)))
    fits: tuple[list[float], list[float]] = ([], [])
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        t, v = time[begin:end], speed[begin:end]
        for out, part in zip(fits, (v > _TURN, v < -_TURN), strict=True):
            if part.sum() >= 3 and np.ptp(t[part]) >= _SHORTEST:
                out.append(float(-np.polyfit(t[part], v[part], 1)[0]))
    return fits


def _summed(values: np.ndarray) -> np.ndarray:
    """(2,) sum and number of those that are known."""
    return np.array([np.nansum(values), np.isfinite(values).sum()])


def _root_mean(summed: np.ndarray) -> float:
    return float(np.sqrt(summed[0] / summed[1])) if summed[1] else float("nan")


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")
