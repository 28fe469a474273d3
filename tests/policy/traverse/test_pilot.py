"""A plan's pilot: what it asks for, cycle by cycle, however often it is asked between two control steps."""

from __future__ import annotations

import numpy as np
import pytest

from policy.runtime.onnx_policy import Proprioception
from policy.traverse.options import weights_of
from policy.traverse.pilot import Pilot
from policy.traverse.plan import Plan, PlannedOption, PlannedSegment

POLICIES = ("dual", "student_small")


@pytest.mark.parametrize("often", [1, 4])
def test_an_option_stays_from_its_touch_down_on(often: int) -> None:
    options = [PlannedOption(name, weights_of(name).digest, "board", 7.0, 0.4, 0.1 * k)
               for k, name in enumerate(POLICIES, 2)]  # fmt: skip
    segments = [PlannedSegment((x, 0.0), (x + 1.0, 0.0), k, 60.0, 3.0, 0.01, 0.02) for k, x in enumerate((0.0, 1.0))]
    pilot = Pilot(Plan("flat", options=options, segments=segments))
    sensors = Proprioception(np.zeros(3), np.array([0.0, 0.0, -1.0]), np.zeros(12), np.zeros(12))
    seen = []
    for k, x in enumerate(np.linspace(0.0, 1.6, 40)):
        for _ in range(often):
            command = pilot.command(np.array([x, 0.0]), None, loaded=k % 8 < 3)
            seen.append(pilot.option.policy)
            assert command[3] == pytest.approx(0.1 * (2 + POLICIES.index(seen[-1])))
        pilot.policy.act(sensors, command)
    changes = [k for k in range(1, len(seen)) if seen[k] != seen[k - 1]]
    assert len(changes) == 1 and (changes[0] // often) % 8 == 0, "once, at a touch-down"
    assert pilot.segment == 1
