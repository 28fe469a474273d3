"""The runner on scripts that behave like nodes: order, readiness, Ctrl-C and exit statuses, without ROS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from matrix_hil.bringup import runner
from matrix_hil.bringup.cli import main
from matrix_hil.bringup.runner import Runner, command_line, find_executable, ros_environment
from matrix_hil.bringup.tables import Process
from policy.runtime.notify import notify
from policy.runtime.starter import STARTER
from sim.errors import LunarError

pytestmark = pytest.mark.wall_clock

NODE = Process(name="node", package="pkg", executable="node")
SERVER = """
import os, pathlib, signal, sys, time
from policy.runtime.notify import notify
from policy.runtime.starter import follow_starter
log = open({log!r}, "a", buffering=1)
name = sys.argv[3].removeprefix("__node:=")
stop = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.append(print(name, "interrupted", file=log)))
follow_starter()
print(name, "starts", file=log)
{body}
while not stop:
    time.sleep(0.01)
"""
READY = "time.sleep(0.2); print(name, 'ready', file=log); notify('READY=1')\n"
HANG_UP = "os.kill(os.getppid(), signal.SIGHUP)\n"
CTRL_C = "os.kill(os.getppid(), signal.SIGINT)\n"


class Workspace:
    """An install folder whose executables are small scripts that write into one log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        self.said: list[str] = []
        (folder / "share").mkdir()

    def add(self, name: str, body: str = "") -> Process:
        path = self.folder / "lib/pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\n" + SERVER.format(log=str(self.log), body=body))
        path.chmod(0o755)
        return replace(NODE, name=name, executable=name)

    def run(self, *table: Process, timeout: float = 20.0) -> int:
        return Runner(table, {}, timeout, self.folder, self.said.append).run()

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_later_process_waits_for_the_lifecycle_node_before_it(workspace: Workspace) -> None:
    first = replace(workspace.add("first", READY), lifecycle=True)
    second = replace(workspace.add("second", CTRL_C), order=1)
    assert workspace.run(second, first) == 0
    assert workspace.lines()[:3] == ["first starts", "first ready", "second starts"]
    # one Ctrl-C reaches every process once, last started first
    assert workspace.lines()[3:] == ["second interrupted", "first interrupted"]


def test_a_closed_terminal_stops_all_as_ctrl_c_does(workspace: Workspace) -> None:
    assert workspace.run(workspace.add("server", HANG_UP)) == 0
    assert workspace.lines() == ["server starts", "server interrupted"]


def test_the_end_of_a_required_process_stops_all_and_is_a_failure(workspace: Workspace) -> None:
    server = replace(workspace.add("server", READY), lifecycle=True)
    assert workspace.run(server, replace(workspace.add("fatal", "sys.exit(3)"), order=1)) == 1
    assert "fatal: ended with status 3; everything stops" in workspace.said
    assert workspace.lines()[-1] == "server interrupted"


def test_the_end_of_an_optional_process_stops_nothing(workspace: Workspace) -> None:
    extra = replace(workspace.add("extra", "sys.exit(3)"), required=False, lifecycle=True)
    assert workspace.run(extra, replace(workspace.add("server", CTRL_C), order=1)) == 0


def test_the_end_of_a_finite_process_stops_all_and_is_no_failure(workspace: Workspace) -> None:
    server = workspace.add("server")
    done = replace(workspace.add("done", "time.sleep(0.2); sys.exit(0)"), finite=True, order=1)
    assert workspace.run(server, done) == 0
    assert workspace.lines()[-1] == "server interrupted"


def test_a_node_that_never_becomes_active_is_named(workspace: Workspace) -> None:
    assert workspace.run(replace(workspace.add("mute"), lifecycle=True), timeout=0.3) == 1
    assert "mute: not active after 0.3 s" in workspace.said


def test_a_process_that_ignores_ctrl_c_is_killed_and_is_a_failure(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "STOP_SIGNALS", ((signal.SIGINT, 0.2), (signal.SIGKILL, 5.0)))
    deaf = workspace.add("deaf", f"signal.signal(signal.SIGINT, signal.SIG_IGN)\n{CTRL_C}")
    assert workspace.run(deaf) == 1
    assert "deaf: ended with status -9" in workspace.said


def test_a_node_does_not_start_for_a_starter_that_is_dead() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    script = "from policy.runtime.starter import follow_starter; print(follow_starter())"

    def said(starter: str, *around: str) -> str:
        env = os.environ | {STARTER: starter}
        line = [*around, sys.executable, "-c", script]
        return subprocess.run(line, env=env, capture_output=True, text=True).stdout.strip()

    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert said(str(dead.pid)) == "False"  # its process id is still there
    dead.wait()
    assert [said(str(dead.pid)), said(str(os.getpid())), said("")] == ["False", "True", "True"]
    between = ("bash", "-c", '"$@"; exit', "bash")  # a program that starts the node in its turn
    assert [said(str(dead.pid), *between), said(str(os.getpid()), *between)] == ["False", "True"]


def test_a_node_behind_a_shell_sees_that_its_starter_has_died(tmp_path: Path) -> None:
    """The kernel tells of the death of a parent alone."""
    script = (
        "import sys; from policy.runtime.starter import follow_starter, starter_lives; print(follow_starter());"
        "sys.stdout.flush(); sys.stdin.read(); print(starter_lives())"
    )
    start = (
        f"import os, subprocess, sys; os.environ[{STARTER!r}] = str(os.getpid());"
        "subprocess.run(['bash', '-c', '\"$@\"; exit', 'bash', *sys.argv[1:]])"
    )
    line = [sys.executable, "-c", start, sys.executable, "-c", script]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None and starter.stdin is not None
        assert starter.stdout.readline() == "True\n"
        starter.kill()
        starter.wait()
        starter.stdin.close()
        assert starter.stdout.readline() == "False\n"


def test_a_node_that_was_started_by_hand_stays_when_its_shell_ends(tmp_path: Path) -> None:
    script = (
        "import os, time; from policy.runtime.starter import follow_starter; follow_starter();"
        "print(os.getpid(), flush=True); time.sleep(30)"
    )
    env = {k: v for k, v in os.environ.items() if k != STARTER}
    shell = f"{sys.executable} -c '{script}' & read _"
    with subprocess.Popen(
        ["bash", "-c", shell], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        node = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        time.sleep(0.2)
        os.kill(node, 0)  # it is there
        os.kill(node, signal.SIGKILL)


def test_no_node_outlives_a_runner_that_is_killed(workspace: Workspace) -> None:
    workspace.add("node", "print(name, os.getpid(), file=log)\nos.kill(os.getppid(), signal.SIGKILL)")
    script = (
        "from pathlib import Path; from matrix_hil.bringup.runner import Runner; "
        "from matrix_hil.bringup.tables import Process; "
        f"Runner([Process('node', 'pkg', 'node')], {{}}, 30.0, workspace=Path({str(workspace.folder)!r})).run()"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30).returncode == -9
    deadline = time.monotonic() + 10.0
    while "node interrupted" not in workspace.lines() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "node interrupted" in workspace.lines()


def test_the_command_line_carries_name_namespace_and_parameters(workspace: Workspace) -> None:
    config = workspace.folder / "share/lunar_bringup/config/node.yaml"
    config.parent.mkdir(parents=True)
    config.touch()
    process = replace(
        workspace.add("node"),
        parameters="node.yaml",
        arguments=("policy", "rate", "loop", "log"),
        remap={"/clock": "clock"},
    )
    values = {"policy": "123", "rate": "2", "loop": "true", "log": "", "other": "x", "namespace": "/go2"}
    line = command_line(process, values, workspace.folder)
    assert line[0] == str(workspace.folder / "lib/pkg/node")
    # a text that looks like a number stays a text, a number is never a whole one, and what is empty is not said
    assert " ".join(line[1:]) == (
        f"--ros-args -r __node:=node -r __ns:=/go2 -r /clock:=clock --params-file {config}"
        ' -p policy:="123" -p rate:=2.0 -p loop:=true'
    )


def test_a_program_of_somebody_else_gets_the_robot_and_ends_with_the_runner(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urdf = workspace.folder / "share/lunar_description/urdf/go2.urdf"
    urdf.parent.mkdir(parents=True)
    urdf.write_text('<robot name="go2">\n</robot>')
    foreign = replace(NODE, package="robot_state_publisher", executable="rsp", urdf="go2.urdf", required=False)
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    assert not find_executable(foreign, workspace.folder)
    program = tmp_path / "ros/lib/robot_state_publisher/rsp"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/absent:{tmp_path / 'ros'}")
    line = command_line(foreign, {"namespace": "/a/b"}, workspace.folder)
    assert line[:4] == ["setpriv", "--pdeathsig", "TERM", str(program)]
    values = dict(word.split(":=", 1) for word in line if ":=" in word)
    assert yaml.safe_load(values["robot_description"]) == urdf.read_text()
    assert yaml.safe_load(values["frame_prefix"]) == "a/b/"


def test_an_executable_or_workspace_that_is_not_built_is_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(LunarError, match=r"lib/pkg/node does not exist; build it with 'python ros2_ws/build.py'"):
        command_line(NODE, {}, workspace.folder)
    with pytest.raises(LunarError, match=r"absent does not exist; build it"):
        ros_environment(tmp_path / "absent")


def test_the_environment_puts_the_workspace_first_and_is_idempotent(workspace: Workspace) -> None:
    modules = workspace.folder / "lib/python3.11/site-packages"
    modules.mkdir(parents=True)
    base = {"PYTHONPATH": "/a", "AMENT_PREFIX_PATH": "/opt/ros/jazzy", "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    env = ros_environment(workspace.folder, base)
    assert env["PYTHONPATH"] == f"{modules}:/a"
    assert env["AMENT_PREFIX_PATH"] == f"{workspace.folder}:/opt/ros/jazzy"
    assert env["LD_LIBRARY_PATH"] == str(workspace.folder / "lib")
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in env
    assert env["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert ros_environment(workspace.folder, env) == env


def test_nobody_on_the_network_finds_the_nodes_unless_the_user_says_so(workspace: Workspace) -> None:
    old = {"ROS_DISTRO": "humble"}  # has a variable of its own for that
    wide = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}

    def said(base: dict[str, str]) -> tuple[str, str | None]:
        env = ros_environment(workspace.folder, base)
        return env["ROS_AUTOMATIC_DISCOVERY_RANGE"], env.get("ROS_LOCALHOST_ONLY")

    assert [said({"ROS_DISTRO": "jazzy"}), said(old)] == [("LOCALHOST", None), ("LOCALHOST", "1")]
    assert [said(wide), said(old | wide)] == [("SUBNET", None), ("SUBNET", None)]
    assert said(old | {"ROS_LOCALHOST_ONLY": "0"}) == ("LOCALHOST", "0")


def test_notify_is_silent_when_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone.sock"))
    notify("READY=1")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "name the table to start, one of: deploy, sim, matrix, replay"),
        (["nothing"], "name the table to start, one of: deploy, sim, matrix, replay"),
        (["deploy", "--policy", "x", "--polici", "x"], "unknown key 'polici' for 'deploy'; did you mean 'policy'"),
        (["deploy"], "'deploy' needs --policy: Folder with"),
        (["deploy", "policy"], "'policy' is not understood; options are --key value"),
        (["matrix", "--policy", "x", "--rig=tin"], "rig is 'tin'; it must be one of: virtual, serial"),
        (["replay", "--bag"], "--bag needs a value"),
        (["deploy", "--policy", "x", "--ready_timeout", "soon"], "ready_timeout is 'soon'; it must be a number"),
        (["replay", "--bag", "x", "--rate", "fast"], "rate is 'fast'; it must be a number"),
        (["replay", "--bag", "x", "--rate", "nan"], "rate is 'nan'; it must be a number"),
        (["sim", "--policy", "x", "--namespace", "2 robots"], "namespace is '2 robots'; it must be names"),
        (["sim", "--policy", "x", "--tf", "maybe"], "tf is 'maybe'; it must be one of: true, false"),
        (["deploy", "--policy", os.devnull], "give an exported policy with --policy FOLDER"),
    ],
)
def test_up_refuses_in_one_sentence(argv: list[str], sentence: str) -> None:
    with pytest.raises(LunarError, match=sentence):
        main(argv)
