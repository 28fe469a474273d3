"""What ``lunar up deploy`` starts for each robot."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_hil.bringup import cli
from matrix_hil.bringup.runner import command_line, secured
from matrix_hil.bringup.tables import TABLES, Process, namespace_of
from sim.config import ROOT
from sim.errors import LunarError

ZOO = str(ROOT / "policy/zoo/pronk")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what ``lunar up`` would start."""
    names: list[str] = []

    class Runner:
        def __init__(self, table: list[Process], *rest: object, **more: object) -> None:
            names.extend(p.name for p in table)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(cli, "Runner", Runner)
    return names


@pytest.mark.parametrize(
    ("robot", "wanted"),
    [
        ("generic", {"policy_node"}),
        ("go2", {"policy_node", "unitree_adapter"}),
        ("sim", {"policy_node", "sim_robot"}),
        ("sim_go2", {"policy_node", "unitree_adapter", "sim_go2"}),
    ],
)
def test_each_robot_gets_its_own_driver(
    robot: str, wanted: set[str], started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_where_a_state_publisher_is_installed_it_is_started(
    started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "find_executable", lambda process: "/opt/rsp")
    cli.up("sim", {"policy": ZOO})
    cli.up("deploy", {"policy": ZOO, "robot": "go2", "tf": "false"})
    assert started == ["sim_robot", "policy_node", "robot_state_publisher", "policy_node", "unitree_adapter"]


def keystore(folder: Path, *enclaves: str) -> dict[str, str]:
    for enclave in enclaves:
        (folder / "enclaves" / enclave.strip("/")).mkdir(parents=True)
    return {"ROS_SECURITY_KEYSTORE": str(folder)}


def test_security_is_on_or_nothing_is_started(tmp_path: Path) -> None:
    table = [p for p in TABLES["matrix"] if p.enclave]
    with pytest.raises(LunarError, match="ROS_SECURITY_KEYSTORE"):
        secured(table, {})
    with pytest.raises(LunarError, match="no keys for recorder"):
        secured(table, keystore(tmp_path / "some", "/matrix/virtual_rig"))
    base = keystore(tmp_path / "all", *(p.enclave for p in table))
    assert secured(table, base) == base | {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}


def test_secure_reaches_the_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[dict[str, str] | None] = []

    class Runner:
        def __init__(self, table: list[Process], *rest: object, base: dict[str, str] | None, **more: object) -> None:
            started.append(base)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(cli, "Runner", Runner)
    for name, value in keystore(tmp_path, *(p.enclave for p in TABLES["matrix"] if p.enclave)).items():
        monkeypatch.setenv(name, value)
    cli.main(["matrix", "--secure", "--policy", ZOO])
    cli.main(["matrix", "--policy", ZOO, "--secure"])
    cli.main(["matrix", "--policy", ZOO, "--secure", "false"])
    assert [base is not None and base["ROS_SECURITY_STRATEGY"] for base in started] == ["Enforce", "Enforce", False]
    with pytest.raises(LunarError, match="unknown key 'secure'"):
        cli.main(["sim", "--policy", ZOO, "--secure"])
    with pytest.raises(LunarError, match="the shipped policy is for /matrix alone"):
        cli.main(["matrix", "--policy", ZOO, "--secure", "--namespace", "rig2"])


def test_every_node_of_the_rig_names_its_enclave(tmp_path: Path) -> None:
    for process in (p for p in TABLES["matrix"] if not p.urdf):
        for file in (f"lib/{process.package}/{process.executable}", "share/lunar_bringup/config/matrix.yaml"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        line = command_line(process, dict.fromkeys(process.arguments, ""), tmp_path)
        assert line[line.index("--enclave") + 1] == f"/matrix/{process.name}" and "--ros-args" in line
