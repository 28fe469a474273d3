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
from rclpy.signals import SignalHandlerOptions
from unitree_go.msg import LowCmd, LowState

from policy.runtime.unitree import from_message, low_cmd, read_low_state, to_message, why_refused

HIGHER = [0.0, 0.75, -1.5] * 4  # rad, a stance with longer legs than the one it starts in
LONGEST = 60.0  # s
STREAM = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


def main() -> None:
    """Record until SIGINT, or forge."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("go2_probe")
    commands: list[list] = []
    states: list[list] = []
    stop: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))

    def on_command(m: LowCmd) -> None:
        record = from_message(m)
        motors = record["motor_cmd"][:12]
        commands.append(
            [time.monotonic(), float(motors["kp"].max()), float(motors["kd"].min()), why_refused(record) == ""]
        )

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
        node.create_subscription(LowCmd, "lowcmd", on_command, 100)
        to_say = ["ready", "hopped"]
        begin = time.monotonic()
        while not stop and time.monotonic() - begin < LONGEST:
            rclpy.spin_once(node, timeout_sec=0.05)
            if to_say and states and commands and (to_say[0] == "ready" or flights(states) >= 3):
                print(to_say.pop(0), flush=True)
    Path(sys.argv[1]).write_text(json.dumps({"commands": commands, "states": states}))
    node.destroy_node()
    rclpy.shutdown()


def flights(states: list[list]) -> int:
    """How often all feet were in the air for 0.2 s of the robot's own time."""
    count, since = 0, None
    for _, tick, _, _, force in states:
        since = None if force else (tick if since is None else since)
        if since is not None and since >= 0 and tick - since >= 200:
            count, since = count + 1, -1
    return count


def forge(node: rclpy.node.Node, states: list[list], seconds: float) -> None:
    """Send commands with a wrong CRC, then with the right one; tick -1 and -2 in ``states`` mark where each begins."""
    publisher = node.create_publisher(LowCmd, "lowcmd", 10)
    begin = time.monotonic()
    while time.monotonic() - begin < 20.0 and not (states and publisher.get_subscription_count()):
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
