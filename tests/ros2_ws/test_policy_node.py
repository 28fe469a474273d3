"""The policy node against real rclpy, in a process of its own: what a robot's driver would see of it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from sim.spec.joints import LOWER, NOMINAL_POSE, UPPER

pytestmark = pytest.mark.wall_clock

START = {"name": "start", "seconds": 120, "until": "run"}
# Tolerant of a test machine that is busy, on which the probe's 200 Hz have gaps.
LIMITS = ("-p", "ramp_time:=0.4", "-p", "stale_after:=0.3", "-p", "damp_after:=0.8")


def expected_targets(policy: Path, command: list[float]) -> np.ndarray:
    """What the policy asks of the probe's robot, run here without ROS."""
    sensors = Proprioception(np.zeros(3), np.array([0.0, 0.0, -1.0]), NOMINAL_POSE + 0.1, np.zeros(12))
    return np.clip(OnnxPolicy(policy).act(sensors, np.array(command)), LOWER, UPPER)


def stop(node: subprocess.Popen) -> int:
    node.send_signal(signal.SIGINT)
    return node.wait(timeout=120)


def modes(phase: dict) -> list[str]:
    """The modes of a phase in order, repeats removed."""
    seen = [c["mode"] for c in phase["commands"]]
    return [m for i, m in enumerate(seen) if i == 0 or m != seen[i - 1]]


def test_state_in_gives_targets_out_and_old_state_ends_in_damp(
    policy_folder: Path, start_node: Callable, probe: Callable, tmp_path: Path
) -> None:
    node = start_node(policy_folder, *LIMITS)
    record = probe([
        START,
        {"name": "run", "seconds": 2.0},
        {"name": "twist", "seconds": 0.6, "twist": [0.4, -0.1, 0.2]},
        {"name": "hop", "seconds": 0.6, "hop": {"vx": 9.0, "vy": 0, "yaw_rate": 0, "apex_gain": 0.15, "economy": 1}},
        {"name": "cut", "seconds": 1.5, "joints": False},
        {"name": "back", "seconds": 0.3},
    ])  # fmt: skip

    # the joints are led in from where they are, then the policy runs
    start = record["start"]["commands"]
    assert modes(record["start"])[-2:] == ["stand", "run"]
    led_in = [c for c in start if c["mode"] == "stand"]
    assert np.allclose(led_in[0]["targets"], NOMINAL_POSE + 0.1, atol=0.02)
    assert np.allclose(led_in[-1]["targets"], NOMINAL_POSE, atol=0.02)

    # about 50 Hz of finite targets within the joint range, with the gains of the card
    run = record["run"]["commands"]
    assert modes(record["run"]) == ["run"]
    targets = np.array([c["targets"] for c in run])
    assert np.isfinite(targets).all() and (targets >= LOWER).all() and (targets <= UPPER).all()
    assert (run[0]["kp"], run[0]["kd"]) == (30.0, 0.75)
    assert 20 <= (len(run) - 1) / (run[-1]["time"] - run[0]["time"]) <= 55
    assert np.allclose(record["run"]["trajectories"][-1], run[-1]["targets"])

    # the policy sees the joints by name, and the command: none is hopping in place, a Twist takes the card's defaults
    for phase, command in (
        ("run", [0.0, 0.0, 0.0, 0.3, 0.2]),
        ("twist", [0.4, -0.1, 0.2, 0.3, 0.2]),
        ("hop", [0.8, 0.0, 0.0, 0.15, 1.0]),
    ):
        assert np.allclose(
            record[phase]["commands"][-1]["targets"], expected_targets(policy_folder, command), atol=1e-5
        )

    # without joint states it holds its last targets, then goes limp and stays so
    assert modes(record["cut"]) == ["run", "hold", "damp"]
    held = [c for c in record["cut"]["commands"] if c["mode"] == "hold"]
    assert np.allclose([c["targets"] for c in held], record["hop"]["commands"][-1]["targets"])
    assert all(c["kp"] == 0.0 and c["kd"] > 0.0 for c in record["cut"]["commands"] if c["mode"] == "damp")
    assert modes(record["back"]) == ["damp"]

    diagnostics = [d for phase in record.values() for d in phase["diagnostics"]]
    working = [d for d in diagnostics if d["message"].startswith("run")]
    assert working and float(working[-1]["step p50 (us)"]) > 0 and float(working[-1]["imu age (s)"]) < 0.3
    assert any(d["level"] == 2 and "joint states" in d["message"] for d in diagnostics)

    assert stop(node) == 0, (tmp_path / "node.log").read_text()


def test_a_robot_on_its_side_is_left_limp(policy_folder: Path, start_node: Callable, probe: Callable) -> None:
    node = start_node(policy_folder, *LIMITS)
    record = probe([START, {"name": "fall", "seconds": 0.3, "imu": "fallen"}])
    assert modes(record["fall"])[-1] == "damp"
    assert stop(node) == 0


def test_an_imu_without_orientation_is_refused(policy_folder: Path, start_node: Callable, probe: Callable) -> None:
    node = start_node(policy_folder, *LIMITS)
    record = probe([
        {"name": "wait", "seconds": 120, "imu": "no_orientation", "until": "hold"},
        {"name": "refuse", "seconds": 1.3, "imu": "no_orientation"},
    ])  # fmt: skip
    assert modes(record["refuse"]) == ["hold"]
    assert np.allclose(record["refuse"]["commands"][-1]["targets"], NOMINAL_POSE + 0.1)
    assert any(d["level"] == 2 and "no orientation" in d["message"] for d in record["refuse"]["diagnostics"])
    assert stop(node) == 0


def test_two_policies_on_one_robot_both_go_limp(
    policy_folder: Path, start_node: Callable, probe: Callable, tmp_path: Path
) -> None:
    nodes = [start_node(policy_folder, *LIMITS)]
    both = {"name": "both", "seconds": 120, "says": "commands this robot too"}
    # the other finds out when the graph tells him
    limp = {"name": "limp", "seconds": 120, "settled": "damp"}
    phases = [START, both, limp, {"name": "after", "seconds": 1.5}]
    with ThreadPoolExecutor() as pool:
        playing = pool.submit(probe, phases)
        while "]: run" not in (tmp_path / "node.log").read_text() and not playing.done():
            time.sleep(0.05)
        nodes.append(start_node(policy_folder, *LIMITS))
        record = playing.result()
    assert modes(record["after"]) == ["damp"]
    assert any("commands this robot too" in d["message"] for d in record["after"]["diagnostics"])
    assert [stop(node) for node in nodes] == [0, 0]


def test_a_command_of_another_type_is_named_and_a_stamped_one_can_be_asked_for(
    policy_folder: Path, start_node: Callable, probe: Callable, tmp_path: Path
) -> None:
    node = start_node(policy_folder, *LIMITS)
    stamped = {"stamped": [0.4, -0.1, 0.2]}
    record = probe([START, {"name": "drive", "seconds": 2.5, **stamped}])
    assert record["drive"]["diagnostics"][-1]["command"].startswith("0.000 0.000 0.000")
    assert stop(node) == 0
    assert "publishes geometry_msgs/msg/TwistStamped, which is not heard here" in (tmp_path / "node.log").read_text()
    node = start_node(policy_folder, *LIMITS, "-p", "stamped_cmd_vel:=true")
    record = probe([START, {"name": "drive", "seconds": 120, **stamped, "says": "0.400 -0.100 0.200"}])
    assert record["drive"]["diagnostics"][-1]["command"].startswith("0.400 -0.100 0.200")
    assert stop(node) == 0


def test_an_imu_in_another_frame_is_refused(policy_folder: Path, start_node: Callable, probe: Callable) -> None:
    node = start_node(policy_folder, *LIMITS, "-p", "imu_frame:=base_link")
    record = probe([{"name": "refuse", "seconds": 120, "until": "hold"}, {"name": "told", "seconds": 1.5}])
    assert modes(record["told"]) == ["hold"]
    assert any("not in imu_frame 'base_link'" in d["message"] for d in record["told"]["diagnostics"])
    assert stop(node) == 0


def test_a_lifecycle_manager_can_stop_and_start_it(policy_folder: Path, start_node: Callable, probe: Callable) -> None:
    node = start_node(policy_folder, *LIMITS, "-p", "autostart:=false")
    up = ["configure", "activate"]
    record = probe([
        {"name": "up", "seconds": 120, "until": "run", "transitions": up},
        {"name": "down", "seconds": 0.5, "transitions": ["deactivate", "cleanup"]},
        {"name": "again", "seconds": 120, "until": "run", "transitions": up},
    ])  # fmt: skip
    assert all(success for phase in record.values() for success in phase["transitions"])
    # the last word of a node that is deactivated is damp, and then it is silent
    assert record["down"]["commands"][-1]["mode"] == "damp"
    assert len(record["down"]["commands"]) <= 5
    assert modes(record["again"])[-1] == "run"
    assert stop(node) == 0


@pytest.mark.parametrize("more", [("-p", "robot:=spot"), ("-p", "damp_after:=0.02")])
def test_what_does_not_fit_is_not_configured(
    more: tuple[str, ...], policy_folder: Path, start_node: Callable, tmp_path: Path
) -> None:
    assert start_node(policy_folder, *more).wait(timeout=120) == 1
    log = (tmp_path / "node.log").read_text()
    assert "policy" in log and ("for robot 'go2', this robot is 'spot'" in log or "damp_after" in log)
    assert "Traceback" not in log


def test_a_policy_with_another_observation_is_not_configured(
    wrong_policy_folder: Path, start_node: Callable, tmp_path: Path
) -> None:
    assert start_node(wrong_policy_folder).wait(timeout=120) == 1
    assert "'rate' is 100.0, the other side has 50.0" in (tmp_path / "node.log").read_text()
