"""What is logged: topic, dataclass, ROS 2 type, and how one becomes the other.

A dataclass's ``time`` travels in ``header.stamp``, as nanoseconds since the Unix epoch: log time zero (the recorder's
``start_wall_time``) plus the message's own time. Quaternions are (w, x, y, z) here and (x, y, z, w) on the wire.
Where the names of a dataclass and of its ROS type agree, the fields are copied by name; the four types that ROS itself
defines and the height map have converters below.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.base import Nodetype
from rosbags.typesys.store import Typestore

from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    TreadmillCommand,
    TreadmillState,
    TwinPatch,
)
from matrix_hil.safety import SupervisorState
from sim.config import ROOT
from sim.spec.command import HopCommand
from sim.spec.joints import JOINT_NAMES

_DTYPES = {"float64": np.float64, "float32": np.float32, "bool": np.bool_}
_CASTS: dict[str, Callable[[Any], Any]] = {"float64": float, "bool": bool, "string": str}
Converters = tuple[Callable[[Any, Callable[[str], Any]], dict[str, Any]], Callable[[Any, list[str]], dict[str, Any]]]
_UNKNOWN = -1.0  # first entry of a covariance: the sensor does not give this quantity (sensor_msgs/Imu)


@dataclass(frozen=True)
class JointSample:
    """The robot's joints."""

    time: float
    position: np.ndarray
    """(12,) rad, project joint order."""
    velocity: np.ndarray
    """(12,) rad/s."""


@dataclass(frozen=True)
class ImuSample:
    """The robot's IMU.

    ``projected_gravity`` is logged as an orientation with zero yaw, which is what a policy node takes and what a viewer
    can draw: roll and pitch are all that gravity's direction says, so its length is not kept. No linear acceleration
    is logged (its covariance says so).
    """

    time: float
    angular_velocity: np.ndarray
    """(3,) rad/s, base frame."""
    projected_gravity: np.ndarray
    """(3,) unit vector, base frame."""


@dataclass(frozen=True)
class FootContacts:
    """Feet FL FR RL RR."""

    time: float
    force: np.ndarray
    """(4,) N."""
    loaded: np.ndarray
    """(4,) bool, over 5% of lunar body weight for at least 10 ms."""


@dataclass(frozen=True)
class Pose:
    """Place and attitude of the base; the frame is the topic's. A ``TrackerState`` may be written in its place."""

    time: float
    position: np.ndarray
    """(3,) m."""
    quaternion: np.ndarray
    """(4,) w, x, y, z."""


@dataclass(frozen=True)
class SyncStamp:
    """One cycle of the sync loop."""

    time: float
    cycle: int
    lateness: float
    """s, start of the cycle minus its due time."""
    duration: float
    """s, computing time of the cycle."""
    age: np.ndarray
    """(5,) s, of platform, treadmill, counterweight, tracker and robot state when used; infinite before the first."""


@dataclass(frozen=True)
class Topic:
    """One row of the table."""

    message: type
    """Dataclass that ``read_log`` stacks and ``Recorder.write`` takes."""
    ros_type: str
    frame: str = ""
    """``header.frame_id``."""


TOPICS: dict[str, Topic] = {
    "/robot/joint_states": Topic(JointSample, "sensor_msgs/msg/JointState"),
    "/robot/imu": Topic(ImuSample, "sensor_msgs/msg/Imu", "base_link"),
    "/robot/foot_contacts": Topic(FootContacts, "matrix_msgs/msg/FootContacts"),
    "/robot/command": Topic(RobotCommand, "matrix_msgs/msg/RobotCommand"),
    "/hop_command": Topic(HopCommand, "matrix_msgs/msg/HopCommand"),
    "/platform/state": Topic(PlatformState, "matrix_msgs/msg/PlatformState", "rig"),
    "/platform/command": Topic(PlatformCommand, "matrix_msgs/msg/PlatformCommand", "rig"),
    "/treadmill/state": Topic(TreadmillState, "matrix_msgs/msg/TreadmillState"),
    "/treadmill/command": Topic(TreadmillCommand, "matrix_msgs/msg/TreadmillCommand"),
    "/counterweight/state": Topic(CounterweightState, "matrix_msgs/msg/CounterweightState"),
    "/counterweight/command": Topic(CounterweightCommand, "matrix_msgs/msg/CounterweightCommand"),
    "/tracker/pose": Topic(Pose, "geometry_msgs/msg/PoseStamped", "rig"),
    "/rig/base_pose": Topic(Pose, "geometry_msgs/msg/PoseStamped", "rig"),
    "/world/base_pose": Topic(Pose, "geometry_msgs/msg/PoseStamped", "world"),
    "/supervisor/state": Topic(SupervisorState, "matrix_msgs/msg/SupervisorState"),
    "/sync/stamp": Topic(SyncStamp, "matrix_msgs/msg/SyncStamp"),
    "/twin/patch": Topic(TwinPatch, "matrix_msgs/msg/TwinPatch", "world"),
}


@functools.cache
def typestore() -> Typestore:
    """ROS 2 Jazzy's types and ``matrix_msgs``, read from its ``.msg`` files."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted((ROOT / "ros2_ws/src/matrix_msgs/msg").glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(), f"matrix_msgs/msg/{path.stem}"))
    store.register(types)
    return store


@functools.cache
def definition(ros_type: str) -> bytes:
    """The type's message definition with all that it contains, as MCAP's ``ros2msg`` schema wants it."""
    return typestore().generate_msgdef(ros_type, ros_version=2)[0].encode()


class Codec:
    """Encodes and decodes the messages of one topic.

    Args:
        name: a key of ``TOPICS``.
        epoch: Unix time in ns of log time zero.
    """

    def __init__(self, name: str, epoch: int) -> None:
        self.topic = TOPICS[name]
        self.epoch = epoch
        self._types = typestore().types
        self._serialize = typestore().serialize_cdr
        self._deserialize = typestore().deserialize_cdr
        converters: Converters = _SPECIAL.get(self.topic.ros_type) or (_by_name(self.topic), _fields_of)
        self._to_ros, self._from_ros = converters
        self._names = [f.name for f in fields(self.topic.message)]
        # generate the type's code now: it takes tens of ms, which the first message of a real-time loop must not pay
        typestore().get_msgdef(self.topic.ros_type)

    def encode(self, message: Any, time: float) -> bytes:
        """CDR bytes. ``time`` (s) stamps a message that has no finite time of its own."""
        own = getattr(message, "time", time)
        stamp = self.epoch + round((own if math.isfinite(own) else time) * 1e9)
        seconds, nanoseconds = divmod(stamp, 1_000_000_000)
        header = self._type("std_msgs/msg/Header")(
            stamp=self._type("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds), frame_id=self.topic.frame
        )
        ros = self._type(self.topic.ros_type)(header=header, **self._to_ros(message, self._type))
        return bytes(self._serialize(ros, self.topic.ros_type))

    def decode(self, data: bytes) -> dict[str, Any]:
        """Fields of the dataclass by name; always with ``time``, s since log time zero."""
        ros: Any = self._deserialize(data, self.topic.ros_type)
        stamp = ros.header.stamp.sec * 1_000_000_000 + ros.header.stamp.nanosec
        values = self._from_ros(ros, [n for n in self._names if n != "time"])
        return {"time": (stamp - self.epoch) * 1e-9, **values}

    def _type(self, name: str) -> Any:
        return self._types[name]


def _by_name(topic: Topic) -> Callable[[Any, Callable[[str], Any]], dict[str, Any]]:
    """Copier for types whose fields have the names of the dataclass's."""
    casts: list[tuple[str, Callable[[Any], Any]]] = []
    definitions: Any = typestore().fielddefs[topic.ros_type][1]
    for name, (kind, detail) in definitions:
        if name == "header":
            continue
        if kind == Nodetype.ARRAY:
            (_, (base, _)), length = detail
            casts.append((name, functools.partial(_array, dtype=_DTYPES[base], length=length)))
        else:
            casts.append((name, _CASTS.get(detail[0], int)))
    return lambda message, _: {name: cast(getattr(message, name)) for name, cast in casts}


def _array(value: Any, dtype: type, length: int) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(value, dtype=dtype)
    if array.shape != (length,):
        raise ValueError(f"shape {array.shape} where ({length},) belongs")
    return array


def _fields_of(ros: Any, names: list[str]) -> dict[str, Any]:
    return {name: getattr(ros, name) for name in names}


def _joints_to_ros(m: JointSample, _: Callable[[str], Any]) -> dict[str, Any]:
    position, velocity = _array(m.position, np.float64, 12), _array(m.velocity, np.float64, 12)
    return {"name": list(JOINT_NAMES), "position": position, "velocity": velocity, "effort": np.zeros(0)}


def _joints_from_ros(ros: Any, _: list[str]) -> dict[str, Any]:
    if tuple(ros.name) != JOINT_NAMES:
        raise ValueError("the joints are not those of this project in their order")
    return {"position": ros.position, "velocity": ros.velocity}


def _imu_to_ros(m: ImuSample, type_of: Callable[[str], Any]) -> dict[str, Any]:
    gx, gy, gz = (float(v) for v in m.projected_gravity)
    roll, pitch = math.atan2(-gy, -gz), math.atan2(gx, math.hypot(gy, gz))
    sr, cr, sp, cp = math.sin(roll / 2), math.cos(roll / 2), math.sin(pitch / 2), math.cos(pitch / 2)
    vector = type_of("geometry_msgs/msg/Vector3")
    unknown = np.array([_UNKNOWN] + [0.0] * 8)
    return {
        "orientation": type_of("geometry_msgs/msg/Quaternion")(x=sr * cp, y=cr * sp, z=-sr * sp, w=cr * cp),
        "orientation_covariance": np.zeros(9),
        "angular_velocity": vector(*(float(v) for v in m.angular_velocity)),
        "angular_velocity_covariance": np.zeros(9),
        "linear_acceleration": vector(0.0, 0.0, 0.0),
        "linear_acceleration_covariance": unknown,
    }


def _imu_from_ros(ros: Any, _: list[str]) -> dict[str, Any]:
    q, w = ros.orientation, ros.angular_velocity
    gravity = [
        2.0 * (q.w * q.y - q.x * q.z),
        -2.0 * (q.y * q.z + q.w * q.x),
        2.0 * (q.x * q.x + q.y * q.y) - 1.0,
    ]
    return {"angular_velocity": np.array([w.x, w.y, w.z]), "projected_gravity": np.array(gravity)}


def _pose_to_ros(m: Pose, type_of: Callable[[str], Any]) -> dict[str, Any]:
    x, y, z = (float(v) for v in m.position)
    qw, qx, qy, qz = (float(v) for v in m.quaternion)
    point, quaternion = type_of("geometry_msgs/msg/Point"), type_of("geometry_msgs/msg/Quaternion")
    pose = type_of("geometry_msgs/msg/Pose")
    return {"pose": pose(position=point(x=x, y=y, z=z), orientation=quaternion(x=qx, y=qy, z=qz, w=qw))}


def _pose_from_ros(ros: Any, _: list[str]) -> dict[str, Any]:
    p, q = ros.pose.position, ros.pose.orientation
    return {"position": np.array([p.x, p.y, p.z]), "quaternion": np.array([q.w, q.x, q.y, q.z])}


def _patch_to_ros(m: TwinPatch, _: Callable[[str], Any]) -> dict[str, Any]:
    heights = np.ascontiguousarray(m.heights, dtype=np.float32)
    rows, cols = heights.shape
    origin = _array(m.origin, np.float64, 2)
    return {"origin": origin, "resolution": float(m.resolution), "rows": rows, "cols": cols, "heights": heights.ravel()}


def _patch_from_ros(ros: Any, _: list[str]) -> dict[str, Any]:
    heights = ros.heights.reshape(ros.rows, ros.cols)
    return {"origin": ros.origin, "resolution": ros.resolution, "heights": heights}


_SPECIAL: dict[str, Converters] = {
    "sensor_msgs/msg/JointState": (_joints_to_ros, _joints_from_ros),
    "sensor_msgs/msg/Imu": (_imu_to_ros, _imu_from_ros),
    "geometry_msgs/msg/PoseStamped": (_pose_to_ros, _pose_from_ros),
    "matrix_msgs/msg/TwinPatch": (_patch_to_ros, _patch_from_ros),
}
