"""Ends of a trial."""

from __future__ import annotations

import math

from torch import Tensor

from sim.mdp.state import State

FALL_TILT = math.radians(60.0)
TRUNK_HEIGHT = 0.08  # m: the trunk's radius 0.06 and a margin; lower means that it lies on the ground


def fallen(s: State) -> Tensor:
    """(N,) bool, tilt over 60 degrees or trunk on the ground."""
    return (s.tilt > FALL_TILT) | (s.height < TRUNK_HEIGHT)


def out_of_form(s: State, max_tilt: float, min_height: float) -> Tensor:
    """(N,) bool, the stricter limits of training: tilt over ``max_tilt`` rad or base under ``min_height`` m."""
    return (s.tilt > max_tilt) | (s.height < min_height)
