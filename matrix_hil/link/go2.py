"""The rig's robot is a Unitree Go2: the driver between its LowState and LowCmd and what the rig knows of a robot.

Motor order, CRC and limits are ``policy.runtime.unitree``'s, and when the motors obey ``policy.runtime.go2_guard``'s:
both as in the ROS node ``unitree_adapter``. What the rig's own robots do by themselves, this driver does for a Go2,
which knows joint targets alone: hold, the way to the stance, and damping when the loop behind it has died.

A line carries the maker's C structures one after the other, each with its CRC; ``link.dds`` makes such a line of the
robot's DDS topics. docs/measured/deploy.md has what was tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matrix_hil.link.devices import ROBOT
from matrix_hil.link.driver import LinkStats, SerialDevice
from matrix_hil.link.protocol import FAULT_LIMIT, FAULT_WATCHDOG, HOST_SILENCE, Message
from matrix_hil.messages import RobotCommand, RobotState
from policy.runtime.controller import JointCommand, gravity_direction
from policy.runtime.go2_guard import Go2Guard, GuardConfig
from policy.runtime.unitree import HEAD, LOW_LEVEL, LOW_STATE, low_cmd, read_low_state, record_crc
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE

DDS = "dds://"
"""How the port of a real Go2 begins; the network interface that it hangs on follows, as in dds://eth0."""
GO2 = replace(ROBOT, period=0.002)
"""A robot that says its state 500 times per second."""

_START = bytes((*HEAD, LOW_LEVEL))
_UNIT = (0.8, 1.2)  # squared length of a quaternion that an inertial unit reports
_LONGEST_STEP = 0.02  # s between two commands that the way to the stance makes up for
_SLACK = 1e-6  # s. Rounding of a clock that counts in periods.


@dataclass(frozen=True)
class Go2Config:
    """What the maker does not publish, measured on the robot, and how it gets up."""

    foot_zero: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Counts that the feet FL, FR, RL, RR report in the air."""
    foot_scale: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """N per count of each."""
    stand_rate: float = 2.0
    """rad/s at which targets go to the nominal pose in ``stand``; above 0, at most 5."""

    def __post_init__(self) -> None:
        if not 0.0 < self.stand_rate <= 5.0:
            raise LunarError(f"robot.go2.stand_rate is {self.stand_rate:g} rad/s; it must lie above 0 and be at most 5")
        for name, value in (("foot_zero", self.foot_zero), ("foot_scale", self.foot_scale)):
            if not np.isfinite(value).all() or (name == "foot_scale" and min(value) <= 0.0):
                above = ", above 0" if name == "foot_scale" else ""
                raise LunarError(f"robot.go2.{name} is {list(value)}; it must be four finite numbers{above}")


def records(buffer: bytearray, dtype: np.dtype) -> tuple[list[np.ndarray], int, int]:
    """Take the whole structures of ``dtype`` out of a line's bytes, which may hold anything.

    Returns:
        the intact records, bytes that belonged to none, and structures whose CRC did not fit.
    """
    found: list[np.ndarray] = []
    garbage = broken = 0
    while len(buffer) >= dtype.itemsize:
        if (start := buffer.find(_START)) != 0:
            lost = start if start > 0 else len(buffer) - len(_START) + 1
            del buffer[:lost]
            garbage += lost
            continue
        record = np.frombuffer(bytes(buffer[: dtype.itemsize]), dtype)[0:1].reshape(())
        if int(record["crc"]) == record_crc(record):
            found.append(record)
            del buffer[: dtype.itemsize]
        else:
            broken += 1
            garbage += 1
            del buffer[:1]
    return found, garbage, broken


class Go2Robot(SerialDevice[RobotState, RobotCommand]):
    """Driver with the contract of ``SerialDevice``: ``poll`` neither waits nor raises for what a line does.

    Silent until the first command that follows a state. From then on the motors get a LowCmd at every poll: the newest
    command, or damping once no command or state has come for 0.1 s, or somebody else commands them. What has
    damped them so, and being asked to run without standing first, is reported as the fault *watchdog* until ``reset``.
    Whether a Go2 damps by itself when nothing comes any more is not known: where another device would be left to its
    own watchdog, by ``fall_silent``, it is damped.

    States carry the time at which they were read.

    Args:
        port: ``DDS`` and a network interface, or what pyserial opens.
        cfg: of the robot.
    """

    def __init__(self, port: str, cfg: Go2Config | None = None) -> None:
        self.cfg = cfg or Go2Config()
        super().__init__(GO2, port)

    def _clear(self) -> None:
        super()._clear()
        self._guard = Go2Guard(GuardConfig(command_timeout=HOST_SILENCE, state_timeout=HOST_SILENCE))
        self._buffer = bytearray()
        self._targets = NOMINAL_POSE
        self._mode, self._taken = "damp", 0.0
        self._dropped = 0  # fault bits: why the guard made the robot limp
        self._muted = False
        self._frames = self._crc_errors = self._garbage = self._frozen = 0

    def _open(self) -> Any:
        if not self.port.startswith(DDS):
            return super()._open()
        try:
            from matrix_hil.link.dds import Go2Line
        except ImportError as error:
            raise LunarError(
                f"robot.port is {self.port}, but {error.name} is absent: pip install 'lunar[go2]'"
            ) from None
        return Go2Line(self.port.removeprefix(DDS))

    @property
    def stats(self) -> LinkStats:
        """Counters since ``connect``; refused frames are those of a robot whose time stands still. Why it is damped
        stands in ``error`` too."""
        found = super().stats
        return replace(
            found,
            error=found.error or (self._guard.reason if self._dropped else ""),
            frames=self._frames,
            crc_errors=self._crc_errors,
            garbage_bytes=self._garbage,
            refused_frames=self._frozen,
        )

    def fall_silent(self) -> None:
        """Damp, whatever is sent, until ``reset``."""
        self._muted, self._pending = True, None

    def reset(self) -> None:
        """As in ``SerialDevice``; the robot itself has nothing to clear."""
        super().reset()
        self._muted, self._dropped = False, 0

    def _receive(self, now: float) -> int:
        for data, read in self._arrived(now):
            self._buffer += data
            now = read
        found, garbage, broken = records(self._buffer, LOW_STATE)
        self._frames += len(found)
        self._garbage += garbage
        self._crc_errors += broken
        if not found:
            return 0
        r = read_low_state(found[-1])
        if not self._guard.on_state(r.joint_position, r.tick, now):
            self._frozen += 1
            if np.isfinite(r.joint_position).all():
                return 0  # the same again: it grows old
        sound = _UNIT[0] < float(r.orientation @ r.orientation) < _UNIT[1]
        self._state = RobotState(
            now,
            r.joint_position,
            r.joint_velocity,
            r.angular_velocity,
            gravity_direction(r.orientation) if sound else np.full(3, np.nan),
            (r.foot_force - np.array(self.cfg.foot_zero)) * np.array(self.cfg.foot_scale),
            self._dropped,
        )
        return 1

    def _transmit(self, now: float) -> None:
        if self.clock is not None:
            now = self.clock()  # the state was stamped by it since
        self._reset_wanted = False
        self._drop_expired(now)
        engaged, command = self._guard.engaged, self._pending if self._state is not None else None
        if command is not None:
            self._pending, self._commanded, self._vouched = None, command, command.time
            alone = getattr(self._serial, "masters", 1) <= 1
            self._guard.on_command(self._joints(command, now), now, alone)
            if not alone or (self._mode in ("run", "hold") and not self._guard.engaged):
                self._dropped = FAULT_WATCHDOG | FAULT_LIMIT  # not silence: for the operator to clear
        if self._muted and self._guard.started:
            self._guard.on_command(self._damping("nothing it is sent makes it rest"), now)
        due = not -_SLACK < now - self._last_command < self.spec.period - _SLACK
        if self._guard.started and (command is not None or due):
            self._last_command = now
            self._say(self._guard.motors(now))
            if command is not None:
                self.wired = command.time, now
        if engaged and not self._guard.engaged and self._mode != "damp" and not self._muted:
            self._dropped |= FAULT_WATCHDOG

    def _joints(self, command: RobotCommand, now: float) -> JointCommand:
        """What the joints are told, as the rig's own robots work it out in their controllers."""
        assert self._state is not None
        if command.mode == "damp":
            self._mode = "damp"
            return self._damping("the rig says damp")
        entered = command.mode != self._mode
        if not self._guard.engaged or (entered and command.mode == "hold"):
            self._targets = self._state.joint_position
        if command.mode == "run":
            self._targets = command.targets
        elif command.mode == "stand":
            step = self.cfg.stand_rate * min(max(now - self._taken, 0.0), _LONGEST_STEP)
            self._targets = self._targets + np.clip(NOMINAL_POSE - self._targets, -step, step)
        self._mode, self._taken = command.mode, now
        return JointCommand(self._targets, command.kp, command.kd, command.mode)

    def _damping(self, why: str) -> JointCommand:
        return replace(self._guard.limp(), reason=why)

    def _write(self, message: Message) -> None:
        """Used on the way out only, for the safe command."""
        if self._guard.started:
            self._say(self._guard.limp())

    def _say(self, command: JointCommand) -> None:
        self._put(low_cmd(command.targets, command.kp, command.kd).tobytes())
