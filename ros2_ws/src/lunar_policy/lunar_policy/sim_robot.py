"""A simulated Go2 in lunar gravity in a robot's place: publishes JointState and Imu at 200 Hz, obeys RobotCommand.

For trying the policy node without hardware. Needs the package ``lunar[sim]``. Like a robot's own driver it goes limp
when commands stop coming. Its time is that of the physics, which it publishes on /clock, and stamps carry it; the true
pose of the base is on ``base_pose``.
"""

from __future__ import annotations

import sys
import time

import rclpy
from geometry_msgs.msg import PoseStamped
from matrix_msgs.msg import RobotCommand
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, JointState

from sim.physics.single import SingleRobot
from sim.spec.joints import JOINT_NAMES

COMMAND_TIMEOUT = 0.2  # s
DAMPING = 2.0  # N*m*s/rad
MAX_STEPS = 10  # made up for at once when the machine was busy; time that is lost beyond that stays lost


class SimRobot(Node):
    """MuJoCo in wall time."""

    def __init__(self) -> None:
        super().__init__("sim_robot")
        self._robot = SingleRobot()
        self._joints = self.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self._imu = self.create_publisher(Imu, "imu", qos_profile_sensor_data)
        self._pose = self.create_publisher(PoseStamped, "base_pose", qos_profile_sensor_data)
        self._clock_topic = self.create_publisher(Clock, "/clock", 10)
        self.create_subscription(RobotCommand, "robot_command", self._on_command, 10)
        self._steps = 0
        self._commanded: float | None = None
        self._due = time.monotonic()
        self.create_timer(self._robot.dt, self._step, clock=RosClock(clock_type=ClockType.STEADY_TIME))

    @property
    def _time(self) -> float:
        """s of physics."""
        return self._steps * self._robot.dt

    def _on_command(self, message: RobotCommand) -> None:
        self._commanded = self._time
        self._robot.command(message.targets, message.kp, message.kd)

    def _step(self) -> None:
        now = time.monotonic()
        if self._commanded is not None and self._time - self._commanded > COMMAND_TIMEOUT:
            self._robot.command(self._robot.joint_position, 0.0, DAMPING)
        self._due = max(self._due, now - MAX_STEPS * self._robot.dt)
        while self._due <= now:
            self._robot.step()
            self._steps += 1
            self._due += self._robot.dt
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(round(self._time * 1e9), 1_000_000_000)
        stamp = clock.clock
        joints = JointState(
            name=JOINT_NAMES, position=self._robot.joint_position, velocity=self._robot.joint_velocity
        )  # fmt: skip
        joints.header.stamp = stamp
        imu = Imu()
        imu.header.stamp, imu.header.frame_id = stamp, "base_link"
        q, w = imu.orientation, imu.angular_velocity
        q.w, q.x, q.y, q.z = self._robot.orientation.tolist()
        w.x, w.y, w.z = self._robot.angular_velocity.tolist()
        imu.linear_acceleration_covariance[0] = -1.0  # not given
        pose = PoseStamped()
        pose.header.stamp, pose.header.frame_id = stamp, "world"
        p = pose.pose.position
        p.x, p.y, p.z = self._robot.position.tolist()
        pose.pose.orientation = q
        self._joints.publish(joints)
        self._imu.publish(imu)
        self._pose.publish(pose)
        self._clock_topic.publish(clock)  # last: who steps at this time has the state of it


def main() -> int:
    """Run until SIGINT or SIGTERM."""
    rclpy.init()
    try:
        rclpy.spin(SimRobot())
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
