"""``ros2 launch`` for real, where ROS 2 is installed and the workspace sourced: up, Ctrl-C, refusal, a killed launch.

Most need neither MuJoCo nor a robot: the policy node waits, damped, for a driver. Runs with ``--noconftest`` too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.wall_clock,
    pytest.mark.skipif(shutil.which("ros2") is None, reason="ros2 is not on the path: it comes with an installation"),
]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a launch file; its output goes to tmp_path/log."""
    started: list[subprocess.Popen] = []

    def go(*arguments: str) -> subprocess.Popen:
        env = os.environ | {"ROS_LOG_DIR": str(tmp_path / "ros"), "PYTHONUNBUFFERED": "1"}
        with open(tmp_path / "log", "w") as log:
            line = ["ros2", "launch", "--noninteractive", "lunar_bringup", *arguments]
            started.append(subprocess.Popen(line, env=env, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    yield go
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(file: Path, text: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while text not in file.read_text():
        assert time.monotonic() < deadline, file.read_text()
        time.sleep(0.1)


def children(process: subprocess.Popen) -> list[int]:
    """Process ids in the launch's own session, without its own."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = file.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if int(session) == process.pid != int(file.parent.name) and state != "Z":
            found.append(int(file.parent.name))
    return found


def test_a_policy_comes_up_and_ctrl_c_ends_it(launch: Callable, tmp_path: Path) -> None:
    process = launch("deploy.launch.py", "policy:=pronk", "namespace:=go2_a")
    wait_for(tmp_path / "log", "damp: joint states: none yet")  # it is active
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    assert children(process) == []


def test_a_simulated_go2_runs_and_ctrl_c_ends_it(launch: Callable, tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="the simulated robot needs lunar[sim]")
    process = launch("deploy.launch.py", "policy:=pronk", "robot:=sim_go2")
    wait_for(tmp_path / "log", "[policy_node]: run", 300.0)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    assert children(process) == []


def test_a_refused_policy_ends_the_launch_with_a_status(launch: Callable, tmp_path: Path) -> None:
    process = launch("deploy.launch.py", "policy:=123")
    assert process.wait(timeout=120) != 0
    log = (tmp_path / "log").read_text()
    assert "policy_node has not become active" in log and "Traceback" not in log


def test_a_number_that_is_none_ends_the_launch_with_a_sentence(launch: Callable, tmp_path: Path) -> None:
    process = launch("replay.launch.py", "bag:=/absent", "rate:=fast")
    assert process.wait(timeout=120) != 0
    assert "rate is 'fast'; it must be a number" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_nothing_outlives_a_killed_launch(number: signal.Signals, launch: Callable, tmp_path: Path) -> None:
    process = launch("deploy.launch.py", "policy:=pronk")
    wait_for(tmp_path / "log", "damp: joint states: none yet")
    process.send_signal(number)
    process.wait(timeout=60)
    deadline = time.monotonic() + 30.0
    while children(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children(process) == []


def test_every_launch_file_shows_its_arguments() -> None:
    for table in ("deploy", "sim", "matrix", "replay"):
        line = ["ros2", "launch", "lunar_bringup", f"{table}.launch.py", "--show-args"]
        shown = subprocess.run(line, capture_output=True, text=True, timeout=120)
        assert shown.returncode == 0 and "'namespace'" in shown.stdout, shown.stderr
