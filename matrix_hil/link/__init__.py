"""The serial link to the rig's machines: frames, messages, one driver for all devices, Modbus, calibration.

``SerialDevice(PLATFORM, port)`` drives a machine. docs/protocol.md is for firmware engineers. Machines to drive without
hardware are in ``matrix_hil.virtual``.
"""

from matrix_hil.link.clock import HostClock
from matrix_hil.link.devices import COUNTERWEIGHT, DEVICES, PLATFORM, ROBOT, TRACKER, TREADMILL, DeviceSpec
from matrix_hil.link.driver import BAUD, LinkStats, SerialDevice
from matrix_hil.link.threads import PollThread

__all__ = [
    "BAUD", "COUNTERWEIGHT", "DEVICES", "PLATFORM", "ROBOT", "TRACKER", "TREADMILL",
    "DeviceSpec", "HostClock", "LinkStats", "PollThread", "SerialDevice",
]  # fmt: skip
