"""Constants are made once on each device."""

from __future__ import annotations

import numpy as np
import torch

from sim.tensors import constant

CPU = torch.device("cpu")


def test_a_constant_is_made_once_and_has_its_values_and_shape():
    values = [[0.1, 0.2], [0.3, -0.4]]
    first = constant(values, CPU)
    torch.testing.assert_close(first, torch.tensor(values), rtol=0.0, atol=0.0)
    assert constant(np.array(values), CPU) is first
    assert constant(np.ravel(values), CPU).shape == (4,)
    assert constant(values, torch.device("meta")).device.type == "meta"
