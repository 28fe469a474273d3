"""``monitor.json`` and ``monitor.safetensors`` beside a policy: what was fitted, and whether it belongs to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from policy.runtime.card import Card
from policy.runtime.weights import stored, weights_digest
from sim.errors import LunarError
from sim.spec.observation import ObservationSpec

FORMAT = 2
FILES = ("monitor.json", "monitor.safetensors")
SCORES = ("drift", "spread", "surprise")
WINDOW = 50
"""Control steps, a second, that scores are taken of."""
REACTIONS = ("damp", "hold", "stand")
"""What a robot can do on a trip, which moves least first: no stiffness; its newest targets; its default pose. In the
last two joints are damped ``STIFFER`` times as much as the policy's card says."""
STIFFER = 2.0
_LARGEST = 4 * 2**20  # bytes of either file
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Fitted:
    """What ``lunar monitor fit`` found; arrays are float64."""

    weights: np.ndarray
    """(H + F + A + 1, C) of the linear prediction of the C measured channels."""
    centres: np.ndarray
    """(K, L) of the clusters that stand for the parts of a hop, in latents, or in the newest frame without any."""
    deviation: np.ndarray
    """(K, C) of each channel's residual."""
    top: np.ndarray
    """(scores,) greatest of the healthy trials that it was fitted to."""
    limit: float
    """Of the scores over ``top``, from which on it is a trip, at doubt 1."""
    advice: float
    """Doubt from which on there is advice."""
    reaction: str = "hold"
    """What a robot does on a trip, of ``REACTIONS``."""

    def cluster(self, seen: np.ndarray) -> np.ndarray:
        """(N,) nearest centre of ``seen`` (N, L)."""
        return np.argmax(seen @ self.centres.T - self._half, axis=1)

    def doubt(self, scores: np.ndarray) -> np.ndarray:
        """(scores, N) of ``Watch``'s scores, each over its largest in health and over the limit."""
        return scores / self._trips

    @cached_property
    def _half(self) -> np.ndarray:
        return 0.5 * (self.centres**2).sum(1)

    @cached_property
    def _trips(self) -> np.ndarray:
        return self.limit * self.top[:, None]


def channel_names(spec: ObservationSpec) -> tuple[str, ...]:
    """Of a frame's measured channels, all but the last action: ``angular_velocity x``, ``FL_hip position``."""
    names: list[str] = []
    for channel in spec.frame:
        if channel.name.startswith("joint_"):
            names += [f"{joint.removesuffix('_joint')} {channel.name.removeprefix('joint_')}" for joint in spec.joints]
        elif channel.name != "last_action":
            names += [f"{channel.name} {axis}" for axis in _AXES[: channel.size]]
    return tuple(names)


def load(folder: Path, card: Card, hidden: int) -> tuple[Fitted, dict[str, Any]]:
    """The monitor beside the policy of ``card``, and what its file says of the fit.

    Raises:
        LunarError: as ``Monitor``.
    """
    paths = [folder / name for name in FILES]
    remedy = f"'lunar monitor fit --policy {folder}' makes one"
    for path in paths:
        if not path.is_file():
            raise LunarError(f"{path} does not exist: {remedy}, or leave it out with '--monitor off'")
    try:
        if any(path.stat().st_size > _LARGEST for path in paths):
            raise ValueError("it is larger than any monitor")
        about, data = json.loads(paths[0].read_text(encoding="utf-8")), paths[1].read_bytes()
        if about["format"] != FORMAT:
            raise LunarError(f"{paths[0]} has format {about['format']!r}, this version reads {FORMAT}: {remedy}")
        if about["weights"] != card.weights:
            raise LunarError(f"{paths[0]} was fitted to other weights than the policy's: {remedy}")
        if about["tensors"] != weights_digest(data):
            raise LunarError(f"{paths[1]} is not the file that {paths[0]} belongs to: {remedy}")
        arrays = {n: np.frombuffer(v, "<f4").reshape(s).astype(float) for n, k, s, v in stored(data) if k == "F32"}
        fitted = Fitted(
            **arrays, limit=float(about["limit"]), advice=float(about["advice"]), reaction=about["reaction"]
        )
        _check(fitted, card.observation, hidden, card.action_size)
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise LunarError(f"{paths[0]} cannot be read: {error}") from None
    return fitted, about


def _check(f: Fitted, spec: ObservationSpec, hidden: int, actions: int) -> None:
    """Raise ValueError where the arrays do not fit one another or the policy."""
    channels, k = len(channel_names(spec)), len(f.centres)
    inputs = hidden + spec.frame_size + actions + 1
    shapes: dict[str, tuple[int, ...]] = {"weights": (inputs, channels), "deviation": (k, channels)}
    shapes |= {"top": (len(SCORES),), "centres": (k, f.centres.shape[-1])}
    for name, shape in shapes.items():
        if getattr(f, name).shape != shape:
            raise ValueError(f"'{name}' has the shape {getattr(f, name).shape}, not {shape}")
    sound = all(np.isfinite(getattr(f, name)).all() for name in shapes)
    positive = all((v > 0.0).all() for v in (f.deviation, f.top)) and 0.0 < f.limit < np.inf
    if f.reaction not in REACTIONS:
        raise ValueError(f"its reaction is {f.reaction!r}, not one of {', '.join(REACTIONS)}")
    if not sound or not positive or not 0.0 < f.advice <= 1.0:
        raise ValueError("it holds what is no number, or a limit that is not above zero")
