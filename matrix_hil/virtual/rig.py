"""The whole rig without hardware: device emulators on pseudo-terminals, joined by the virtual rig's physics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np

from matrix_hil.config import RigSetup, Robot, Treadmill
from matrix_hil.control.counterweight import WinchTrim
from matrix_hil.link import SerialDevice
from matrix_hil.messages import RigTruth
from matrix_hil.virtual.emulator import Emulator, Lockstep
from matrix_hil.virtual.go2 import Go2Emulator
from matrix_hil.virtual.machines import (
    CounterweightEmulator,
    PlatformEmulator,
    RobotEmulator,
    TrackerEmulator,
    TreadmillEmulator,
)
from matrix_hil.virtual.modbus import ModbusTreadmillEmulator
from sim.rig.signals import RigInputs, RigOutputs
from sim.rig.virtual_rig import VirtualRig
from sim.robots.load import load_robot

_CATCH_UP = 0.5  # s that a rig on wall time makes up after it was held up; what is more is lost to it


def treadmill_emulator(cfg: Treadmill, seed: int) -> TreadmillEmulator:
    """The emulated treadmill in the protocol that its config says."""
    if cfg.protocol == "modbus":
        return ModbusTreadmillEmulator(cfg, seed, cfg.modbus)
    return TreadmillEmulator(cfg, seed)


def robot_emulator(cfg: Robot, seed: int, stance: np.ndarray) -> RobotEmulator:
    """The emulated robot in the protocol that its config says; ``stance`` (12,) rad is where it stands."""
    return (Go2Emulator if cfg.protocol == "go2" else RobotEmulator)(cfg, seed, stance)


class EmulatedMachines:
    """Five emulators and the world that they act on, which subclasses add. ``poll(now)`` moves all of it.

    Each tick (1 ms) the emulators measure the world and take what has come on their lines, and what they actuate drives
    the world for one tick. A context manager; leaving it unplugs all lines.
    """

    def __init__(
        self, setup: RigSetup, seed: int, drive: Callable[[float, float, float, float], float] | None = None
    ) -> None:
        self.platform = PlatformEmulator(setup.platform, seed + 1)
        self.treadmill = treadmill_emulator(setup.treadmill, seed + 2)
        self.counterweight = CounterweightEmulator(setup.counterweight, seed + 3, drive)
        self.tracker = TrackerEmulator(setup.tracker, seed + 4)
        self.robot = robot_emulator(setup.robot, seed + 5, load_robot(setup.rig.robot).nominal_pose)
        self.tick = setup.robot.line.tick
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
        """Move machines and world up to ``now``, s."""
        now -= self._lost
        if self._time is None:
            self._time = now - self.tick
        if self._wall is not None and now - self._time > _CATCH_UP:
            self._lost += now - self._time - _CATCH_UP
            now = self._time + _CATCH_UP
        while self._time + self.tick <= now + 1e-9:
            self._time += self.tick
            self._measure()
            for name, emulator in self.emulators.items():
                if name in self._links:
                    self._links[name].poll_emulator(self._time)
                else:
                    emulator.poll(self._time)
            self._move()
            if self.watch is not None:
                self.watch(self._time)

    def close(self) -> None:
        """Unplug all lines."""
        for emulator in self.emulators.values():
            emulator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _measure(self) -> None:
        """Give every emulator the true values that its sensors see."""
        raise NotImplementedError

    def _move(self) -> None:
        """Move the world by one tick."""


class VirtualMachines(EmulatedMachines):
    """The rig in the physics of ``setup.rig``. The winch's force loop runs inside its emulated drive, once per tick."""

    def __init__(self, setup: RigSetup, seed: int) -> None:
        self.rig = VirtualRig(setup.rig, seed)
        rope = self.rig.rope.parameters
        self.trim = WinchTrim(setup.trim, rope.inertia, rope.passive_force)
        super().__init__(setup, seed, self.trim.step)
        self.outputs: RigOutputs = self.rig.outputs()
        """True state of the physics."""

    def truth(self) -> RigTruth:
        """What the physics is doing now."""
        o = self.outputs
        return RigTruth(o.base_position, o.base_quaternion, float(self.rig.center_of_mass()[1][2]))

    def _measure(self) -> None:
        o = self.outputs
        self.counterweight.measure(o.rope_tension, o.rope_length, o.rope_speed)
        self.tracker.measure(o.base_position, o.base_quaternion)
        self.robot.measure(o.joint_position, o.joint_velocity, o.angular_velocity, o.projected_gravity, o.foot_force)

    def _move(self) -> None:
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
