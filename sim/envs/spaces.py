"""Gymnasium spaces of one robot."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from sim.mdp.observations import CRITIC_SIZE
from sim.spec.observation import PRONK_OBSERVATION


def observation_space() -> spaces.Dict:
    """Groups ``policy`` (proprioception, stacked frames, command) and ``critic`` (privileged), unbounded floats."""
    return spaces.Dict({
        "policy": spaces.Box(-np.inf, np.inf, (PRONK_OBSERVATION.size,), np.float32),
        "critic": spaces.Box(-np.inf, np.inf, (CRITIC_SIZE,), np.float32),
    })  # fmt: skip


def action_space() -> spaces.Box:
    """Twelve joint-target offsets in units of the action scale."""
    return spaces.Box(-10.0, 10.0, (12,), np.float32)
