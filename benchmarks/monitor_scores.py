"""Scores that others would take of what a policy feels and says, against which a monitor is measured.

All of them, and their limits, are made from the very healthy trials that they are then tested on, which favours them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from policy.monitor.nominal import Feed
from policy.monitor.scores import trace
from policy.networks.actor import Actor
from policy.networks.student import Student
from policy.runtime.card import Card
from policy.runtime.monitor_file import Fitted
from sim.spec.observation import SENSORS

SCORES = (
    "monitor", "hidden", "latents", "raw frames", "contrast vector", "entropy", "network distillation", "min to max",
    "tilt", "turn rate",
)  # fmt: skip
SECOND = 50  # control steps that a score is the mean of, as the monitor's are
_EVERY = 20  # healthy steps of which one is taken
_NOISY = 8  # copies of an observation, of which the action's spread is taken
_DOUBT_EVERY = 5  # control steps per such spread


class Scores:
    """What is usual in the healthy trials, and every score of a further trial.

    Args:
        actor: the policy.
        card: its card.
        fitted: its monitor.
        healthy: trials.
        bad: family, trials in which something of it goes wrong, and its onsets (N,).
    """

    def __init__(
        self, actor: Actor | Student, card: Card, fitted: Fitted, healthy: Iterable[Feed],
        bad: Iterable[tuple[str, Feed, np.ndarray]],
    ) -> None:  # fmt: skip
        self._actor, self._card, self._fitted = actor, card, fitted
        parts: dict[str, list[np.ndarray]] = {"frame": [], "raw frames": [], "hidden": [], "latents": [], "cluster": []}
        for feed in healthy:
            good = feed.healthy.copy()
            good[0] = False
            for name, values in self._parts(feed).items():
                parts[name].append(values[good][::_EVERY])
        usual = {name: np.concatenate(rows) for name, rows in parts.items()}
        self._distance = {
            name: _Distance(usual[name], usual["cluster"][:, 0], len(fitted.centres))
            for name in ("hidden", "latents", "raw frames")
        }
        self._low, self._high = usual["frame"].min(0), usual["frame"].max(0)
        self._novelty = _novelty(usual["raw frames"])
        self._contrast = self._contrasts(usual["hidden"], bad)

    def of(self, feed: Feed, family: str) -> dict[str, np.ndarray]:
        """(T, N) by name; the contrast vector is of every family but this."""
        parts, found = self._parts(feed), {}
        found["monitor"] = self._fitted.doubt(trace(self._fitted, feed)[0]).max(1)
        for name, distance in self._distance.items():
            found[name] = mean(distance.of(parts[name], parts["cluster"][..., 0]))
        found["contrast vector"] = mean(parts["hidden"] @ self._contrast[family])
        found["entropy"] = mean(self._entropy(feed))
        found["network distillation"] = mean(self._novelty(parts["raw frames"]))
        span = np.maximum(self._high - self._low, 1e-6)
        outside = np.maximum(parts["frame"] - self._high, self._low - parts["frame"]) / span
        found["min to max"] = mean(outside.max(2))
        found["tilt"] = np.arccos(np.clip(-feed.frame[:, :, 5], -1.0, 1.0))
        found["turn rate"] = np.linalg.norm(feed.frame[:, :, :3], axis=2)
        return {name: values.astype(np.float32) for name, values in found.items()}

    def contrasts(self, feed: Feed) -> dict[str, np.ndarray]:
        """(T, N) the contrast vector's score by the family that it was made without."""
        return {family: mean(feed.hidden @ vector) for family, vector in self._contrast.items()}

    def _parts(self, feed: Feed) -> dict[str, np.ndarray]:
        seen = feed.latent if feed.latent.shape[2] else feed.frame
        cluster = self._fitted.cluster(seen.reshape(-1, seen.shape[2]).astype(float)).reshape(*seen.shape[:2], 1)
        before = np.concatenate([feed.frame[:1], feed.frame[:-1]])
        frames = np.concatenate([feed.frame, before], axis=2)
        return {"frame": feed.frame, "raw frames": frames, "hidden": feed.hidden, "latents": seen, "cluster": cluster}

    def _contrasts(self, usual: np.ndarray, bad: Iterable[tuple[str, Feed, np.ndarray]]) -> dict[str, np.ndarray]:
        """(H,) by family: from the usual hidden state to that of what goes wrong in all other families, whitened."""
        means: dict[str, list[np.ndarray]] = {}
        for family, feed, onset in bad:
            step = np.arange(feed.steps)[:, None]
            during = (step > onset) & (step <= onset + 2 * SECOND) & (step < feed.fell)
            means.setdefault(family, []).append(feed.hidden[during].mean(0))
        inverse = np.linalg.pinv(np.cov(usual.astype(float), rowvar=False))
        families = {*means, "control"}
        others = {f: [m for g, rows in means.items() if g != f for m in rows] for f in families}
        return {
            family: (inverse @ (np.mean(rows, axis=0) - usual.mean(0))).astype(np.float32)
            for family, rows in others.items()
            if rows
        }

    def _entropy(self, feed: Feed) -> np.ndarray:
        """(T, N) of an action under the policy's own spread and that of its sensors' noise: a policy whose spread does
        not depend on its state has no other doubt."""
        generator = torch.Generator().manual_seed(0)
        spec, frame = self._card.observation, torch.from_numpy(feed.frame)
        noise = torch.tensor([(s.noise or 0.0) * s.scale for s in SENSORS for _ in range(s.size)])
        values = np.zeros(feed.frame.shape[:2])
        for k in range(0, feed.steps, _DOUBT_EVERY):
            seen = torch.cat([*(frame[max(k - age, 0)] for age in spec.ages), torch.from_numpy(feed.command[k])], dim=1)
            spread = torch.cat([noise.repeat(len(spec.ages)), torch.zeros(feed.command.shape[2])])
            copies = seen + spread * (2.0 * torch.rand(_NOISY, *seen.shape, generator=generator) - 1.0)
            with torch.no_grad():
                action = self._actor(copies.flatten(0, 1)).action.reshape(_NOISY, len(seen), -1)
            apart = action - action.mean(0)
            covariance = torch.einsum("kna,knb->nab", apart, apart) / (_NOISY - 1)
            covariance += torch.diag_embed(torch.from_numpy(feed.std[k]).square())
            size = action.shape[2]
            doubt = 0.5 * (size * math.log(2.0 * math.pi * math.e) + torch.logdet(covariance))
            values[k : k + _DOUBT_EVERY] = doubt.numpy()
        return values


class _Distance:
    """Mahalanobis distance from what is usual in the same part of a hop, whose covariance leans on that of all parts as
    if it had seen it as often as it has dimensions."""

    def __init__(self, usual: np.ndarray, cluster: np.ndarray, count: int) -> None:
        size = usual.shape[1]
        whole = np.cov(usual.astype(float), rowvar=False)
        whole += 1e-6 * np.trace(whole) / size * np.eye(size)
        self._usual = []
        for k in range(count):
            own = usual[cluster == k].astype(float)
            middle = own.mean(0) if len(own) else usual.mean(0)
            covariance = ((own - middle).T @ (own - middle) + size * whole) / (len(own) + size)
            self._usual.append((middle, np.linalg.cholesky(np.linalg.inv(covariance))))

    def of(self, values: np.ndarray, cluster: np.ndarray) -> np.ndarray:
        """(T, N) of ``values`` (T, N, d) in clusters (T, N)."""
        found = np.zeros(cluster.shape)
        for k, (middle, factor) in enumerate(self._usual):
            here = cluster == k
            found[here] = np.linalg.norm((values[here] - middle) @ factor, axis=1)
        return found


def _novelty(usual: np.ndarray, steps: int = 600) -> Callable[[np.ndarray], np.ndarray]:
    """Random network distillation: by how much a network errs that has learnt, on what is ``usual`` (n, d), to say what
    a random one says. Takes (T, N, d), returns (T, N)."""
    torch.manual_seed(0)
    size = usual.shape[1]
    target, learner = (nn.Sequential(nn.Linear(size, width), nn.ELU(), nn.Linear(width, 32)) for width in (64, 128))
    data = torch.from_numpy(np.ascontiguousarray(usual, dtype=np.float32))
    middle, scale = data.mean(0), data.std(0).clamp(min=1e-3)

    def error(rows: Tensor) -> Tensor:
        rows = (rows - middle) / scale
        with torch.no_grad():
            wanted = target(rows)
        return (learner(rows) - wanted).square().mean(-1)

    optimiser = torch.optim.Adam(learner.parameters(), lr=2e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        error(data[torch.randint(len(data), (512,))]).mean().backward()
        optimiser.step()

    def of(values: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return error(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))).numpy()

    return of


def mean(values: np.ndarray, steps: int = SECOND) -> np.ndarray:
    """(T, N) mean over the newest ``steps``."""
    sums = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values]), axis=0)
    first = np.maximum(np.arange(1, len(sums)) - steps, 0)
    return (sums[1:] - sums[first]) / (np.arange(1, len(sums)) - first)[:, None]
