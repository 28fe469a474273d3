"""The layers that all networks are made of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """ELU multilayer perceptron."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ELU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def frame_layers(frame_size: int, widths: Sequence[int]) -> nn.Sequential:
    """Layers that each frame passes alone, with the same weights for all frames; an ELU after each."""
    sizes = (frame_size, *widths)
    return nn.Sequential(*(m for a, b in zip(sizes, widths, strict=False) for m in (nn.Linear(a, b), nn.ELU())))
