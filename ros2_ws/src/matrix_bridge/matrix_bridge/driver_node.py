"""One machine: its states from the serial line to ROS 2, its commands back, and a watchdog of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from rclpy.event_handler import SubscriptionEventCallbacks
from std_msgs.msg import UInt8
from std_srvs.srv import Trigger

from matrix_bridge.node import ERROR, OK, WARN, BridgeNode, Health, Parameter, run
from matrix_bridge.places import port_of, rig_setup
from matrix_hil.link import DEVICES, HostClock, PollThread
from matrix_hil.link.calibration import Calibration, misfitting
from matrix_hil.link.watch import WatchedDevice
from matrix_hil.log import FootContacts, ImuSample, JointSample
from matrix_hil.messages import RobotState
from matrix_hil.rig import driver, find_calibration
from sim.errors import LunarError
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_FRACTION


class DriverNode(BridgeNode):
    """Configure opens the port, activate passes states and commands on, deactivate leaves the machine safe."""

    prompt = True
    parameters = (
        Parameter("machine", "", f"One of {', '.join(DEVICES)}."),
        Parameter("config", "", "YAML file of the rig; configs/hil/virtual.yaml when empty."),
        Parameter("rig", "virtual", "virtual, or serial: the port that the configuration names."),
        Parameter("timeout", 0.06, "s. Without a command for longer the machine gets its safe command.", (0.02, 0.09)),
    )

    def __init__(self) -> None:
        super().__init__("driver")
        self._stack, self._threads = ExitStack(), ExitStack()
        self._lock = threading.Lock()
        self._watched: WatchedDevice | None = None
        self._calibration: Calibration | None = None
        self._fault: int | None = None
        self._refused = 0
        self._states = 0

    def configure(self) -> None:
        """Open the port."""
        machine = self.value("machine")
        if machine not in DEVICES:
            raise LunarError(f"machine is '{machine}'; it must be one of: {', '.join(DEVICES)}")
        self.role = f"{machine}_driver"
        cfg = rig_setup(self.value("config"), self.value("rig"))
        self._machine, self._ports = machine, cfg.ports
        self._calibration = None
        if self.value("rig") == "serial":
            with suppress(LunarError):  # without one it is sync that does not arm
                self._calibration = find_calibration(cfg)
        watchdog = cfg.treadmill.watchdog if machine == "treadmill" else getattr(cfg, machine).line.watchdog
        if not self.value("timeout") < watchdog:
            raise LunarError(f"timeout is {self.value('timeout')} s; it must be below the {machine}'s own {watchdog} s")
        device = driver(cfg, machine, port_of(machine, cfg))
        device.clock = self.clock = HostClock(cfg.pace)
        self._stack.enter_context(device)
        self._watched = WatchedDevice(device, self.value("timeout"))
        self._publish = self._publisher_of(machine, lunar_weight(cfg.sync.mass))
        if device.spec.command_type is not None:
            make: Callable[..., Any] = device.spec.command_type
            codec = self.codec(f"{machine}/command")

            def on_command(data: bytes) -> None:
                fields = self.decoded(codec, data)
                if fields is None:
                    return
                command = make(**fields)
                with self._lock:
                    if self.active and self._watched and not self._watched.send(command, self.now()):
                        self._refused += 1

            events = SubscriptionEventCallbacks(liveliness=self._on_liveliness)
            self.subscribe(f"{machine}/command", on_command, raw=True, event_callbacks=events)
        self.keep(self.destroy_service, self.create_service(Trigger, "~/reset", self._on_reset))

    def activate(self) -> None:
        """Start to poll."""
        watched = self._watched
        assert watched is not None
        watched.device.connect()
        poll = self.guarded(lambda now: self._poll(watched, now))
        self._threads.enter_context(PollThread(self.role, poll, watched.device.poll_period, self.clock))

    def deactivate(self) -> None:
        """Stop polling, say the safe command and close the port."""
        self._threads.close()
        if self._watched is not None:
            self._watched.device.disconnect()

    def release(self) -> None:
        """Close the port; the driver says the safe command on the way out."""
        self._stack.close()
        self._watched = None

    def health(self) -> Health:
        """The line's counters and the watchdog."""
        watched = self._watched
        assert watched is not None
        stats, age = watched.device.stats, watched.device.age(self.now())
        values: dict[str, object] = {"state age (s)": f"{age:.4f}", "states per second": self._states}
        values |= {"fault": self._fault, "frames": stats.frames, "crc errors": stats.crc_errors}
        values |= {"sequence gaps": stats.sequence_gaps, "write timeouts": stats.write_timeouts}
        values |= {"watchdog trips": watched.trips, "late commands": self._refused}
        self._states = 0
        if not stats.connected:
            return Health(ERROR, f"the line is dead: {stats.error}", values)
        if self._fault:
            return Health(ERROR, f"the machine reports fault bits {self._fault:#x}", values)
        if watched.tripped:
            return Health(WARN, "no commands: the machine is held safe", values)
        return Health(OK, "states come" if age < 1.0 else "no states", values)

    def _poll(self, watched: WatchedDevice, now: float) -> None:
        with self._lock:
            fresh = watched.poll(now)
            state = watched.device.state
        if fresh and state is not None:
            if self._calibration is not None:
                why = misfitting(self._calibration, self._ports, {self._machine: watched.device})
                if why:
                    raise LunarError(f"this is not the rig's {self._machine}: {why}; run 'lunar hil calibrate'")
            self._states += fresh
            self._publish(state, now)

    def _publisher_of(self, machine: str, weight: float) -> Callable[[Any, float], None]:
        if machine not in ("robot", "tracker"):
            send = self.sender(f"{machine}/state")

            def publish(state: Any, now: float) -> None:
                self._fault = state.fault
                send(state, now)

            return publish
        fault = self.publisher(f"{machine}/fault")  # the standard messages of these two have no place for it

        def publish_fault(state: Any) -> None:
            if state.fault != self._fault:
                self._fault = state.fault
                fault.publish(UInt8(data=state.fault))

        if machine == "tracker":
            pose = self.sender("tracker/pose")

            def publish_pose(state: Any, now: float) -> None:
                publish_fault(state)
                pose(state, now)

            return publish_pose
        joints, imu, feet = (self.sender(f"robot/{name}") for name in ("joint_states", "imu", "foot_contacts"))
        before = np.zeros(4, dtype=bool)

        def publish_robot(s: RobotState, now: float) -> None:
            nonlocal before
            publish_fault(s)
            over = s.foot_force > LOAD_FRACTION * weight
            joints(JointSample(s.time, s.joint_position, s.joint_velocity), now)
            imu(ImuSample(s.time, s.angular_velocity, s.projected_gravity), now)
            feet(FootContacts(s.time, s.foot_force, over & before), now)  # two samples are the 10 ms of the definition
            before = over

        return publish_robot

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            if self._watched is not None:
                self._watched.device.reset()
        response.success = self._watched is not None
        response.message = "asked the device to clear what it latched"
        return response

    def _on_liveliness(self, event: Any) -> None:
        if event.alive_count == 0 and event.alive_count_change < 0:
            self.get_logger().warning("whoever commanded this machine has fallen silent")


def main(args: list[str] | None = None) -> int:
    """Entry of ``driver_node``."""
    return run(DriverNode, args)


if __name__ == "__main__":
    sys.exit(main())
