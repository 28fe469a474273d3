"""Ends of a trial."""

from __future__ import annotations

import math

from torch import Tensor

from sim.mdp.state import State

FALL_TILT = math.radians(60.0)


def fallen(s: State, max_tilt: float, min_height: float) -> Tensor:
    """(N,) bool, tilt over ``max_tilt`` rad or base less than ``min_height`` m above the ground."""
    return (s.tilt > max_tilt) | (s.height < min_height)
