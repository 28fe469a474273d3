"""Between the generic robot interface and a Unitree Go2: LowState to joint states and IMU, RobotCommand to LowCmd.

Targets are held, not interpolated, between the policy's 50 Hz steps: so it was trained, and interpolation would cost
a step of delay. Each command goes out at once, and again at ``rate``. The rules of when motors obey are in
``policy.runtime.go2_guard``, the wire in ``policy.runtime.unitree``. In a process of its own it outlives the policy:
whatever ends that, the motors are damped.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import fields
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from matrix_msgs.msg import RobotCommand
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Imu, JointState
from unitree_go.msg import LowCmd, LowState

from policy.runtime.controller import JointCommand
from policy.runtime.go2_guard import Go2Guard, GuardConfig
from policy.runtime.unitree import low_cmd, read_low_state, to_message
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES

STREAM = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
OTHER = "another node publishes LowCmd: release the robot's sport mode or stop that node"
LAST_WORDS = 20  # damping messages at the end, in case some are lost


class UnitreeAdapter(Node):
    """Silent until the first command; after that it commands the motors until it ends."""

    def __init__(self) -> None:
        super().__init__("unitree_adapter")
        self._declare("rate", 500.0, 50.0, 500.0, "Hz. How often a command is repeated to the motors.")
        for f in fields(GuardConfig):
            self._declare(f.name, f.default, *f.metadata["range"], f.metadata["help"])
        alone = "Whether to command the motors even though another node publishes LowCmd: two masters break a robot."
        self.declare_parameter("allow_other_publishers", False, ParameterDescriptor(description=alone, read_only=True))
        value = {name: p.value for name, p in self.get_parameters_by_prefix("").items()}
        self._guard = Go2Guard(GuardConfig(**{f.name: value[f.name] for f in fields(GuardConfig)}))
        self._alone = not value["allow_other_publishers"]
        self._message = LowCmd()
        self._sent: JointCommand | None = None
        self._reason = self._guard.reason
        self._counts = {"states": 0, "repeated states": 0, "commands": 0, "sent": 0}
        self._joints = self.create_publisher(JointState, "joint_states", STREAM)
        self._imu = self.create_publisher(Imu, "imu", STREAM)
        self._motors = self.create_publisher(LowCmd, "lowcmd", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_subscription(LowState, "lowstate", self._on_state, STREAM)
        self.create_subscription(RobotCommand, "robot_command", self._on_command, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / value["rate"], self._repeat, clock=steady)
        self.create_timer(1.0, self._diagnose, clock=steady)

    def close(self) -> None:
        """Leave the motors damped, whatever happened before."""
        try:
            for _ in range(LAST_WORDS if self._guard.started else 0):
                self._send(self._guard.limp())
                time.sleep(0.002)
        finally:
            self.destroy_node()

    def _declare(self, name: str, default: float, low: float, high: float, text: str) -> None:
        bounds = [FloatingPointRange(from_value=low, to_value=high)]
        self.declare_parameter(
            name, default, ParameterDescriptor(description=text, floating_point_range=bounds, read_only=True)
        )

    def _on_state(self, message: LowState) -> None:
        reading = read_low_state(message)
        if not self._guard.on_state(reading.joint_position, reading.tick, time.monotonic()):
            self._counts["repeated states"] += 1
            return
        self._counts["states"] += 1
        stamp = self.get_clock().now().to_msg()
        joints = JointState(
            name=JOINT_NAMES,
            position=reading.joint_position,
            velocity=reading.joint_velocity,
            effort=reading.joint_torque,
        )
        imu = Imu()
        joints.header.stamp = imu.header.stamp = stamp
        imu.header.frame_id = "imu_link"
        q, w, a = imu.orientation, imu.angular_velocity, imu.linear_acceleration
        q.x, q.y, q.z, q.w = reading.orientation.tolist()
        w.x, w.y, w.z = reading.angular_velocity.tolist()
        a.x, a.y, a.z = reading.acceleration.tolist()
        self._joints.publish(joints)
        self._imu.publish(imu)

    def _on_command(self, message: RobotCommand) -> None:
        self._counts["commands"] += 1
        order = JointCommand(message.targets, message.kp, message.kd, message.mode)
        if self._alone and self.count_publishers(self._motors.topic_name) > 1:
            if not self._guard.started:
                return self._say(OTHER)
            order = JointCommand(message.targets, 0.0, 0.0, "damp", OTHER)
        self._guard.on_command(order, time.monotonic())
        self._repeat()

    def _repeat(self) -> None:
        if self._guard.started:
            self._send(self._guard.motors(time.monotonic()))
            self._say(self._guard.reason)

    def _send(self, order: JointCommand) -> None:
        if order is not self._sent:
            to_message(low_cmd(order.targets, order.kp, order.kd), self._message)
            self._sent = order
        self._motors.publish(self._message)
        self._counts["sent"] += 1

    def _say(self, reason: str) -> None:
        if reason != self._reason:
            if reason:
                self.get_logger().warning(f"motors limp: {reason}")
            else:
                self.get_logger().info("motors engaged")
            self._reason = reason

    def _diagnose(self) -> None:
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK if self._guard.engaged else DiagnosticStatus.WARN,
            name=f"{self.get_fully_qualified_name()}: motors",
            message=f"limp: {self._reason}" if self._reason else "engaged",
            hardware_id="go2",
            values=[KeyValue(key=f"{k} per second", value=str(v)) for k, v in self._counts.items()],
        )
        self._counts = dict.fromkeys(self._counts, 0)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the motors are damped on every way out but SIGKILL."""
    stop = False

    def on_signal(signum: int, frame: Any) -> None:
        nonlocal stop
        stop = True

    # rclpy's own handlers would shut the context down before the motors could be damped.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        node = UnitreeAdapter()
    except LunarError as error:
        print(f"unitree_adapter: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop:
            executor.spin_once(timeout_sec=0.1)
        return 0
    finally:
        node.close()
        executor.shutdown()
        rclpy.shutdown()


if __name__ == "__main__":
    sys.exit(main())
