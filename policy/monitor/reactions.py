"""What to do on a trip, and who is upright three seconds later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policy.networks.actor import ActorOutput
from policy.runtime.monitor import Watch
from policy.runtime.monitor_file import REACTIONS, STIFFER, Fitted
from sim.envs.world import PronkWorld

TRIED = (*REACTIONS, "touch down", "go on")
"""By how much they move, least first: what robots can do; on until something touches the ground, which few robots feel,
then the default pose; and on as if nothing were."""
PHASES = ("ground", "rising", "falling")
"""As ``Feed.phase`` counts them."""
LATER = 3.0
"""s after a trip at which it is judged."""
_DAMPING = 2.0  # N*m*s/rad, of a robot gone limp


class Guard:
    """Robots that react when their monitor trips, from then on.

    Args:
        fitted: their monitor.
        reaction: of ``TRIED``.
    """

    def __init__(self, fitted: Fitted, reaction: str) -> None:
        self._fitted, self._reaction = fitted, reaction

    def begin(self, world: PronkWorld) -> None:
        """Trials begin."""
        n = world.num_envs
        self._world, self._watch, self._step = world, Watch(self._fitted, n), 0
        self._acts = torch.zeros(n, dtype=torch.bool)
        self._held = torch.zeros(n, 12)
        self.tripped = np.full(n, -1)
        """(N,) steps of the trips; -1 where there was none."""

    def act(self, frame: Tensor, out: ActorOutput) -> Tensor:
        """The action (N, 12) that is sent, of the frame (N, 42) and what the policy says of it."""
        parts = (frame, out.hidden, out.action, out.latent)
        doubt = self._fitted.doubt(self._watch.step(*(p.numpy() for p in parts))).max(0)
        self.tripped = np.where((self.tripped < 0) & (doubt >= 1.0), self._step, self.tripped)
        self._step += 1
        due = torch.from_numpy(self.tripped >= 0) & ~self._acts
        if self._reaction == "go on":
            due[:] = False
        elif self._reaction == "touch down":
            due &= ~self._world.state.in_flight
        self._acts |= due
        if len(ids := due.nonzero()[:, 0]):
            one, limp = torch.ones(len(ids)), self._reaction == "damp"
            damping = _DAMPING / self._world.physics.kd if limp else STIFFER
            self._world.physics.set_motors(ids, 0.0 * one if limp else one, damping * one, one, 0.0 * one)
        self._held = torch.where(self._acts[:, None], self._held, out.action)
        still = self._held if self._reaction == "hold" else torch.zeros_like(self._held)
        return torch.where(self._acts[:, None], still, out.action)


@dataclass(frozen=True)
class Outcome:
    """Of N trials with one reaction."""

    tripped: np.ndarray
    """(N,) steps of the trips; -1 without."""
    fell: np.ndarray
    """(N,) steps until the fall; as many as the trial has without."""
    phase: np.ndarray
    """(N,) index in ``PHASES`` at the trip."""
    force: np.ndarray
    """(N,) largest force on the feet from the trip on, lunar body weights."""
    steps: int
    """Of a trial."""


def best(outcomes: Mapping[str, Sequence[Outcome]], dt: float, phase: int) -> tuple[str, dict[str, float], int]:
    """The reaction after which most robots that tripped in a phase have not fallen ``LATER`` s on, of equals that which
    moves least; the share upright by reaction; and how many robots tripped.

    Args:
        outcomes: by reaction, of the same trials for each.
        dt: s of a control step.
        phase: index in ``PHASES``.
    """
    upright = {}
    for name in TRIED:
        rows = []
        for o in outcomes[name]:
            here = (o.tripped >= 0) & (o.phase == phase) & (o.fell > o.tripped)
            rows.append((o.fell > o.tripped + round(LATER / dt))[here])
        upright[name] = float(np.concatenate(rows).mean()) if sum(map(len, rows)) else float("nan")
        count = sum(map(len, rows))
    chosen = max(TRIED, key=lambda name: (np.nan_to_num(upright[name]), -TRIED.index(name)))
    return chosen, upright, count
