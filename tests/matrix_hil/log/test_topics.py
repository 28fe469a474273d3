"""What is encoded comes back, for any finite values; ROS sees its own conventions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from matrix_hil.log.topics import TOPICS, Codec, FootContacts, ImuSample, JointSample, Pose, SyncStamp, typestore
from matrix_hil.messages import (
    CounterweightCommand,
    PlatformState,
    RobotCommand,
    TrackerState,
    TwinPatch,
)
from matrix_hil.safety import SupervisorState
from sim.spec.command import HopCommand
from sim.spec.joints import JOINT_NAMES

EPOCH = 1_790_000_000_123_456_789
times = st.floats(0.0, 1e5)
numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)


def vector(size: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, size, elements=numbers)


MESSAGES: dict[str, st.SearchStrategy[Any]] = {
    "/robot/joint_states": st.builds(JointSample, times, vector(12), vector(12)),
    "/robot/foot_contacts": st.builds(FootContacts, times, vector(4), arrays(np.bool_, 4)),
    "/robot/command": st.builds(RobotCommand, times, vector(12), numbers, numbers, st.text(max_size=9)),
    "/hop_command": st.builds(HopCommand, numbers, numbers, numbers, numbers, numbers),
    "/platform/state": st.builds(PlatformState, times, vector(6), vector(6), st.integers(0, 2**32 - 1)),
    "/counterweight/command": st.builds(CounterweightCommand, times, numbers, st.booleans()),
    "/tracker/pose": st.builds(Pose, times, vector(3), vector(4)),
    "/supervisor/state": st.builds(
        SupervisorState, times, st.just("run"), st.text(max_size=30), st.integers(0, 9), st.integers(0, 9)
    ),
    "/sync/stamp": st.builds(SyncStamp, times, st.integers(0, 2**63), numbers, numbers, vector(5)),
    "/twin/patch": st.builds(
        TwinPatch, times, vector(2), numbers, arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 5)))
    ),
}


@pytest.mark.parametrize("topic", MESSAGES)
@given(data=st.data())
def test_what_is_logged_comes_back(topic: str, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[topic])
    codec = Codec(topic, EPOCH)
    back = codec.decode(codec.encode(message, 7.5))
    assert back.pop("time") == pytest.approx(getattr(message, "time", 7.5), abs=1e-9)
    for name, value in back.items():
        np.testing.assert_array_equal(value, getattr(message, name), err_msg=name)


@given(roll=st.floats(-math.pi, math.pi), pitch=st.floats(-math.pi / 2, math.pi / 2))
def test_gravity_survives_as_an_orientation(roll: float, pitch: float) -> None:
    gravity = np.array([math.sin(pitch), -math.cos(pitch) * math.sin(roll), -math.cos(pitch) * math.cos(roll)])
    codec = Codec("/robot/imu", EPOCH)
    data = codec.encode(ImuSample(1.0, np.array([1.0, 2.0, 3.0]), gravity), 1.0)
    np.testing.assert_allclose(codec.decode(data)["projected_gravity"], gravity, atol=1e-12)
    q = typestore().deserialize_cdr(data, "sensor_msgs/msg/Imu").orientation
    assert math.hypot(q.w, q.x, q.y, q.z) == pytest.approx(1.0)


def test_ros_conventions() -> None:
    joints = Codec("/robot/joint_states", EPOCH).encode(JointSample(0.5, np.arange(12.0), np.zeros(12)), 1.0)
    ros: Any = typestore().deserialize_cdr(joints, "sensor_msgs/msg/JointState")
    assert tuple(ros.name) == JOINT_NAMES
    assert (ros.header.stamp.sec, ros.header.stamp.nanosec) == (1_790_000_000, 623_456_789)
    tracker = TrackerState(0.5, np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3, 0.4]))
    ros = typestore().deserialize_cdr(
        Codec("/tracker/pose", EPOCH).encode(tracker, 1.0), "geometry_msgs/msg/PoseStamped"
    )
    q = ros.pose.orientation
    assert (q.x, q.y, q.z, q.w) == (0.2, 0.3, 0.4, 0.1)
    assert ros.header.frame_id == "rig"


def test_every_field_of_every_dataclass_has_a_place() -> None:
    by_name = {name: row for name, row in TOPICS.items() if row.ros_type.startswith("matrix_msgs")}
    for name, row in by_name.items():
        wire = {f for f, _ in typestore().fielddefs[row.ros_type][1]} - {"header"}
        own = set(row.message.__dataclass_fields__) - {"time"}
        assert own <= wire, name
