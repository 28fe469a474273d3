"""Publishes the cycles of the loop on the topics of the graph; looks like a ``Recorder``, so that ``RunLog`` fills it.

DDS takes tens of microseconds per message: call it from a thread beside the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from std_msgs.msg import UInt8

from matrix_bridge.graph import GRAPH
from matrix_bridge.node import BridgeNode
from matrix_hil.log import FootContacts, ImuSample, JointSample
from matrix_hil.messages import MachineCommands, MachineStates

_STATE_PERIOD = 0.1  # s between supervisor states while nothing changes
_MACHINES = ("platform", "treadmill", "counterweight")


class TopicLog:
    """Takes what a run logs and publishes it.

    Args:
        node: whose topics these are.
        machines: also states and commands of the machines; False where driver nodes publish them.
    """

    def __init__(self, node: BridgeNode, machines: bool) -> None:
        names = ["sync/hop_command", "sync/stamp", "policy/doubt", "supervisor/state", "world/base_pose"]
        if machines:
            names += ["robot/joint_states", "robot/imu", "robot/foot_contacts", "robot/command", "tracker/pose"]
            names += [f"{name}/{what}" for name in _MACHINES for what in ("state", "command")]
            self._fault_publishers = {name: node.publisher(f"{name}/fault") for name in ("robot", "tracker")}
        self._machines = machines
        self._send: dict[str, Callable[[Any, float], None]] = {GRAPH[name].log: node.sender(name) for name in names}
        self._newest: dict[str, float] = {}
        self._faults: dict[str, int] = {}
        self._published: tuple[float, str, str] = (-math.inf, "", "")
        self._command: Any = None
        self._heard: dict[str, bool] = {}

    def write(self, topic: str, message: Any, time: float) -> None:
        """Publish one message, unless it says nothing new."""
        send = self._send.get(topic)
        if send is None:
            return  # another node's: the ground is twin's, the true pose virtual_rig's
        if topic == "/supervisor/state":
            if (message.state, message.reason) == self._published[1:] and time - self._published[0] < _STATE_PERIOD:
                return
            self._published = (time, message.state, message.reason)
        elif topic == "/hop_command":
            if message is self._command:
                return
            self._command = message
        send(message, time)

    def write_states(self, states: MachineStates, loaded: Any, time: float) -> None:
        """Publish the states that are new; ``loaded`` (4,) bool."""
        self._heard = {name: getattr(states, name) is not None for name in (*_MACHINES, "robot")}
        if not self._machines:
            return
        for name in _MACHINES:
            if self._is_new(name, getattr(states, name)):
                self.write(f"/{name}/state", getattr(states, name), time)
        if self._is_new("tracker", states.tracker):
            self.write("/tracker/pose", states.tracker, time)
        robot = states.robot
        if robot is not None and self._is_new("robot", robot):
            joints = JointSample(robot.time, robot.joint_position, robot.joint_velocity)
            self.write("/robot/joint_states", joints, time)
            self.write("/robot/imu", ImuSample(robot.time, robot.angular_velocity, robot.projected_gravity), time)
            self.write("/robot/foot_contacts", FootContacts(robot.time, robot.foot_force, loaded), time)
        for name, publisher in self._fault_publishers.items():
            state = getattr(states, name)
            if state is not None and self._faults.get(name) != state.fault:
                self._faults[name] = state.fault
                publisher.publish(UInt8(data=state.fault))

    def write_commands(self, commands: MachineCommands, time: float) -> None:
        """Publish what every machine that has been heard is told."""
        if self._machines:
            for name in (n for n, heard in self._heard.items() if heard):
                self.write(f"/{name}/command", getattr(commands, name), time)

    def _is_new(self, name: str, state: Any) -> bool:
        if state is None or self._newest.get(name) == state.time:
            return False
        self._newest[name] = state.time
        return True
