"""A robot for the tests, in a process of its own: publishes state at 200 Hz and writes down what the policy node sends.

Usage: ``probe.py PHASES RESULT``, PHASES a JSON list such as
``[{"name": "run", "seconds": 1, "joints": true, "imu": "upright", "twist": [0.4, 0, 0.1]}]``. ``imu`` is ``upright``,
``none`` (no message), ``no_orientation`` or ``fallen``; ``"stamped": [0.4, 0, 0.1]`` sends cmd_vel as TwistStamped. A
phase with ``"until": MODE`` ends early at the first command in that mode, ``"settled": MODE`` when
the last 100 commands, of all who send any, were in that mode, one with ``"states": N`` when so many joint
states have come, one with ``"simulated": S`` when the stamps of the base's poses span so many seconds, one with
``"says": TEXT`` when a message or a command in diagnostics contains it; ``"transitions": ["configure", "activate"]``
drives the node's lifecycle when the phase begins, and ``"touch": FILE`` makes a file then.
RESULT gets ``{name: {"commands": [...], "trajectories": [...], "diagnostics": [...], "transitions": [true, ...],
"joint_states": [...], "upright": [...], "base": [[s, m], ...]}}``, the last three from whoever publishes state: joints,
cosine of the tilt, and height of the base over its stamp; each command has the newest of those stamps, ``simulated``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from matrix_msgs.msg import HopCommand, RobotCommand
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Imu, JointState
from trajectory_msgs.msg import JointTrajectory

from sim.spec.joints import JOINT_NAMES, NOMINAL_POSE

PERIOD = 0.005  # s
ORDER = (*reversed(JOINT_NAMES), "arm_joint")  # another order than the project's, and a joint it does not know
POSE = dict(zip(JOINT_NAMES, NOMINAL_POSE + 0.1, strict=True)) | {"arm_joint": 9.0}


def main() -> None:
    """Play the phases."""
    phases, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    rclpy.init()
    node = rclpy.create_node("probe")
    joints = node.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
    imu = node.create_publisher(Imu, "imu", qos_profile_sensor_data)
    twist = node.create_publisher(Twist, "cmd_vel", 10) if any("twist" in p for p in phases) else None
    stamped = node.create_publisher(TwistStamped, "cmd_vel", 10) if any("stamped" in p for p in phases) else None
    hop = node.create_publisher(HopCommand, "hop_command", 10)
    lifecycle = node.create_client(ChangeState, "policy_node/change_state")
    record: dict = {}
    current: dict = {}

    def on_command(m: RobotCommand) -> None:
        current["commands"].append(
            {"time": time.monotonic(), "mode": m.mode, "targets": m.targets.tolist(), "kp": m.kp, "kd": m.kd}
            | {"simulated": current["base"][-1][0] if current["base"] else None}
        )

    def on_diagnostics(m: DiagnosticArray) -> None:
        current["diagnostics"] += [
            {"level": int.from_bytes(s.level, "little"), "message": s.message, **{v.key: v.value for v in s.values}}
            for s in m.status
        ]

    def on_trajectory(m: JointTrajectory) -> None:
        current["trajectories"].append(list(m.points[0].positions))

    def on_joint_state(m: JointState) -> None:
        current["joint_states"].append(list(m.position))

    def on_imu(m: Imu) -> None:
        current["upright"].append(1.0 - 2.0 * (m.orientation.x**2 + m.orientation.y**2))

    def on_base(m: PoseStamped) -> None:
        current["base"].append([m.header.stamp.sec + 1e-9 * m.header.stamp.nanosec, m.pose.position.z])

    subscriptions = [
        node.create_subscription(PoseStamped, "base_pose", on_base, qos_profile_sensor_data),
        node.create_subscription(RobotCommand, "robot_command", on_command, 10),
        node.create_subscription(JointTrajectory, "joint_trajectory", on_trajectory, 10),
        node.create_subscription(JointState, "joint_states", on_joint_state, qos_profile_sensor_data),
        node.create_subscription(Imu, "imu", on_imu, qos_profile_sensor_data),
        node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10),
    ]
    executor = SingleThreadedExecutor()  # making one per message, as rclpy.spin_once does, takes a millisecond
    executor.add_node(node)
    due = time.monotonic()
    for phase in phases:
        current = record[phase["name"]] = {"commands": [], "trajectories": [], "diagnostics": [], "transitions": []}
        current |= {"joint_states": [], "upright": [], "base": []}
        if "touch" in phase:
            Path(phase["touch"]).touch()
        for label in phase.get("transitions", ()):
            lifecycle.wait_for_service(timeout_sec=15.0)
            future = lifecycle.call_async(ChangeState.Request(transition=Transition(label=label)))
            executor.spin_until_future_complete(future, timeout_sec=15.0)
            current["transitions"].append(future.result().success)
        end = time.monotonic() + phase["seconds"]
        while time.monotonic() < end:
            stamp = node.get_clock().now().to_msg()
            if phase.get("joints", True):
                message = JointState(name=ORDER, position=[POSE[n] for n in ORDER], velocity=np.zeros(len(ORDER)))
                message.header.stamp = stamp
                joints.publish(message)
            if phase.get("imu", "upright") != "none":
                imu.publish(make_imu(phase.get("imu", "upright"), stamp))
            if "twist" in phase:
                message = Twist()
                message.linear.x, message.linear.y, message.angular.z = map(float, phase["twist"])
                twist.publish(message)
            if "stamped" in phase:
                message = TwistStamped()
                message.header.stamp = stamp
                message.twist.linear.x, message.twist.linear.y, message.twist.angular.z = map(float, phase["stamped"])
                stamped.publish(message)
            if "hop" in phase:
                hop.publish(HopCommand(**{k: float(v) for k, v in phase["hop"].items()}))
            due = max(due + PERIOD, time.monotonic() - PERIOD)
            executor.spin_once(timeout_sec=max(0.0, due - time.monotonic()))  # however late it is, it listens
            while (left := due - time.monotonic()) > 0.0:
                executor.spin_once(timeout_sec=left)
            if ended(phase, current):
                break
    result.write_text(json.dumps(record))
    del subscriptions
    node.destroy_node()
    rclpy.shutdown()


def ended(phase: dict, seen: dict) -> bool:
    """Whether what a phase waits for has come."""
    reached = phase.get("until") and any(c["mode"] == phase["until"] for c in seen["commands"])
    settled = "settled" in phase and [c["mode"] for c in seen["commands"][-100:]] == 100 * [phase["settled"]]
    enough = len(seen["joint_states"]) >= phase.get("states", float("inf"))
    stamps = [stamp for stamp, _ in seen["base"]]
    long = stamps and stamps[-1] - stamps[0] >= phase.get("simulated", float("inf"))
    said = "says" in phase and any(phase["says"] in f"{d['message']} {d.get('command')}" for d in seen["diagnostics"])
    return bool(reached or settled or enough or long or said)


def make_imu(kind: str, stamp: object) -> Imu:
    """An IMU message of a robot at rest."""
    message = Imu()
    message.header.stamp = stamp
    message.orientation.w = 1.0
    message.linear_acceleration.z = 1.62
    if kind == "no_orientation":
        message.orientation_covariance[0] = -1.0
    if kind == "fallen":  # on its right side
        message.orientation.x = message.orientation.w = 0.5**0.5
    return message


if __name__ == "__main__":
    main()
