"""Follow paths: where robots are on theirs, and the commands that keep them there. NumPy, N robots at once."""

from __future__ import annotations

import numpy as np

AHEAD = 1.0
"""m along the path, where a robot aims."""
NEAR = 0.3
"""m before a path's end at which a robot has arrived."""
ASTRAY = 3.0
"""m beside the path from which on it is lost."""
_TURN = 1.5  # rad/s per rad of heading error
_MOST_TURN, _MOST_SIDE = 0.4, 0.2  # rad/s, m/s: what the policies of the zoo were trained for


class Follower:
    """Pure pursuit of N paths of S segments.

    Args:
        points: (N, S + 1, 2) m, ends of the segments; a shorter path repeats its last point.
    """

    def __init__(self, points: np.ndarray) -> None:
        self._points = np.asarray(points, float)
        steps = np.diff(self._points, axis=1)
        self.length = np.hypot(steps[..., 0], steps[..., 1])
        """(N, S) m."""
        self._ahead = steps / np.maximum(self.length, 1e-9)[..., None]
        self._start = np.cumsum(self.length, axis=1) - self.length
        self.total = self.length.sum(1)
        """(N,) m."""
        self._robots = np.arange(len(self._points))
        self._last = np.maximum((self.length > 0.0).sum(1) - 1, 0)
        self.segment = np.zeros(len(self._points), dtype=int)
        """(N,) whole numbers, which one each is on; none goes back."""
        self.progress = np.zeros(len(self._points))
        """(N,) m along the path, the farthest yet."""
        self.aside = np.zeros(len(self._points))
        """(N,) m beside the segment."""

    @property
    def arrived(self) -> np.ndarray:
        """(N,) bool."""
        return self.progress >= self.total - NEAR

    def step(self, position: np.ndarray, yaw: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """Take note of where robots are and steer them.

        Args:
            position: (N, 2) m.
            yaw: (N,) rad, of their headings.
            speed: (N,) m/s, how fast to go.

        Returns:
            (N, 3) vx m/s, vy m/s and yaw rate rad/s.
        """
        robots = self._robots
        while True:
            offset = position - self._points[robots, self.segment]
            ahead = self._ahead[robots, self.segment]
            along = (offset * ahead).sum(1)
            past = (along >= self.length[robots, self.segment]) & (self.segment < self._last)
            if not past.any():
                break
            self.segment = self.segment + past
        self.aside = np.abs(offset[:, 1] * ahead[:, 0] - offset[:, 0] * ahead[:, 1])
        here = self._start[robots, self.segment] + np.clip(along, 0.0, self.length[robots, self.segment])
        self.progress = np.maximum(self.progress, here)
        aim = self._place(here + AHEAD) - position
        error = np.arctan2(aim[:, 1], aim[:, 0]) - yaw
        error = np.arctan2(np.sin(error), np.cos(error))
        turn = np.clip(_TURN * error, -_MOST_TURN, _MOST_TURN)
        side = np.clip(speed * np.sin(error), -_MOST_SIDE, _MOST_SIDE)
        return np.stack([speed * np.maximum(np.cos(error), 0.0), side, turn], axis=1)

    def _place(self, distance: np.ndarray) -> np.ndarray:
        """(N, 2) m, the points so far along the paths; straight on beyond their ends."""
        k = np.minimum((distance[:, None] >= self._start).sum(1) - 1, self._last)
        rest = distance - self._start[self._robots, k]
        return self._points[self._robots, k] + rest[:, None] * self._ahead[self._robots, k]
