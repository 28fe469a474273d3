"""Constants as tensors, made once on each device: a copy of numbers to a GPU makes the host wait for it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def constant(values: ArrayLike, device: torch.device) -> Tensor:
    """``values`` in float32 on ``device``. All who ask for the same get the same tensor: never write it."""
    array = np.asarray(values, np.float32)
    return _tensor(array.tobytes(), array.shape, device)


@cache
def _tensor(data: bytes, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(np.frombuffer(data, np.float32).reshape(shape), device=device)
