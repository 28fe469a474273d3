"""One machine: its states from the serial line to ROS 2, its commands back, and a watchdog of its own."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from std_msgs.msg import UInt8
from std_srvs.srv import Trigger

from matrix_bridge.graph import SUPERVISOR
from matrix_bridge.inbox import Inbox
from matrix_bridge.node import ERROR, OK, RIG, WARN, BridgeNode, Health, Parameter, run
from matrix_bridge.places import port_of, rig_setup
from matrix_bridge.qos import PROFILES
from matrix_bridge.session import Gate
from matrix_hil.link import DEVICES, HostClock, PollThread
from matrix_hil.link.calibration import Calibration, misfitting
from matrix_hil.link.watch import WatchedDevice
from matrix_hil.log import FootContacts, ImuSample, JointSample
from matrix_hil.log.topics import Codec
from matrix_hil.messages import RobotState
from matrix_hil.run.drivers import driver, kept_calibration
from sim.errors import LunarError
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_FRACTION


class DriverNode(BridgeNode):
    """Configure opens the port, activate passes states and commands on, deactivate leaves the machine safe.

    Two threads: the line's polls the machine and keeps the watchdog, the other speaks DDS, whose calls may block for
    seconds when a peer has been killed. Neither waits for the other.
    """

    prompt = True
    parameters = (
        Parameter("machine", "", f"One of {', '.join(DEVICES)}."),
        Parameter("config", "", "YAML file of the rig; configs/hil/virtual.yaml when empty."),
        RIG,
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
        self._inbox: Inbox | None = None
        self._gate: Gate | None = None
        self._codec: Codec | None = None
        self._topic = ""
        self._states = 0
        self._told = -math.inf
        """Time of the newest state that was published."""

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
                self._calibration = kept_calibration(cfg)
        watchdog = cfg.treadmill.watchdog if machine == "treadmill" else getattr(cfg, machine).line.watchdog
        if not self.value("timeout") < watchdog:
            raise LunarError(f"timeout is {self.value('timeout')} s; it must be below the {machine}'s own {watchdog} s")
        device = driver(cfg, machine, port_of(machine, cfg))
        device.clock = self.clock = HostClock(cfg.pace)
        self._stack.enter_context(device)
        self._watched = WatchedDevice(device, self.value("timeout"))
        self._publish = self._publisher_of(machine, lunar_weight(cfg.sync.mass))
        if device.spec.command_type is not None:
            self._topic, self._codec = f"{machine}/command", self.codec(f"{machine}/command")
            self._inbox = inbox = self.keep(Inbox.close, Inbox(self))
            inbox.listen(self._topic, PROFILES["command"], raw=True)
            inbox.listen("sync/session", PROFILES["state"])
            self._gate = Gate(self.value("rig"), self._is_supervisor, self.value("timeout"))
        self.keep(self.destroy_service, self.create_service(Trigger, "~/reset", self._on_reset))

    def activate(self) -> None:
        """Start to poll."""
        watched = self._watched
        assert watched is not None
        watched.device.connect()
        poll = self.guarded(lambda now: self._poll(watched, now, dds))
        relay = self.guarded(lambda now: self._relay(watched, now, line))
        line = PollThread(f"{self.role}-line", poll, watched.device.poll_period, self.clock)
        dds = PollThread(f"{self.role}-dds", relay, watched.device.poll_period, self.clock)
        self._told = -math.inf
        self._threads.enter_context(dds)
        self._threads.callback(watched.device.disconnect)
        self._threads.enter_context(line)  # ends first: the machine is safe before DDS is waited for

    def deactivate(self) -> None:
        """Stop polling, say the safe command and close the port."""
        self._threads.close()

    def release(self) -> None:
        """Close the port; the driver says the safe command on the way out."""
        self._stack.close()
        self._watched = self._inbox = self._gate = self._codec = None

    def health(self) -> Health:
        """The line's counters and the watchdog."""
        watched = self._watched
        assert watched is not None
        stats, age = watched.device.stats, watched.device.age(self.now())
        values: dict[str, object] = {"state age (s)": f"{age:.4f}", "states per second": self._states}
        values |= {"fault": self._fault, "frames": stats.frames, "crc errors": stats.crc_errors}
        values |= {"sequence gaps": stats.sequence_gaps, "write timeouts": stats.write_timeouts}
        values |= {"watchdog trips": watched.trips, "late commands": self._refused}
        others = self._others()
        values |= {"others who command": ", ".join(others)}
        if self._gate is not None:
            values |= {f"refused: {why}": n for why, n in sorted(self._gate.refused.copy().items())}
        self._states = 0
        if not stats.connected:
            return Health(ERROR, f"the line is dead: {stats.error}", values)
        if self._fault:
            why = f": {stats.error}" if stats.error else ""
            return Health(ERROR, f"the machine reports fault bits {self._fault:#x}{why}", values)
        if others:
            return Health(WARN, f"also commanded by {', '.join(others)}, which is not obeyed", values)
        if watched.tripped:
            return Health(WARN, "no commands: the machine is held safe", values)
        return Health(OK, "states come" if age < 1.0 else "no states", values)

    def _is_supervisor(self, publisher: bytes) -> bool:
        """Whether a publisher of commands or of a session belongs to the node that the graph names, here."""
        assert self._inbox is not None
        wanted = (SUPERVISOR, self.get_namespace())
        return any(self._inbox.publishers(topic).get(publisher) == wanted for topic in (self._topic, "sync/session"))

    def _others(self) -> list[str]:
        """Who publishes commands for this machine beside the one that is obeyed."""
        if self._inbox is None or self._gate is None:
            return []
        found = self._inbox.publishers(self._topic)
        wanted = (SUPERVISOR, self.get_namespace())
        obeyed = self._gate.sender or next((gid for gid, node in found.items() if node == wanted), b"")
        return sorted(f"{space.rstrip('/')}/{name}" for gid, (name, space) in found.items() if gid != obeyed)

    def _poll(self, watched: WatchedDevice, now: float, dds: PollThread) -> None:
        """The line's thread."""
        with self._lock:
            fresh = watched.poll(now)
        if fresh:
            if self._calibration is not None:
                why = misfitting(self._calibration, self._ports, {self._machine: watched.device})
                if why:
                    raise LunarError(f"this is not the rig's {self._machine}: {why}; run 'lunar hil calibrate'")
            self._states += fresh
            dds.wake()

    def _relay(self, watched: WatchedDevice, now: float, line: PollThread) -> None:
        """The thread of DDS: pass on what the supervisor has commanded and what the machine has said since."""
        if self._read_commands(watched):
            line.wake()
        state = watched.device.state
        if state is not None and state.time != self._told:
            self._told = state.time
            self._publish(state, now)

    def _read_commands(self, watched: WatchedDevice) -> bool:
        inbox, gate, codec = self._inbox, self._gate, self._codec
        if inbox is None or gate is None or codec is None or watched.device.spec.command_type is None:
            return False
        make: Callable[..., Any] = watched.device.spec.command_type
        for letter in inbox.take("sync/session"):
            gate.announce(letter.content.data, letter.sender)
        taken = False
        for letter in inbox.take(self._topic):
            fields = self.decoded(codec, letter.content)
            now = self.now()
            if fields is None or not gate.admits(codec.frame_of(letter.content), letter.sender, letter.number, now):
                continue
            with self._lock:
                sent = watched.send(make(**fields), now)
            taken |= sent
            self._refused += not sent
        return taken

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


def main(args: list[str] | None = None) -> int:
    """Entry of ``driver_node``."""
    return run(DriverNode, args)


if __name__ == "__main__":
    sys.exit(main())
