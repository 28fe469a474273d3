"""The Unitree Go2's low-level interface: LowCmd with its CRC, LowState, and the order of motors and feet.

Pure functions on NumPy records and on anything with the fields of the ``unitree_go`` messages; no ROS.

**Layout.** A LowCmd is summed up as the C structure that the maker's SDK keeps in memory, little-endian with natural
alignment, 812 bytes, of which the last four are the CRC.

**CRC.** Polynomial 0x04C11DB7, start 0xFFFFFFFF, no reflection and no final inversion, over 32-bit words taken from
their top bit down: CRC-32/MPEG-2 over the words' bytes in big-endian order.

**Order.** Motors and feet run FR, FL, RR, RL; here everything else is in the project's order FL, FR, RL, RR.

Names and layout follow the public unitree_ros2, unitree_sdk2 and unitree_sdk2_python, which agree; the CRC is tested
against messages published with theirs. None of it was tried on a robot.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.robots.go2.facts import MOTOR_TO_JOINT
from sim.spec.joints import LOWER, SPEED_LIMIT, TORQUE_LIMIT, UPPER

MOTORS = np.array(MOTOR_TO_JOINT)  # motor i drives joint MOTORS[i], and joint i is driven by motor MOTORS[i]
FEET = np.array([1, 0, 3, 2])  # foot i of the robot's order is foot FEET[i] of the project's, and the other way round
HEAD = (0xFE, 0xEF)
LOW_LEVEL = 0xFF
DRIVEN = 0x01  # mode of a motor that obeys
MAX_KP = 100.0  # N*m/rad. The maker's examples use up to 70.
MAX_KD = 10.0  # N*m*s/rad. The maker's examples use up to 5.

MOTOR_CMD = np.dtype(
    [("mode", "u1"), ("q", "<f4"), ("dq", "<f4"), ("tau", "<f4"), ("kp", "<f4"), ("kd", "<f4"), ("reserve", "<u4", 3)],
    align=True,
)
BMS_CMD = np.dtype([("off", "u1"), ("reserve", "u1", 3)])
LOW_CMD = np.dtype(
    [
        ("head", "u1", 2), ("level_flag", "u1"), ("frame_reserve", "u1"), ("sn", "<u4", 2), ("version", "<u4", 2),
        ("bandwidth", "<u2"), ("motor_cmd", MOTOR_CMD, 20), ("bms_cmd", BMS_CMD), ("wireless_remote", "u1", 40),
        ("led", "u1", 12), ("fan", "u1", 2), ("gpio", "u1"), ("reserve", "<u4"), ("crc", "<u4"),
    ],
    align=True,
)  # fmt: skip
IMU_STATE = np.dtype(
    [
        ("quaternion", "<f4", 4), ("gyroscope", "<f4", 3), ("accelerometer", "<f4", 3), ("rpy", "<f4", 3),
        ("temperature", "i1"),
    ],
    align=True,
)  # fmt: skip
MOTOR_STATE = np.dtype(
    [
        ("mode", "u1"), ("q", "<f4"), ("dq", "<f4"), ("ddq", "<f4"), ("tau_est", "<f4"), ("q_raw", "<f4"),
        ("dq_raw", "<f4"), ("ddq_raw", "<f4"), ("temperature", "i1"), ("lost", "<u4"), ("reserve", "<u4", 2),
    ],
    align=True,
)  # fmt: skip
BMS_STATE = np.dtype(
    [
        ("version_high", "u1"), ("version_low", "u1"), ("status", "u1"), ("soc", "u1"), ("current", "<i4"),
        ("cycle", "<u2"), ("bq_ntc", "i1", 2), ("mcu_ntc", "i1", 2), ("cell_vol", "<u2", 15),
    ],
    align=True,
)  # fmt: skip
LOW_STATE = np.dtype(
    [
        ("head", "u1", 2), ("level_flag", "u1"), ("frame_reserve", "u1"), ("sn", "<u4", 2), ("version", "<u4", 2),
        ("bandwidth", "<u2"), ("imu_state", IMU_STATE), ("motor_state", MOTOR_STATE, 20), ("bms_state", BMS_STATE),
        ("foot_force", "<i2", 4), ("foot_force_est", "<i2", 4), ("tick", "<u4"), ("wireless_remote", "u1", 40),
        ("bit_flag", "u1"), ("adc_reel", "<f4"), ("temperature_ntc1", "i1"), ("temperature_ntc2", "i1"),
        ("power_v", "<f4"), ("power_a", "<f4"), ("fan_frequency", "<u2", 4), ("reserve", "<u4"), ("crc", "<u4"),
    ],
    align=True,
)  # fmt: skip
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc32(words: bytes) -> int:
    """The robot's checksum of little-endian 32-bit words.

    zlib's CRC has the same polynomial, but takes bits from the bottom up and inverts the end: feed it reversed bits,
    reverse and invert what it gives.
    """
    big_endian = np.frombuffer(words, "<u4").astype(">u4").tobytes()
    reflected = zlib.crc32(big_endian.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


def record_crc(record: np.ndarray) -> int:
    """What ``crc`` of a LOW_CMD or LOW_STATE record must be."""
    return crc32(record.tobytes()[:-4])


def seal(record: np.ndarray) -> np.ndarray:
    """The same record, of either type, with head, level flag and CRC as the maker's C structures have them."""
    record["head"], record["level_flag"] = HEAD, LOW_LEVEL
    record["crc"] = record_crc(record)
    return record


def low_cmd(
    targets: np.ndarray,
    kp: np.ndarray | float,
    kd: np.ndarray | float,
    velocity: np.ndarray | float = 0.0,
    torque: np.ndarray | float = 0.0,
) -> np.ndarray:
    """A LowCmd, shape () of dtype LOW_CMD, ready to send; every value is clamped to what the Go2 may be asked for.

    Args:
        targets: (12,) rad, project joint order, as are the others.
        kp: N*m/rad. kd: N*m*s/rad. velocity: rad/s, what kd works towards. torque: N*m, added by the motor.

    Raises:
        ValueError: a value is not a number; whoever calls decides what is safe then.
    """
    values = {
        "q": np.clip(targets, LOWER, UPPER),
        "dq": np.clip(velocity, -SPEED_LIMIT, SPEED_LIMIT),
        "tau": np.clip(torque, -TORQUE_LIMIT, TORQUE_LIMIT),
        "kp": np.clip(kp, 0.0, MAX_KP),
        "kd": np.clip(kd, 0.0, MAX_KD),
    }
    record = np.zeros((), LOW_CMD)
    motors = record["motor_cmd"]
    motors["mode"] = DRIVEN
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise ValueError(f"'{name}' of a motor command is not a number")
        motors[name][:12] = np.broadcast_to(value, 12)[MOTORS]
    return seal(record)


def why_refused(record: np.ndarray) -> str:
    """Empty for a LowCmd that the robot obeys, else one sentence; for a simulated robot."""
    motors = record["motor_cmd"][:12]
    if int(record["crc"]) != record_crc(record):
        return f"the CRC is 0x{int(record['crc']):08X}, not 0x{record_crc(record):08X}"
    if tuple(record["head"]) != HEAD or record["level_flag"] != LOW_LEVEL:
        return "head and level flag are not those of a low-level command"
    if (motors["mode"] != DRIVEN).any():
        return f"motor {int(np.argmax(motors['mode'] != DRIVEN))} is not in mode 0x01"
    if not all(np.isfinite(motors[name]).all() for name in ("q", "dq", "tau", "kp", "kd")):
        return "a value is not a number"
    return ""


def joint_values(record: np.ndarray) -> dict[str, np.ndarray]:
    """``q, dq, tau, kp, kd`` of a LowCmd, each (12,) in project joint order: the inverse of ``low_cmd``."""
    motors = record["motor_cmd"][:12]
    return {name: motors[name][MOTORS].astype(float) for name in ("q", "dq", "tau", "kp", "kd")}


def to_message(record: np.ndarray, message: Any) -> Any:
    """Copy a LOW_CMD record into a ``unitree_go/LowCmd`` message and return it."""
    _copy_out(record, message)
    return message


def from_message(message: Any) -> np.ndarray:
    """A ``unitree_go/LowCmd`` message as a record, shape () of dtype LOW_CMD."""
    record = np.zeros((), LOW_CMD)
    for name in LOW_CMD.names or ():
        value = getattr(message, name)
        if name == "motor_cmd":
            record[name] = [tuple(getattr(motor, n) for n in MOTOR_CMD.names or ()) for motor in value]
        elif name == "bms_cmd":
            record[name] = (value.off, value.reserve)
        else:
            record[name] = value
    return record


@dataclass(frozen=True)
class Reading:
    """What a LowState says, in project order."""

    joint_position: np.ndarray
    """(12,) rad."""
    joint_velocity: np.ndarray
    """(12,) rad/s."""
    joint_torque: np.ndarray
    """(12,) N*m, the motors' own estimate."""
    orientation: np.ndarray
    """(4,) x, y, z, w of the trunk in the world (the message holds w, x, y, z)."""
    angular_velocity: np.ndarray
    """(3,) rad/s, trunk frame."""
    acceleration: np.ndarray
    """(3,) m/s^2, trunk frame, specific force: about zero in flight."""
    foot_force: np.ndarray
    """(4,) raw counts. How many make a newton differs from foot to foot and is not published."""
    tick: int
    """ms since the robot started; 0 when the sender does not count."""


def read_low_state(message: Any) -> Reading:
    """Read a ``unitree_go/LowState`` message or a LOW_STATE record."""
    get: Any = np.ndarray.__getitem__ if isinstance(message, np.ndarray) else getattr
    motors, imu = get(message, "motor_state")[:12], get(message, "imu_state")
    position, velocity, torque = (
        np.array(motors[name] if isinstance(motors, np.ndarray) else [getattr(m, name) for m in motors], dtype=float)
        for name in ("q", "dq", "tau_est")
    )
    w, x, y, z = (float(v) for v in get(imu, "quaternion"))
    return Reading(
        joint_position=position[MOTORS],
        joint_velocity=velocity[MOTORS],
        joint_torque=torque[MOTORS],
        orientation=np.array([x, y, z, w]),
        angular_velocity=np.array(get(imu, "gyroscope"), dtype=float),
        acceleration=np.array(get(imu, "accelerometer"), dtype=float),
        foot_force=np.array(get(message, "foot_force"))[FEET],
        tick=int(get(message, "tick")),
    )


def fill_low_state(
    message: Any,
    joints: Sequence[np.ndarray],
    orientation: np.ndarray,
    angular_velocity: np.ndarray,
    acceleration: np.ndarray,
    foot_force: np.ndarray,
    tick: int,
) -> Any:
    """What a simulated Go2 says, written into a ``unitree_go/LowState`` or a LOW_STATE record; units and order as in
    ``Reading``.

    Args:
        joints: position, velocity and torque, each (12,).
        orientation: (4,) w, x, y, z.
    """
    given = {name: values[MOTORS] for name, values in zip(("q", "dq", "tau_est"), joints, strict=True)}
    trunk = {"quaternion": orientation, "gyroscope": angular_velocity, "accelerometer": acceleration}
    feet = np.clip(foot_force, -32768, 32767).round().astype(np.int16)[FEET]
    if isinstance(message, np.ndarray):
        motors, imu = message["motor_state"][:12], message["imu_state"]
        motors["mode"] = DRIVEN
        for part, named in ((motors, given), (imu, trunk)):
            for name, values in named.items():
                part[name] = values
        message["foot_force"], message["tick"] = feet, tick % 2**32
        return message
    for motor, q, dq, tau in zip(message.motor_state, *(v.tolist() for v in given.values()), strict=False):
        motor.mode, motor.q, motor.dq, motor.tau_est = DRIVEN, q, dq, tau
    for name, values in trunk.items():
        setattr(message.imu_state, name, values.astype(np.float32))
    message.foot_force, message.tick = feet, tick % 2**32
    return message


def _copy_out(record: np.ndarray, message: Any) -> None:
    for name in record.dtype.names or ():
        value = record[name]
        if value.dtype.names and value.shape:
            for item, part in zip(value, getattr(message, name), strict=True):
                _copy_out(item, part)
        elif value.dtype.names:
            _copy_out(value, getattr(message, name))
        else:
            setattr(message, name, value if value.shape else value.item())
