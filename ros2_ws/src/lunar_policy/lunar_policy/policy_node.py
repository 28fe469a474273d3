"""Lifecycle node that runs an exported policy: joint states, IMU and command in, joint targets out at the card's rate.

All decisions are in ``policy.runtime.controller``; here are only messages, parameters, timers and diagnostics. Time is
the process's monotonic clock: what counts is when state arrived, not what another machine's clock says. Only with
``use_sim_time`` it is /clock, so that a simulation that is slow or stands still takes the policy with it.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import fields
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist
from matrix_msgs.msg import HopCommand, RobotCommand
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Imu, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from policy.runtime.controller import ControllerConfig, JointCommand, PolicyController
from policy.runtime.notify import notify
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES

# The sensor data profile, but with a queue of one: an older message that waited in a queue is not the newest state.
STREAM = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10)


class PolicyNode(LifecycleNode):
    """Configure loads the policy, activate leads the robot in and hops, deactivate damps."""

    def __init__(self) -> None:
        super().__init__("policy_node")
        text = {
            "policy": ("", "Folder with policy.onnx and card.json, as 'lunar export' writes it."),
            "robot": ("go2", "Robot that this node drives; a policy for another one is refused."),
        }
        for name, (default, help) in text.items():
            self.declare_parameter(name, default, ParameterDescriptor(description=f"{help} Read by configure."))
        self.declare_parameter(
            "autostart", False, ParameterDescriptor(description="Configure and activate at start.", read_only=True)
        )
        for f in fields(ControllerConfig):
            low, high = f.metadata["range"]
            descriptor = ParameterDescriptor(
                description=f"{f.metadata['help']} Read by configure.",
                floating_point_range=[FloatingPointRange(from_value=low, to_value=high)],
            )
            self.declare_parameter(f.name, f.default, descriptor)
        self._controller: PolicyController | None = None
        self._simulated = False
        self._order = JointCommand(np.zeros(12), 0.0, 0.0, "inactive")
        self._timer: Any = None
        self._due = 0.0
        self._lateness: list[float] = []
        self._duration: list[float] = []
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._diagnose, clock=self._steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy; fails, and says why in the log, when the policy does not fit."""
        value = {name: p.value for name, p in self.get_parameters_by_prefix("").items()}
        try:
            if not value["policy"]:
                raise LunarError("parameter 'policy' is empty; give the folder that 'lunar export' wrote")
            policy = OnnxPolicy(value["policy"])
            if policy.card.robot != value["robot"]:
                raise LunarError(
                    f"policy {value['policy']} is for robot '{policy.card.robot}', this robot is '{value['robot']}'"
                )
            self._simulated = value["use_sim_time"]
            config = ControllerConfig(**{f.name: value[f.name] for f in fields(ControllerConfig)})
            self._controller = PolicyController(policy, config)
        except LunarError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._robot_command = self.create_lifecycle_publisher(RobotCommand, "robot_command", RELIABLE)
        self._trajectory = self.create_lifecycle_publisher(JointTrajectory, "joint_trajectory", RELIABLE)
        controller = self._controller
        self._inputs = [
            self.create_subscription(
                JointState, "joint_states", lambda m: _joint_state(controller, m, self._now()), STREAM
            ),
            self.create_subscription(Imu, "imu", lambda m: _imu(controller, m, self._now()), STREAM),
            self.create_subscription(
                HopCommand, "hop_command", lambda m: _hop_command(controller, m, self._now()), RELIABLE
            ),
            self.create_subscription(Twist, "cmd_vel", lambda m: _twist(controller, m, self._now()), RELIABLE),
        ]
        card = policy.card
        self.get_logger().info(
            f"policy {value['policy']}: {card.observation.rate:g} Hz, gravity {card.gravity} m/s^2, "
            f"kp {card.kp:g}, kd {card.kd:g}"
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the control loop."""
        controller = self._controller
        assert controller is not None
        result = super().on_activate(state)
        controller.activate()
        self._due = self._now() + controller.period
        clock = self.get_clock() if self._simulated else self._steady
        self._timer = self.create_timer(controller.period, lambda: self._step(controller), clock=clock)
        notify("READY=1\nSTATUS=active")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the control loop and leave the joints damped."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the policy and the topics back."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp if active, then give everything back."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A callback raised: damp, and go back to unconfigured."""
        return self.on_shutdown(state)

    def start(self) -> bool:
        """Configure and activate; False when either fails."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def close(self) -> None:
        """Damp if active and destroy the node, whatever state it is in."""
        self._stop()
        self.destroy_node()

    def _now(self) -> float:
        """s, of the monotonic clock or of /clock."""
        return self.get_clock().now().nanoseconds * 1e-9 if self._simulated else time.monotonic()

    def _step(self, controller: PolicyController) -> None:
        now, begin = self._now(), time.monotonic()
        order = controller.step(now)
        self._publish(order, controller.period)
        self._lateness.append(now - self._due)
        self._duration.append(time.monotonic() - begin)
        self._due += controller.period * (1 + max(0, int((now - self._due) / controller.period)))
        if order.mode != self._order.mode:
            if order.reason:
                self.get_logger().warning(f"{order.mode}: {order.reason}")
            else:
                self.get_logger().info(order.mode)
        self._order = order

    def _publish(self, order: JointCommand, reach: float) -> None:
        message = RobotCommand(targets=order.targets, kp=order.kp, kd=order.kd, mode=order.mode)
        message.header.stamp = self.get_clock().now().to_msg()
        self._robot_command.publish(message)
        if order.mode == "damp":
            return  # a position interface cannot express damping; its controller must time out
        trajectory = JointTrajectory(joint_names=JOINT_NAMES)
        after = Duration(nanosec=round(reach * 1e9))
        trajectory.points = [JointTrajectoryPoint(positions=order.targets, time_from_start=after)]
        self._trajectory.publish(trajectory)

    def _stop(self) -> None:
        if self._timer is None or self._controller is None:
            return
        self.destroy_timer(self._timer)
        self._timer = None
        limp = JointCommand(self._order.targets, 0.0, self._controller.config.damp_kd, "damp", "deactivated")
        self._publish(limp, self._controller.period)
        self._order = JointCommand(self._order.targets, 0.0, 0.0, "inactive")

    def _release(self) -> None:
        if self._controller is None:
            return
        self._controller = None
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        for publisher in (self._robot_command, self._trajectory):
            self.destroy_lifecycle_publisher(publisher)

    def _diagnose(self) -> None:
        controller, order, active = self._controller, self._order, self._timer is not None
        values = {"steps per second": str(len(self._duration))}
        level, summary = DiagnosticStatus.OK, "unconfigured"
        if controller is not None:
            now = self._now()
            summary = f"{order.mode}: {order.reason}" if order.reason else order.mode
            for stream in (controller.joints, controller.imu):
                values[f"{stream.name} age (s)"] = f"{stream.age(now):.4f}"
                values[f"{stream.name} refused"] = stream.fault
            values["command"] = " ".join(f"{c:.3f}" for c in controller.command(now))
            if active and order.mode not in ("stand", "run"):
                level = DiagnosticStatus.ERROR
            elif max(self._lateness, default=0.0) > controller.period:
                level, summary = DiagnosticStatus.WARN, f"{summary}: a control step came a whole period late"
        for name, samples in (("step", self._duration), ("lateness", self._lateness)):
            if samples:
                p50, p99 = np.percentile(samples, (50, 99)) * 1e6
                values |= {f"{name} p50 (us)": f"{p50:.0f}", f"{name} p99 (us)": f"{p99:.0f}"}
        self._duration, self._lateness = [], []
        status = DiagnosticStatus(
            level=level,
            name=f"{self.get_fully_qualified_name()}: policy",
            message=summary,
            hardware_id=self.get_parameter("robot").value,
            values=[KeyValue(key=k, value=v) for k, v in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Returns 0 then, 1 when autostart could not load the policy."""
    stop = False

    def on_signal(signum: int, frame: Any) -> None:
        nonlocal stop
        stop = True

    # rclpy's own handlers would shut the context down before the joints could be damped.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    node = PolicyNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.get_parameter("autostart").value and not node.start():
            return 1
        while not stop:
            executor.spin_once(timeout_sec=0.1)
        return 0
    finally:
        node.close()
        executor.shutdown()
        rclpy.shutdown()


def _joint_state(controller: PolicyController, m: JointState, now: float) -> None:
    controller.on_joint_state(m.name, m.position, m.velocity, _seconds(m), now)


def _imu(controller: PolicyController, m: Imu, now: float) -> None:
    q, w = m.orientation, m.angular_velocity
    variance = float(m.orientation_covariance[0])
    controller.on_imu((q.x, q.y, q.z, q.w), variance, (w.x, w.y, w.z), _seconds(m), now)


def _hop_command(controller: PolicyController, m: HopCommand, now: float) -> None:
    controller.on_command([m.vx, m.vy, m.yaw_rate, m.apex_gain, m.economy], now)


def _twist(controller: PolicyController, m: Twist, now: float) -> None:
    controller.on_twist(m.linear.x, m.linear.y, m.angular.z, now)


def _seconds(message: JointState | Imu) -> float:
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


if __name__ == "__main__":
    sys.exit(main())
