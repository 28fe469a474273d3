"""A hop as a cycle: phase 0 at lift-off, 1 at the next, and what a quantity does in between over all hops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.spec.hops import HopTable

BINS = 60
LONGEST_STANCE = 0.6  # s between touch-down and the next lift-off; a longer one is a rest, no cycle


@dataclass(frozen=True)
class Band:
    """A quantity over the phases of ``BINS`` equal bins, each (BINS,); NaN where nothing was seen."""

    median: np.ndarray
    low: np.ndarray
    """Tenth percentile."""
    high: np.ndarray
    """Ninetieth."""


@dataclass(frozen=True)
class Cycles:
    """Where each state stands in its hop."""

    phase: np.ndarray
    """(T, N), 0 to below 1; NaN outside hops that are followed by another."""
    touchdown: float
    """Mean phase at which flight ends; NaN without a cycle."""
    count: int

    def band(self, values: np.ndarray) -> Band:
        """What ``values`` (T, N) do over a hop."""
        inside = np.isfinite(self.phase)
        place = (self.phase[inside] * BINS).astype(int)
        order = np.argsort(place, kind="stable")
        ends = np.cumsum(np.bincount(place, minlength=BINS))[:-1]
        parts = np.split(values[inside][order], ends)
        rows = [np.percentile(part, (50, 10, 90)) if len(part) else np.full(3, np.nan) for part in parts]
        return Band(*np.array(rows).T)


def hop_cycles(hops: HopTable, dt: float, steps: int, robots: int) -> Cycles:
    """All hops that were followed by another.

    Args:
        hops: of all robots.
        dt: s between states.
        steps: T.
        robots: N.
    """
    phase = np.full((steps, robots), np.nan, dtype=np.float32)
    order = np.lexsort((hops.liftoff_time, hops.robot))
    robot, start, flight = hops.robot[order], hops.liftoff_time[order], hops.flight_time[order]
    follows = (robot[1:] == robot[:-1]) & (start[1:] - start[:-1] - flight[:-1] <= LONGEST_STANCE)
    touchdowns = []
    for i in np.flatnonzero(follows):
        period = start[i + 1] - start[i]
        first, last = (int(np.ceil(t / dt - 1e-6)) for t in (start[i], start[i + 1]))
        rows = np.arange(first, min(last, steps))
        phase[rows, robot[i]] = (rows * dt - start[i]) / period
        touchdowns.append(flight[i] / period)
    phase = np.clip(phase, 0.0, np.nextafter(np.float32(1.0), np.float32(0.0)))
    return Cycles(phase, float(np.mean(touchdowns)) if touchdowns else np.nan, len(touchdowns))
