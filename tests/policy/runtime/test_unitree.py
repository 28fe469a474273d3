"""The Go2's wire: its CRC against published messages and a slow definition, its order joint by joint, its limits."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.runtime.unitree import (
    FEET,
    LOW_CMD,
    MAX_KD,
    MAX_KP,
    crc32,
    fill_low_state,
    from_message,
    joint_values,
    low_cmd,
    read_low_state,
    record_crc,
    to_message,
    why_refused,
)
from sim.spec.joints import JOINT_NAMES, LEGS, LOWER, NOMINAL_POSE, SPEED_LIMIT, TORQUE_LIMIT, UPPER

# The maker's numbering (unitree_legged_const.py of unitree_sdk2_python): leg and joint of each motor.
MOTOR_NAMES = [f"{leg}_{joint}_joint" for leg in ("FR", "FL", "RR", "RL") for joint in ("hip", "thigh", "calf")]

# Two LowCmd messages, with the CRC that the maker's software gave them, as printed in public repositories: q of motors
# 0 to 11, their kp and kd. All twenty modes are 1, head and level flag are those of low level, the rest is 0. The first
# is a recording of the topic /lowcmd; the second was made with unitree_sdk2_python.
PUBLISHED = {
    4194941488: (
        [
            0.023129865527153015, 0.7480632662773132, -1.3831151723861694, 0.040774405002593994, 0.7935237884521484,
            -1.4443994760513306, 0.12983304262161255, 0.7800335884094238, -1.3389172554016113, -0.04581166058778763,
            0.6999298930168152, -1.288281798362732,
        ],
        40.0,
        1.0,
    ),
    543961840: (
        [0.04734550043940544, 1.221869945526123, -2.4437499046325684, -0.04734550043940544, 1.221869945526123,
         -2.4437499046325684] * 2,
        50.0,
        3.5,
    ),
}  # fmt: skip
# The C structure, field by field: three bytes of padding after each mode, two after bandwidth, one before reserve.
C_LAYOUT = "<4B4IH2x" + "B3x5f3I" * 20 + "4B" + "40B12B2BBx2I"


def slow_crc(data: bytes) -> int:
    """Polynomial division bit by bit, top bit of each little-endian word first."""
    crc = 0xFFFFFFFF
    for (word,) in struct.iter_unpack("<I", data):
        for bit in range(31, -1, -1):
            out = (crc >> 31) ^ (word >> bit & 1)
            crc = (crc << 1) & 0xFFFFFFFF ^ (0x04C11DB7 if out else 0)
    return crc


def motor_message() -> SimpleNamespace:
    return SimpleNamespace(mode=0, q=0.0, dq=0.0, tau=0.0, kp=0.0, kd=0.0, reserve=np.zeros(3, np.uint32))


def message() -> SimpleNamespace:
    """A LowCmd message as ROS makes it: arrays of numbers are NumPy's, arrays of messages are lists."""
    return SimpleNamespace(
        head=np.zeros(2, np.uint8), level_flag=0, frame_reserve=0, sn=np.zeros(2, np.uint32),
        version=np.zeros(2, np.uint32), bandwidth=0, motor_cmd=[motor_message() for _ in range(20)],
        bms_cmd=SimpleNamespace(off=0, reserve=np.zeros(3, np.uint8)), wireless_remote=np.zeros(40, np.uint8),
        led=np.zeros(12, np.uint8), fan=np.zeros(2, np.uint8), gpio=0, reserve=0, crc=0,
    )  # fmt: skip


def state_message() -> SimpleNamespace:
    motors = [SimpleNamespace(mode=0, q=0.0, dq=0.0, tau_est=0.0) for _ in range(20)]
    return SimpleNamespace(motor_state=motors, imu_state=SimpleNamespace(), foot_force=None, tick=0)


def numbers(low: np.ndarray | float, high: np.ndarray | float) -> st.SearchStrategy[np.ndarray]:
    low, high = np.broadcast_to(low, 12), np.broadcast_to(high, 12)
    return st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12).map(lambda x: low + (high - low) * np.array(x))


@pytest.mark.parametrize("crc", PUBLISHED)
def test_published_messages_have_the_crc_that_we_compute(crc: int) -> None:
    q, kp, kd = PUBLISHED[crc]
    targets = np.array([q[MOTOR_NAMES.index(name)] for name in JOINT_NAMES])
    record = low_cmd(targets, kp, kd)
    assert record["crc"] == crc
    assert to_message(record, message()).crc == crc
    assert why_refused(record) == ""


@given(st.binary(max_size=400).map(lambda data: data[: len(data) // 4 * 4]))
def test_the_crc_is_the_slow_one(data: bytes) -> None:
    assert crc32(data) == slow_crc(data)


def test_the_crc_is_mpeg_2s() -> None:
    # 0x0376E6E7 is the check value of CRC-32/MPEG-2 for "123456789"; with the length a multiple of four bytes only the
    # words before the last byte can be ours: go on from there with the byte that is left.
    swapped = b"".join(b"12345678"[i : i + 4][::-1] for i in (0, 4))
    crc = crc32(swapped)
    for bit in range(7, -1, -1):
        crc = (crc << 1) & 0xFFFFFFFF ^ (0x04C11DB7 if (crc >> 31) ^ (ord("9") >> bit & 1) else 0)
    assert crc == 0x0376E6E7


@given(numbers(LOWER, UPPER), numbers(0, MAX_KP), numbers(0, MAX_KD), numbers(-15, 15), numbers(-23, 23))
def test_a_command_survives_the_wire(
    q: np.ndarray, kp: np.ndarray, kd: np.ndarray, dq: np.ndarray, tau: np.ndarray
) -> None:
    record = low_cmd(q, kp, kd, dq, tau)
    sent = to_message(record, message())
    # motor i of the message moves the joint that the maker calls by that number
    for motor, name in zip(sent.motor_cmd, MOTOR_NAMES, strict=False):
        joint = JOINT_NAMES.index(name)
        assert (motor.q, motor.kp) == pytest.approx((q[joint], kp[joint]), rel=1e-6)
    back = from_message(sent)
    assert back.tobytes() == record.tobytes() and why_refused(back) == ""
    for name, value in {"q": q, "kp": kp, "kd": kd, "dq": dq, "tau": tau}.items():
        assert joint_values(back)[name] == pytest.approx(value, rel=1e-6, abs=1e-30)
    # the bytes are those of the C structure
    flat = [*sent.head, sent.level_flag, sent.frame_reserve, *sent.sn, *sent.version, sent.bandwidth]
    for m in sent.motor_cmd:
        flat += [m.mode, m.q, m.dq, m.tau, m.kp, m.kd, *m.reserve]
    flat += [sent.bms_cmd.off, *sent.bms_cmd.reserve, *sent.wireless_remote, *sent.led, *sent.fan, sent.gpio]
    assert struct.pack(C_LAYOUT, *flat, sent.reserve, sent.crc) == record.tobytes()
    assert slow_crc(record.tobytes()[:-4]) == sent.crc


@given(st.integers(0, LOW_CMD.itemsize * 8 - 1))
def test_one_wrong_bit_is_noticed(bit: int) -> None:
    data = bytearray(low_cmd(NOMINAL_POSE, 30.0, 0.75).tobytes())
    data[bit // 8] ^= 1 << bit % 8
    assert "CRC" in why_refused(np.frombuffer(bytes(data), LOW_CMD)[0])


def test_what_is_asked_of_the_motors_is_bounded() -> None:
    v = joint_values(low_cmd(np.full(12, 99.0), 1e6, 1e6, 99.0, -99.0))
    assert np.allclose(v["q"], UPPER) and (v["kp"] == MAX_KP).all() and (v["kd"] == MAX_KD).all()
    assert np.allclose(v["dq"], SPEED_LIMIT) and np.allclose(v["tau"], -TORQUE_LIMIT)
    v = joint_values(low_cmd(np.full(12, -99.0), -1.0, -1.0))
    assert np.allclose(v["q"], LOWER) and not v["kp"].any() and not v["kd"].any()
    with pytest.raises(ValueError, match="'q'"):
        low_cmd(np.full(12, np.nan), 30.0, 0.75)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r: r["head"].__setitem__(0, 0), "head"),
        (lambda r: r.__setitem__("level_flag", 0xEE), "level flag"),
        (lambda r: r["motor_cmd"]["mode"].__setitem__(5, 0), "motor 5"),
        (lambda r: r["motor_cmd"]["kp"].__setitem__(2, np.inf), "not a number"),
        (lambda r: r.__setitem__("gpio", 1), "CRC"),
    ],
)
def test_a_robot_refuses_a_wrong_command(change, word: str) -> None:  # type: ignore[no-untyped-def]
    record = low_cmd(NOMINAL_POSE, 30.0, 0.75)
    change(record)
    if word != "CRC":
        record["crc"] = record_crc(record)
    assert word in why_refused(record)


def test_a_state_is_read_in_our_order() -> None:
    sent = fill_low_state(
        state_message(),
        (np.arange(12.0), np.arange(12.0) + 100, np.arange(12.0) + 200),
        orientation=np.array([0.1, 0.2, 0.3, 0.4]),
        angular_velocity=np.array([1.0, 2.0, 3.0]),
        acceleration=np.array([4.0, 5.0, 6.0]),
        foot_force=np.array([10.2, 20.0, 30.0, 1e9]),
        tick=7,
    )
    # the message is in the maker's order
    assert [m.q for m in sent.motor_state[:12]] == [JOINT_NAMES.index(name) for name in MOTOR_NAMES]
    assert sent.foot_force.tolist() == [20, 10, 32767, 30]  # FR, FL, RR, RL
    assert sent.imu_state.quaternion == pytest.approx([0.1, 0.2, 0.3, 0.4])  # w first
    reading = read_low_state(sent)
    assert reading.joint_position.tolist() == list(range(12))
    assert reading.joint_velocity.tolist() == list(range(100, 112))
    assert reading.joint_torque.tolist() == list(range(200, 212))
    assert reading.orientation == pytest.approx([0.2, 0.3, 0.4, 0.1])  # w last
    assert (reading.angular_velocity.tolist(), reading.acceleration.tolist()) == ([1, 2, 3], [4, 5, 6])
    assert (reading.foot_force.tolist(), reading.tick) == ([10, 20, 30, 32767], 7)
    assert [LEGS[i] for i in FEET] == ["FR", "FL", "RR", "RL"]


def test_a_published_state_has_w_first() -> None:
    # An upside-down robot, printed in a public repository from unitree_sdk2_python: its quaternion and its roll, pitch
    # and yaw are one rotation only with w first.
    w, x, y, z = -0.0003142616478726268, -0.12561771273612976, -0.9920760989189148, -0.0022499149199575186
    roll, pitch, yaw = 3.137049436569214, 5.8284607803216204e-05, 2.88969087600708
    assert np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)) == pytest.approx(roll, abs=1e-4)
    assert np.arcsin(2 * (w * y - z * x)) == pytest.approx(pitch, abs=1e-4)
    assert np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)) == pytest.approx(yaw, abs=1e-4)
    sent = state_message()
    sent.imu_state = SimpleNamespace(
        quaternion=np.array([w, x, y, z]), gyroscope=np.zeros(3), accelerometer=np.zeros(3)
    )
    sent.foot_force = np.zeros(4, np.int16)
    x, y, _, w = read_low_state(sent).orientation
    assert 1 - 2 * (x * x + y * y) == pytest.approx(-1.0, abs=1e-3)  # its z axis points down
