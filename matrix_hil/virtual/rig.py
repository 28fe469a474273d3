"""The whole rig without hardware: device emulators on pseudo-terminals, joined by the virtual rig's physics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

import numpy as np

from matrix_hil.control.counterweight import TrimConfig, WinchTrim
from matrix_hil.link import DEVICES, SerialDevice
from matrix_hil.link.modbus import ModbusConfig, ModbusTreadmill
from matrix_hil.virtual.emulator import Emulator, Lockstep
from matrix_hil.virtual.machine_config import (
    CounterweightConfig,
    PlatformConfig,
    RobotConfig,
    TrackerConfig,
    TreadmillConfig,
)
from matrix_hil.virtual.machines import (
    CounterweightEmulator,
    PlatformEmulator,
    RobotEmulator,
    TrackerEmulator,
    TreadmillEmulator,
)
from matrix_hil.virtual.modbus import ModbusTreadmillEmulator
from sim.rig import RigConfig, RigInputs, RigOutputs, VirtualRig

_CATCH_UP = 0.5  # s that a rig on wall time makes up after it was held up; what is more is lost to it
EMULATED = "emulated"
"""Port name that stands for a device of the virtual rig."""


@dataclass(frozen=True)
class Platform(PlatformConfig):
    """Motion platform; figures other than the port are those of its emulator."""

    port: str = EMULATED
    """``emulated``, or what pyserial opens: /dev/ttyUSB0, socket://host:port, rfc2217://host:port."""


@dataclass(frozen=True)
class Treadmill(TreadmillConfig):
    """Treadmill; figures other than the port are those of its emulator."""

    port: str = EMULATED
    """``emulated``, or what pyserial opens."""
    protocol: Literal["lunar", "modbus"] = "lunar"
    """``lunar``: docs/protocol.md. ``modbus``: a drive with the registers of docs/modbus.md."""
    modbus: ModbusConfig = field(default_factory=ModbusConfig)
    """Address and line of a Modbus drive."""


@dataclass(frozen=True)
class Counterweight(CounterweightConfig):
    """Counterweight with winch; figures other than the port are those of its emulator."""

    port: str = EMULATED
    """``emulated``, or what pyserial opens."""


@dataclass(frozen=True)
class Tracker(TrackerConfig):
    """Pose tracker; figures other than the port are those of its emulator."""

    port: str = EMULATED
    """``emulated``, or what pyserial opens."""


@dataclass(frozen=True)
class Robot(RobotConfig):
    """The robot's own controller; figures other than the port are those of its emulator."""

    port: str = EMULATED
    """``emulated``, or what pyserial opens."""


def driver(name: str, machine: Any, port: str) -> SerialDevice[Any, Any]:
    """Driver of the device ``name`` on ``port``, in the protocol that its config ``machine`` says."""
    if getattr(machine, "protocol", "lunar") == "modbus":
        return ModbusTreadmill(port, machine.modbus)
    return SerialDevice(DEVICES[name], port)


def treadmill_emulator(cfg: Treadmill, seed: int) -> TreadmillEmulator:
    """The emulated treadmill in the protocol that its config says."""
    if cfg.protocol == "modbus":
        return ModbusTreadmillEmulator(cfg, seed, cfg.modbus)
    return TreadmillEmulator(cfg, seed)


@dataclass(frozen=True)
class RigTruth:
    """What the physics knows better than any sensor."""

    base_position: np.ndarray
    """(3,) m, rig frame."""
    base_quaternion: np.ndarray
    """(4,) w, x, y, z."""
    vertical_speed: float
    """m/s, of the robot's centre of mass."""


class VirtualMachines:
    """Five emulators and the physics that they act on. ``poll(now)`` moves all of it; a context manager.

    Each tick (1 ms) the emulators measure the physics, take what has come on their lines, and what they actuate drives
    the physics for one tick. The winch's force loop runs inside its emulated drive at the same rate.
    """

    def __init__(
        self,
        rig: RigConfig,
        trim: TrimConfig,
        platform: PlatformConfig,
        treadmill: Treadmill,
        counterweight: CounterweightConfig,
        tracker: TrackerConfig,
        robot: RobotConfig,
        seed: int,
    ) -> None:
        self.rig = VirtualRig(rig, seed)
        rope = self.rig.rope.parameters
        self.trim = WinchTrim(trim, rope.inertia, rope.passive_force)
        self.platform = PlatformEmulator(platform, seed + 1)
        self.treadmill = treadmill_emulator(treadmill, seed + 2)
        self.counterweight = CounterweightEmulator(counterweight, seed + 3, drive=self.trim.step)
        self.tracker = TrackerEmulator(tracker, seed + 4)
        self.robot = RobotEmulator(robot, seed + 5)
        self.tick = robot.line.tick
        self.outputs: RigOutputs = self.rig.outputs()
        """True state of the physics."""
        self.watch: Callable[[float], None] | None = None
        """Told the time, s, after every tick."""
        self._links: dict[str, Lockstep] = {}
        self._time: float | None = None
        self._wall: Callable[[], float] | None = None
        self._lost = 0.0

    @property
    def emulators(self) -> dict[str, Emulator]:
        """By device name."""
        return {
            "platform": self.platform,
            "treadmill": self.treadmill,
            "counterweight": self.counterweight,
            "tracker": self.tracker,
            "robot": self.robot,
        }

    @property
    def ports(self) -> dict[str, str]:
        """Path of each device's pseudo-terminal."""
        return {name: emulator.port for name, emulator in self.emulators.items()}

    def truth(self) -> RigTruth:
        """What the physics is doing now."""
        o = self.outputs
        return RigTruth(o.base_position, o.base_quaternion, float(self.rig.center_of_mass()[1][2]))

    def lockstep(
        self, devices: Mapping[str, SerialDevice], join: Callable[[SerialDevice, Emulator], Lockstep] = Lockstep
    ) -> dict[str, Lockstep]:
        """From now on emulators and drivers wait for each other's bytes, so that simulated time repeats exactly.

        ``join`` makes the link of a driver and its emulator.
        """
        self._links = {name: join(devices[name], emulator) for name, emulator in self.emulators.items()}
        return self._links

    def on_wall(self, clock: Callable[[], float]) -> None:
        """From now on ``poll`` is called with the time of ``clock``, s, and what comes in is stamped by it.

        A computer that cannot keep up then runs the rig in slow motion, instead of ever farther behind.
        """
        self._wall = clock
        for emulator in self.emulators.values():
            emulator.clock = lambda: clock() - self._lost

    def poll(self, now: float) -> None:
        """Move machines and physics up to ``now``, s."""
        now -= self._lost
        if self._time is None:
            self._time = now - self.tick
        if self._wall is not None and now - self._time > _CATCH_UP:
            self._lost += now - self._time - _CATCH_UP
            now = self._time + _CATCH_UP
        while self._time + self.tick <= now + 1e-9:
            self._time += self.tick
            self._step(self._time)

    def __enter__(self) -> VirtualMachines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for emulator in self.emulators.values():
            emulator.close()

    def _step(self, now: float) -> None:
        o = self.outputs
        self.counterweight.measure(o.rope_tension, o.rope_length, o.rope_speed)
        self.tracker.measure(o.base_position, o.base_quaternion)
        self.robot.measure(o.joint_position, o.joint_velocity, o.angular_velocity, o.projected_gravity, o.foot_force)
        for name, emulator in self.emulators.items():
            if name in self._links:
                self._links[name].poll_emulator(now)
            else:
                emulator.poll(now)
        plate, winch, joints = self.platform.actuated, self.counterweight.actuated, self.robot.actuated
        self.rig.step(
            RigInputs(
                platform_pose=plate.pose - plate.velocity * self.tick,  # the plate arrives at its pose within the tick
                platform_velocity=plate.velocity,
                belt_speed=self.treadmill.actuated.speed,
                winch_force=winch.force,
                brake=winch.brake,
                targets=np.asarray(joints.targets),
                kp=joints.kp,
                kd=joints.kd,
                mode="damp" if joints.mode == "damp" else "run",
            ),
            self.tick,
        )
        self.outputs = self.rig.outputs()
        if self.watch is not None:
            self.watch(now)
