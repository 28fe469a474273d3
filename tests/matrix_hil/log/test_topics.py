"""What is encoded comes back, for any finite values; ROS sees its own conventions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from matrix_hil.log.topics import (
    TOPICS,
    Codec,
    Fault,
    FootContacts,
    ImuSample,
    JointSample,
    Pose,
    SyncStamp,
    WireBytes,
    definition,
    is_known,
    typestore,
)
from matrix_hil.messages import (
    CounterweightCommand,
    PlatformState,
    PolicyDoubt,
    RobotCommand,
    TrackerState,
    TwinPatch,
)
from matrix_hil.safety.supervisor import SupervisorState
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
    "/robot/fault": st.builds(Fault, times, st.integers(0, 255)),
    "/wire/robot/rx": st.builds(WireBytes, times, st.binary(max_size=40)),
    "/tracker/pose": st.builds(Pose, times, vector(3), vector(4)),
    "/supervisor/state": st.builds(
        SupervisorState, times, st.just("run"), st.text(max_size=30), st.integers(0, 9), st.integers(0, 9)
    ),
    "/policy/doubt": st.builds(
        PolicyDoubt, times, numbers, st.booleans(), st.booleans(), st.text(max_size=30), numbers
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
    encoded = codec.encode(message, 7.5)
    ros_type = TOPICS[topic].ros_type
    same = typestore().serialize_cdr(typestore().deserialize_cdr(encoded, ros_type), ros_type)
    assert encoded == bytes(same), "ROS's own CDR, byte for byte"
    back = codec.decode(encoded)
    if not TOPICS[topic].ros_type.startswith("std_msgs"):  # those have no header, and so no stamp
        assert back.pop("time") == pytest.approx(getattr(message, "time", 7.5), abs=1e-9)
    for name, value in back.items():
        np.testing.assert_array_equal(value, getattr(message, name), err_msg=name)


@pytest.mark.parametrize("topic", ["/supervisor/state", "/twin/patch", "/wire/robot/rx", "/tracker/pose"])
@given(data=st.data())
def test_many_messages_are_decoded_as_each_alone(topic: str, data: st.DataObject) -> None:
    codec = Codec(topic, EPOCH)
    few = data.draw(st.lists(MESSAGES[topic], min_size=1, max_size=4))
    picks = data.draw(st.lists(st.integers(0, len(few) - 1), min_size=1, max_size=60))
    rows = [codec.encode(few[k], 1.0) + bytes(k) for k in picks]  # ROS may leave up to 3 bytes behind a message
    together = Codec(topic, EPOCH).decode_all(rows)
    for i, row in enumerate(rows):
        for name, value in Codec(topic, EPOCH).decode(row).items():
            np.testing.assert_array_equal(together[name][i], value, err_msg=name)


def test_more_texts_than_a_run_has_states_are_still_decoded() -> None:
    codec = Codec("/supervisor/state", EPOCH)
    reasons = [f"reason {k}" for k in range(200)]
    rows = [codec.encode(SupervisorState(0.1 * k, "safe", r, k, 0), 0.0) for k, r in enumerate(reasons)]
    columns = codec.decode_all(rows)
    assert columns["reason"].tolist() == reasons and columns["trips"].tolist() == list(range(200))


def test_a_definition_of_another_recorder_is_the_same_but_for_its_comments() -> None:
    ours = definition("matrix_msgs/msg/TreadmillState")
    assert not is_known("/treadmill/state", "matrix_msgs/msg/TreadmillState", ours)
    commented = b"# The belt.\n" + ours.replace(b"float64 speed", b"float64    speed   # m/s, backwards")
    assert not is_known("/treadmill/state", "matrix_msgs/msg/TreadmillState", commented)
    for other in (ours.replace(b"float64 speed", b"float32 speed"), ours.replace(b"speed", b"pace"), b"float64 speed"):
        assert "as this version defines it" in is_known("/treadmill/state", "matrix_msgs/msg/TreadmillState", other)


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
