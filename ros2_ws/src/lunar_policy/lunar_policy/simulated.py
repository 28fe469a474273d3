"""A simulated Go2 on the Moon in a robot's place: what ``sim_robot`` and ``sim_go2`` share.

Needs the package ``lunar[sim]``.
"""

from __future__ import annotations

import time

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage

from sim.physics.scene import PhysicsConfig
from sim.physics.single import SingleRobot
from sim.spec.gravity import MOON, lunar_weight
from sim.spec.hops import HopDetector

DAMPING = 2.0  # N*m*s/rad
CATCH_UP = 0.02  # s, made up for at once when the machine was busy: no more than a policy's period
SLACK = 0.005  # s that a command may be late
FALLEN = 1.0472  # rad, tilt from which a robot is said to have fallen
PERIODS = 3.0  # of new commands that physics waits while the last one is repeated
PATIENCE = 3.0  # s of wall time that physics waits for the next command; then whoever sent them is taken to have ended


class SimulatedRobot(Node):
    """MuJoCo at a pace of the wall clock, or slower: its time is on /clock, and it waits for who commands it.

    Each step is published and little is made up for, so that /clock makes no leaps. While
    commands come it never gets ahead of them: a busy computer runs robot and policy in slow motion. Like a robot's own
    driver it goes limp when they stop coming. Each hop and a fall is a line in its log.

    Args:
        name: of the node.
        timestep: s of physics, after each of which the subclass's ``publish`` is called.
        command_timeout: s of physics after the last command until the robot goes limp.
    """

    finished = failed = False
    """It never ends by itself."""

    def __init__(self, name: str, timestep: float, command_timeout: float) -> None:
        super().__init__(name)
        text = ParameterDescriptor(description="m/s^2. Gravity.", read_only=True)
        gravity = self.declare_parameter("gravity", MOON, text).value
        text = ParameterDescriptor(description="s of physics per s of wall time, at most.", read_only=True)
        text.floating_point_range = [FloatingPointRange(from_value=0.01, to_value=1.0)]
        self._pace = self.declare_parameter("pace", 1.0, text).value
        self.robot = SingleRobot(PhysicsConfig(gravity=gravity, timestep=timestep))
        self._hops = HopDetector(np.array([lunar_weight(self.robot.mass)]), timestep)
        self._hopped = 0
        self._fallen = False
        self._command_timeout = command_timeout
        self._repeated = False
        self._commanded: float | None = None
        self._made = 0.0  # s of physics
        self._interval = 0.0  # s of physics between the last two commands
        self._heard = 0.0  # s of wall time of the last
        self._steps = 0
        self._due = time.monotonic()
        self._clock_message = ClockMessage()
        self._clock_topic = self.create_publisher(ClockMessage, "/clock", 10)
        self.create_timer(timestep / self._pace, self._step, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def time(self) -> float:
        """s of physics."""
        return self._steps * self.robot.dt

    def start(self) -> bool:
        """Nothing has to be there first."""
        return True

    def close(self) -> None:
        """Destroy the node."""
        self.destroy_node()

    def publish(self) -> None:
        """Publish the robot's state."""
        raise NotImplementedError

    def command(
        self,
        targets: np.ndarray,
        kp: np.ndarray | float,
        kd: np.ndarray | float,
        torque: float = 0.0,
        stamp: float | None = None,
        repeated: bool = False,
    ) -> None:
        """As ``SingleRobot.command``.

        Args:
            stamp: when it was made, s of physics, where the sender lives by /clock.
            repeated: whether it is the one before once more, which says that its sender lives, but not that whoever
                made it has seen what happened since.
        """
        self._repeated = repeated
        if not repeated:
            made = stamp if stamp is not None and 0.0 <= self.time - stamp <= self._command_timeout else self.time
            self._interval = made - self._made if self._commanded is not None else self._command_timeout
            self._made, self._heard = made, time.monotonic()
        self._commanded = self.time
        self.robot.command(targets, kp, kd, torque)

    def limp(self) -> None:
        """Damping without stiffness."""
        self.robot.command(self.robot.joint_position, 0.0, DAMPING)

    @property
    def stamp(self) -> TimeMessage:
        """``time`` for a message's header."""
        seconds, nanoseconds = divmod(round(self.time * 1e9), 1_000_000_000)
        return TimeMessage(sec=seconds, nanosec=nanoseconds)

    def _step(self) -> None:
        now, dt = time.monotonic(), self.robot.dt / self._pace
        self._due = max(self._due, now - CATCH_UP / self._pace)
        while self._due <= now and not self._waits(now):
            if self._commanded is not None and self.time - self._commanded > self._command_timeout:
                self.limp()
            self.robot.step()
            self._steps += 1
            self._watch()
            self._due += dt
            self.publish()
            self._clock_message.clock = self.stamp
            self._clock_topic.publish(self._clock_message)  # last: who steps at this time has the state of it

    def _watch(self) -> None:
        """Say what the robot does."""
        hops, (_, x, y, _) = self._hops, self.robot.orientation
        tilt = np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0))
        feet, height, speed = self.robot.foot_force, self.robot.position[2:], self.robot.velocity[2:]
        hops.update(feet[None], height, speed, np.array([tilt]))
        if hops.hops[0] > self._hopped:
            hop = hops.drain()
            self._hopped += 1
            kind = "all feet together" if hop.pronk[0] else "not all feet together"
            self.get_logger().info(
                f"hop {self._hopped}: {hop.apex_gain[0]:.2f} m high, {hop.flight_time[0]:.2f} s in the air, {kind}"
            )
        if tilt > FALLEN and not self._fallen:
            self.get_logger().warning(f"fallen: it leans by {np.degrees(tilt):.0f} degrees")
        self._fallen = bool(tilt > (0.5 * FALLEN if self._fallen else FALLEN))

    def _waits(self, now: float) -> bool:
        """Whether the next command is due and may still come."""
        if self._commanded is None or self.time - self._commanded > self._command_timeout:
            return False
        if self._interval >= self._command_timeout:  # who changes his mind so seldom keeps no period
            return False
        # of one who says the same again and again nobody knows whether he is late or means it
        patience = PERIODS * self._interval / self._pace if self._repeated else PATIENCE
        return self.time - self._made >= self._interval + SLACK - 1e-9 and now - self._heard < patience
