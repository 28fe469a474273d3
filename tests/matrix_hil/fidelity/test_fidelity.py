"""``lunar fidelity`` end to end: the shipped policy through the whole bridge, on the Moon and on the trimmed rig."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from matrix_hil.fidelity import cli
from policy.networks.policy_file import ZOO
from sim.errors import LunarError

KEYS = ("flight_accel_up", "flight_accel_down", "apex_gain", "flight_time", "touchdown_speed", "peak_force_lunar_bw")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Results and page of a short comparison."""
    folder = tmp_path_factory.mktemp("fidelity")
    cli.main([
        "--policy", str(ZOO / "pronk"), "--schemes", "active", "--plan.duration", "10", "--settle", "2.5",
        "--json", str(folder / "fidelity.json"), "--report", str(folder / "page.html"),
    ])  # fmt: skip
    return json.loads((folder / "fidelity.json").read_text())["results"], (folder / "page.html").read_text()


def test_the_trimmed_rig_hops_as_on_the_moon(made: tuple[dict[str, Any], str]) -> None:
    active = made[0]["active"]
    assert active["hops"] >= 4 and active["trips"] == 0
    assert abs(active["apex_gain_rel_error"]) < 0.05
    assert abs(active["flight_time_rel_error"]) < 0.05
    assert abs(active["flight_accel_up_rel_error"]) < 0.03
    assert abs(active["flight_accel_down_rel_error"]) < 0.03


def test_results_have_every_figure_with_its_error(made: tuple[dict[str, Any], str]) -> None:
    results, _ = made
    assert list(results) == ["moon", "active"]
    for figures in results.values():
        assert all(isinstance(figures[key], float) for key in KEYS)
        assert all(isinstance(figures[f"{key}_rel_error"], float) for key in KEYS)
    assert results["moon"]["apex_gain_rel_error"] == 0.0
    assert results["moon"]["slack_fraction"] is None
    assert 1.0 < results["active"]["latency_ms"]["p50"] < 15.0
    assert results["active"]["rope_force_error_n"]["flight_rms"] < 2.0


def test_the_page_stands_alone(made: tuple[dict[str, Any], str]) -> None:
    _, page = made
    assert not re.search(r"<(link|script|img)[^>]*(src|href)=", page.split("<script>")[0])  # before plotly's own code
    for title in ("Thrown up: acceleration", "Hopping: height", "Hopping: rope force", "Hopping: knee torque"):
        assert title in page


@pytest.mark.parametrize(
    ("option", "value", "says"), [("--schemes", "actve", "actve"), ("--policy", "nowhere", "nowhere")]
)
def test_what_the_user_can_mend_is_named(tmp_path: Path, option: str, value: str, says: str) -> None:
    with pytest.raises(LunarError, match=says):
        cli.main([option, value, "--report", str(tmp_path / "page.html")])
    assert not (tmp_path / "page.html").exists()
