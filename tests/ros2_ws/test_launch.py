"""A structural check: the launch file says what the process table says.

It runs against small recording stand-ins for ``launch``, which has no wheels, and also against the real packages where
they can be imported.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_hil.bringup.tables import ARGUMENTS, SECURITY, TABLES, arguments_of
from sim.config import ROOT

BRINGUP = ROOT / "ros2_ws/src/lunar_bringup"
# Keyword arguments of launch_ros.actions.Node and what it hands on to launch.actions.ExecuteProcess, as in Jazzy.
KNOWN = {
    "executable", "package", "name", "namespace", "exec_name", "parameters", "remappings", "ros_arguments", "arguments",
    "output", "condition", "respawn", "respawn_delay", "respawn_max_retries", "emulate_tty", "on_exit",
    "sigterm_timeout",
}  # fmt: skip


class Node:
    def __init__(self, **given: Any) -> None:
        assert not set(given) - KNOWN, f"launch_ros knows no {set(given) - KNOWN}"
        self.given = given


class LifecycleNode(Node):
    def __init__(self, *, name: str, namespace: str, **given: Any) -> None:
        super().__init__(name=name, namespace=namespace, **given)


class DeclareLaunchArgument:
    def __init__(
        self,
        name: str,
        *,
        default_value: str | None = None,
        description: str | None = None,
        choices: list[str] | None = None,
    ) -> None:
        self.name, self.default_value, self.description, self.choices = name, default_value, description, choices


class Shutdown:
    def __init__(self, *, reason: str) -> None:
        self.reason = reason


class SetEnvironmentVariable:
    def __init__(self, name: str, value: str, *, condition: IfCondition) -> None:
        self.name, self.value, self.condition = name, value, condition


class IfCondition:
    def __init__(self, predicate: Any) -> None:
        self.predicate = predicate


class EqualsSubstitution:
    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right


class LaunchConfiguration:
    def __init__(self, variable_name: str) -> None:
        self.variable_name = variable_name


class LaunchDescription:
    def __init__(self, entities: list[Any]) -> None:
        self.entities = entities


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "launch": {"LaunchDescription": LaunchDescription},
        "launch.actions": {
            "DeclareLaunchArgument": DeclareLaunchArgument,
            "SetEnvironmentVariable": SetEnvironmentVariable,
            "Shutdown": Shutdown,
        },
        "launch.conditions": {"IfCondition": IfCondition},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration, "EqualsSubstitution": EqualsSubstitution},
        "launch_ros": {},
        "launch_ros.actions": {"Node": Node, "LifecycleNode": LifecycleNode},
    }
    for name, members in content.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(autouse=True)
def bringup_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BRINGUP))
    for name in ("lunar_bringup", "lunar_bringup.table"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def load(table: str) -> Any:
    return runpy.run_path(str(BRINGUP / "launch" / f"{table}.launch.py"))["generate_launch_description"]()


def test_every_table_has_its_launch_file() -> None:
    assert {f.name.removesuffix(".launch.py") for f in (BRINGUP / "launch").iterdir()} == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_the_launch_file_starts_what_the_table_says(table: str, fakes: None) -> None:
    entities = load(table).entities
    declared = [e for e in entities if isinstance(e, DeclareLaunchArgument)]
    nodes = [e for e in entities if isinstance(e, Node)]
    variables = [e for e in entities if isinstance(e, SetEnvironmentVariable)]
    assert len(declared) + len(variables) + len(nodes) == len(entities)
    wanted = {a for p in TABLES[table] for a in p.arguments} | {p.only[0] for p in TABLES[table] if p.only}
    secure = {"secure"} if any(p.enclave for p in TABLES[table]) else set()
    assert {d.name for d in declared} == wanted | secure
    assert {v.name: v.value for v in variables} == (SECURITY if secure else {})
    assert all(v.condition.predicate.variable_name == "secure" for v in variables)
    for d in declared:
        a = ARGUMENTS[d.name]
        assert (d.default_value, d.description, tuple(d.choices or ())) == (a.default, a.help, a.choices)

    for process, node in zip(sorted(TABLES[table], key=lambda p: p.order), nodes, strict=True):
        given = node.given
        for key in ("name", "package", "executable", "namespace"):
            assert given[key] == getattr(process, key)
        assert isinstance(node, LifecycleNode) == process.lifecycle
        if process.only:
            equal = given["condition"].predicate
            assert (equal.left.variable_name, equal.right) == process.only
        else:
            assert given["condition"] is None
        assert given["ros_arguments"] == (["--enclave", process.enclave] if process.enclave else None)
        # what must not go on alone ends the others; nothing is started again
        assert isinstance(given["on_exit"], Shutdown) == process.required
        assert not given.get("respawn")
        files = [p for p in given["parameters"] if isinstance(p, str)]
        assert files == ([str(BRINGUP / "config" / process.parameters)] if process.parameters else [])
        values = {k: v for p in given["parameters"] if isinstance(p, dict) for k, v in p.items()}
        assert {k: v.variable_name for k, v in values.items()} == {a: a for a in process.arguments}


@pytest.mark.parametrize("table", TABLES)
def test_the_real_launch_packages_accept_the_launch_file(table: str) -> None:
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros cannot be imported: it comes with a ROS 2 installation only")
    variables = len(SECURITY) if "secure" in arguments_of(table) else 0
    assert len(load(table).entities) == len(TABLES[table]) + len(arguments_of(table)) + variables


@pytest.mark.parametrize("table", TABLES)
def test_parameter_files_hold_ros_parameters_and_bring_lifecycle_nodes_up(table: str) -> None:
    for process in TABLES[table]:
        if process.parameters:
            content = yaml.safe_load(Path(BRINGUP / "config" / process.parameters).read_text())
            parameters = content["/**"]["ros__parameters"]
            assert not process.lifecycle or parameters["autostart"] is True
