"""Gymnasium spaces of one robot, bounded as Gymnasium and SB3 recommend."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from sim.errors import LunarError
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


def action_tensor(action: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """An action or a batch of them as float32.

    Raises:
        LunarError: it holds no numbers or has another shape.
    """
    try:
        values = torch.as_tensor(np.asarray(action, dtype=np.float32))
    except (TypeError, ValueError):
        raise LunarError(f"an action must hold numbers of shape {shape}, not {type(action).__name__}") from None
    if tuple(values.shape) != shape:
        raise LunarError(f"an action has shape {tuple(values.shape)}, it must have {shape}")
    return values
