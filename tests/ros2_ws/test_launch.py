"""The launch files against the process tables: what is started when, where, with what, and what ends it.

``launch`` has no wheels: its part is played by a small stand-in that records actions and hands events to their
handlers. The last tests need no stand-in: what the files import, and the real packages where they can be imported.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import runpy
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from matrix_hil.bringup.tables import ARGUMENTS, NAMESPACES, SECURITY, TABLES, arguments_of, namespace_of
from policy.runtime.starter import FOREIGN, STARTER
from sim.config import ROOT

BRINGUP = ROOT / "ros2_ws/src/lunar_bringup"
SOURCES = (*BRINGUP.glob("lunar_bringup/*.py"), *BRINGUP.glob("launch/*.py"))
# Keyword arguments of launch_ros.actions.Node and what it hands on to launch.actions.ExecuteProcess, as in Humble.
KNOWN = {
    "executable", "package", "name", "namespace", "exec_name", "parameters", "remappings", "ros_arguments", "arguments",
    "output", "condition", "respawn", "respawn_delay", "emulate_tty", "on_exit", "sigterm_timeout", "prefix",
    "additional_env",
}  # fmt: skip


class Record:
    """Any action, event or substitution: what it was made with."""

    def __init__(self, *args: Any, **given: Any) -> None:
        self.args, self.given = args, given


class Node(Record):
    def __init__(self, **given: Any) -> None:
        assert not set(given) - KNOWN, f"launch_ros knows no {set(given) - KNOWN}"
        super().__init__(**given)


class LifecycleNode(Node):
    pass


class LaunchConfiguration(Record):
    def perform(self, context: Any) -> str:
        return context.launch_configurations[self.args[0]]


NAMES = {
    "launch": ("LaunchContext", "LaunchDescription"),
    "launch.actions": (
        "DeclareLaunchArgument", "EmitEvent", "LogInfo", "OpaqueFunction", "RegisterEventHandler", "Shutdown",
        "TimerAction",
    ),
    "launch.events": ("matches_action",),
    "launch_ros": (),
    "launch_ros.event_handlers": ("OnStateTransition",),
    "launch_ros.events": (),
    "launch_ros.events.lifecycle": ("ChangeState",),
    "launch_ros.parameter_descriptions": ("ParameterValue",),
    "lifecycle_msgs": (),
}  # fmt: skip


class Launch:
    """Plays ``ros2 launch``: performs actions, keeps who runs, and lets nodes change state or end."""

    def __init__(self, table: str, values: Mapping[str, str], pushed: str = "") -> None:
        description = runpy.run_path(str(BRINGUP / "launch" / f"{table}.launch.py"))["generate_launch_description"]()
        *self.declared, start = description.args[0]
        defaults = {d.args[0]: d.given["default_value"] for d in self.declared}
        self.context = SimpleNamespace(launch_configurations=defaults | dict(values), is_shutdown=False)
        if pushed:
            self.context.launch_configurations["ros_namespace"] = pushed
        self.nodes: dict[str, Node] = {}
        self.asked: list[tuple[str, int]] = []
        self.timers: list[Record] = []
        self.logged: list[str] = []
        self.reason = ""
        self._handlers: dict[str, Record] = {}
        self.perform([start])
        self.context.launch_configurations.pop("ros_namespace", None)  # whoever pushed it has popped it

    def perform(self, actions: list[Any] | None) -> None:
        for a in actions or []:
            kind = type(a).__name__
            if kind == "OpaqueFunction":
                self.perform(a.given["function"](self.context, *a.given.get("args", ())))
            elif kind == "RegisterEventHandler":
                handler = a.args[0]
                self._handlers[handler.given["target_lifecycle_node"].given["name"]] = handler
            elif kind == "EmitEvent":
                node = a.given["event"].given["lifecycle_node_matcher"].args[0]
                assert node is self.nodes[node.given["name"]]
                self.asked.append((node.given["name"], a.given["event"].given["transition_id"]))
            elif kind == "TimerAction":
                self.timers.append(a)
            elif kind == "LogInfo":
                self.logged.append(a.given["msg"])
            elif kind == "Shutdown":
                self.reason, self.context.is_shutdown = a.given["reason"], True
            else:
                assert a.given["name"] not in self.nodes, "started twice"
                self.nodes[a.given["name"]] = a

    def move(self, name: str, start: str, goal: str) -> None:
        self.context.locals = SimpleNamespace(event=SimpleNamespace(start_state=start, goal_state=goal))
        self.perform(self._handlers[name].given["entities"])

    def up(self, name: str) -> None:
        """As a node that does what it is asked: 1 is configure, 3 is activate."""
        assert (name, 1) in self.asked and (name, 3) not in self.asked
        self.move(name, "unconfigured", "configuring")
        self.move(name, "configuring", "inactive")
        assert (name, 3) in self.asked
        self.move(name, "inactive", "activating")
        self.move(name, "activating", "active")

    def end(self, name: str, status: int) -> None:
        self.perform(self.nodes[name].given["on_exit"](SimpleNamespace(returncode=status), self.context))


@pytest.fixture
def installed() -> set[str]:
    """Packages that ament finds."""
    return {"robot_state_publisher", "lunar_description"}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, installed: set[str]) -> None:
    def find(package: str) -> str:
        if package not in installed:
            raise LookupError(package)
        return str(ROOT / "ros2_ws/src" / package)

    content: dict[str, dict[str, Any]] = {
        module: {n: type(n, (Record,), {}) for n in names} for module, names in NAMES.items()
    }
    content["launch.substitutions"] = {"LaunchConfiguration": LaunchConfiguration}
    content["launch_ros.actions"] = {"Node": Node, "LifecycleNode": LifecycleNode}
    transition = SimpleNamespace(TRANSITION_CONFIGURE=1, TRANSITION_ACTIVATE=3)
    content["lifecycle_msgs.msg"] = {"Transition": transition}
    content["ament_index_python"] = {}
    content["ament_index_python.packages"] = {
        "PackageNotFoundError": LookupError, "get_package_prefix": find, "get_package_share_directory": find,
    }  # fmt: skip
    for name, members in content.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(autouse=True)
def bringup_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BRINGUP))
    for name in ("lunar_bringup", "lunar_bringup.table"):
        monkeypatch.delitem(sys.modules, name, raising=False)


GIVEN = {"policy": "123", "bag": "/log", "rate": "2"}
"""A policy whose name looks like a number, and what else has no default or another type."""


def cases() -> Iterator[Any]:
    """Every table with every combination of the choices that say who is started."""
    for table in TABLES:
        axes = sorted({name for p in TABLES[table] for name in p.only or {}})
        for picked in itertools.product(*(ARGUMENTS[name].choices for name in axes)):
            values = {name: value for name, value in GIVEN.items() if name in arguments_of(table)}
            yield pytest.param(table, values | dict(zip(axes, picked, strict=True)), id="-".join((table, *picked)))


def test_every_table_has_its_launch_file() -> None:
    assert {f.name.removesuffix(".launch.py") for f in (BRINGUP / "launch").iterdir()} - {"__pycache__"} == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_the_launch_file_takes_the_arguments_of_the_table(table: str, fakes: None) -> None:
    declared = Launch(table, GIVEN).declared
    assert [d.args[0] for d in declared] == arguments_of(table)
    for d in declared:
        a = ARGUMENTS[d.args[0]]
        assert (d.given["default_value"], d.given["description"]) == (a.default, a.help)
        choices = d.given["choices"] or []
        assert {c for c in choices if c} == set(a.choices)
        assert not choices or a.default is None or a.default in choices  # launch refuses a default that is no choice


@pytest.mark.parametrize(("table", "given"), list(cases()))
def test_launch_starts_what_lunar_up_starts(table: str, given: dict[str, str], fakes: None) -> None:
    secure = given.get("secure") == "true"
    home = NAMESPACES[table] if secure else "robot_a"  # the security policy is for one namespace
    launch = Launch(table, given | {"namespace": home})
    rows = sorted((p for p in TABLES[table] if p.chosen(given)), key=lambda p: p.order)
    for process in rows:
        if process.lifecycle:
            launch.up(process.name)
    assert sorted(launch.nodes) == sorted(p.name for p in rows)  # each once
    for process in rows:
        node = launch.nodes[process.name]
        assert (node.given["package"], node.given["executable"]) == (process.package, process.executable)
        assert isinstance(node, LifecycleNode) == process.lifecycle
        assert node.given["namespace"] == f"/{home}"
        assert node.given["remappings"] == list((process.remap or {}).items())
        assert node.given["additional_env"] == {STARTER: str(os.getpid())} | (SECURITY if secure else {})
        assert node.given["ros_arguments"] == (["--enclave", process.enclave] if process.enclave else None)
        assert not node.given.get("respawn")
        assert (node.given["prefix"] == " ".join(FOREIGN)) == bool(process.urdf)
        files = [p for p in node.given["parameters"] if isinstance(p, str)]
        assert files == ([str(BRINGUP / "config" / process.parameters)] if process.parameters else [])
        values = {k: v for p in node.given["parameters"] if isinstance(p, dict) for k, v in p.items()}
        # a text stays one whatever it looks like
        texts = {k: v.args[0] for k, v in values.items() if isinstance(v, Record) and v.given == {"value_type": str}}
        assert not process.lifecycle or values.pop("autostart") is False
        if process.urdf:
            assert texts["robot_description"] == (ROOT / "ros2_ws/src/lunar_description/urdf/go2.urdf").read_text()
            assert texts["frame_prefix"] == "robot_a/"
        for name in process.arguments:
            value, kind = given.get(name, ARGUMENTS[name].default), ARGUMENTS[name].kind
            if not value:
                assert name not in values
            elif kind == "text":
                assert texts[name] == value
            else:
                assert values[name] == (value == "true" if kind == "switch" else float(value))


@pytest.mark.parametrize("drivers", ["inline", "nodes"])
def test_a_later_process_waits_for_every_lifecycle_node_before_it(drivers: str, fakes: None) -> None:
    launch = Launch("matrix", GIVEN | {"drivers": drivers})
    assert set(launch.nodes) == {"virtual_rig", "robot_state_publisher"}
    launch.move("virtual_rig", "configuring", "inactive")
    assert launch.asked == [("virtual_rig", 1), ("virtual_rig", 3)]
    launch.move("virtual_rig", "activating", "active")
    second = [
        p.name
        for p in TABLES["matrix"]
        if p.order == 1 and p.chosen({"drivers": drivers, "rig": "virtual", "tf": "true"})
    ]
    for name in second:
        assert name in launch.nodes and "sync" not in launch.nodes
        launch.up(name)
    assert "sync" in launch.nodes
    launch.move("virtual_rig", "active", "deactivating")  # by an operator: nothing is started again, nothing ends
    launch.move("virtual_rig", "deactivating", "inactive")
    launch.up("sync")


@pytest.mark.parametrize("moves", [("configuring", "unconfigured"), ("activating", "inactive"), ("x", "finalized")])
def test_a_node_that_does_not_become_active_ends_everything(moves: tuple[str, str], fakes: None) -> None:
    launch = Launch("deploy", GIVEN)
    with pytest.raises(RuntimeError, match="policy_node has not become active"):
        launch.move("policy_node", *moves)
    launch.end("policy_node", 1)  # said once


def test_a_node_that_is_late_is_named(fakes: None) -> None:
    launch = Launch("matrix", GIVEN)
    launch.up("virtual_rig")
    launch.up("twin")
    first, second = launch.timers
    assert first.given["period"] == 60.0
    launch.perform(first.given["actions"])  # all was in time
    with pytest.raises(RuntimeError, match=r"^recorder: not active after 60 s; everything stops"):
        launch.perform(second.given["actions"])


def test_the_end_of_a_required_process_ends_everything_once(fakes: None) -> None:
    launch = Launch("sim", GIVEN)
    launch.up("policy_node")
    launch.end("robot_state_publisher", 1)  # nobody needs it
    with pytest.raises(RuntimeError, match="policy_node has ended with status -9; everything stops"):
        launch.end("policy_node", -9)
    launch.end("sim_robot", 0)
    assert not launch.reason


def test_an_optional_process_that_ends_is_not_waited_for(fakes: None) -> None:
    launch = Launch("matrix", GIVEN)
    launch.up("virtual_rig")
    launch.up("recorder")
    launch.end("twin", 1)
    assert "sync" in launch.nodes


def test_a_finite_process_ends_everything_and_is_no_failure(fakes: None) -> None:
    launch = Launch("replay", GIVEN)
    launch.up("replay")
    launch.end("replay", 0)
    assert launch.reason == "replay has done its work"
    failed = Launch("replay", GIVEN)
    with pytest.raises(RuntimeError, match="replay has ended with status 1"):
        failed.end("replay", 1)


def test_security_is_for_the_policys_own_namespace(fakes: None) -> None:
    with pytest.raises(RuntimeError, match="the shipped policy is for /matrix alone"):
        Launch("matrix", GIVEN | {"secure": "true", "namespace": "rig2"})


def test_after_ctrl_c_no_end_is_a_failure(fakes: None) -> None:
    launch = Launch("sim", GIVEN)
    launch.context.is_shutdown = True
    for name in launch.nodes:
        launch.end(name, 1)


@pytest.mark.parametrize(
    ("table", "value", "pushed", "wanted"),
    [
        ("sim", "", "", "/"),
        ("matrix", "", "", "/matrix"),
        ("sim", "", "/lab/a", "/lab/a"),
        ("sim", "go2", "lab", "/lab/go2"),
        ("sim", "/go2", "/lab", "/go2"),
        ("matrix", "", "/lab", "/lab/matrix"),
    ],
)
def test_all_nodes_share_the_namespace_that_was_asked_for_and_pushed(
    table: str, value: str, pushed: str, wanted: str, fakes: None
) -> None:
    launch = Launch(table, GIVEN | {"namespace": value}, pushed)
    for process in sorted(TABLES[table], key=lambda p: p.order):
        if process.name in launch.nodes and process.lifecycle:
            launch.up(process.name)  # what starts later too
    assert {n.given["namespace"] for n in launch.nodes.values()} == {wanted} and len(launch.nodes) > 2
    if not pushed:
        assert wanted == namespace_of(table, value)


def test_without_a_state_publisher_the_rest_is_started(fakes: None, installed: set[str]) -> None:
    installed.clear()
    launch = Launch("sim", GIVEN)
    launch.up("policy_node")
    assert set(launch.nodes) == {"sim_robot", "policy_node"}
    assert launch.logged == ["robot_state_publisher is not installed: nobody publishes the robot's tf"]


def test_a_number_that_is_none_is_answered_in_a_sentence(fakes: None) -> None:
    with pytest.raises(RuntimeError, match="rate is 'fast'; it must be a number"):
        Launch("replay", GIVEN | {"rate": "fast"})


def imports(file: Path) -> set[str]:
    """Top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(), feature_version=(3, 10))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


def test_launch_files_need_nothing_but_what_the_package_declares() -> None:
    """``ros2`` runs the system's Python, which has no virtual environment's packages."""
    keys = {e.text for e in ET.parse(BRINGUP / "package.xml").getroot() if e.tag in ("exec_depend", "depend")}
    provided = {"python3-yaml": "yaml"}
    declared = {provided.get(key or "", key) for key in keys} | {"lunar_bringup"}
    outside = {name for file in SOURCES for name in imports(file)} - set(sys.stdlib_module_names)
    assert outside <= declared
    assert not outside & {"sim", "policy", "matrix_hil", "numpy"}


def test_the_table_is_plain_yaml_for_any_reader() -> None:
    """PyYAML's safe loader is all that a system's Python needs, and tables are complete without the first rows."""
    script = "import sys, yaml; print(sorted(yaml.safe_load(open(sys.argv[1]))['tables']))"
    line = [sys.executable, "-c", script, str(BRINGUP / "tables.yaml")]
    out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(sorted(TABLES)) and set(NAMESPACES) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_the_real_launch_packages_accept_the_launch_file(table: str) -> None:
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros cannot be imported: it comes with a ROS 2 installation only")
    description = runpy.run_path(str(BRINGUP / "launch" / f"{table}.launch.py"))["generate_launch_description"]()
    assert len(description.entities) == len(arguments_of(table)) + 1


@pytest.mark.parametrize("table", TABLES)
def test_parameter_files_hold_ros_parameters_and_bring_lifecycle_nodes_up(table: str) -> None:
    for process in TABLES[table]:
        if process.parameters:
            content = yaml.safe_load(Path(BRINGUP / "config" / process.parameters).read_text())
            parameters = content["/**"]["ros__parameters"]
            assert not process.lifecycle or parameters["autostart"] is True
