"""A machine behind a driver node, with the face of ``SerialDevice``: what the loop reads and sends travels by topic."""

from __future__ import annotations

from typing import Any

from std_msgs.msg import UInt8
from std_srvs.srv import Trigger

from matrix_bridge.node import BridgeNode
from matrix_hil.link import DEVICES
from matrix_hil.messages import RobotState, TrackerState


class RemoteDevice:
    """Newest state of a machine, and a way to command it and to reset its latched faults.

    Args:
        node: sync; must be unconfigured or configuring.
        machine: a key of ``DEVICES``.
        session: what commands name, so that drivers know them (``matrix_bridge.session``).
    """

    def __init__(self, node: BridgeNode, machine: str, session: str) -> None:
        self.spec = DEVICES[machine]
        self.identity = None
        """Its driver compares which device it is with the calibration."""
        self.state: Any = None
        self._node = node
        self._fault = 0
        self._parts: dict[str, tuple[float, dict[str, Any]]] = {}
        if machine == "robot":
            for part in ("joint_states", "imu", "foot_contacts"):
                node.receive(f"robot/{part}", lambda f, stamp, part=part: self._on_part(part, f, stamp))
        elif machine == "tracker":
            node.receive("tracker/pose", self._on_pose)
        else:
            node.receive(f"{machine}/state", self._on_state)
        if machine in ("robot", "tracker"):
            node.subscribe(f"{machine}/fault", self._on_fault)
        self._send = node.sender(f"{machine}/command", session) if self.spec.command_type is not None else None
        self._client = node.create_client(Trigger, f"{machine}_driver/reset")
        node.keep(node.destroy_client, self._client)

    def send(self, command: Any) -> None:
        """Publish a command now, as ``SerialDevice.send``; the driver at the other end drops one that came late."""
        if self._send is not None:
            self._send(command, command.time)

    def fall_silent(self) -> None:
        """Nothing more is published: its driver says the safe command, and goes on saying that it lives."""

    def reset(self) -> None:
        """Ask the driver to let the device clear latched faults; does not wait for the answer."""
        if self._client.service_is_ready():
            self._client.call_async(Trigger.Request())

    def _on_state(self, fields: dict[str, Any], stamp: float) -> None:
        self.state = self.spec.state_type(time=stamp, **fields)

    def _on_pose(self, fields: dict[str, Any], stamp: float) -> None:
        self.state = TrackerState(stamp, fields["position"], fields["quaternion"], self._fault)

    def _on_fault(self, message: UInt8) -> None:
        self._fault = message.data

    def _on_part(self, part: str, fields: dict[str, Any], stamp: float) -> None:
        """The robot's state comes in three standard messages with one stamp; it is complete with the last of them."""
        self._parts[part] = (stamp, fields)
        if part != "foot_contacts" or len(self._parts) < 3:
            return
        (joints_at, joints), (imu_at, imu), (feet_at, feet) = (
            self._parts[p] for p in ("joint_states", "imu", "foot_contacts")
        )
        if not joints_at == imu_at == feet_at:
            return  # one was lost: better an older state than a mixed one
        self.state = RobotState(
            stamp,
            joints["position"],
            joints["velocity"],
            imu["angular_velocity"],
            imu["projected_gravity"],
            feet["force"],
            self._fault,
        )
