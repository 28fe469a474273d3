"""The table of robots says who stands and hops, and why another is not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import robots
from tests.policy.networks.test_robot import heavy
from tests.sim.test_robots import mirrored_knees, write


def test_a_folder_of_robots_is_measured_robot_by_robot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, edit in (("good", heavy), ("front", mirrored_knees), ("armed", lambda t: t.replace("20 20", "0 0"))):
        (tmp_path / name).mkdir()
        Path(write(tmp_path / name, edit=edit)).rename(tmp_path / name / f"{name}.xml")
    results = robots.run(robots.Config(robots=str(tmp_path), trials=2))
    assert results["good"]["stands"] and results["good"]["survival"] == 1.0 and results["good"]["pronks"] > 5.0
    assert results["front"]["stands"] and "knees the other way" in results["front"]["refused"]
    assert "what torque" in results["armed"]["refused"]
    robots.show(results)
    assert "armed: robot" in capsys.readouterr().out
