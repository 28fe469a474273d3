"""What ``lunar up deploy`` starts for each robot."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_hil.bringup import runner as processes

ZOO = str(Path(processes.ROOT) / "policy/zoo/pronk")


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
        def __init__(self, table: list[processes.Process], *rest: object, **more: object) -> None:
            started.extend(p.name for p in table)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(processes, "Runner", Runner)
    assert processes.up("deploy", {"policy": ZOO, "robot": robot}) == 0
    assert sorted(started) == sorted(wanted)  # each once
