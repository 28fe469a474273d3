"""``monitor.json`` and ``monitor.safetensors`` beside a policy: what was fitted, and whether it belongs to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policy.runtime.card import Card
from policy.runtime.weights import stored, weights_digest
from sim.errors import LunarError
from sim.spec.observation import ObservationSpec

FORMAT = 1
FILES = ("monitor.json", "monitor.safetensors")
SCORES = ("surprise", "energy", "drift")
BLOCK, BLOCKS = 10, 5
"""Control steps of the short span, and how many such blocks the long span has."""
SPANS = ("short", "long", "lasting")
"""Over the newest block; over all blocks; and the median of the blocks, which a blow does not move but a fault does."""
RARE = 0.02
"""Share of healthy trials whose score exceeds ``Fitted.rare``."""
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
    levels: np.ndarray
    """(K, Q) rising: mean squares of the residual at which -ln of the share above is ``ladder``."""
    ladder: np.ndarray
    """(Q,) rising."""
    rare: np.ndarray
    """(scores, spans) that one healthy trial in ``1 / RARE`` exceeds ..."""
    slope: np.ndarray
    """(scores, spans) ... and by how much its -ln falls per ln of the score: the weight of the score's tail."""
    limit: float
    """Of -ln of the share of healthy trials with a larger score, from which on it is a trip, at doubt 1."""
    advice: float
    """Doubt from which on there is advice."""

    def cluster(self, seen: np.ndarray) -> np.ndarray:
        """(N,) nearest centre of ``seen`` (N, L)."""
        return np.argmin((self.centres**2).sum(1) - 2.0 * seen @ self.centres.T, axis=1)

    def predict(self, hidden: np.ndarray, frame: np.ndarray, action: np.ndarray) -> np.ndarray:
        """(N, C) the next frame's measured channels."""
        h, f = hidden.shape[1], frame.shape[1]
        w = self.weights
        return hidden @ w[:h] + frame @ w[h : h + f] + action @ w[h + f : -1] + w[-1]

    def surprise(self, square: np.ndarray, cluster: np.ndarray) -> np.ndarray:
        """(N,) -ln of the share of healthy steps of the same ``cluster`` (N,) with a larger mean ``square`` (N,);
        beyond what was seen it grows as the logarithm of the square."""
        seen = [np.interp(s, self.levels[k], self.ladder) for s, k in zip(square, cluster, strict=True)]
        return np.array(seen) + np.log(np.maximum(square / self.levels[cluster, -1], 1.0))

    def doubt(self, scores: np.ndarray) -> np.ndarray:
        """(scores, spans, N) of ``Watch``'s scores: -ln of the share of healthy trials with a larger one, over the
        limit; a trial whose tail nobody has seen is judged by where the tail points."""
        ratio = np.log(np.maximum(scores, 1e-9) / self.rare[..., None])
        return np.maximum(-np.log(RARE) + self.slope[..., None] * ratio, 0.0) / self.limit


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
            raise ValueError(f"its format is {about['format']!r}, this version reads {FORMAT}")
        if about["weights"] != card.weights:
            raise LunarError(f"{paths[0]} was fitted to other weights than the policy's: {remedy}")
        if about["tensors"] != weights_digest(data):
            raise LunarError(f"{paths[1]} is not the file that {paths[0]} belongs to: {remedy}")
        arrays = {n: np.frombuffer(v, "<f4").reshape(s).astype(float) for n, k, s, v in stored(data) if k == "F32"}
        fitted = Fitted(**arrays, limit=float(about["limit"]), advice=float(about["advice"]))
        _check(fitted, card.observation, hidden, card.action_size)
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise LunarError(f"{paths[0]} cannot be read: {error}") from None
    return fitted, about


def _check(f: Fitted, spec: ObservationSpec, hidden: int, actions: int) -> None:
    """Raise ValueError where the arrays do not fit one another or the policy."""
    channels, (k, q) = len(channel_names(spec)), f.levels.shape
    inputs = hidden + spec.frame_size + actions + 1
    shapes: dict[str, tuple[int, ...]] = {"weights": (inputs, channels), "deviation": (k, channels)}
    shapes |= {
        "ladder": (q,),
        "rare": (len(SCORES), len(SPANS)),
        "slope": (len(SCORES), len(SPANS)),
        "centres": (k, f.centres.shape[-1]),
    }
    for name, shape in shapes.items():
        if getattr(f, name).shape != shape:
            raise ValueError(f"'{name}' has the shape {getattr(f, name).shape}, not {shape}")
    sound = all(np.isfinite(getattr(f, name)).all() for name in (*shapes, "levels"))
    positive = all((v > 0.0).all() for v in (f.deviation, f.levels[:, -1], f.rare, f.slope)) and 0.0 < f.limit < np.inf
    if not sound or not positive or not 0.0 < f.advice <= 1.0:
        raise ValueError("it holds what is no number, or a limit that is not above zero")
