"""Left and right exchanged: what an observation or action is in the mirror.

A pronking robot is symmetric about its sagittal plane: training on mirrored samples as well teaches a policy that turns
left as it turns right.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sim.spec.observation import Channel

_LEGS = (1, 0, 3, 2)  # FL, FR, RL, RR
_JOINTS = tuple(3 * leg + joint for leg in _LEGS for joint in range(3))
_JOINT_SIGNS = (-1.0, 1.0, 1.0) * 4  # abduction turns the other way
_POLAR = ((0, 1, 2), (1.0, -1.0, 1.0))  # velocities and directions
_AXIAL = ((0, 1, 2), (-1.0, 1.0, -1.0))  # angular velocities and momenta
_FEET = (_LEGS, (1.0,) * 4)
_ALL_JOINTS = (_JOINTS, _JOINT_SIGNS)
_NAMED: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "velocity": _POLAR,
    "projected_gravity": _POLAR,
    "angular_velocity": _AXIAL,
    "angular_momentum": _AXIAL,
    "joint_position": _ALL_JOINTS,
    "joint_velocity": _ALL_JOINTS,
    "last_action": _ALL_JOINTS,
    "action": _ALL_JOINTS,
    "foot_height": _FEET,
    "foot_force": _FEET,
    "contact": _FEET,
    "ground_ahead": ((1, 0, 3, 2, 5, 4, 7, 6, 9, 8), (1.0,) * 10),
    "vy": ((0,), (-1.0,)),
    "yaw_rate": ((0,), (-1.0,)),
}
ACTION = Channel("action", 12, "1", 1.0)


class Mirror:
    """Exchanges left and right in vectors (N, size) made of ``channels``. Channels of one value that are not named here
    are the same on both sides."""

    def __init__(self, channels: Iterable[Channel], device: torch.device | str = "cpu") -> None:
        places: list[int] = []
        signs: list[float] = []
        for channel in channels:
            name = channel.name.partition("[")[0]
            if name not in _NAMED and channel.size != 1:
                raise KeyError(f"no mirror image is known of '{name}'")
            order, sign = _NAMED.get(name, ((0,), (1.0,)))
            places += [len(signs) + i for i in order]
            signs += sign
        self._places = torch.tensor(places, device=device)
        self._signs = torch.tensor(signs, device=device)

    def __call__(self, vectors: Tensor) -> Tensor:
        """The mirror images, (N, size)."""
        return vectors[:, self._places] * self._signs
