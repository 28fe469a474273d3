"""A simulated Go2 in lunar gravity in a robot's place: publishes JointState and Imu at 200 Hz, obeys RobotCommand.

For trying the policy node without hardware. Needs the package ``lunar[sim]``. Stamps are the time of its physics; the
true pose of the base is on ``base_pose``.
"""

from __future__ import annotations

import sys

from geometry_msgs.msg import PoseStamped
from matrix_msgs.msg import RobotCommand
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Imu, JointState

from lunar_policy.node import run
from lunar_policy.simulated import SimulatedRobot
from sim.spec.joints import JOINT_NAMES


class SimRobot(SimulatedRobot):
    """Holds its nominal pose until the first command."""

    def __init__(self) -> None:
        super().__init__("sim_robot", timestep=0.005, command_timeout=0.2)
        self._joints = self.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self._imu = self.create_publisher(Imu, "imu", qos_profile_sensor_data)
        self._pose = self.create_publisher(PoseStamped, "base_pose", qos_profile_sensor_data)
        self.create_subscription(RobotCommand, "robot_command", self._on_command, 10)

    def publish(self) -> None:
        """Joint states, IMU and pose."""
        robot, stamp = self.robot, self.stamp
        joints = JointState(name=JOINT_NAMES, position=robot.joint_position, velocity=robot.joint_velocity)
        joints.header.stamp = stamp
        imu = Imu()
        imu.header.stamp, imu.header.frame_id = stamp, "base_link"
        q, w = imu.orientation, imu.angular_velocity
        q.w, q.x, q.y, q.z = robot.orientation.tolist()
        w.x, w.y, w.z = robot.angular_velocity.tolist()
        imu.linear_acceleration_covariance[0] = -1.0  # not given
        pose = PoseStamped()
        pose.header.stamp, pose.header.frame_id = stamp, "world"
        p = pose.pose.position
        p.x, p.y, p.z = robot.position.tolist()
        pose.pose.orientation = q
        self._joints.publish(joints)
        self._imu.publish(imu)
        self._pose.publish(pose)

    def _on_command(self, m: RobotCommand) -> None:
        self.command(m.targets, m.kp, m.kd, stamp=m.header.stamp.sec + 1e-9 * m.header.stamp.nanosec)


def main(args: list[str] | None = None) -> int:
    """Entry of ``sim_robot``."""
    return run(SimRobot, args)


if __name__ == "__main__":
    sys.exit(main())
