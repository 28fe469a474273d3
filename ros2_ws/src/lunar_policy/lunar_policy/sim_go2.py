"""A simulated Go2 in lunar gravity that speaks the robot's low-level interface: LowCmd in, LowState out at 500 Hz.

For trying ``unitree_adapter`` without hardware. Needs the package ``lunar[sim]``. It obeys commands with the right CRC,
head and mode only, and goes limp when they stop coming.
"""

from __future__ import annotations

import sys
import time

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from unitree_go.msg import LowCmd, LowState

from policy.runtime.unitree import fill_low_state, from_message, joint_values, why_refused
from sim.physics.scene import PhysicsConfig
from sim.physics.single import SingleRobot
from sim.spec.gravity import MOON

COMMAND_TIMEOUT = 0.1  # s
DAMPING = 2.0  # N*m*s/rad
MAX_STEPS = 25  # made up for at once when the machine was busy; time that is lost beyond that stays lost
STREAM = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class SimGo2(Node):
    """MuJoCo in wall time."""

    def __init__(self) -> None:
        super().__init__("sim_go2")
        text = ParameterDescriptor(description="m/s^2. Gravity.", read_only=True)
        gravity = self.declare_parameter("gravity", MOON, text).value
        self._robot = SingleRobot(PhysicsConfig(gravity=gravity, timestep=0.002))
        self._message = LowState()
        self._state = self.create_publisher(LowState, "lowstate", STREAM)
        self.create_subscription(LowCmd, "lowcmd", self._on_command, 10)
        self._began = self._due = time.monotonic()
        self._commanded = self._began
        self._refused = ""
        self._limp()
        self.create_timer(self._robot.dt, self._step, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_command(self, message: LowCmd) -> None:
        record = from_message(message)
        refused = why_refused(record)
        if refused != self._refused and refused:
            self.get_logger().warning(f"command refused: {refused}")
        self._refused = refused
        if not refused:
            self._commanded = time.monotonic()
            v = joint_values(record)
            self._robot.command(v["q"], v["kp"], v["kd"], v["tau"] + v["kd"] * v["dq"])

    def _limp(self) -> None:
        self._robot.command(self._robot.joint_position, 0.0, DAMPING)

    def _step(self) -> None:
        now, robot = time.monotonic(), self._robot
        if now - self._commanded > COMMAND_TIMEOUT:
            self._limp()
        self._due = max(self._due, now - MAX_STEPS * robot.dt)
        while self._due <= now:
            robot.step()
            self._due += robot.dt
        fill_low_state(
            self._message,
            (robot.joint_position, robot.joint_velocity, robot.joint_torque),
            robot.orientation,
            robot.angular_velocity,
            robot.specific_force,
            robot.foot_force,
            tick=round((now - self._began) * 1e3),
        )
        self._state.publish(self._message)


def main() -> int:
    """Run until SIGINT or SIGTERM."""
    rclpy.init()
    try:
        rclpy.spin(SimGo2())
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
