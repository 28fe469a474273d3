"""What is logged: topic, dataclass, ROS 2 type, and how one becomes the other.

A dataclass's ``time`` travels in ``header.stamp``, as nanoseconds since the Unix epoch: log time zero (the recorder's
``start_wall_time``) plus the message's own time. Quaternions are (w, x, y, z) here and (x, y, z, w) on the wire.
Where the names of a dataclass and of its ROS type agree, the fields are copied by name; the types that ROS itself
defines and the height map have converters below. Types without a header are stamped by the log time alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.base import TypesysError
from rosbags.typesys.store import Typestore

from matrix_hil.link import DEVICES
from matrix_hil.log.cdr import Field, Layout, flatten, read
from matrix_hil.log.cycle_input import CycleInput
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    PlatformCommand,
    PlatformState,
    PolicyDoubt,
    RobotCommand,
    TreadmillCommand,
    TreadmillState,
    TwinPatch,
)
from matrix_hil.safety.supervisor import SupervisorState
from sim.files import MESSAGES
from sim.spec.command import HopCommand
from sim.spec.joints import JOINT_NAMES

Converters = tuple[Callable[[Any], dict[str, Any]], Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]
_NAMES = list(JOINT_NAMES)
_EMPTY, _ZEROS = np.zeros(0), np.zeros(9)
_NOT_GIVEN = np.array([-1.0] + [0.0] * 8)  # a covariance that says: the sensor does not give this (sensor_msgs/Imu)
LONGEST_DEFINITION = 64 * 1024  # bytes
_MOST_LAYOUTS = 64  # kept; more come only from texts that never repeat


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
class Fault:
    """A device's fault flags, logged when they change. ``time`` is when they were logged."""

    time: float
    fault: int
    """0 = none; bit 0 e-stop, bit 1 device watchdog, bit 2 limit."""


@dataclass(frozen=True)
class WireBytes:
    """Bytes of a serial line as they were read or written; joined, all of a line's are what went over it."""

    time: float
    data: bytes


@dataclass(frozen=True)
class Topic:
    """One row of the table."""

    message: type
    """Dataclass that ``read_log`` stacks and ``Recorder.write`` takes."""
    ros_type: str
    frame: str = ""
    """``header.frame_id``."""
    qos: str = "stream"
    """``stream`` (best effort) or ``state`` (reliable, latched): how a replay shall publish it. Commands are streams
    too: a replay must not offer the deadline and liveliness without which drivers do not listen."""


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
    "/policy/doubt": Topic(PolicyDoubt, "matrix_msgs/msg/PolicyDoubt"),
    "/supervisor/state": Topic(SupervisorState, "matrix_msgs/msg/SupervisorState", qos="state"),
    "/sync/input": Topic(CycleInput, "matrix_msgs/msg/CycleInput"),
    "/sync/stamp": Topic(SyncStamp, "matrix_msgs/msg/SyncStamp"),
    "/twin/patch": Topic(TwinPatch, "matrix_msgs/msg/TwinPatch", "world", qos="state"),
    "/robot/fault": Topic(Fault, "std_msgs/msg/UInt8", qos="state"),
    "/tracker/fault": Topic(Fault, "std_msgs/msg/UInt8", qos="state"),
    **{
        f"/wire/{device}/{direction}": Topic(WireBytes, "std_msgs/msg/UInt8MultiArray")
        for device in DEVICES
        for direction in ("rx", "tx")
    },
}


ROS_NAMES = {
    "/sync/hop_command": "/hop_command",
    "/joint_states": "/robot/joint_states",
    "/imu": "/robot/imu",
    "/robot_command": "/robot/command",
}
"""What the ROS nodes of rig and robot call a topic that a log has by another name."""


@functools.cache
def typestore() -> Typestore:
    """ROS 2 Jazzy's types and ``matrix_msgs``, read from its ``.msg`` files."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(MESSAGES.glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(encoding="utf-8"), f"matrix_msgs/msg/{path.stem}"))
    store.register(types)
    return store


@functools.cache
def definition(ros_type: str) -> bytes:
    """The type's message definition with all that it contains, as MCAP's ``ros2msg`` schema wants it."""
    return typestore().generate_msgdef(ros_type, ros_version=2)[0].encode()


def is_known(topic: str, ros_type: str, text: bytes) -> str:
    """Why messages of a file's topic are not decoded as one of ``TOPICS``; empty if they are.

    ``text`` is the file's definition of the type: it is compared, and nothing is made from it. Where a file has none,
    as those converted from old databases, ROS 2's own types are known by their name.
    """
    row = TOPICS.get(topic)
    if row is None:
        return "this project does not know the topic"
    if not text.strip() and ros_type == row.ros_type:
        own = ros_type.startswith("matrix_msgs/")
        return f"the file holds no definition of {ros_type}, of which there are several versions" if own else ""
    if ros_type != row.ros_type or (text != definition(ros_type) and not _same_fields(ros_type, text)):
        return f"its messages are not {row.ros_type} as this version defines it"
    return ""


def _same_fields(ros_type: str, text: bytes) -> bool:
    """Whether a definition differs in comments and spaces only, as that of another recorder does."""
    if len(text) > LONGEST_DEFINITION:
        return False
    try:
        theirs = get_types_from_msg(text.replace(b"\r\n", b"\n").decode(), ros_type)
    except (TypesysError, ValueError, LookupError, RecursionError):
        return False
    ours = typestore().fielddefs
    return ros_type in theirs and all(name in ours and ours[name][1] == kind[1] for name, kind in theirs.items())


@functools.cache
def fields_of(ros_type: str) -> tuple[Field, ...]:
    """The type's fields, flattened."""
    return flatten(typestore().fielddefs, ros_type)


class Codec:
    """Encodes and decodes the messages of one topic. May be used from several threads.

    Args:
        name: a key of ``TOPICS``.
        epoch: Unix time in ns of log time zero.
        frame: ``header.frame_id`` of what is encoded; the table's when None.
    """

    def __init__(self, name: str, epoch: int, frame: str | None = None) -> None:
        self.topic = TOPICS[name]
        self._frame = self.topic.frame if frame is None else frame
        self.epoch = epoch
        self._fields = fields_of(self.topic.ros_type)
        self._stamped = self._fields[0].name == "header.stamp.sec"
        own = [f.name for f in self._fields if not f.name.startswith("header.")]
        by_name: Converters = (lambda m: {n: getattr(m, n) for n in own}, lambda c: {n: c[n] for n in own})
        self._to_ros, self._from_ros = _SPECIAL.get(self.topic.ros_type, by_name)
        self._varying = [
            f.name for f in self._fields if f.kind in ("string", "strings") and f.name != "header.frame_id"
        ]
        self._sequences = [f.name for f in self._fields if f.kind == "sequence"]
        self._packers: dict[Any, Layout] = {}
        self._readers: list[Layout] = []

    def encode(self, message: Any, time: float) -> bytes:
        """CDR bytes. ``time`` (s) stamps a message that has no finite time of its own."""
        values = self._to_ros(message)
        if self._stamped:
            own = getattr(message, "time", time)
            stamp = self.epoch + round((own if math.isfinite(own) else time) * 1e9)
            values["header.stamp.sec"], values["header.stamp.nanosec"] = divmod(stamp, 1_000_000_000)
        key: Any = ()
        if self._varying or self._sequences:
            texts = [values[n] if isinstance(values[n], str) else tuple(values[n]) for n in self._varying]
            key = (*texts, *[len(values[n]) for n in self._sequences])
        layout = self._packers.get(key)
        if layout is None:
            known = {"header.frame_id": self._frame}
            known |= {n: values[n] for n in self._varying} | {n: len(values[n]) for n in self._sequences}
            layout = Layout(self._fields, known)
            if len(self._packers) >= _MOST_LAYOUTS:
                self._packers.clear()
            self._packers[key] = layout
        return bytes(layout.pack(values))

    def decode(self, data: bytes) -> dict[str, Any]:
        """Fields of the dataclass by name; with ``time``, s since log time zero, where the type has a stamp.

        Raises:
            ValueError: the bytes are no message of this topic.
        """
        columns = self.decode_all([data])
        return {n: c[0].item() if isinstance(c[0], np.generic) else c[0] for n, c in columns.items()}

    def frame_of(self, data: bytes) -> str:
        """``header.frame_id`` of a message of a stamped type. Raises ValueError as ``decode``."""
        return str(read(self._fields, [data], self._readers)["header.frame_id"][0])

    def decode_all(self, rows: Sequence[bytes]) -> dict[str, np.ndarray]:
        """As ``decode`` for many messages; every value gains a first axis."""
        columns = read(self._fields, rows, self._readers)
        if not self._stamped:
            return self._from_ros(columns)
        stamp = columns["header.stamp.sec"].astype(np.int64) * 1_000_000_000 + columns["header.stamp.nanosec"]
        return {"time": (stamp - self.epoch) * 1e-9, **self._from_ros(columns)}


def _joints_to_ros(m: JointSample) -> dict[str, Any]:
    return {"name": _NAMES, "position": m.position, "velocity": m.velocity, "effort": _EMPTY}


def _joints_from_ros(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By name, as the policy's node does: whatever the order, and whatever else moves beside the twelve."""
    out = {field: np.zeros((len(c["name"]), len(JOINT_NAMES))) for field in ("position", "velocity")}
    columns = {names: np.array([n == names for n in c["name"]]) for names in set(c["name"])}
    for names, mine in columns.items():
        if absent := [name for name in JOINT_NAMES if names.count(name) != 1]:
            times = "more than once" if absent[0] in names else "not"
            raise ValueError(f"joint {absent[0]} is {times} among its names")
        order = [names.index(name) for name in JOINT_NAMES]
        for field, values in out.items():
            rows = c[field][mine]
            lengths = {rows.shape[1]} if rows.ndim == 2 else {len(row) for row in rows}
            if lengths != {len(names)}:
                raise ValueError(f"a {field} for each of its {len(names)} names belongs in it")
            values[mine] = (rows if rows.ndim == 2 else np.stack(rows))[:, order]
    return out


def _imu_to_ros(m: ImuSample) -> dict[str, Any]:
    gx, gy, gz = (float(v) for v in m.projected_gravity)
    roll, pitch = math.atan2(-gy, -gz), math.atan2(gx, math.hypot(gy, gz))
    sr, cr, sp, cp = math.sin(roll / 2), math.cos(roll / 2), math.sin(pitch / 2), math.cos(pitch / 2)
    return {
        "orientation": (sr * cp, cr * sp, -sr * sp, cr * cp),
        "orientation_covariance": _ZEROS,
        "angular_velocity": m.angular_velocity,
        "angular_velocity_covariance": _ZEROS,
        "linear_acceleration": _ZEROS[:3],
        "linear_acceleration_covariance": _NOT_GIVEN,
    }


def _imu_from_ros(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    x, y, z, w = c["orientation"].T
    gravity = [2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0]
    return {"angular_velocity": c["angular_velocity"], "projected_gravity": np.stack(gravity, axis=-1)}


def _pose_to_ros(m: Pose) -> dict[str, Any]:
    x, y, z = m.position
    qw, qx, qy, qz = m.quaternion
    return {"pose": (x, y, z, qx, qy, qz, qw)}


def _pose_from_ros(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"position": c["pose"][:, :3].copy(), "quaternion": c["pose"][:, [6, 3, 4, 5]]}


def _patch_to_ros(m: TwinPatch) -> dict[str, Any]:
    heights = np.ascontiguousarray(m.heights, dtype=np.float32)
    rows, cols = heights.shape
    return {"origin": m.origin, "resolution": m.resolution, "rows": rows, "cols": cols, "heights": heights.ravel()}


def _patch_from_ros(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rows, cols, flat = c["rows"], c["cols"], c["heights"]
    heights: np.ndarray
    if flat.dtype != object and len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 1:
        heights = flat.reshape(len(flat), rows[0], cols[0])
    else:
        heights = np.empty(len(flat), dtype=object)
        for i, values in enumerate(flat):
            heights[i] = values.reshape(rows[i], cols[i])
    return {"origin": c["origin"], "resolution": c["resolution"], "heights": heights}


def _wire_to_ros(m: WireBytes) -> dict[str, Any]:
    return {"layout.data_offset": 0, "data": np.frombuffer(m.data, np.uint8)}


def _wire_from_ros(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    data = np.empty(len(c["data"]), dtype=object)
    data[:] = [row.tobytes() for row in c["data"]]
    return {"data": data}


def _fault_to_ros(m: Fault) -> dict[str, Any]:
    return {"data": m.fault}


def _fault_from_ros(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"fault": c["data"]}


_SPECIAL: dict[str, Converters] = {
    "sensor_msgs/msg/JointState": (_joints_to_ros, _joints_from_ros),
    "sensor_msgs/msg/Imu": (_imu_to_ros, _imu_from_ros),
    "geometry_msgs/msg/PoseStamped": (_pose_to_ros, _pose_from_ros),
    "matrix_msgs/msg/TwinPatch": (_patch_to_ros, _patch_from_ros),
    "std_msgs/msg/UInt8": (_fault_to_ros, _fault_from_ros),
    "std_msgs/msg/UInt8MultiArray": (_wire_to_ros, _wire_from_ros),
}
