"""An operator of the rig for the tests, in a process of its own: calls services, listens, and writes down what it saw.

Usage: ``rig_operator.py STEPS RESULT``, STEPS a JSON list of ``{"up": "armed", "seconds": 60}``, also ``"run"`` (reset,
arm and run until the rig has been so for 0.5 s: a machine that was held up while the graph started may have tripped),
``{"call": "arm", "until": true, "seconds": 20}`` (repeated until the answer's success is ``until``),
``{"wait": SECONDS}``, ``{"kill": PID}`` (SIGKILL), ``{"estop": BOOL}``, ``{"state": "safe"}`` and ``{"hear": TOPIC}``
(until it is so, until a message has come), ``{"hops": 3}`` (until sync has counted so many), and ``{"see": {"robot
mode": "damp", ...}, "seconds": 5}`` (until the virtual rig's diagnostics say all of it), ``{"press": PANEL, "data":
BOOL, "qos": "default"}`` (e-stop of one panel of several; also ``sensor``, ``latched``), ``{"gone": PANEL}``,
``{"beat": SECONDS}`` (the operator's sign of life), ``{"intrude": SECONDS}`` (commands for the platform, 0.15 m up, by
the book), ``{"says": TEXT}`` (until any node's diagnostics contain it), ``{"follow": METRES}`` (the action
``follow_plan`` to its end, after so many metres cancelled or with ``"stop": true`` ended by the e-stop; its message is
result and feedback as JSON) and ``{"refused": "follow_plan"}`` (a goal is not accepted).
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
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from matrix_bridge.qos import COMMAND
from matrix_msgs.action import FollowPlan
from matrix_msgs.msg import (
    PlatformCommand,
    PlatformState,
    RobotCommand,
    SupervisorState,
    SyncStamp,
    TreadmillState,
    TwinPatch,
)
from rclpy.action import ActionClient
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from std_msgs.msg import Bool, Empty, String
from std_srvs.srv import Trigger

try:
    from rclpy.experimental.events_executor import EventsExecutor as Executor
except ImportError:  # before ROS 2 Kilted
    from rclpy.executors import SingleThreadedExecutor as Executor  # type: ignore[assignment]

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
QUALITIES = {"default": QoSProfile(depth=10), "sensor": qos_profile_sensor_data, "latched": LATCHED}


class Operator:
    """One node in the rig's namespace."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("operator", namespace="/matrix")
        self.messages: dict[str, list] = {}
        self.rig: dict[str, str] = {}
        self.hops = 0
        self.plan = ActionClient(self.node, FollowPlan, "follow_plan")
        self.clients = {n: self.node.create_client(Trigger, n) for n in ("arm", "run", "hold", "reset", "estop")}
        self.button = self.node.create_publisher(Bool, "estop", LATCHED)
        self.panels: dict[str, Any] = {}
        self.said: dict[str, str] = {}
        self.rig_time = Time()
        self.node.create_subscription(PlatformState, "platform/state", self._on_platform, qos_profile_sensor_data)
        take: list[tuple[str, type, Any, Any]] = [
            ("treadmill/state", TreadmillState, qos_profile_sensor_data, lambda m: m.speed),
            ("platform/state", PlatformState, qos_profile_sensor_data, lambda m: m.pose[2]),
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

    def _on_platform(self, message: PlatformState) -> None:
        self.rig_time = message.header.stamp

    def _taker(self, topic: str, value: Any) -> Any:
        return lambda m: self.messages[topic].append([time.monotonic(), value(m)])

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.said[status.name] = status.message
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

    def press(self, panel: str, data: bool, qos: str) -> None:
        """A panel's e-stop button; a panel that is new is made."""
        if panel not in self.panels:
            self.panels[panel] = self.node.create_publisher(Bool, "estop", QUALITIES[qos])
            self.spin(60.0, lambda: self.panels[panel].get_subscription_count() > 0)
            self.spin(1.0)  # the other end must know it too
        self.panels[panel].publish(Bool(data=data))
        self.spin(0.5)

    def beat(self, seconds: float) -> None:
        """Say that the operator is there."""
        publisher = self.node.create_publisher(Empty, "operator", QUALITIES["sensor"])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            publisher.publish(Empty())
            self.spin(0.1)

    def intrude(self, seconds: float) -> None:
        """Command the platform with the quality that its driver asks for, in a session of one's own."""
        session = self.node.create_publisher(String, "sync/session", LATCHED)
        commands = self.node.create_publisher(PlatformCommand, "platform/command", COMMAND)
        session.publish(String(data="mine"))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            command = PlatformCommand(pose=[0.0, 0.0, 0.15, 0.0, 0.0, 0.0], valid_for=1.0)
            command.header.stamp = self.rig_time  # of a rig in slow motion it is not this clock's
            command.header.frame_id = "mine"
            commands.publish(command)
            self.spin(0.01)

    def goal(self, seconds: float, heard: list[Any]) -> Any:
        """The handle of a new goal of ``follow_plan``; None where there is no answer."""
        self.spin(seconds, self.plan.server_is_ready)
        sent = self.plan.send_goal_async(FollowPlan.Goal(), feedback_callback=lambda m: heard.append(m.feedback))
        return sent.result() if self.spin(seconds, sent.done) else None

    def follow(self, metres: float, stop: bool, seconds: float) -> tuple[bool, str]:
        """The plan, until it ends or is ended."""
        heard: list[Any] = []
        handle = self.goal(seconds, heard)
        if handle is None or not handle.accepted:
            return False, "the goal was not accepted"
        ended = handle.get_result_async()
        self.spin(seconds, lambda: ended.done() or bool(heard and heard[-1].progress > metres))
        if stop:
            self.button.publish(Bool(data=True))
        elif not ended.done():
            handle.cancel_goal_async()
        done = self.spin(seconds, ended.done)
        names = ("segment", "segments", "option", "progress", "length", "seconds_expected")
        said: dict[str, Any] = {"feedback": [{name: getattr(f, name) for name in names} for f in heard]}
        if done:
            result = ended.result()
            said |= {"status": result.status, "arrived": result.result.arrived, "message": result.result.message}
        return done, json.dumps(said)

    def state(self) -> str:
        """The supervisor's."""
        told = self.messages["supervisor/state"]
        return told[-1][1][0] if told else ""

    def step(self, step: dict) -> tuple[bool, str]:
        """Do one step."""
        seconds = step.get("seconds", 180.0)
        if "up" in step:
            return self.up(step["up"], seconds)
        if "press" in step:
            self.press(step["press"], step["data"], step.get("qos", "default"))
            return True, ""
        if "gone" in step:
            self.node.destroy_publisher(self.panels.pop(step["gone"]))
            self.spin(2.0)
            return True, ""
        if "beat" in step:
            self.beat(step["beat"])
            return True, ""
        if "intrude" in step:
            self.intrude(step["intrude"])
            return True, ""
        if "says" in step:
            found = self.spin(seconds, lambda: any(step["says"] in text for text in self.said.values()))
            return found, str(self.said)
        if "follow" in step:
            return self.follow(step["follow"], step.get("stop", False), seconds)
        if "refused" in step:
            handle = self.goal(seconds, [])
            return handle is not None and not handle.accepted, ""
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
