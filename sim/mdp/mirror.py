"""Left and right exchanged: what an observation or action is in the mirror.

A pronking robot is symmetric about its sagittal plane: training on mirrored samples as well teaches a policy that turns
left as it turns right.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sim.spec.observation import SENSORS, Channel
from sim.spec.reflection import AXIAL, FEET, FLIPPED, JOINTS, POLAR, SAME, Reflection, pairs

ACTION = Channel("action", 12, "1", 1.0)
REFLECTIONS: dict[str, Reflection] = {
    **{sensor.name: sensor.mirror for sensor in SENSORS},
    "action": JOINTS,
    "velocity": POLAR,
    "angular_momentum": AXIAL,
    "foot_height": FEET,
    "foot_force": FEET,
    "contact": FEET,
    "limb_contact": FEET,
    "vy": FLIPPED,
    "yaw_rate": FLIPPED,
}


class Mirror:
    """Exchanges left and right in vectors (N, size) made of ``channels``. Channels of one value without an entry in
    ``REFLECTIONS`` are the same on both sides."""

    def __init__(self, channels: Iterable[Channel], device: torch.device | str = "cpu") -> None:
        places: list[int] = []
        signs: list[float] = []
        for channel in channels:
            name = channel.name.partition("[")[0]
            if name == "ground_ahead":
                order, sign = pairs(channel.size // 2)
            elif name not in REFLECTIONS and channel.size != 1:
                raise KeyError(f"no mirror image is known of '{name}'")
            else:
                order, sign = REFLECTIONS.get(name, SAME)
            places += [len(signs) + i for i in order]
            signs += sign
        self._places = torch.tensor(places, device=device)
        self._signs = torch.tensor(signs, device=device)

    def __call__(self, vectors: Tensor) -> Tensor:
        """The mirror images, (N, size)."""
        return vectors[:, self._places] * self._signs
