"""An operator of the rig for the tests, in a process of its own: calls services, listens, and writes down what it saw.

Usage: ``rig_operator.py STEPS RESULT``, STEPS a JSON list of
``{"call": "arm", "until": true, "seconds": 20}`` (repeated until the answer's success is ``until``),
``{"wait": SECONDS}``, ``{"kill": PID}`` (SIGKILL), ``{"estop": BOOL}`` and
``{"see": {"robot mode": "damp", ...}, "seconds": 5}`` (until the virtual rig's diagnostics say all of it).
RESULT gets ``{"steps": [{"ok": ..., "message": ..., "took": s}], "messages": {topic: [[t, value], ...]}, "reasons":
[...]}``; the operator ends at the first step that fails.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from matrix_msgs.msg import RobotCommand, SupervisorState, SyncStamp, TreadmillState, TwinPatch
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Operator:
    """One node in the rig's namespace."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("operator", namespace="/matrix")
        self.messages: dict[str, list] = {}
        self.rig: dict[str, str] = {}
        self.clients = {n: self.node.create_client(Trigger, n) for n in ("arm", "run", "hold", "reset", "estop")}
        self.button = self.node.create_publisher(Bool, "estop", LATCHED)
        take: list[tuple[str, type, Any, Any]] = [
            ("treadmill/state", TreadmillState, qos_profile_sensor_data, lambda m: m.speed),
            ("robot/command", RobotCommand, qos_profile_sensor_data, lambda m: m.mode),
            ("sync/stamp", SyncStamp, qos_profile_sensor_data, lambda m: m.lateness),
            ("rig/base_pose", PoseStamped, qos_profile_sensor_data, lambda m: m.pose.position.z),
            ("twin/patch", TwinPatch, LATCHED, lambda m: m.rows),
            ("supervisor/state", SupervisorState, LATCHED, lambda m: [m.state, m.reason]),
        ]
        for topic, type_, qos, value in take:
            self.messages[topic] = []
            self.node.create_subscription(type_, topic, self._taker(topic, value), qos)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)

    def _taker(self, topic: str, value: Any) -> Any:
        return lambda m: self.messages[topic].append([time.monotonic(), value(m)])

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if "virtual_rig" in status.name:
                self.rig = {v.key: v.value for v in status.values}

    def spin(self, seconds: float, done: Any = lambda: False) -> bool:
        """Listen until ``done`` or for ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return bool(done())

    def call(self, name: str, wanted: bool, seconds: float) -> tuple[bool, str]:
        """Call a service until it answers as wanted."""
        message, end = "no answer", time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.clients[name].service_is_ready():
                self.spin(0.1)
                continue
            future = self.clients[name].call_async(Trigger.Request())
            self.spin(2.0, future.done)
            if future.done():
                message = future.result().message
                if future.result().success == wanted:
                    return True, message
            self.spin(0.1)
        return False, message

    def step(self, step: dict) -> tuple[bool, str]:
        """Do one step."""
        seconds = step.get("seconds", 20.0)
        if "call" in step:
            return self.call(step["call"], step.get("until", True), seconds)
        if "kill" in step:
            os.kill(step["kill"], signal.SIGKILL)
            return True, ""
        if "estop" in step:
            self.button.publish(Bool(data=step["estop"]))
            return True, ""
        if "see" in step:
            seen = self.spin(seconds, lambda: step["see"].items() <= self.rig.items())
            return seen, json.dumps(self.rig)
        if "state" in step:
            told = self.messages["supervisor/state"]
            return self.spin(seconds, lambda: bool(told) and told[-1][1][0] == step["state"]), str(told[-1:])
        self.spin(step["wait"])
        return True, ""


def main() -> None:
    """Play the steps."""
    steps, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    rclpy.init()
    operator = Operator()
    done = []
    for step in steps:
        begin = time.monotonic()
        ok, message = operator.step(step)
        done.append({**step, "ok": ok, "message": message, "begin": begin, "took": time.monotonic() - begin})
        if not ok:
            break
    result.write_text(json.dumps({"steps": done, "messages": operator.messages}))
    operator.node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
