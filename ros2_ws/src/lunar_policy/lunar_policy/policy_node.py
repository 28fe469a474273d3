"""Lifecycle node that runs an exported policy: joint states, IMU and command in, joint targets out at the card's rate.

All decisions are in ``policy.runtime.controller``; here are only messages, parameters, timers and diagnostics. Time is
the process's monotonic clock: what counts is when state arrived, not what another machine's clock says. Only with
``use_sim_time`` it is /clock, so that a simulation that is slow or stands still takes the policy with it.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy.duration
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Twist, TwistStamped
from matrix_msgs.msg import HopCommand, RobotCommand
from sensor_msgs.msg import Imu, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from lunar_policy.node import ERROR, OK, RELIABLE, STREAM, WARN, Health, ManagedNode, Parameter, limits, run, timing
from policy.runtime.controller import ControllerConfig, JointCommand, PolicyController
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES

INACTIVE = JointCommand(np.zeros(12), 0.0, 0.0, "inactive")
_LAST_WORD = 0.2  # s at most until whoever listens has it: what is still on its way goes with its publisher


class PolicyNode(ManagedNode):
    """Configure loads the policy, activate leads the robot in and hops, deactivate damps."""

    part = "policy"
    parameters = (
        Parameter("policy", "", "Folder with policy.onnx and card.json, or the name of one in the zoo."),
        Parameter("robot", "go2", "Robot that this node drives; a policy for another one is refused."),
        Parameter("monitor", "warn", "off, warn or trip: what a state that the policy does not know leads to."),
        Parameter("joint_prefix", "", "What stands before the joints' names in joint_states, such as go2/."),
        Parameter("imu_frame", "", "Frame that imu must be in; empty takes any."),
        Parameter("imu_rpy", [0.0, 0.0, 0.0], "rad. Roll, pitch and yaw of the IMU's frame in the base's."),
        Parameter("stamped_cmd_vel", False, "Whether cmd_vel is TwistStamped, as Nav2 sends it, instead of Twist."),
        *limits(ControllerConfig),
    )

    def __init__(self) -> None:
        super().__init__("policy_node")
        self._controller: PolicyController | None = None
        self._command = INACTIVE
        self._due = 0.0
        self._steps = 0
        self._lateness: list[float] = []
        self._duration: list[float] = []

    @property
    def hardware(self) -> str:
        """Name of the robot."""
        return self.value("robot")

    def configure(self) -> None:
        """Load the policy and listen; refuses a policy that does not fit."""
        folder, robot = self.value("policy"), self.value("robot")
        if not folder:
            raise LunarError("parameter 'policy' is empty; give a policy's folder or the name of one in the zoo")
        monitor = self.value("monitor")
        if monitor not in ("off", "warn", "trip"):
            raise LunarError(f"parameter 'monitor' is '{monitor}'; it must be off, warn or trip")
        policy = OnnxPolicy(folder, monitor=monitor)
        card = policy.card
        if card.robot != robot:
            raise LunarError(f"policy {folder} is for robot '{card.robot}', this robot is '{robot}'")
        self.simulated = self.value("use_sim_time")
        mount = list(self.value("imu_rpy"))
        if len(mount) != 3 or not np.isfinite(mount).all():
            raise LunarError(f"parameter 'imu_rpy' is {mount}; it must be roll, pitch and yaw in rad")
        controller = PolicyController(policy, self.configured(ControllerConfig), None, mount, monitor == "trip")
        self._controller = controller
        prefix, frame = self.value("joint_prefix"), self.value("imu_frame")

        def on_joint_state(m: JointState) -> None:
            names = [n.removeprefix(prefix) for n in m.name]
            controller.on_joint_state(names, m.position, m.velocity, _stamp(m), self.now())

        def on_imu(m: Imu) -> None:
            if frame and m.header.frame_id != frame:
                controller.imu.refuse(f"it is in the frame '{m.header.frame_id}', not in imu_frame '{frame}'")
                return
            q, w = m.orientation, m.angular_velocity
            variance = float(m.orientation_covariance[0])
            controller.on_imu((q.x, q.y, q.z, q.w), variance, (w.x, w.y, w.z), _stamp(m), self.now())

        def on_hop_command(m: HopCommand) -> None:
            controller.on_command([m.vx, m.vy, m.yaw_rate, m.apex_gain, m.economy], self.now())

        def on_twist(m: Twist) -> None:
            controller.on_twist(m.linear.x, m.linear.y, m.angular.z, self.now())

        def on_stamped(m: TwistStamped) -> None:
            on_twist(m.twist)

        stamped = self.value("stamped_cmd_vel")

        for kind, topic, callback, qos in (
            (JointState, "joint_states", on_joint_state, STREAM),
            (Imu, "imu", on_imu, STREAM),
            (HopCommand, "hop_command", on_hop_command, RELIABLE),
            (TwistStamped if stamped else Twist, "cmd_vel", on_stamped if stamped else on_twist, RELIABLE),
        ):
            self.keep(self.destroy_subscription, self.create_subscription(kind, topic, callback, qos))
        self._robot_command, self._trajectory = (
            self.keep(self.destroy_lifecycle_publisher, self.create_lifecycle_publisher(kind, topic, RELIABLE))
            for kind, topic in ((RobotCommand, "robot_command"), (JointTrajectory, "joint_trajectory"))
        )
        self.get_logger().info(
            f"policy {folder}: {card.observation.rate:g} Hz, gravity {card.gravity} m/s^2, "
            f"kp {card.kp:g}, kd {card.kd:g}"
        )

    def activate(self) -> None:
        """Start the control loop."""
        controller = self._controller
        controller.activate()
        self._due = self.now() + controller.period
        self.keep(self.destroy_timer, self.timer(controller.period, lambda: self._step(controller)))

    def deactivate(self) -> None:
        """Leave the joints damped."""
        controller, targets = self._controller, self._command.targets
        damp = JointCommand(targets, 0.0, controller.config.damp_kd, "damp", "deactivated")
        self._publish(damp, controller.period)
        self._robot_command.wait_for_all_acked(rclpy.duration.Duration(seconds=_LAST_WORD))
        self._command = JointCommand(targets, 0.0, 0.0, "inactive")

    def release(self) -> None:
        """Give the policy back."""
        self._controller = None

    def health(self) -> Health:
        """Mode and reason, age of the state, refused messages, step time and lateness."""
        controller, command, now = self._controller, self._command, self.now()
        summary = f"{command.mode}: {command.reason}" if command.reason else command.mode
        values: dict[str, object] = {"steps per second": len(self._duration)}
        for stream in (controller.joints, controller.imu):
            values[f"{stream.name} age (s)"] = f"{stream.age(now):.4f}"
            values[f"{stream.name} refused"] = stream.fault
        values["command"] = " ".join(f"{c:.3f}" for c in controller.command(now))
        verdict = controller.policy.verdict
        if watched := controller.policy.monitor is not None:
            values["doubt"] = f"{verdict.doubt:.2f}"
            values["doubt, farthest off"] = verdict.sentence if verdict.advice else ""
        values |= timing(step=self._duration, lateness=self._lateness)
        late = max(self._lateness, default=0.0) > controller.period
        self._duration, self._lateness = [], []
        if self.active and command.mode not in ("stand", "run"):
            return Health(ERROR, summary, values)
        if watched and command.mode == "run" and verdict.advice:
            return Health(WARN, f"{summary}: {verdict.sentence}", values)
        if late:
            return Health(WARN, f"{summary}: a control step came a whole period late", values)
        return Health(OK, summary, values)

    def _step(self, controller: PolicyController) -> None:
        now, begin = self.now(), time.monotonic()
        self._look_for_others(controller)
        command = controller.step(now)
        self._publish(command, controller.period)
        self._lateness.append(now - self._due)
        self._duration.append(time.monotonic() - begin)
        self._due += controller.period * (1 + max(0, int((now - self._due) / controller.period)))
        if (command.mode, bool(command.reason)) != (self._command.mode, bool(self._command.reason)):
            if command.reason:
                self.get_logger().warning(f"{command.mode}: {command.reason}")
            else:
                self.get_logger().info(command.mode)
        self._command = command

    def _look_for_others(self, controller: PolicyController) -> None:
        """Ten times per second: whether somebody else publishes commands for this robot's joints."""
        self._steps += 1
        if self._steps % max(1, round(0.1 / controller.period)):
            return
        topic = self._robot_command.topic_name
        if self.count_publishers(topic) > 1:
            own = (self.get_name(), self.get_namespace())
            names = [(p.node_name, p.node_namespace) for p in self.get_publishers_info_by_topic(topic)]
            if own in names:
                names.remove(own)
            others = sorted({f"{namespace.rstrip('/')}/{name}" for name, namespace in names})
            controller.second_master(f"{', '.join(others)} on {topic}")

    def _publish(self, command: JointCommand, reach: float) -> None:
        """``reach``: s until the next command."""
        message = RobotCommand(targets=command.targets, kp=command.kp, kd=command.kd, mode=command.mode)
        message.header.stamp = self.get_clock().now().to_msg()
        self._robot_command.publish(message)
        if command.mode == "damp":
            return  # a position interface cannot express damping; its controller must time out
        trajectory = JointTrajectory(joint_names=JOINT_NAMES)
        after = Duration(nanosec=round(reach * 1e9))
        trajectory.points = [JointTrajectoryPoint(positions=command.targets, time_from_start=after)]
        self._trajectory.publish(trajectory)


def main(args: list[str] | None = None) -> int:
    """Entry of ``policy_node``."""
    return run(PolicyNode, args)


def _stamp(message: JointState | Imu) -> float:
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


if __name__ == "__main__":
    sys.exit(main())
