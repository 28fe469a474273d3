"""A simulated Go2 on the Moon in wall time, in a robot's place: what ``sim_robot`` and ``sim_go2`` share.

Needs the package ``lunar[sim]``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from sim.physics.scene import PhysicsConfig
from sim.physics.single import SingleRobot
from sim.spec.gravity import MOON

DAMPING = 2.0  # N*m*s/rad
CATCH_UP = 0.05  # s made up for at once when the machine was busy; time that is lost beyond that stays lost


class SimulatedRobot(Node):
    """MuJoCo at the pace of the wall clock. Like a robot's own driver it goes limp when commands stop coming.

    Args:
        name: of the node.
        timestep: s of physics, after each of which the subclass's ``publish`` is called.
        command_timeout: s of physics after the last command until the robot goes limp.
    """

    def __init__(self, name: str, timestep: float, command_timeout: float) -> None:
        super().__init__(name)
        text = ParameterDescriptor(description="m/s^2. Gravity.", read_only=True)
        gravity = self.declare_parameter("gravity", MOON, text).value
        self.robot = SingleRobot(PhysicsConfig(gravity=gravity, timestep=timestep))
        self._command_timeout = command_timeout
        self._commanded: float | None = None
        self._steps = 0
        self._due = time.monotonic()
        self.create_timer(timestep, self._step, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def time(self) -> float:
        """s of physics."""
        return self._steps * self.robot.dt

    def publish(self) -> None:
        """Publish the robot's state."""
        raise NotImplementedError

    def command(self, targets: np.ndarray, kp: np.ndarray | float, kd: np.ndarray | float, torque: float = 0.0) -> None:
        """As ``SingleRobot.command``."""
        self._commanded = self.time
        self.robot.command(targets, kp, kd, torque)

    def limp(self) -> None:
        """Damping without stiffness."""
        self.robot.command(self.robot.joint_position, 0.0, DAMPING)

    def _step(self) -> None:
        if self._commanded is not None and self.time - self._commanded > self._command_timeout:
            self.limp()
        now = time.monotonic()
        self._due = max(self._due, now - CATCH_UP)
        while self._due <= now:
            self.robot.step()
            self._steps += 1
            self._due += self.robot.dt
        self.publish()


def run(make: Callable[[], SimulatedRobot]) -> int:
    """Run until SIGINT or SIGTERM."""
    rclpy.init()
    try:
        rclpy.spin(make())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0
