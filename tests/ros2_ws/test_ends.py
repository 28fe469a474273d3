"""How nodes end, whoever ends them: the robot is damped and nothing is left alive; and how two robots keep apart."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from matrix_hil.bringup.runner import command_line
from matrix_hil.bringup.tables import TABLES
from policy.runtime.starter import ENDS, STARTER

pytestmark = pytest.mark.wall_clock

LUNAR = [sys.executable, "-c", "from matrix_hil.cli import main; main()", "up", "deploy", "--robot", "sim_go2"]
PATIENT = ["--ready_timeout", "300"]
ROWS = {p.executable: p for p in TABLES["deploy"] if "sim" in p.only["robot"] or "sim_go2" in p.only["robot"]}
# Tolerant of a test machine that is busy.
LIMITS = ("-p", "ramp_time:=0.4", "-p", "stale_after:=0.3", "-p", "damp_after:=0.8")
# As a launch does it: starts what its arguments say, tells who it is, says the process id, and waits.
START = (
    "import os, subprocess, sys; "
    f"child = subprocess.Popen(sys.argv[1:], env=os.environ | {{{STARTER!r}: str(os.getpid())}}); "
    "print(child.pid, flush=True); child.wait()"
)


def alive(pid: int) -> bool:
    """Whether a process is there that is not merely waiting to be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(child) for child in found.stdout.split()]


def wait(what: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


@pytest.fixture
def look(ros: dict[str, str], tmp_path: Path) -> Callable[..., dict]:
    """What ``onlooker.py`` sees when these nodes are there, and the answers that it gets."""

    def go(nodes: list[str], *questions: object) -> dict:
        result = tmp_path / "onlooker.json"
        words = [q if i % 3 < 2 else json.dumps(q) for i, q in enumerate(questions)]
        line = [sys.executable, str(Path(__file__).with_name("onlooker.py")), json.dumps(nodes), str(result), *words]
        subprocess.run(line, env=ros, check=True, timeout=300)
        return json.loads(result.read_text())

    return go


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "killed starter", "killed starter of a shell"])
def test_the_last_word_is_damp(
    how: str, ros: dict[str, str], probe: Callable, policy_folder: Path, tmp_path: Path
) -> None:
    line = [*command_line(TABLES["deploy"][0], {"policy": str(policy_folder)}), *LIMITS]
    between = ["bash", "-c", '"$@"; exit', "bash"] if how.endswith("shell") else []
    log, runs = tmp_path / "node.log", tmp_path / "runs"
    with open(log, "w") as out, ThreadPoolExecutor() as pool:
        starter = subprocess.Popen(
            [sys.executable, "-c", START, *between, *line], env=ros, stdout=subprocess.PIPE, stderr=out, text=True
        )
        with starter:
            assert starter.stdout is not None
            node = int(starter.stdout.readline())
            if between:
                wait(lambda: children(node))
                node = children(node)[0]
            try:
                playing = pool.submit(
                    probe,
                    [
                        {"name": "start", "seconds": 120, "until": "run"},
                        {"name": "end", "seconds": 120, "until": "damp", "touch": str(runs)},
                    ],
                )
                wait(lambda: runs.exists() or playing.done())
                if how.startswith("killed starter"):
                    starter.kill()
                else:
                    os.kill(node, signal.Signals[how])
                wait(lambda: not alive(node))
                record = playing.result()
            finally:
                with suppress(ProcessLookupError):
                    os.kill(node, signal.SIGKILL)
    assert record["start"]["commands"][-1]["mode"] == "run"
    last = record["end"]["commands"][-1]
    assert (last["mode"], last["kp"]) == ("damp", 0.0) and last["kd"] > 0.0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("name", ["sim_robot", "sim_go2", "unitree_adapter"])
@pytest.mark.parametrize("number", ENDS, ids=lambda s: s.name)
def test_a_simulator_and_the_adapter_end_quietly(
    name: str, number: signal.Signals, ros: dict[str, str], look: Callable, tmp_path: Path
) -> None:
    with open(tmp_path / "log", "w") as log:
        node = subprocess.Popen(command_line(ROWS[name], {}), env=ros, stdout=log, stderr=log)
        look([f"/{name}"])
        node.send_signal(number)
        assert node.wait(timeout=120) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("name", ["sim_robot", "sim_go2"])
def test_the_clock_makes_no_leap_when_a_simulator_was_stopped(name: str, ros: dict[str, str], tmp_path: Path) -> None:
    """A busy computer holds it up for 0.3 s: what it missed stays missed, and each step is published."""
    reader = [sys.executable, str(Path(__file__).with_name("clock_reader.py")), "600"]
    with open(tmp_path / "log", "w") as log:
        node = subprocess.Popen(command_line(ROWS[name], {}), env=ros, stdout=log, stderr=log)
        with subprocess.Popen(reader, env=ros, stdout=subprocess.PIPE, text=True) as reading:
            assert reading.stdout is not None
            assert reading.stdout.readline() == "ready\n"
            node.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            node.send_signal(signal.SIGCONT)
            seen = json.loads(reading.communicate(timeout=240)[0])
        node.send_signal(signal.SIGINT)
        assert node.wait(timeout=120) == 0
    steps = [later - t for (n, t), (m, later) in itertools.pairwise(seen) if m == n + 1]
    assert len(steps) > 100 and 0.0 < min(steps) <= max(steps) <= 0.02 + 1e-9, "s, at most a control period"


def test_two_robots_on_one_graph_share_nothing(
    ros: dict[str, str], look: Callable, standing_policy_folder: Path
) -> None:
    runners = [
        subprocess.Popen([*LUNAR, *PATIENT, "--policy", str(standing_policy_folder), "--namespace", name], env=ros)
        for name in ("one", "two")
    ]
    nodes = [f"/{ns}/{name}" for ns in ("one", "two") for name in ("sim_go2", "unitree_adapter", "policy_node")]
    try:
        topics = look(nodes)["topics"]
    finally:
        for runner in runners:
            runner.send_signal(signal.SIGINT)
        ends = [runner.wait(timeout=120) for runner in runners]
    assert ends == [0, 0]
    both = {topic for topic, names in topics.items() if {n.split("/")[1] for n in names} >= {"one", "two"}}
    assert both <= {"/diagnostics", "/rosout", "/parameter_events"}
    for ns in ("one", "two"):
        assert topics[f"/{ns}/lowcmd"] == [f"/{ns}/sim_go2", f"/{ns}/unitree_adapter"]
        assert set(topics[f"/{ns}/clock"]) == {f"/{ns}/{n}" for n in ("sim_go2", "unitree_adapter", "policy_node")}


def test_what_configure_has_read_is_not_said_to_be_set(
    ros: dict[str, str], look: Callable, start_node: Callable, policy_folder: Path, tmp_path: Path
) -> None:
    node = start_node(policy_folder)
    wait(lambda: "gravity" in (tmp_path / "node.log").read_text())
    asked = look(
        ["/policy_node"], "/policy_node", "ramp_time", 3.0, "/policy_node", "use_sim_time", True
    )["set"]  # fmt: skip
    assert [good for good, _ in asked] == [False, False]
    assert asked[0][1] == "ramp_time cannot be set now: configure has read it; deactivate and clean up first"
    node.send_signal(signal.SIGINT)
    assert node.wait(timeout=120) == 0
    idle = start_node(policy_folder, "-p", "autostart:=false")
    asked = look(["/policy_node"], "/policy_node", "ramp_time", 3.0, "/policy_node", "ramp_time", 99.0)["set"]
    assert [good for good, _ in asked] == [True, False]  # and out of its range stays refused
    idle.send_signal(signal.SIGINT)
    assert idle.wait(timeout=120) == 0


def test_a_rig_takes_no_simulations_time(ros: dict[str, str], look: Callable) -> None:
    row = next(p for p in TABLES["matrix"] if p.name == "twin")
    line = [*command_line(row, {"namespace": "/matrix"}), "-p", "autostart:=false"]
    node = subprocess.Popen(line, env=ros)
    asked = look(["/matrix/twin"], "/matrix/twin", "use_sim_time", True, "/matrix/twin", "use_sim_time", False)["set"]
    node.send_signal(signal.SIGINT)
    assert node.wait(timeout=120) == 0
    assert asked == [[False, "use_sim_time cannot be set now: a rig runs in real time"], [True, ""]]


@pytest.mark.parametrize(
    ("table", "name", "parameter", "sentence"),
    [
        ("deploy", "policy_node", "policy:=123", "policy"),
        ("deploy", "policy_node", "ramp_time:=99.0", "ramp_time out of range"),
        ("deploy", "unitree_adapter", "use_sim_time:=true", "a real robot's motors wait for no /clock"),
        ("replay", "replay", "rate:=fast", "parameter 'rate' is 'fast'; it must be a number"),
    ],
)
def test_a_value_that_may_not_be_is_answered_in_a_sentence(
    table: str, name: str, parameter: str, sentence: str, ros: dict[str, str]
) -> None:
    """Given by hand; launch files and 'lunar up' hand texts on as texts."""
    row = next(p for p in TABLES[table] if p.name == name)
    line = [*command_line(row, {"bag": "/absent"}), "-p", parameter]
    result = subprocess.run(line, env=ros, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert sentence in result.stderr and "Traceback" not in result.stderr
