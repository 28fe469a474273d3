"""The serial link to the rig's machines: frames, messages, one driver for all devices, and emulators on ptys.

``SerialDevice(PLATFORM, port)`` drives a machine; ``PlatformEmulator(PlatformConfig(), seed).port`` is a machine to
drive without hardware; ``Lockstep`` joins the two in simulated time. docs/protocol.md is for firmware engineers.
"""

from matrix_hil.link.devices import COUNTERWEIGHT, DEVICES, PLATFORM, ROBOT, TRACKER, TREADMILL, DeviceSpec
from matrix_hil.link.driver import BAUD, DeviceThread, LinkStats, PollThread, SerialDevice
from matrix_hil.link.emulator import Emulator, LineConfig, Lockstep
from matrix_hil.link.machines import (
    CounterweightActuation,
    CounterweightConfig,
    CounterweightEmulator,
    PlatformActuation,
    PlatformConfig,
    PlatformEmulator,
    RobotActuation,
    RobotConfig,
    RobotEmulator,
    TrackerConfig,
    TrackerEmulator,
    TreadmillActuation,
    TreadmillConfig,
    TreadmillEmulator,
)

__all__ = [
    "BAUD", "COUNTERWEIGHT", "DEVICES", "PLATFORM", "ROBOT", "TRACKER", "TREADMILL",
    "CounterweightActuation", "CounterweightConfig", "CounterweightEmulator", "DeviceSpec", "DeviceThread", "Emulator",
    "LineConfig", "LinkStats", "Lockstep", "PlatformActuation", "PlatformConfig", "PlatformEmulator", "PollThread",
    "RobotActuation", "RobotConfig", "RobotEmulator", "SerialDevice", "TrackerConfig", "TrackerEmulator",
    "TreadmillActuation", "TreadmillConfig", "TreadmillEmulator",
]  # fmt: skip
