"""Writes down what passes between the adapter and a Go2, in a process of its own.

Usage: ``go2_probe.py RESULT [forge SECONDS]``; it prints ``ready`` when both sides talk, ``hopped`` after three
flights, and ends at SIGINT or after LONGEST. RESULT gets
``{"commands": [[time, largest kp, smallest kd, valid], ...], "states": [[time, tick, joints, upright, force], ...]}``.
With ``forge`` it instead sends the robot commands with a wrong CRC for SECONDS, and then the same with the right one; a
state whose tick is negative marks where each begins.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from unitree_go.msg import LowCmd, LowState

try:
    from rclpy.experimental.events_executor import EventsExecutor as Executor
except ImportError:  # before ROS 2 Kilted
    from rclpy.executors import SingleThreadedExecutor as Executor  # type: ignore[assignment]

from policy.runtime.unitree import from_message, low_cmd, read_low_state, to_message, why_refused

HIGHER = [0.0, 0.75, -1.5] * 4  # rad, a stance with longer legs than the one it starts in
LONGEST = 300.0  # s
STREAM = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


def main() -> None:
    """Record until SIGINT, or forge."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("go2_probe")
    commands: list[list] = []
    states: list[list] = []
    stop: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))

    def on_command(m: bytes) -> None:
        commands.append([time.monotonic(), m])

    def on_state(m: LowState) -> None:
        r = read_low_state(m)
        x, y = r.orientation[:2]
        states.append([
            time.monotonic(), r.tick, r.joint_position.tolist(), 1.0 - 2.0 * (x * x + y * y), int(r.foot_force.sum()),
        ])  # fmt: skip

    node.create_subscription(LowState, "lowstate", on_state, STREAM)
    if sys.argv[2:]:
        forge(node, states, float(sys.argv[3]))
    else:
        node.create_subscription(LowCmd, "lowcmd", on_command, 100, raw=True)
        to_say, hops = ["ready", "hopped"], Flights()
        begin = time.monotonic()
        executor = Executor()  # making one per message, as rclpy.spin_once does, takes a millisecond
        executor.add_node(node)
        while not stop and time.monotonic() - begin < LONGEST:
            executor.spin_once(timeout_sec=0.05)
            hops.follow(states)
            if to_say and states and commands and (to_say[0] == "ready" or hops.count >= 3):
                print(to_say.pop(0), flush=True)
    commands = [read_command(*c) for c in commands]
    Path(sys.argv[1]).write_text(json.dumps({"commands": commands, "states": states}))
    node.destroy_node()
    rclpy.shutdown()


def read_command(received: float, message: bytes) -> list:
    """One row of ``commands``. Read at the end: the processors belong to what is tried, and 500 come in a second."""
    record = from_message(deserialize_message(message, LowCmd))
    motors = record["motor_cmd"][:12]
    return [received, float(motors["kp"].max()), float(motors["kd"].min()), why_refused(record) == ""]


class Flights:
    """How often all feet were in the air for 0.2 s of the robot's own time."""

    def __init__(self) -> None:
        self.count, self._seen, self._since = 0, 0, None

    def follow(self, states: list[list]) -> None:
        """Look at those states that have come since."""
        for _, tick, _, _, force in states[self._seen :]:
            self._since = None if force else (tick if self._since is None else self._since)
            if self._since is not None and self._since >= 0 and tick - self._since >= 200:
                self.count, self._since = self.count + 1, -1
        self._seen = len(states)


def forge(node: rclpy.node.Node, states: list[list], seconds: float) -> None:
    """Send commands with a wrong CRC, then with the right one; tick -1 and -2 in ``states`` mark where each begins."""
    publisher = node.create_publisher(LowCmd, "lowcmd", 10)
    begin = time.monotonic()
    while time.monotonic() - begin < 120.0 and not (states and publisher.get_subscription_count()):
        rclpy.spin_once(node, timeout_sec=0.05)
    message = to_message(low_cmd(np.array(HIGHER), kp=80.0, kd=2.0), LowCmd())
    for wrong in (1, 0):
        message.crc ^= 1
        states.append([time.monotonic(), wrong - 2, [], 0.0, 0])
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            publisher.publish(message)
            rclpy.spin_once(node, timeout_sec=0.01)


if __name__ == "__main__":
    main()
