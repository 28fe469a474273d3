"""Reads /clock in a process of its own.

Usage: ``clock_reader.py COUNT``; it prints ``ready`` at the first message and, COUNT messages later, all of them as
JSON: ``[[number of the publisher's, s], ...]``. One that got lost leaves a gap in the numbers, from ROS 2 Kilted on.
"""

from __future__ import annotations

import json
import sys

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock


def main() -> None:
    """Read until there are enough."""
    count = int(sys.argv[1])
    rclpy.init()
    node = rclpy.create_node("clock_reader")
    seen: list[tuple[int, float]] = []

    def on_clock(message: Clock, info: dict) -> None:
        if not seen:
            print("ready", flush=True)
        seen.append(
            (info.get("publication_sequence_number", len(seen)), message.clock.sec + 1e-9 * message.clock.nanosec)
        )

    node.create_subscription(Clock, "clock", on_clock, QoSProfile(depth=1000))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while len(seen) < count:
        executor.spin_once()
    print(json.dumps(seen), flush=True)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
