"""What ``lunar up deploy`` starts for each robot."""

from __future__ import annotations

import pytest

from matrix_hil.bringup import cli
from matrix_hil.bringup.tables import Process
from sim.config import ROOT

ZOO = str(ROOT / "policy/zoo/pronk")


@pytest.mark.parametrize(
    ("robot", "wanted"),
    [
        ("generic", {"policy_node"}),
        ("go2", {"policy_node", "unitree_adapter"}),
        ("sim", {"policy_node", "sim_robot"}),
        ("sim_go2", {"policy_node", "unitree_adapter", "sim_go2"}),
    ],
)
def test_each_robot_gets_its_own_driver(robot: str, wanted: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Runner:
        def __init__(self, table: list[Process], *rest: object, **more: object) -> None:
            started.extend(p.name for p in table)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(cli, "Runner", Runner)
    assert cli.up("deploy", {"policy": ZOO, "robot": robot}) == 0
    assert sorted(started) == sorted(wanted)  # each once
