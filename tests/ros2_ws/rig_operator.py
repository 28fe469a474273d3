"""An operator of the rig for the tests, in a process of its own: calls services, listens, and writes down what it saw.

Usage: ``rig_operator.py STEPS RESULT``, STEPS a JSON list of ``{"up": "armed", "seconds": 60}``, also ``"run"`` (reset,
arm and run until the rig has been so for 0.5 s: a machine that was held up while the graph started may have tripped),
``{"call": "arm", "until": true, "seconds": 20}`` (repeated until the answer's success is ``until``),
``{"wait": SECONDS}``, ``{"kill": PID}`` (SIGKILL), ``{"estop": BOOL}``, ``{"state": "safe"}`` and ``{"hear": TOPIC}``
(until it is so, until a message has come), ``{"hops": 3}`` (until sync has counted so many), and ``{"see": {"robot
mode": "damp", ...}, "seconds": 5}`` (until the virtual rig's diagnostics say all of it).
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

try:
    from rclpy.experimental.events_executor import EventsExecutor as Executor
except ImportError:  # before ROS 2 Kilted
    from rclpy.executors import SingleThreadedExecutor as Executor  # type: ignore[assignment]

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Operator:
    """One node in the rig's namespace."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("operator", namespace="/matrix")
        self.messages: dict[str, list] = {}
        self.rig: dict[str, str] = {}
        self.hops = 0
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
        self.executor = Executor()  # making one per message, as rclpy.spin_once does, takes a millisecond
        self.executor.add_node(self.node)

    def _taker(self, topic: str, value: Any) -> Any:
        return lambda m: self.messages[topic].append([time.monotonic(), value(m)])

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if "virtual_rig" in status.name:
                self.rig = {v.key: v.value for v in status.values}
            self.hops = max(self.hops, *(int(v.value) for v in status.values if v.key == "hops"), 0)

    def spin(self, seconds: float, done: Any = lambda: False) -> bool:
        """Listen until ``done`` or for ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            self.executor.spin_once(timeout_sec=0.05)
        return bool(done())

    def call(self, name: str, wanted: bool, seconds: float) -> tuple[bool, str]:
        """Call a service until it answers as wanted."""
        message, end = "no answer", time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.clients[name].service_is_ready():
                self.spin(0.1)
                continue
            future = self.clients[name].call_async(Trigger.Request())
            self.spin(5.0, future.done)
            if future.done():
                message = future.result().message
                if future.result().success == wanted:
                    return True, message
            self.spin(0.1)
        return False, message

    def up(self, wanted: str, seconds: float) -> tuple[bool, str]:
        """Until the rig is armed or runs, and goes on."""
        message, end = "", time.monotonic() + seconds
        while time.monotonic() < end:
            for order in ("reset", "arm", "run")[: 2 if wanted == "armed" else 3]:
                ok, message = self.call(order, True, min(10.0, end - time.monotonic()))
                if not ok:
                    break
            else:
                self.spin(0.5)
                if self.state() == wanted:
                    return True, message
        return False, message

    def state(self) -> str:
        """The supervisor's."""
        told = self.messages["supervisor/state"]
        return told[-1][1][0] if told else ""

    def step(self, step: dict) -> tuple[bool, str]:
        """Do one step."""
        seconds = step.get("seconds", 180.0)
        if "up" in step:
            return self.up(step["up"], seconds)
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
            return self.spin(seconds, lambda: self.state() == step["state"]), self.state()
        if "hops" in step:
            return self.spin(seconds, lambda: self.hops >= step["hops"]), f"{self.hops} hops"
        if "hear" in step:
            return self.spin(seconds, lambda: bool(self.messages[step["hear"]])), ""
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
    operator.executor.shutdown()
    operator.node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
