"""Left and right exchanged: which entry of a quantity takes which one's place in the mirror, and with which sign."""

from __future__ import annotations

Reflection = tuple[tuple[int, ...], tuple[float, ...]]
"""Places and signs: entry i of the image is ``signs[i]`` times entry ``places[i]``."""

_LEGS = (1, 0, 3, 2)  # FL, FR, RL, RR
SAME: Reflection = ((0,), (1.0,))
FLIPPED: Reflection = ((0,), (-1.0,))
POLAR: Reflection = ((0, 1, 2), (1.0, -1.0, 1.0))  # velocities and directions
AXIAL: Reflection = ((0, 1, 2), (-1.0, 1.0, -1.0))  # angular velocities and momenta
FEET: Reflection = (_LEGS, (1.0,) * 4)
# abduction turns the other way
JOINTS: Reflection = (tuple(3 * leg + joint for leg in _LEGS for joint in range(3)), (-1.0, 1.0, 1.0) * 4)


def pairs(count: int) -> Reflection:
    """Of ``count`` pairs of which the left one stands before the right one."""
    return tuple(i + 1 - 2 * (i % 2) for i in range(2 * count)), (1.0,) * (2 * count)
