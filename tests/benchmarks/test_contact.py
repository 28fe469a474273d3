"""Contact models compared: planes are exact where the ground is level, a height field is not, and speeds are ratios."""

from __future__ import annotations

import math

import pytest

from benchmarks.contact import MODELS, PLANES, Config, show, study
from benchmarks.contact_models import Ground
from benchmarks.harness import shown
from sim.terrain.generators import TerrainConfig


def test_level_ground_parts_the_models(one_thread: None) -> None:
    cfg = Config(robots=3, copies=1, rounds=2)
    rows = study(cfg, Ground(TerrainConfig(kind="flat", size=8.0), 0), lambda: math.inf)
    by_name = {row["model"]: row for row in rows}
    assert list(by_name) == [model.name for model in MODELS]
    planes, field = by_name[PLANES.name], by_name["height field"]
    assert planes["normal_max_deg"] == pytest.approx(0.0, abs=1e-3) and planes["contacts"] > 20
    assert field["normal_max_deg"] > 10.0 and field["peak_error_p95"] > planes["peak_error_p95"]
    assert planes["relative_speed"] == 1.0 and all(row["steps_per_cpu_s"] > 0.0 for row in rows)
    with shown() as tables:
        show({"flat": rows, "blocky": rows})
    assert [table.title for table in tables] == ["flat ground", "blocky ground"]
    assert [row[0] for row in tables[0].rows] == list(by_name) and {len(r) for r in tables[0].rows} == {7}
