"""Between the generic robot interface and a Unitree Go2: LowState to joint states and IMU, RobotCommand to LowCmd.

Targets are held, not interpolated, between the policy's 50 Hz steps: so it was trained, and interpolation would cost
a step of delay. Each command goes out at once, and again at ``rate``. The rules of when motors obey are in
``policy.runtime.go2_guard``, the wire in ``policy.runtime.unitree``. In a process of its own it outlives the policy:
whatever ends that, the motors are damped.
"""

from __future__ import annotations

import sys
import time

from matrix_msgs.msg import RobotCommand
from rclpy.node import Node
from sensor_msgs.msg import Imu, JointState
from unitree_go.msg import LowCmd, LowState

from lunar_policy.node import OK, STREAM, WARN, Diagnosed, Health, Parameter, limits, run
from policy.runtime.controller import JointCommand
from policy.runtime.go2_guard import Go2Guard, GuardConfig
from policy.runtime.unitree import low_cmd, read_low_state, to_message
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES

LAST_DAMPING = 20  # damping messages at the end, in case some are lost


class UnitreeAdapter(Diagnosed, Node):
    """Silent until the first command; after that it commands the motors until it ends."""

    fixed = True
    part, hardware = "motors", "go2"
    parameters = (
        Parameter("rate", 500.0, "Hz. How often a command is repeated to the motors.", (50.0, 500.0)),
        *limits(GuardConfig),
        Parameter(
            "allow_other_publishers",
            False,
            "Whether to command the motors even though another node publishes LowCmd: two masters break a robot.",
        ),
        Parameter("simulated", False, "Whether the robot is a simulated one, whose time may be that of its /clock."),
    )

    def __init__(self) -> None:
        super().__init__("unitree_adapter")
        if self.simulated and not self.value("simulated"):
            raise LunarError(
                "use_sim_time is true, but a real robot's motors wait for no /clock; set it to false, or beside a"
                " simulated robot 'simulated' to true"
            )
        self._guard = Go2Guard(self.configured(GuardConfig))
        self._message = LowCmd()
        self._sent: JointCommand | None = None
        self._reason = self._guard.reason
        self._counts = {"states": 0, "repeated states": 0, "commands": 0, "sent": 0}
        self._joints = self.create_publisher(JointState, "joint_states", STREAM)
        self._imu = self.create_publisher(Imu, "imu", STREAM)
        self._motors = self.create_publisher(LowCmd, "lowcmd", 10)
        self.create_subscription(LowState, "lowstate", self._on_state, STREAM)
        self.create_subscription(RobotCommand, "robot_command", self._on_command, 10)
        self.timer(1.0 / self.value("rate"), self._repeat)

    def health(self) -> Health:
        """Whether the motors are engaged, and what passed."""
        values = {f"{name} per second": count for name, count in self._counts.items()}
        self._counts = dict.fromkeys(self._counts, 0)
        message = f"limp: {self._reason}" if self._reason else "engaged"
        return Health(OK if self._guard.engaged else WARN, message, values)

    def close(self) -> None:
        """Leave the motors damped, whatever happened before."""
        try:
            for _ in range(LAST_DAMPING if self._guard.started else 0):
                self._send(self._guard.limp())
                time.sleep(0.002)
        finally:
            self.destroy_node()

    def _on_state(self, message: LowState) -> None:
        reading = read_low_state(message)
        if not self._guard.on_state(reading.joint_position, reading.tick, self.now()):
            self._counts["repeated states"] += 1
            return
        self._counts["states"] += 1
        joints = JointState(
            name=JOINT_NAMES,
            position=reading.joint_position,
            velocity=reading.joint_velocity,
            effort=reading.joint_torque,
        )
        imu = Imu()
        joints.header.stamp = imu.header.stamp = self.get_clock().now().to_msg()
        imu.header.frame_id = "imu_link"
        q, w, a = imu.orientation, imu.angular_velocity, imu.linear_acceleration
        q.x, q.y, q.z, q.w = reading.orientation.tolist()
        w.x, w.y, w.z = reading.angular_velocity.tolist()
        a.x, a.y, a.z = reading.acceleration.tolist()
        self._joints.publish(joints)
        self._imu.publish(imu)

    def _on_command(self, message: RobotCommand) -> None:
        self._counts["commands"] += 1
        command = JointCommand(message.targets, message.kp, message.kd, message.mode)
        alone = self.value("allow_other_publishers") or self.count_publishers(self._motors.topic_name) <= 1
        self._guard.on_command(command, self.now(), alone)
        self._repeat()

    def _repeat(self) -> None:
        if self._guard.started:
            self._send(self._guard.motors(self.now()))
        if self._guard.reason != self._reason:
            self._reason = self._guard.reason
            if self._reason:
                self.get_logger().warning(f"motors limp: {self._reason}")
            else:
                self.get_logger().info("motors engaged")

    def _send(self, command: JointCommand) -> None:
        if command is not self._sent:
            to_message(low_cmd(command.targets, command.kp, command.kd), self._message)
            self._sent = command
        self._motors.publish(self._message)
        self._counts["sent"] += 1


def main(args: list[str] | None = None) -> int:
    """Entry of ``unitree_adapter``; the motors are damped on every way out but SIGKILL."""
    return run(UnitreeAdapter, args)


if __name__ == "__main__":
    sys.exit(main())
