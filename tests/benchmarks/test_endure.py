"""Minutes of virtual HIL: what is said of a run, and of its memory."""

from __future__ import annotations

import math

import pytest

from benchmarks.endure import flown, grown, show
from benchmarks.harness import shown


def test_memory_counts_from_when_the_run_is_warm() -> None:
    assert grown([(0.0, 50), (120.0, 100), (121.0, 90), (360.0, 105)], 120.0) == pytest.approx(1.05)
    assert math.isnan(grown([(0.0, 50), (80.0, 60)], 120.0)), "it tripped before"


def test_a_run_is_flown_with_its_log_and_shown() -> None:
    row = flown("policy/zoo/pronk", 0, 2.0)
    assert row["trips"] == 0 and not row["reason"] and row["hops"] >= 1
    assert row["run_seconds"] == pytest.approx(2.0, abs=0.02)
    assert 0.0 < row["aside_max_m"] <= row["belt_offset_max_m"] < 0.1
    assert row["memory_ratio"] > 0.5
    with shown() as tables:
        show({"runs": [row, {**row, "seed": 1, "trips": 1, "reason": "S14 robot off the belt"}]})
    assert [line[0] for line in tables[0].rows] == ["0", "1"] and tables[0].caption == "seed 1: S14 robot off the belt"
