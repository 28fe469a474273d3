"""The rig's nodes as real processes: an operator's day, and what happens when any of them is killed.

The rig lives in slow motion, and limits on time that a busy computer would break (5 ms loops on two shared cores) are
widened; what is checked is what happens and that it happens by itself, with patience far beyond the documented times.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from matrix_hil.bringup.runner import command_line
from matrix_hil.bringup.tables import ARGUMENTS, TABLES
from matrix_hil.config import RigSetup
from matrix_hil.link import PollThread
from matrix_hil.log import read_log
from matrix_hil.safety.outer import OUTER
from matrix_hil.virtual.rig import VirtualMachines
from policy.traverse.options import weights_of
from policy.traverse.plan import Plan, PlannedOption, PlannedSegment
from sim.config import ROOT
from sim.spec.gravity import lunar_weight
from sim.spec.hops import HopDetector

pytestmark = pytest.mark.wall_clock

LUNAR = [sys.executable, "-c", "from matrix_hil.cli import main; main()", "up", "matrix", "--ready_timeout", "300"]
PACE = 0.25  # of the wall clock
MACHINES = ("platform", "treadmill", "counterweight", "tracker", "robot")
PATIENCE = (
    "deadline", "command_silence", "astray_time", "rope_astray_time", "frozen_time", *(f"{m}_stale" for m in MACHINES)
)  # fmt: skip
"""s, limits on time."""
SAFE = {"robot mode": "damp", "rope brake": "True", "belt moves": "False", "platform moves": "False"}
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6  # action_msgs/GoalStatus
WATCHDOG = "2"  # fault bit 1: the device heard nothing and made itself safe


def names_publishers() -> bool:
    """Whether rclpy says who sent a message, as it does from ROS 2 Kilted on."""
    found = importlib.util.find_spec("rclpy._rclpy_pybind11") if importlib.util.find_spec("rclpy") else None
    return found is not None and b"publisher_gid" in Path(str(found.origin)).read_bytes()


needs_names = pytest.mark.skipif(not names_publishers(), reason="before ROS 2 Kilted rclpy names no publishers")


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual rig with limits that a busy machine keeps."""
    content = {
        "pace": PACE,
        "terrain": {"kind": "rough"},
        "command": {"vx": 0.0, "apex_gain": 0.3},
        "twin": {"period": 0.2},  # rendering patches is half of a core at its usual 20 Hz
        "safety": dict.fromkeys(PATIENCE, 0.6) | {"command_silence": 1.0, "ground_stale": 3.0},
        **{m: {"line": {"watchdog": 0.5}} for m in MACHINES},
    }
    file = tmp_path_factory.mktemp("rig") / "patient.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture
def operate(ros: dict[str, str], tmp_path: Path) -> Callable[..., dict]:
    """Let an operator do steps; returns what it saw. Fails with the step that failed."""

    def play(*steps: dict) -> dict:
        result = tmp_path / "operator.json"
        script = Path(__file__).with_name("rig_operator.py")
        subprocess.run([sys.executable, str(script), json.dumps(steps), str(result)], env=ros, check=True, timeout=540)
        seen = json.loads(result.read_text())
        logs = "\n".join(f"--- {f.name}\n{f.read_text()[-2000:]}" for f in tmp_path.glob("*.node"))
        assert all(step["ok"] for step in seen["steps"]), f"{seen['steps'][-1]}\n{logs}"
        return seen

    return play


@pytest.fixture
def start(
    ros: dict[str, str], tmp_path: Path, patient: Path, standing_policy_folder: Path
) -> Iterator[Callable[..., dict[str, subprocess.Popen]]]:
    """Start nodes of the table 'matrix' by name, without the runner that would stop the others when one is killed."""
    running: dict[str, subprocess.Popen] = {}

    def go(drivers: str, *names: str, config: Path = patient, rig: str = "virtual") -> dict[str, subprocess.Popen]:
        values = {name: a.default or "" for name, a in ARGUMENTS.items()}
        values |= {"drivers": drivers, "config": str(config), "rig": rig, "policy": str(standing_policy_folder)}
        values |= {"log": str(tmp_path / "log"), "namespace": "/matrix"}
        for process in TABLES["matrix"]:
            if process.name in names:
                with open(tmp_path / f"{process.name}.node", "w") as log:
                    line = [*command_line(process, values), *(("-p", "stand:=0.3") if process.name == "sync" else ())]
                    running[process.name] = subprocess.Popen(line, env=ros, stdout=log, stderr=subprocess.STDOUT)
        return running

    yield go
    for process in reversed(running.values()):
        process.send_signal(signal.SIGINT)
    for process in running.values():
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


UP = {"up": "run"}


def test_an_operators_day(ros: dict[str, str], operate: Callable, patient: Path, tmp_path: Path) -> None:
    """Arm, run, hold, e-stop and reset with the shipped policy; the robot hops, and all of it is in the log."""
    log = tmp_path / "log"
    command = [*LUNAR, "--policy", str(ROOT / "policy/zoo/pronk"), "--config", str(patient), "--log", str(log)]
    with subprocess.Popen(command, env=ros, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as runner:
        try:
            seen = operate(
                {"call": "run", "until": False},  # not before it is armed
                {"call": "arm"},
                {"call": "run"},
                {"hops": 3},
                {"call": "hold"},
                {"see": {"robot mode": "stand", "belt moves": "False"}},
                {"estop": True},
                {"see": SAFE},
                {"call": "arm", "until": False},
                {"call": "reset", "until": False},  # the button is still held
                {"estop": False},
                {"call": "reset"},
                {"state": "idle"},
                {"call": "arm"},
                {"state": "armed"},
            )
        finally:
            runner.send_signal(signal.SIGINT)
            output = runner.communicate(timeout=60)[0]
            print(output)
    assert runner.returncode == 0, output

    states = [state for _, (state, _) in seen["messages"]["supervisor/state"]]
    order = [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]]
    assert order[-7:] == ["idle", "armed", "run", "hold", "estop", "idle", "armed"]
    reasons = {reason for _, (state, reason) in seen["messages"]["supervisor/state"] if state == "estop"}
    assert reasons == {"S00 e-stop asked for by the operator"}
    assert len(seen["messages"]["twin/patch"]) > 5 and len(seen["messages"]["rig/base_pose"]) > 50

    recorded = read_log(log)
    assert recorded.lost is None and not recorded.skipped
    assert {"config.json", "card.json", "revision.txt"} <= set(recorded.attachments)
    assert set(recorded["/supervisor/state"].state) >= {"idle", "armed", "run", "hold", "estop"}
    assert np.isfinite(recorded["/robot/joint_states"].position).all()
    stamps = recorded["/sync/stamp"]  # by their numbers: those that a busy computer did not publish were cycles too
    cycles = int(stamps.cycle[-1]) - int(stamps.cycle[0])
    assert cycles / (stamps.time[-1] - stamps.time[0]) > 50.0  # 200 Hz on a machine that has the time
    # it hops: while the policy drives, all feet are in the air at once for longer than a stumble
    feet, height = recorded["/robot/foot_contacts"], recorded["/tracker/pose"]
    detector = HopDetector(np.array([lunar_weight(15.206)]), 0.005)
    grid = np.arange(feet.time[0], feet.time[-1], 0.005)
    force = np.stack([np.interp(grid, feet.time, feet.force[:, i]) for i in range(4)], axis=1)
    z = np.interp(grid, height.time, height.position[:, 2])
    for f, h in zip(force, z, strict=True):
        detector.update(f[None], np.array([h]), np.zeros(1), np.zeros(1))
    assert detector.hops[0] >= 2, output


def test_a_plan_is_followed_as_an_action(ros: dict[str, str], operate: Callable, patient: Path, tmp_path: Path) -> None:
    """To the goal, with feedback, through both policies; cancelled on the way, which holds the rig; not before it is
    armed; and a trip ends it."""
    corners = [(0.0, 0.0), (0.0, 0.5), (0.0, 1.2)]
    options = [
        PlannedOption(name, weights_of(name).digest, "board", 0.0, 0.3, 0.2) for name in ("dual", "student_small")
    ]
    segments = [PlannedSegment(a, b, k, 10.0, 5.0) for k, (a, b) in enumerate(itertools.pairwise(corners))]
    Plan("flat", options=options, segments=segments).save(tmp_path / "plan.yaml")
    config = yaml.safe_load(patient.read_text()) | {
        "plan": {"traverse": str(tmp_path / "plan.yaml")}, "sync": {"ramp": 0.5},
    }  # fmt: skip
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(config))
    command = [*LUNAR, "--policy", "dual", "--config", str(tmp_path / "rig.yaml"), "--log", str(tmp_path / "log")]
    with subprocess.Popen(command, env=ros, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as runner:
        try:
            seen = operate(
                {"state": "idle"}, {"refused": "follow_plan"},
                {"up": "armed"}, {"follow": 0.0}, {"state": "hold"},  # it waits until the robot has stood
                {"follow": 0.0, "stop": True}, {"state": "estop"}, {"refused": "follow_plan"}, {"estop": False},
                {"up": "armed"}, {"follow": 9.0, "seconds": 300.0}, {"state": "hold"},
            )  # fmt: skip
        finally:
            runner.send_signal(signal.SIGINT)
            output = runner.communicate(timeout=60)[0]
            print(output)
    cancelled, stopped, arrived = (json.loads(step["message"]) for step in seen["steps"] if "follow" in step)
    assert cancelled["status"] == CANCELED and not cancelled["arrived"] and cancelled["message"] == "hold"
    assert 0.0 < cancelled["feedback"][-1]["progress"] < 0.9
    assert stopped["status"] == ABORTED and stopped["message"].startswith("estop: S00 ")
    assert arrived["status"] == SUCCEEDED and arrived["arrived"], arrived["message"]
    assert "follow_plan is refused: the rig is in 'idle'; it must be armed or hold" in output
    feedback = arrived["feedback"]
    assert {f["option"] for f in feedback} == {option.title for option in options}
    assert [f["progress"] for f in feedback] == sorted(f["progress"] for f in feedback)
    assert feedback[-1]["segment"] == feedback[-1]["segments"] == 2 and feedback[-1]["length"] == pytest.approx(1.2)
    recorded = read_log(tmp_path / "log")
    assert "run" in recorded["/supervisor/state"].state.tolist() and "plan.yaml" in recorded.attachments


def test_killed_sync_with_its_drivers_is_survived_by_the_devices(start: Callable, operate: Callable) -> None:
    """Drivers live in the sync node: when it is killed the devices' own watchdogs act."""
    nodes = start("inline", "virtual_rig", "sync")
    faults = {f"{m} fault": WATCHDOG for m in MACHINES if m != "tracker"}
    operate(UP, {"wait": 0.5}, {"kill": nodes["sync"].pid}, {"see": SAFE | faults})


def test_killed_sync_is_survived_by_the_driver_nodes(start: Callable, operate: Callable) -> None:
    """Drivers are nodes: each says its machine's safe command, and no device has to trip."""
    drivers = tuple(f"{m}_driver" for m in MACHINES)
    nodes = start("nodes", "virtual_rig", "recorder", "sync", *drivers)
    no_faults = {f"{m} fault": "0" for m in MACHINES}
    operate(
        UP,
        {"kill": nodes["recorder"].pid},
        {"wait": 1.5},
        {"state": "run"},  # it is not needed
        {"kill": nodes["sync"].pid},
        {"see": SAFE | no_faults},
    )


def test_a_killed_driver_trips_the_rig(start: Callable, operate: Callable) -> None:
    """The platform's driver dies: its device trips, and the supervisor takes all other machines down."""
    drivers = tuple(f"{m}_driver" for m in MACHINES)
    nodes = start("nodes", "virtual_rig", "sync", *drivers)
    seen = operate(
        UP,
        {"kill": nodes["platform_driver"].pid},
        {"state": "safe"},
        {"see": SAFE | {"platform fault": WATCHDOG}},
        {"call": "reset"},
        {"state": "idle"},
        {"call": "arm", "until": False},  # the platform is still silent
    )
    states = seen["messages"]["supervisor/state"]
    assert states[-1][1][0] == "idle", states[-5:]
    assert any("platform state is" in reason for _, (_, reason) in states)


def test_a_killed_twin_and_a_killed_rig_are_noticed(start: Callable, operate: Callable) -> None:
    """The robot must not hop on over old ground; and with the rig every cable is pulled at once."""
    nodes = start("inline", "virtual_rig", "twin", "sync")
    seen = operate(
        {"hear": "twin/patch"}, UP, {"wait": 0.5}, {"kill": nodes["twin"].pid}, {"state": "safe"},
        {"call": "reset"}, {"call": "arm"}, {"state": "armed"}, {"kill": nodes["virtual_rig"].pid}, {"state": "safe"},
    )  # fmt: skip
    reasons = [reason[:3] for _, (state, reason) in seen["messages"]["supervisor/state"] if state == "safe"]
    assert list(dict.fromkeys(reasons[::-1]))[:2] == ["S05", "S28"], reasons


def changed(patient: Path, tmp_path: Path, pace: float = PACE, **machines: dict[str, object]) -> Path:
    """The patient rig with other settings of some machines."""
    content = yaml.safe_load(patient.read_text()) | {"pace": pace}
    for name, values in machines.items():
        content[name] = content.get(name, {}) | values
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_real_machines_without_a_calibration_are_not_armed(
    start: Callable, operate: Callable, patient: Path, tmp_path: Path
) -> None:
    """All machines report, no rule objects, and yet: nobody knows what their numbers mean."""
    with VirtualMachines(RigSetup(), 0) as machines, PollThread("machines", machines.poll, machines.tick):
        machines.on_wall(time.monotonic)
        ports = {name: {"port": port} for name, port in machines.ports.items()}
        missing = {"calibration": {"file": str(tmp_path / "none.json")}}
        most = {name: OUTER[name][1] for name in PATIENCE}  # no real rig is allowed more patience
        config = changed(patient, tmp_path, pace=1.0, safety=most, **ports, **missing)
        start("inline", "sync", config=config, rig="serial")
        seen = operate(
            {"hear": "treadmill/state"},
            {"call": "arm", "until": False},
            {"call": "run", "until": False},
        )
    arm, run = (step["message"] for step in seen["steps"][1:])
    assert "there is no calibration" in arm and "lunar hil calibrate" in arm
    assert "the rig is in 'idle'" in run
    assert {state for _, (state, _) in seen["messages"]["supervisor/state"]} <= {"idle"}


@pytest.mark.parametrize("drivers", ["inline", "nodes"])
def test_a_modbus_treadmill_is_driven(
    start: Callable, operate: Callable, patient: Path, tmp_path: Path, drivers: str
) -> None:
    belt = {"treadmill": {"protocol": "modbus", "modbus": {"watchdog": 0.5}}}
    more = [f"{m}_driver" for m in MACHINES] if drivers == "nodes" else []
    start(drivers, "virtual_rig", "sync", *more, config=changed(patient, tmp_path, **belt))
    operate(UP, {"see": {"robot mode": "run", "treadmill fault": "0"}})


def test_a_go2_is_driven(start: Callable, operate: Callable, patient: Path, tmp_path: Path) -> None:
    nodes = start("inline", "virtual_rig", "sync", config=changed(patient, tmp_path, robot={"protocol": "go2"}))
    operate(UP, {"see": {"robot mode": "run"}}, {"kill": nodes["sync"].pid}, {"see": {"robot mode": "damp"}})


@needs_names
def test_a_stop_is_pressed_until_everybody_has_let_go(start: Callable, operate: Callable) -> None:
    """Panels of every quality of service stop the rig, and none lets go for another."""
    start("inline", "virtual_rig", "sync")
    steps: list[dict[str, object]] = []
    for quality in ("default", "sensor", "latched"):
        steps += [
            {"up": "armed"},
            {"press": f"{quality} A", "data": True, "qos": quality},
            {"state": "estop"},
            {"press": "B", "data": True},
            {"press": "B", "data": False},
            {"call": "reset", "until": False, "seconds": 10},
            {"press": f"{quality} A", "data": False},
            {"call": "reset"},
        ]
    # a panel that has gone cannot let go: the stop stays latched, and a reset is the operator's to ask for
    steps += [{"press": "C", "data": True}, {"state": "estop"}, {"gone": "C"}, {"call": "reset"}, {"state": "idle"}]
    operate(*steps)


def test_an_operator_who_falls_silent_holds_the_rig(start: Callable, operate: Callable) -> None:
    start("inline", "virtual_rig", "sync")
    operate(
        UP,
        {"wait": 1.5},
        {"state": "run"},  # nobody has said that he is there
        {"beat": 2.0},
        {"state": "run", "seconds": 0.1},
        {"state": "hold"},
        {"call": "run"},  # he is forgotten
        {"state": "run"},
    )


@needs_names
def test_a_driver_obeys_no_stranger(start: Callable, operate: Callable) -> None:
    """With no supervisor alive, and beside one; by the supervisor's quality of service, in a session of his own."""
    nodes = start("nodes", "virtual_rig", "platform_driver")
    seen = operate({"hear": "platform/state"}, {"intrude": 3.0}, {"says": "also commanded by /matrix/operator"})
    assert max(abs(z) for _, z in seen["messages"]["platform/state"]) < 0.002
    start("nodes", "sync", *(f"{m}_driver" for m in MACHINES if m != "platform"))
    seen = operate({"up": "armed"}, {"intrude": 2.0}, {"state": "armed", "seconds": 0.1})
    assert max(abs(z) for _, z in seen["messages"]["platform/state"]) < 0.002
    assert nodes["platform_driver"].poll() is None
