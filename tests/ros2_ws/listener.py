"""Listens to a replayed log in a process of its own.

Usage: ``listener.py (silence SECONDS | rounds COUNT) RESULT``; it prints ``ready`` when it listens and ends once no
joints have come for SECONDS, or when /clock has jumped back COUNT times. RESULT gets ``{"clock": [[t, s], ...],
"joints": [[t, stamp, first joint], ...], "commands": n, "state": [...]}``, t being when the message was sent, in s;
commands are counted as a driver would ask for them.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import rclpy
from matrix_msgs.msg import SupervisorState, TreadmillCommand
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

DRIVER = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    deadline=Duration(seconds=0.05),
    liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
    liveliness_lease_duration=Duration(seconds=0.1),
)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


LONGEST = 60.0  # s


def main() -> None:
    """Listen from the first message on."""
    mode, much, result = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    rclpy.init()
    node = rclpy.create_node("listener", namespace="/replay")
    seen: dict[str, list] = {"clock": [], "joints": [], "driver": [], "commands": [], "state": []}
    came: list[float] = []

    def on_joints(m: JointState, info: dict) -> None:
        came.append(time.monotonic())
        stamp = m.header.stamp
        seen["joints"].append([info["source_timestamp"] * 1e-9, stamp.sec, stamp.nanosec, m.position[0]])

    def on_clock(m: Clock, info: dict) -> None:
        seen["clock"].append([info["source_timestamp"] * 1e-9, m.clock.sec + 1e-9 * m.clock.nanosec])

    deep = QoSProfile(depth=1000)
    node.create_subscription(Clock, "/clock", on_clock, deep)
    node.create_subscription(JointState, "robot/joint_states", on_joints, deep)
    node.create_subscription(TreadmillCommand, "treadmill/command", lambda m: seen["driver"].append(m.speed), DRIVER)
    node.create_subscription(
        TreadmillCommand, "treadmill/command", lambda m: seen["commands"].append(m.speed), qos_profile_sensor_data
    )
    node.create_subscription(SupervisorState, "supervisor/state", lambda m: seen["state"].append(m.state), LATCHED)
    executor = SingleThreadedExecutor()  # making one per message, as rclpy.spin_once does, takes a millisecond
    executor.add_node(node)
    print("ready", flush=True)
    begin = time.monotonic()
    while time.monotonic() - begin < LONGEST:
        if mode == "silence" and came and time.monotonic() - came[-1] > much:
            break
        if mode == "rounds" and sum(b[1] < a[1] for a, b in itertools.pairwise(seen["clock"])) >= much:
            break
        executor.spin_once(timeout_sec=0.05)
    result.write_text(json.dumps(seen))
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
