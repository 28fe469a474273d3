"""What ``lunar up deploy`` starts for each robot."""

from __future__ import annotations

import pytest

from matrix_hil.bringup import cli
from matrix_hil.bringup.tables import TABLES, Process, namespace_of
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
    monkeypatch.setattr(cli, "find_executable", lambda process: "")
    assert cli.up("deploy", {"policy": ZOO, "robot": robot}) == 0
    assert sorted(started) == sorted(wanted)  # each once


@pytest.mark.parametrize(
    ("table", "value", "wanted"),
    [
        ("deploy", "", "/"),
        ("deploy", "/", "/"),
        ("deploy", "go2_a", "/go2_a"),
        ("deploy", "/lab/go2_a", "/lab/go2_a"),
        ("matrix", "", "/matrix"),
        ("replay", "", "/replay"),
    ],
)
def test_a_table_lives_in_its_namespace_or_another(table: str, value: str, wanted: str) -> None:
    assert namespace_of(table, value) == wanted


def test_two_robots_share_no_row_that_is_absolute() -> None:
    """A name that begins with a slash is the same in every namespace: nothing is renamed to one."""
    for rows in TABLES.values():
        assert not [p.name for p in rows for name in (p.remap or {}).values() if name.startswith("/")]


def test_where_a_state_publisher_is_installed_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Runner:
        def __init__(self, table: list[Process], *rest: object, **more: object) -> None:
            started.extend(p.name for p in table)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(cli, "Runner", Runner)
    monkeypatch.setattr(cli, "find_executable", lambda process: "/opt/rsp")
    cli.up("sim", {"policy": ZOO})
    cli.up("deploy", {"policy": ZOO, "robot": "go2", "tf": "false"})
    assert started == ["sim_robot", "policy_node", "robot_state_publisher", "policy_node", "unitree_adapter"]
