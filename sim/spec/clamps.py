"""Clamps of a command that a broken one cannot pass: range and rate. NumPy, any shape; time is an argument."""

from __future__ import annotations

from typing import Any

import numpy as np


def limit_range(command: Any, previous: Any, low: Any, high: Any) -> np.ndarray:
    """Clamp to [low, high]. Non-finite commands hold ``previous``. Element by element, any shape."""
    command, previous = np.asarray(command, dtype=float), np.asarray(previous, dtype=float)
    return np.clip(np.where(np.isfinite(command), command, previous), low, high)


def limit_rate(command: Any, previous: Any, max_rate: Any, dt: float) -> np.ndarray:
    """Clamp the change since ``previous`` to ``max_rate`` per second.

    Non-finite commands hold ``previous``, and so does a clock that stands or jumps back. Any shape.
    """
    command, previous = np.asarray(command, dtype=float), np.asarray(previous, dtype=float)
    step = np.asarray(max_rate) * dt if dt > 0.0 else 0.0
    return previous + np.clip(np.where(np.isfinite(command), command - previous, 0.0), -step, step)
