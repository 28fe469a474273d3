"""By which names topics are read: namespaces, a robot's own nodes, and ``--map``."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_hil.log import read_log
from matrix_hil.log.names import parse_map, resolve
from matrix_hil.log.topics import Codec
from matrix_hil.messages import TreadmillState
from sim.errors import LunarError
from tests.matrix_hil.made_bags import chatter, said, write

JOINTS, IMU, COMMAND = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Imu", "matrix_msgs/msg/RobotCommand"
HOP = "matrix_msgs/msg/HopCommand"


def test_a_namespace_is_found_or_given() -> None:
    rig = {"/matrix/robot/joint_states": JOINTS, "/matrix/robot/imu": IMU, "/rosout": "rcl_interfaces/msg/Log"}
    names = resolve(rig, {})
    assert names.by_topic == {
        "/matrix/robot/joint_states": "/robot/joint_states", "/matrix/robot/imu": "/robot/imu", "/rosout": "/rosout",
    }  # fmt: skip
    assert "/matrix" in names.notes[0]
    beside = resolve(rig | {"/robot/imu": IMU}, {}).by_topic
    assert beside["/matrix/robot/imu"] == "/robot/imu" and beside["/robot/imu"] == "", "most topics are in /matrix"
    two = rig | {"/b/robot/joint_states": JOINTS, "/b/robot/imu": IMU}
    assert resolve(two, {}).by_topic["/b/robot/imu"] == "/b/robot/imu" and "--map" in resolve(two, {}).notes[0]
    assert resolve(two, parse_map("/b:=/")).by_topic["/b/robot/imu"] == "/robot/imu"


def test_a_name_without_a_slash_is_the_same_topic() -> None:
    bare = {"robot/joint_states": JOINTS, "//robot/imu": IMU, "platform/state": "matrix_msgs/msg/PlatformState"}
    assert resolve(bare, {}).by_topic == {
        "robot/joint_states": "/robot/joint_states", "//robot/imu": "/robot/imu", "platform/state": "/platform/state",
    }  # fmt: skip
    assert resolve(bare, parse_map("/robot:=/dog")).by_topic["robot/joint_states"] == "/dog/joint_states"


def test_a_robots_own_topics_and_an_operators_command() -> None:
    robot = {"/joint_states": JOINTS, "/imu": IMU, "/robot_command": COMMAND, "/hop_command": HOP}
    assert resolve(robot, {}).by_topic == {
        "/joint_states": "/robot/joint_states", "/imu": "/robot/imu", "/robot_command": "/robot/command",
        "/hop_command": "/hop_command",
    }  # fmt: skip
    assert "/imu is read as /robot/imu" in resolve(robot, {}).notes
    assert resolve({"/imu": IMU}, {}).by_topic == {"/imu": "/imu"}, "a camera's"
    both = resolve({"/m/hop_command": HOP, "/m/sync/hop_command": HOP, "/m/robot/imu": IMU}, {}).by_topic
    assert both == {"/m/hop_command": "", "/m/sync/hop_command": "/hop_command", "/m/robot/imu": "/robot/imu"}
    every = resolve({"/hop_command": HOP, "/sync/hop_command": HOP}, {}, every=True).by_topic
    assert every == {"/hop_command": "/hop_command", "/sync/hop_command": "/sync/hop_command"}


def test_a_map_renames_topics_and_namespaces(tmp_path: Path) -> None:
    assert parse_map("/go2/imu:=/robot/imu, /rig2:=/") == {"/go2/imu": "/robot/imu", "/rig2": ""}
    data = Codec("/treadmill/state", 0).encode(TreadmillState(1.0, 0.5, 0.0), 1.0)
    path = write(tmp_path / "a.mcap", [("/lab/belt", "matrix_msgs/msg/TreadmillState", data)])
    assert not read_log(path).series
    assert read_log(path, "/lab/belt:=/treadmill/state")["/treadmill/state"].speed.tolist() == [0.5]
    for wrong, words in (("/lab", "FROM:=TO"), ("/x:=/y", "no topic is /x"), ("/a:=/b,/a:=/c", "twice")):
        with pytest.raises(LunarError, match=words):
            read_log(path, wrong)


def test_a_rig_in_a_namespace_is_replayed_and_nothing_known_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Codec("/treadmill/state", 0).encode(TreadmillState(1.0, 0.5, 0.0), 1.0)
    rig = write(tmp_path / "rig.mcap", [("/moon/treadmill/state", "matrix_msgs/msg/TreadmillState", data)] * 5)
    page = tmp_path / "page.html"
    code, words = said(["replay", str(rig), "--out", str(page)], capsys)
    assert code == 0 and "namespace /moon" in words and "Treadmill" in page.read_text()
    code, words = said(["replay", str(chatter(tmp_path / "chatter.mcap")), "--out", str(tmp_path / "no.html")], capsys)
    assert code == 2 and "no topic of a rig" in words and "/chatter" in words and not (tmp_path / "no.html").exists()
