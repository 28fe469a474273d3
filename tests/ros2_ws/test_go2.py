"""A policy on a Go2 that speaks its own messages: policy node, adapter and simulated robot, a process each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.bringup.runner import command_line
from matrix_hil.bringup.tables import TABLES, Process
from matrix_hil.link.go2 import Go2Robot
from matrix_hil.messages import RobotCommand
from sim.config import ROOT
from sim.spec.joints import NOMINAL_POSE

pytestmark = pytest.mark.wall_clock

ROWS = {(p.executable, robot): p for p in TABLES["deploy"] for robot in (p.only or {})["robot"]}
PACE = 0.25  # of the wall clock, where a policy has to keep up
HIGHER = np.array([0.0, 0.75, -1.5] * 4)  # as in go2_probe.py
# Tolerant of a test machine that is busy: one process or another may stand still for most of a second.
PATIENT = {
    "policy_node": ("ramp_time:=0.4", "stale_after:=0.5", "damp_after:=5.0"),
    "unitree_adapter": ("command_timeout:=1.0", "state_timeout:=0.5"),  # without states there are no commands either
    "sim_go2": (),
}


# Fast DDS of Kilted describes its types in a way that Cyclone DDS, a Go2's own, cannot read; without, names do.
WITHOUT_TYPES = """<dds xmlns="http://www.eprosima.com"><profiles>
<participant profile_name="go2" is_default_profile="true"><rtps><propertiesPolicy><properties><property>
<name>fastdds.type_propagation</name><value>disabled</value>
</property></properties></propertiesPolicy></rtps></participant></profiles></dds>"""


class Robot:
    """Starts processes of ``deploy robot:=ROBOT`` and records what passes between adapter and robot.

    ``go2`` takes a simulated robot for a real one: adapter and policy live by the wall clock.
    """

    def __init__(self, env: dict[str, str], folder: Path, robot: str = "go2") -> None:
        self.env, self.folder, self.robot = env, folder, robot
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, name: str, policy: Path = Path()) -> subprocess.Popen:
        row: Process = ROWS[name, "sim_go2" if name == "sim_go2" else self.robot]
        line = command_line(row, {"policy": str(policy)})
        for value in (*PATIENT[name], *((f"pace:={PACE}",) if (name, self.robot) == ("sim_go2", "sim_go2") else ())):
            line += ["-p", value]
        return self._open(name, line)

    def probe(self, *more: str) -> subprocess.Popen:
        script = str(Path(__file__).with_name("go2_probe.py"))
        return self._open("probe", [sys.executable, script, str(self.folder / "probe.json"), *more])

    def wait_for(self, word: str) -> None:
        """Until the probe says so."""
        assert self.running["probe"].stdout.readline() == f"{word}\n", self.log("unitree_adapter")

    def wait_for_log(self, name: str, text: str) -> None:
        begin = time.monotonic()
        while text not in self.log(name):
            assert time.monotonic() - begin < 120.0, self.log(name)
            time.sleep(0.05)

    def end(self, name: str, number: int = signal.SIGINT) -> int:
        self.running[name].send_signal(number)
        return self.running[name].wait(timeout=120)

    def record(self) -> dict:
        assert self.running["probe"].wait(timeout=120) == 0
        return json.loads((self.folder / "probe.json").read_text())

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _open(self, name: str, line: list[str]) -> subprocess.Popen:
        with open(self.folder / f"{name}.log", "w") as log:
            out = subprocess.PIPE if name == "probe" else log
            self.running[name] = subprocess.Popen(line, env=self.env, stdout=out, stderr=log, text=True)
        return self.running[name]


@pytest.fixture(params=["go2"])
def robot(ros: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Robot]:
    robot = Robot(ros, tmp_path, request.param)
    yield robot
    for process in robot.running.values():
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def damped(command: list) -> bool:
    _, kp, kd, valid = command
    return valid and kp == 0.0 and kd > 0.0


def test_each_joint_moves_alone(ros: dict[str, str], tmp_path: Path) -> None:
    script, out = Path(__file__).with_name("go2_joints.py"), tmp_path / "joints.json"
    subprocess.run([sys.executable, str(script), str(out)], env=ros, check=True, timeout=120)
    result = json.loads(out.read_text())
    moved = np.array(result["moved"])
    assert np.diag(moved) == pytest.approx(np.full(12, 0.25), abs=0.03)
    assert np.abs(moved - np.diag(np.diag(moved))).max() < 0.03
    assert "CRC" in result["refused"]


@pytest.mark.parametrize("robot", ["sim_go2"], indirect=True)
def test_the_policy_hops_through_the_robots_own_messages_and_leaves_it_damped(robot: Robot) -> None:
    robot.start("sim_go2")
    robot.start("unitree_adapter")
    robot.probe()
    robot.start("policy_node", ROOT / "policy/zoo/pronk")
    robot.wait_for("ready")
    robot.wait_for("hopped")
    robot.wait_for_log("sim_go2", "hop 2: 0.")  # and the terminal shows it
    # kill -9: the policy has no last word, the adapter has
    robot.end("policy_node", signal.SIGKILL)
    robot.wait_for_log("unitree_adapter", "motors limp: no command for")
    assert robot.end("unitree_adapter", signal.SIGTERM) == 0
    robot.end("probe")
    record = robot.record()

    commands, states = record["commands"], record["states"]
    driven = [c for c in commands if c[1] > 0.0]
    assert all(c[3] for c in commands) and {round(c[1]) for c in driven} == {30}
    # well above the policy's 50 Hz
    assert np.median(np.diff([c[0] for c in driven])) < 0.01 / PACE
    assert min(s[3] for s in states if s[0] < driven[-1][0]) > 0.7
    # after the kill the motors are damped, and so is the last word
    assert commands.index(driven[-1]) < len(commands) - 20
    assert all(damped(c) for c in commands if c[0] > driven[-1][0])


def test_the_last_word_is_damp_and_a_robot_that_is_silent_goes_limp(robot: Robot, standing_policy_folder: Path) -> None:
    robot.start("sim_go2")
    robot.start("unitree_adapter")
    robot.probe()
    robot.start("policy_node", standing_policy_folder)
    robot.wait_for("ready")
    robot.wait_for_log("policy_node", "run")
    robot.end("sim_go2", signal.SIGKILL)
    robot.wait_for_log("unitree_adapter", "motors limp: no state of the robot for")
    assert robot.end("unitree_adapter") == 0
    assert robot.end("policy_node") == 0
    robot.end("probe")
    record = robot.record()
    driven = [c for c in record["commands"] if c[1] > 0.0]
    assert driven and all(damped(c) for c in record["commands"] if c[0] > driven[-1][0])
    assert damped(record["commands"][-1])


def test_the_simulated_robot_refuses_a_wrong_crc(robot: Robot) -> None:
    robot.start("sim_go2")
    robot.probe("forge", "1.0")
    states = robot.record()["states"]
    right = next(i for i, s in enumerate(states) if s[1] == -2)
    assert np.abs(np.array(states[right - 1][2]) - HIGHER).max() > 0.2
    assert np.abs(np.array(states[-1][2]) - HIGHER).max() < 0.1
    assert "command refused: the CRC" in robot.log("sim_go2")


def test_two_masters_are_refused(robot: Robot, standing_policy_folder: Path) -> None:
    robot.start("sim_go2")
    robot.probe("forge", "20.0")  # publishes LowCmd, as the robot's own sport mode does
    robot.start("unitree_adapter")
    robot.start("policy_node", standing_policy_folder)
    robot.wait_for_log("unitree_adapter", "motors limp: another node publishes LowCmd")
    time.sleep(0.5)
    assert "engaged" not in robot.log("unitree_adapter").partition("another node publishes LowCmd")[2]


def test_the_rigs_driver_and_the_robot_understand_each_other_over_dds(
    robot: Robot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The driver has Cyclone DDS and knows no ROS, the simulated Go2 has ROS and Fast DDS."""
    profile = tmp_path / "fast.xml"
    profile.write_text(WITHOUT_TYPES)
    robot.env = robot.env | {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}
    monkeypatch.setenv("ROS_DOMAIN_ID", robot.env["ROS_DOMAIN_ID"])
    robot.start("sim_go2")
    with Go2Robot("dds://lo") as driver:
        begin = time.monotonic()

        def until(mode: str, done: object) -> None:
            while not done():  # type: ignore[operator]
                now = time.monotonic()
                assert now - begin < 240.0, f"{driver.stats} {driver.state} {robot.log('sim_go2')}"
                if mode and driver.state.fault and driver._serial.masters == 1:
                    driver.reset()  # a busy machine has held this process up
                if mode:
                    driver.send(RobotCommand(now, NOMINAL_POSE, 40.0, 1.0, mode))
                driver.poll(now)
                time.sleep(0.002)

        def off() -> float:
            return float(np.abs(driver.state.joint_position - NOMINAL_POSE).max())

        until("", lambda: driver.state is not None)
        assert driver.stats.sent == 0, "it is silent until it is told something"
        until("", lambda: off() > 0.2)  # limp, it sinks
        until("stand", lambda: off() < 0.05)
        assert abs(np.linalg.norm(driver.state.projected_gravity) - 1.0) < 1e-3
        forge = robot.probe("forge", "5.0")
        until("stand", lambda: driver._serial.masters == 2)
        until("stand", lambda: driver.state.fault != 0)  # a second master: damped
        forge.wait(timeout=120)
    assert "command refused: the CRC" in robot.log("sim_go2"), "the probe's"
