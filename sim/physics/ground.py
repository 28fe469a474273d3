"""The planes that stand for uneven ground: below each foot, knee and shin and the trunk, laid once per control step.

Feet, knees and shins are small: their planes are tangent to the terrain at the point below them. The trunk is long, and
a tangent at one point says nothing of the ground at its ends: on the edge of a rock of 10 cm it would rise half a metre
within the trunk's length and throw off a robot that flies over. Its plane leans as the ground does over the trunk's
length, and is as high as the highest ground that was looked at.

Functions take NumPy arrays or torch tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

FEET = slice(0, 4)
BASE = 12  # after four feet, knees and shins; then come the points around the base
_SPAN = slice(13, 17)


def points_below(feet: Any, knees: Any, base: Any, reach: float) -> Any:
    """Where the terrain must be known: (n, 17, 2) m.

    Args:
        feet: (n, 4, 2 or more) m.
        knees: (n, 4, 2 or more) m.
        base: (n, 2 or more) m.
        reach: m, half the length of the trunk.
    """
    xp = _library(base)
    x, y = base[..., 0, None], base[..., 1, None]
    around_x, around_y = (x + reach, x - reach, x, x), (y, y, y + reach, y - reach)
    span = xp.stack([xp.concatenate(around_x, -1), xp.concatenate(around_y, -1)], -1)
    feet, knees = feet[..., :2], knees[..., :2]
    return xp.concatenate([feet, knees, 0.5 * (feet + knees), xp.stack([x, y], -1), span], 1)


def planes(points: Any, height: Any, slope_x: Any, slope_y: Any, reach: float) -> tuple[Any, Any, Any]:
    """Planes in the order of ``scene.GROUNDS``.

    Args:
        points: (n, 17, 2) m, of ``points_below``.
        height: (n, 17) m, of the terrain there.
        slope_x: (n, 17), its derivative along x.
        slope_y: (n, 17), along y.
        reach: m, as in ``points_below``.

    Returns:
        A point of each plane (n, 13, 3) m, the rotation that takes z to its normal (n, 13, 4), w x y z, and the height
        of the terrain below feet and base (n, 5) m.
    """
    xp = _library(points)
    front, back, left, right = (height[:, k, None] for k in range(_SPAN.start, _SPAN.stop))
    middle = height[:, BASE, None]
    top = xp.maximum(middle, xp.maximum(0.5 * (front + back), 0.5 * (left + right)))
    z, dx, dy = (
        xp.concatenate([values[:, :BASE], trunk], -1)
        for values, trunk in (
            (height, top), (slope_x, (front - back) / (2.0 * reach)), (slope_y, (left - right) / (2.0 * reach)),
        )
    )  # fmt: skip
    up = (dx * dx + dy * dy + 1.0) ** -0.5  # of the normal (-dx, -dy, 1) * up
    size = (2.0 + 2.0 * up) ** -0.5
    rotation = xp.stack([(1.0 + up) * size, dy * up * size, -dx * up * size, xp.zeros_like(z)], -1)
    position = xp.concatenate([points[:, : BASE + 1], z[..., None]], -1)
    return position, rotation, xp.concatenate([height[:, FEET], middle], -1)


def _library(array: Any) -> Any:
    return np if isinstance(array, np.ndarray) else torch
