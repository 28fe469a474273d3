"""What ``lunar up deploy`` starts for each robot."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_hil.bringup import cli
from matrix_hil.bringup.runner import command_line, secured
from matrix_hil.bringup.tables import TABLES, Process
from sim.config import ROOT
from sim.errors import LunarError

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


def keystore(folder: Path, *enclaves: str) -> dict[str, str]:
    for enclave in enclaves:
        (folder / "enclaves" / enclave.strip("/")).mkdir(parents=True)
    return {"ROS_SECURITY_KEYSTORE": str(folder)}


def test_security_is_on_or_nothing_is_started(tmp_path: Path) -> None:
    table = TABLES["matrix"]
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
    for name, value in keystore(tmp_path, *(p.enclave for p in TABLES["matrix"])).items():
        monkeypatch.setenv(name, value)
    cli.main(["matrix", "--secure", "--policy", ZOO])
    cli.main(["matrix", "--policy", ZOO, "--secure"])
    cli.main(["matrix", "--policy", ZOO, "--secure", "false"])
    assert [base is not None and base["ROS_SECURITY_STRATEGY"] for base in started] == ["Enforce", "Enforce", False]
    with pytest.raises(LunarError, match="unknown key 'secure'"):
        cli.main(["sim", "--policy", ZOO, "--secure"])


def test_every_node_of_the_rig_names_its_enclave(tmp_path: Path) -> None:
    for process in TABLES["matrix"]:
        for file in (f"lib/{process.package}/{process.executable}", "share/lunar_bringup/config/matrix.yaml"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        line = command_line(process, dict.fromkeys(process.arguments, ""), tmp_path)
        assert line[line.index("--enclave") + 1] == f"/matrix/{process.name}" and "--ros-args" in line
