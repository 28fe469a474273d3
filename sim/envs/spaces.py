"""Gymnasium spaces of one robot, bounded as Gymnasium and SB3 recommend."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from sim.mdp.observations import group_specs
from sim.spec.observation import PRONK_OBSERVATION, ObservationSpec

ACTION_BOUND = 4.0
"""A Gymnasium action of 1 is this many units of the world's action: 4 x 0.35 rad away from the nominal pose."""
OBSERVATION_BOUND = 100.0
"""Scaled observations are about 1; Gymnasium's interfaces clip them here."""


def observation_space(spec: ObservationSpec = PRONK_OBSERVATION) -> spaces.Dict:
    """Groups ``policy`` (stacked frames and command) and ``critic`` (privileged)."""
    groups: dict[str, spaces.Space[Any]] = {}
    for name, channels in group_specs(spec).items():
        shape = (sum(c.size for c in channels),)
        groups[name] = spaces.Box(-OBSERVATION_BOUND, OBSERVATION_BOUND, shape, np.float32)
    return spaces.Dict(groups)


def action_space(bound: float = 1.0) -> spaces.Box:
    """Twelve joint-target offsets."""
    return spaces.Box(-bound, bound, (12,), np.float32)
