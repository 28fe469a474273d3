"""What of a message from outside is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from matrix_hil.messages import MOST_SAMPLES, TwinPatch, malformed

GROUND = TwinPatch(1.0, np.array([-1.0, 2.0]), 0.05, np.zeros((20, 30)))


def test_ground_may_be_unknown_in_places() -> None:
    heights = np.zeros((20, 30))
    heights[3:9] = math.nan
    assert malformed(GROUND) == malformed(replace(GROUND, heights=heights)) == ""
    assert malformed(replace(GROUND, heights=np.full((2, 2), math.nan))) == ""


MALFORMED: list[dict[str, Any]] = [
    *({"resolution": v} for v in (0.0, -0.05, math.nan, math.inf, 5.0)),
    *({"heights": np.zeros(shape)} for shape in ((0, 0), (1, 30), (30, 1), (600,), (2, 3, 4), (2, MOST_SAMPLES + 1))),
    {"heights": np.full((3, 3), math.inf)},
    {"heights": np.full((3, 3), -math.inf)},
    *({"origin": np.array(v)} for v in ([math.nan, 0.0], [0.0, math.inf], [0.0], [0.0, 0.0, 0.0])),
    *({"time": v} for v in (math.nan, math.inf)),
]


@pytest.mark.parametrize("changes", MALFORMED)
def test_what_is_no_ground_says_why(changes: dict[str, Any]) -> None:
    assert malformed(replace(GROUND, **changes))
