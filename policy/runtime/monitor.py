"""Does the policy know this state? A monitor between inference and motors, with NumPy alone.

What the next frame will be is a linear function of the policy's last hidden layer, the newest frame and the action,
fitted to healthy trials. What comes instead, channel by channel in units of its usual deviation in the same part of a
hop, says how far the robot is from what the policy's own state leads to. Scores are quartiles of a second, so that a
rock, which is felt only while a foot is on it, does not count, and what is felt in flight as well does: the *drift* of
the channel that is off to one side for three quarters of it; the *spread* of the one that varies most, minus that of
the fifth, because a stumble shakes all; and the *surprise* of all channels for three quarters of it. The largest of
them, each in units of its largest in health, over a limit, is the doubt: at 1 it is a trip, ``advice`` comes earlier.
A robot that leans by more than ``LEAN`` counts as one that is as predicted: it stumbles, healthy or not, and whether it
falls is the business of the limit on its tilt.

``monitor.json`` and ``monitor.safetensors`` beside a policy belong to its weights, by digest. docs/monitor.md says how
often it trips for nothing, what it catches, and what it is not.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from policy.runtime.card import Card
from policy.runtime.monitor_file import WINDOW, Fitted, channel_names, load
from sim.errors import LunarError
from sim.spec.observation import PRONK_OBSERVATION

CLIP = 8.0
"""Deviations beyond which a channel counts no more: a rock is not ten faults."""
LEAN = 0.7
"""rad."""
_UP = channel_names(PRONK_OBSERVATION).index("projected_gravity z")
_UPRIGHT = -math.cos(LEAN)  # of that channel, from which on it leans
_LOW, _MIDDLE, _HIGH = WINDOW // 4, WINDOW // 2, 3 * WINDOW // 4
_FEW = 5  # channels that what is wrong with one joint can shake, besides which a stumble shakes others
_USUAL_WIDTH = 1.349  # deviations between the quartiles of a normal distribution


class Verdict(NamedTuple):
    """What a monitor says of one control step."""

    doubt: float
    """1. Largest score over its limit: from 1 on it is a trip."""
    advice: bool
    """Somebody should look at the channel."""
    trip: bool
    """The policy does not know this state."""
    channel: str
    """The channel that is farthest off, such as ``RR_calf velocity``."""
    deviations: float
    """How far it is off over the last second, in its usual deviations: middle and width of its residuals, squared and
    added."""

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.channel} is {self.deviations:.1f} deviations from what the policy's state leads to"


NOTHING = Verdict(0.0, False, False, "", 0.0)
"""Before the first step."""


class Watch:
    """The scores of N robots, step by step.

    Args:
        fitted: of their policy.
        count: N.
    """

    def __init__(self, fitted: Fitted, count: int = 1) -> None:
        self.fitted = fitted
        inputs, self._channels = fitted.weights.shape
        self._weights = fitted.weights.astype(np.float32)
        self._per_deviation = (1.0 / fitted.deviation).astype(np.float32)
        self._ring = np.zeros((count, self._channels + 1, WINDOW), np.float32)
        self._inputs = np.ones((count, inputs), np.float32)
        self._ordered = self._ring
        self._step = 0
        self._expected: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, frame: np.ndarray, hidden: np.ndarray, action: np.ndarray, latent: np.ndarray) -> np.ndarray:
        """(scores, N), not negative; arguments (N, ...) as in ``PolicyOutput`` and the newest frame."""
        n, ring, inputs, now = self._channels, self._ring, self._inputs, self._step % WINDOW
        broken = None
        if self._expected is not None:
            expected, per_deviation = self._expected
            r = (frame[:, :n] - expected) * per_deviation
            np.minimum(np.maximum(r, -CLIP, out=r), CLIP, out=r)
            r *= (frame[:, _UP] <= _UPRIGHT)[:, None]
            square = np.einsum("nc,nc->n", r, r) / n
            if not math.isfinite(square.dot(square)):
                broken = ~np.isfinite(square)
                r[broken], square[broken] = CLIP, CLIP**2
            ring[:, :n, now], ring[:, n, now] = r, square
        size = hidden.shape[1]
        inputs[:, :size] = hidden
        inputs[:, size : size + frame.shape[1]] = frame
        inputs[:, size + frame.shape[1] : -1] = action
        part_of_hop = self.fitted.cluster(latent if latent.size else frame)
        self._expected = inputs @ self._weights, self._per_deviation[part_of_hop]
        self._step += 1
        self._ordered = ordered = np.sort(ring, axis=2)
        low, high = ordered[:, :n, _LOW], ordered[:, :n, _HIGH]
        wide = np.sort(high - low, axis=1)
        scores = np.empty((3, len(ring)), np.float32)
        np.maximum(low, -high).max(1, initial=0.0, out=scores[0])
        np.subtract(wide[:, -1], wide[:, -_FEW], out=scores[1])
        scores[2] = ordered[:, n, _LOW]
        if broken is not None:
            scores[:, broken] = np.inf
        return scores

    def worst(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the channel that is farthest off over the window, and by how many deviations."""
        low, middle, high = (self._ordered[:, : self._channels, k] for k in (_LOW, _MIDDLE, _HIGH))
        off = np.hypot(middle, (high - low) * (1.0 / _USUAL_WIDTH))
        return off.argmax(1), off.max(1)


class Monitor:
    """The monitor beside one policy, for one robot.

    Args:
        folder: of the policy, with ``FILES``.
        card: of the policy.
        hidden: size of its hidden layer; 0 where the graph does not return it.

    Raises:
        LunarError: a file is missing, damaged, or of another policy; or the graph is of before there were monitors.
    """

    def __init__(self, folder: Path, card: Card, hidden: int) -> None:
        if not hidden:
            raise LunarError(
                f"{folder / 'policy.onnx'} does not return its hidden layer, which a monitor needs: "
                f"'lunar export --policy {folder}' makes it anew"
            )
        self.fitted, self.about = load(folder, card, hidden)
        self.channels = channel_names(card.observation)
        self.reset()

    def reset(self) -> None:
        """A new trial: forget everything."""
        self._watch = Watch(self.fitted)

    def step(self, frame: np.ndarray, output: Any) -> Verdict:
        """Judge the newest frame (42,), which the policy saw, and what it said of it, a ``PolicyOutput`` of one robot.

        What is no number is a trip.
        """
        watch = self._watch
        parts = (frame, output.hidden, output.action, output.latent)
        scores = watch.step(*(np.asarray(part, dtype=np.float32)[None] for part in parts))
        doubt = float(self.fitted.doubt(scores).max())
        worst, deviations = (v[0] for v in watch.worst())
        if not math.isfinite(doubt):
            return Verdict(math.inf, True, True, self.channels[int(worst)], math.inf)
        return Verdict(doubt, doubt >= self.fitted.advice, doubt >= 1.0, self.channels[int(worst)], float(deviations))
