"""Gymnasium spaces of one robot, bounded as Gymnasium and SB3 recommend."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from sim.mdp.observations import CRITIC_SIZE
from sim.spec.observation import PRONK_OBSERVATION

ACTION_BOUND = 4.0
"""A Gymnasium action of 1 is this many units of the world's action: 4 x 0.35 rad away from the nominal pose."""
OBSERVATION_BOUND = 100.0
"""Scaled observations are about 1; Gymnasium's interfaces clip them here."""


def observation_space() -> spaces.Dict:
    """Groups ``policy`` (proprioception, stacked frames, command) and ``critic`` (privileged)."""
    low, high = -OBSERVATION_BOUND, OBSERVATION_BOUND
    return spaces.Dict({
        "policy": spaces.Box(low, high, (PRONK_OBSERVATION.size,), np.float32),
        "critic": spaces.Box(low, high, (CRITIC_SIZE,), np.float32),
    })  # fmt: skip


def action_space(bound: float = 1.0) -> spaces.Box:
    """Twelve joint-target offsets."""
    return spaces.Box(-bound, bound, (12,), np.float32)
