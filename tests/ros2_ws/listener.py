"""Listens to a replayed log in a process of its own.

Usage: ``listener.py SECONDS RESULT [NAMESPACE]``. RESULT gets ``{"clock": [[t, s], ...], "joints": [[t, stamp, first
joint], ...], "commands": n, "state": [...]}``; commands are counted as a driver would ask for them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import rclpy
from matrix_msgs.msg import SupervisorState, TreadmillCommand
from rclpy.duration import Duration
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


def main() -> None:
    """Listen from the first message on."""
    seconds, result = float(sys.argv[1]), Path(sys.argv[2])
    rclpy.init()
    node = rclpy.create_node("listener", namespace="/replay")
    seen: dict[str, list] = {"clock": [], "joints": [], "driver": [], "commands": [], "state": []}

    def seconds_of(stamp: object) -> float:
        return stamp.sec + 1e-9 * stamp.nanosec  # type: ignore[attr-defined]

    deep = QoSProfile(depth=1000)
    node.create_subscription(
        Clock, "/clock", lambda m: seen["clock"].append([time.monotonic(), seconds_of(m.clock)]), 10
    )
    node.create_subscription(
        JointState,
        "robot/joint_states",
        lambda m: seen["joints"].append([time.monotonic(), m.header.stamp.sec, m.header.stamp.nanosec, m.position[0]]),
        deep,
    )
    node.create_subscription(TreadmillCommand, "treadmill/command", lambda m: seen["driver"].append(m.speed), DRIVER)
    node.create_subscription(
        TreadmillCommand, "treadmill/command", lambda m: seen["commands"].append(m.speed), qos_profile_sensor_data
    )
    node.create_subscription(SupervisorState, "supervisor/state", lambda m: seen["state"].append(m.state), LATCHED)
    begin = time.monotonic()
    while time.monotonic() - begin < 40.0 and not seen["joints"]:
        rclpy.spin_once(node, timeout_sec=0.1)
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        rclpy.spin_once(node, timeout_sec=0.05)
    result.write_text(json.dumps(seen))
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
