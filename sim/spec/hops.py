"""Hop words and metrics, defined once: training, evaluation, HIL reports and replay all count with this detector.

*Loaded*: a foot force over 5% of lunar body weight for at least 10 ms. *Flight*: no foot loaded, and no knee, shin, hip
or trunk either where their forces are known: a kneeling robot does not fly. *Hop*: a flight of at least 0.3 s with an
apex gain of at least 0.05 m. *Pronk*: a hop whose four lift-offs fall within 60 ms and four
touch-downs within 100 ms plus the ground-height difference under the feet divided by the vertical speed. *Peak force*:
the maximum over the 200 ms after touch-down of the sum over feet, 20 ms moving mean, in lunar body weights.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

LOAD_FRACTION = 0.05  # of lunar body weight
LOAD_TIME = 0.010  # s
MIN_FLIGHT = 0.3  # s
MIN_APEX_GAIN = 0.05  # m
LIFTOFF_SPREAD = 0.060  # s
TOUCHDOWN_SPREAD = 0.100  # s
PEAK_WINDOW = 0.200  # s after touch-down
PEAK_MEAN = 0.020  # s, moving mean
_EPS = 1e-9


@dataclass(frozen=True)
class HopTable:
    """Completed hops, one row each; every column has shape (hops,)."""

    robot: np.ndarray
    """Row of the robot that hopped."""
    liftoff_time: np.ndarray
    """s, when the last foot left."""
    flight_time: np.ndarray
    """s, from there to the first touch-down."""
    apex_gain: np.ndarray
    """m, base height at apex minus at lift-off."""
    liftoff_spread: np.ndarray
    """s, first to last foot leaving; infinite if a foot had not been on the ground."""
    touchdown_spread: np.ndarray
    """s, first to last foot landing; infinite if a foot did not land within 200 ms."""
    touchdown_tilt: np.ndarray
    """rad, angle between the base's z axis and the vertical at touch-down."""
    touchdown_speed: np.ndarray
    """m/s, downward speed of the base at touch-down."""
    peak_force: np.ndarray
    """Lunar body weights, see the module's definition."""
    pronk: np.ndarray
    """bool, whether the hop is a pronk."""

    def __len__(self) -> int:
        return len(self.robot)


class HopDetector:
    """Streaming hop detection for N robots sampled every ``dt`` seconds.

    Args:
        weight: (N,) lunar body weights M * 1.62, newtons.
        dt: seconds between samples, at most 10 ms.
    """

    def __init__(self, weight: np.ndarray, dt: float) -> None:
        if not 0.0 < dt <= LOAD_TIME:
            raise ValueError(f"hops need a sample every {LOAD_TIME} s or finer, got {dt} s")
        self.weight = np.asarray(weight, dtype=float)
        n = len(self.weight)
        self.dt = dt
        self.time = 0.0
        self.hops = np.zeros(n, dtype=int)
        self.pronks = np.zeros(n, dtype=int)
        self.loaded: np.ndarray = np.zeros((n, 4), dtype=bool)
        self._loaded_for: np.ndarray = np.zeros((n, 4))
        self._lift_time = np.full((n, 4), -np.inf)
        self._airborne: np.ndarray = np.zeros(n, dtype=bool)
        self._liftoff_time = np.zeros(n)
        self._liftoff_height = np.zeros(n)
        self._apex = np.zeros(n)
        self._pending = np.zeros(n, dtype=bool)
        self._pending_row = {f.name: np.zeros(n) for f in fields(HopTable)}
        self._touch_time = np.full((n, 4), np.inf)
        self._landed = np.zeros(n)
        self._allowed_spread = np.zeros(n)
        self._recent = np.zeros((max(1, round(PEAK_MEAN / dt)), n))
        self._sample = 0
        self._rows: list[dict[str, np.ndarray]] = []

    @property
    def airborne(self) -> np.ndarray:
        """(N,) bool, whether no foot is loaded."""
        return self._airborne

    def reset(self, ids: np.ndarray) -> None:
        """Forget the state of robots ``ids`` (a new trial); completed hops stay in the table, counters restart."""
        self.hops[ids] = 0
        self.pronks[ids] = 0
        self.loaded[ids] = False
        self._loaded_for[ids] = 0.0
        self._lift_time[ids] = -np.inf
        self._airborne[ids] = False
        self._pending[ids] = False
        self._recent[:, ids] = 0.0

    def update(
        self,
        foot_force: np.ndarray,
        base_height: np.ndarray,
        vertical_velocity: np.ndarray,
        tilt: np.ndarray,
        ground_spread: np.ndarray | None = None,
        other_force: np.ndarray | None = None,
    ) -> None:
        """Feed one sample.

        Args:
            foot_force: (N, 4) normal force, newtons.
            base_height: (N,) metres, any fixed datum.
            vertical_velocity: (N,) m/s, up.
            tilt: (N,) rad.
            ground_spread: (N,) metres, highest minus lowest ground under the feet; level ground when absent.
            other_force: (N,) newtons, normal force on knees, shins, hips and trunk; none when absent.
        """
        self.time += self.dt
        raw = foot_force > (LOAD_FRACTION * self.weight)[:, None]
        self._loaded_for = (self._loaded_for + self.dt) * raw
        loaded: np.ndarray = self._loaded_for >= LOAD_TIME - _EPS
        lifted = self.loaded & ~loaded
        if lifted.any():
            self._lift_time[lifted] = self.time - self.dt
        touched: np.ndarray = loaded & ~self.loaded
        if touched.any():
            touched = touched & self._pending[:, None] & np.isinf(self._touch_time)
            self._touch_time[touched] = (self.time - self._loaded_for)[touched]
        self.loaded = loaded
        airborne = np.asarray(~loaded.any(axis=1))
        if other_force is not None:
            airborne &= other_force <= LOAD_FRACTION * self.weight
        started = np.flatnonzero(airborne & ~self._airborne)
        ended = np.flatnonzero(self._airborne & ~airborne)
        self._airborne = airborne
        if len(started):
            self._liftoff_time[started] = self.time - self.dt
            self._liftoff_height[started] = base_height[started]
            self._apex[started] = base_height[started]
        np.maximum(self._apex, base_height, out=self._apex, where=airborne)
        if len(ended):
            spread = np.zeros(len(self.weight)) if ground_spread is None else ground_spread
            self._land(ended, vertical_velocity, tilt, spread)
        self._recent[self._sample % len(self._recent)] = foot_force.sum(axis=1)
        self._sample += 1
        pending = np.flatnonzero(self._pending)
        if len(pending):
            self._follow(pending)

    def update_all(
        self, foot_force: np.ndarray, base_height: np.ndarray, vertical_velocity: np.ndarray, tilt: np.ndarray,
        ground_spread: np.ndarray, other_force: np.ndarray,
    ) -> None:  # fmt: skip
        """Feed T samples as ``update`` would one by one, at once where nothing lifts off or lands.

        Args: as of ``update``; those that change from sample to sample have T rows, ``tilt`` and ``ground_spread`` not.
        """
        airborne = (other_force <= LOAD_FRACTION * self.weight) & ~self.loaded.any(axis=1)
        quiet = (foot_force > (LOAD_FRACTION * self.weight)[:, None]) == self.loaded
        if self._pending.any() or not quiet.all() or not (airborne == self._airborne).all():
            for feet, height, speed, other in zip(foot_force, base_height, vertical_velocity, other_force, strict=True):
                self.update(feet, height, speed, tilt, ground_spread, other)
            return
        samples = len(foot_force)
        self.time += samples * self.dt
        self._loaded_for = (self._loaded_for + samples * self.dt) * self.loaded
        np.maximum(self._apex, base_height.max(axis=0), out=self._apex, where=self._airborne)
        self._recent[(self._sample + np.arange(samples)) % len(self._recent)] = foot_force.sum(axis=2)
        self._sample += samples

    def table(self) -> HopTable:
        """All hops completed so far, in order of completion."""
        if not self._rows:
            return HopTable(**{f.name: np.zeros(0, dtype=_dtype(f.name)) for f in fields(HopTable)})
        return HopTable(**{
            f.name: np.concatenate([r[f.name] for r in self._rows]).astype(_dtype(f.name)) for f in fields(HopTable)
        })  # fmt: skip

    def drain(self) -> HopTable:
        """Hand over the completed hops and forget them; for training, which would pile them up."""
        table = self.table()
        self.forget()
        return table

    def forget(self) -> None:
        """Forget the completed hops; counters stay."""
        self._rows.clear()

    def _land(self, ids: np.ndarray, velocity: np.ndarray, tilt: np.ndarray, ground_spread: np.ndarray) -> None:
        touch = np.where(self.loaded[ids], self.time - self._loaded_for[ids], np.inf)
        first = np.minimum(touch.min(axis=1), self.time)  # a knee may be first
        flight = first - self._liftoff_time[ids]
        gain = self._apex[ids] - self._liftoff_height[ids]
        is_hop = (flight >= MIN_FLIGHT - _EPS) & (gain >= MIN_APEX_GAIN)
        ids, touch, flight, gain, first = (a[is_hop] for a in (ids, touch, flight, gain, first))
        if not len(ids):
            return
        speed = np.maximum(-velocity[ids], 0.0)
        lifts = self._lift_time[ids]
        row = self._pending_row
        row["robot"][ids] = ids
        row["liftoff_time"][ids] = self._liftoff_time[ids]
        row["flight_time"][ids] = flight
        row["apex_gain"][ids] = gain
        # the last stance's lift-offs lie before this flight and after the one before it
        row["liftoff_spread"][ids] = self._liftoff_time[ids] - lifts.min(axis=1)
        row["touchdown_tilt"][ids] = tilt[ids]
        row["touchdown_speed"][ids] = speed
        row["peak_force"][ids] = 0.0
        self._touch_time[ids] = touch
        self._landed[ids] = first
        self._allowed_spread[ids] = TOUCHDOWN_SPREAD + ground_spread[ids] / np.maximum(speed, 0.1)
        self._pending[ids] = True

    def _follow(self, ids: np.ndarray) -> None:
        row = self._pending_row
        force = self._recent[:, ids].mean(axis=0) / self.weight[ids]
        row["peak_force"][ids] = np.maximum(row["peak_force"][ids], force)
        done = ids[self.time - self._landed[ids] >= PEAK_WINDOW - _EPS]
        if not len(done):
            return
        times = self._touch_time[done]
        spread = times.max(axis=1) - times.min(axis=1, initial=self.time, where=np.isfinite(times))
        row["touchdown_spread"][done] = spread
        row["pronk"][done] = (row["liftoff_spread"][done] <= LIFTOFF_SPREAD + _EPS) & (
            spread <= self._allowed_spread[done] + _EPS
        )
        self._rows.append({name: column[done].copy() for name, column in row.items()})
        self._pending[done] = False
        self.hops[done] += 1
        self.pronks[done] += row["pronk"][done].astype(int)


def longest_run(table: HopTable, robots: int) -> np.ndarray:
    """Longest run of successive pronks of each robot, shape (robots,)."""
    best = np.zeros(robots, dtype=int)
    run = np.zeros(robots, dtype=int)
    for i in np.argsort(table.liftoff_time, kind="stable"):
        robot = table.robot[i]
        run[robot] = run[robot] + 1 if table.pronk[i] else 0
        best[robot] = max(best[robot], run[robot])
    return best


def _dtype(column: str) -> type:
    return {"robot": int, "pronk": bool}.get(column, float)
