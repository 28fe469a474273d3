"""Does the policy know this state? A monitor between inference and motors, with NumPy alone.

What the next frame will be is a linear function of the policy's last hidden layer, the newest frame and the action,
fitted to healthy trials. What comes instead, channel by channel in units of its usual deviation in the same part of a
hop, says how far the robot is from what the policy's own state leads to. Three scores are taken of it, over a fifth of
a second and over a second: the *surprise* of all channels, the *energy* of the one that deviates most, and the *drift*
of the one whose deviations add up. How rare the rarest of them is among healthy trials, over a limit, is the doubt: at
1 it is a trip, and ``advice`` comes earlier.

``monitor.json`` and ``monitor.safetensors`` beside a policy belong to its weights, by digest. docs/monitor.md says how
often it trips for nothing, what it catches, and what it is not.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from policy.runtime.card import Card
from policy.runtime.monitor_file import BLOCK, BLOCKS, Fitted, channel_names, load
from sim.errors import LunarError

CLIP = 8.0
"""Deviations beyond which a channel counts no more: a rock is not ten faults."""


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
    """How far it is off, root mean square over the last second, in its usual deviations."""

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
        self._channels = fitted.weights.shape[1]
        self._ring = np.zeros((BLOCKS * BLOCK, count, 2 * self._channels + 1))
        self._energy = np.zeros((count, self._channels))
        self._step = 0
        self._expected: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, frame: np.ndarray, hidden: np.ndarray, action: np.ndarray, latent: np.ndarray) -> np.ndarray:
        """(scores, spans, N), not negative; arguments (N, ...) as in ``PolicyOutput`` and the newest frame."""
        fitted, n, ring = self.fitted, self._channels, self._ring
        new = np.zeros(ring.shape[1:])
        if self._expected is not None:
            expected, cluster = self._expected
            r = np.clip((frame[:, :n] - expected) / fitted.deviation[cluster], -CLIP, CLIP)
            new[:, :n], new[:, n : 2 * n] = r, r * r
            new[:, -1] = fitted.surprise(new[:, n : 2 * n].mean(1), cluster)
        broken = ~np.isfinite(new).all(1)
        new[broken] = CLIP
        self._expected = fitted.predict(hidden, frame, action), fitted.cluster(latent if latent.size else frame)
        ring[self._step % len(ring)] = new
        self._step += 1
        newest = (self._step - 1 - np.arange(BLOCK)) % len(ring)
        blocks = ring.reshape(BLOCKS, BLOCK, *new.shape).mean(1)
        spans = (ring[newest].mean(0), blocks.mean(0), np.sort(blocks, axis=0)[BLOCKS // 2])
        self._energy = spans[1][:, n : 2 * n]
        scores = np.array([
            [mean[:, -1] for mean in spans],
            [mean[:, n : 2 * n].max(1) for mean in spans],
            [np.abs(mean[:, :n]).max(1) for mean in spans],
        ])  # fmt: skip
        scores[..., broken] = np.inf
        return scores

    def worst(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the channel that is farthest off over the longest span, and by how many deviations."""
        worst = self._energy.argmax(1)
        return worst, np.sqrt(self._energy[np.arange(len(worst)), worst])


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
        scores = watch.step(*(np.asarray(part, dtype=float)[None] for part in parts))
        doubt = float(self.fitted.doubt(scores).max())
        worst, deviations = (v[0] for v in watch.worst())
        if not math.isfinite(doubt):
            return Verdict(math.inf, True, True, self.channels[int(worst)], math.inf)
        return Verdict(doubt, doubt >= self.fitted.advice, doubt >= 1.0, self.channels[int(worst)], float(deviations))
