"""Ground that was seen before: a window of samples around the robot, each with the time at which it was seen last.

The virtual ground does not move, so that what an image does not show (behind a rock, or while Unreal is silent) may be
taken from an earlier one. What is taken says its age: a patch is as old as the oldest sample near its centre.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from matrix_hil.messages import TwinPatch

_STEP = 1e-6  # s
_STEPS = 1000


class GroundCache:
    """Samples on whole multiples of ``resolution`` in the world, in a ring: what is far from the newest is overwritten.

    Args:
        resolution: m between samples; patches must have the same.
        reach: m, edge of the square that is kept.
        keep: s after which a sample is forgotten.
    """

    def __init__(self, resolution: float, reach: float, keep: float) -> None:
        self._resolution = resolution
        self._keep = keep
        n = max(2, round(reach / resolution))
        self._n = n
        self._heights = np.full((n, n), np.nan)
        self._times = np.full((n, n), -np.inf)
        self._cells = np.full((n, n, 2), np.iinfo(np.int64).min)  # (column, row) in the world of what is stored
        self._cuts = 0

    def add(self, patch: TwinPatch) -> None:
        """Remember a patch; its unknown samples leave what was known."""
        col, row = self._numbers(patch.origin, patch.heights.shape)
        seen = np.isfinite(patch.heights)
        i, j = np.nonzero(seen)
        at = row[i] % self._n, col[j] % self._n
        self._heights[at] = patch.heights[seen]
        self._times[at] = patch.time
        self._cells[at] = np.stack([col[j], row[i]], axis=1)

    def patch(self, x: float, y: float, extent: float, now: float) -> TwinPatch | None:
        """What is known around (x, y) in m, ``extent`` m each way; None when less than half is known near the centre.

        ``time`` is that of the oldest sample within half of ``extent`` of the centre, less some microseconds that
        tell one such patch from another in a log.
        """
        first = np.floor((np.array([x, y]) - extent) / self._resolution + 1e-9) * self._resolution
        n = round(2 * extent / self._resolution) + 2
        col, row = self._numbers(first, (n, n))
        at, known = self._known(col, row, now)
        core = np.hypot(*np.meshgrid(col * self._resolution - x, row * self._resolution - y)) <= extent / 2
        if 2 * (known & core).sum() < core.sum():
            return None
        oldest = float(self._times[at][known & core].min())
        self._cuts = (self._cuts + 1) % _STEPS
        oldest -= _STEP * self._cuts
        return TwinPatch(oldest, first, self._resolution, np.where(known, self._heights[at], np.nan))

    def fill(self, patch: TwinPatch) -> TwinPatch:
        """A new patch whose unknown samples are taken from memory; its time stays. It is remembered, too."""
        self.add(patch)
        col, row = self._numbers(patch.origin, patch.heights.shape)
        at, known = self._known(col, row, patch.time)
        return replace(patch, heights=np.where(known, self._heights[at], np.nan))

    def knows(self, x: float, y: float, radius: float, now: float) -> bool:
        """Whether all ground within ``radius`` m of (x, y) is remembered."""
        patch = self.patch(x, y, radius, now)
        return patch is not None and bool(np.isfinite(patch.heights).all())

    def _known(self, col: np.ndarray, row: np.ndarray, now: float) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Where the samples of a grid are stored, and which of them are known."""
        at = np.ix_(row % self._n, col % self._n)
        here = (self._cells[at] == np.stack(np.meshgrid(col, row), axis=-1)).all(axis=-1)
        return at, here & (now - self._times[at] <= self._keep)

    def _numbers(self, origin: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers in the world of a grid's columns and rows."""
        first = np.round(np.asarray(origin) / self._resolution).astype(np.int64)
        return first[0] + np.arange(shape[1]), first[1] + np.arange(shape[0])
