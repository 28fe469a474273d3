"""The red team's bench: strangers stay outside, what moves is owned up to, and what leaves the limits is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.attacks import cli, strangers
from benchmarks.attacks.attack import Attack, Ending
from benchmarks.attacks.cli import AttacksConfig, catalogue, residuals
from benchmarks.attacks.stage import Seen, Stage, beyond
from policy.networks.policy_file import ZOO
from sim.errors import LunarError


def test_every_residual_is_owned_up_to() -> None:
    rows = catalogue()
    assert len(rows) >= 25 and len({a.id for a in rows}) == len(rows) and sum(a.quick for a in rows) == 8
    assert {a.residual for a in rows} - {""} == residuals()


@pytest.mark.parametrize("attack", strangers.attacks(), ids=lambda a: a.id)
def test_a_stranger_stays_outside(attack: Attack, tmp_path: Path) -> None:
    ending = attack.run(Stage(str(ZOO / "pronk"), None, tmp_path, 0))  # type: ignore[arg-type]
    assert ending.outcome == "blocked", ending


def test_a_stranger_at_the_cable_is_told() -> None:
    results = cli.run(AttacksConfig(only="A12"))
    (row,) = results["attacks"]
    assert (row["outcome"], row["residual"], results["undocumented"]) == ("moved", "R1", [])


@pytest.mark.parametrize(("outcome", "by", "residual", "covered"), [
    ("moved", "within the rig's limits: plate by 0.01", "R2", True),
    ("moved", "within the rig's limits: plate by 0.01", "", False),
    ("moved", "within the rig's limits: plate by 0.01", "R99", False),
    ("moved", "beyond the rig's limits: belt 9", "R2", False),
    ("tripped", "S05", "", True),
])  # fmt: skip
def test_what_nobody_owned_up_to_is_a_failure(
    outcome: str, by: str, residual: str, covered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Attack("A99", "x", "y", lambda stage: Ending(outcome, by), residual)  # type: ignore[arg-type]
    monkeypatch.setattr(cli, "catalogue", lambda: [row])
    assert bool(cli.run(AttacksConfig())["undocumented"]) != covered
    if not covered:
        with pytest.raises(LunarError, match="1 attacks moved"):
            cli.main([])


def test_a_robot_that_absurd_targets_are_wished_for_trips() -> None:
    results = cli.run(AttacksConfig(only="A19"))
    assert results["attacks"][0]["outcome"] == "tripped" and results["attacks"][0]["by"].startswith("S16")


def test_limits_have_bounds() -> None:
    calm = Seen(0.1, 1.0, 200.0, 0.1, 0.5)
    assert beyond(calm) == ""
    for name, value in (("plate", 0.21), ("belt", 3.5), ("rope", 520.0), ("over", 0.51), ("away", 1.51)):
        assert beyond(Seen(**{**vars(calm), name: value})) != "", name
