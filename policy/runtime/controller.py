"""Run a policy on a robot safely: never on stale state, in from the current pose, within joint range, limp if it falls.

Pure logic: messages come in as plain sequences, time is an argument (seconds of one monotonic clock), and joint targets
come out. A ROS node, a test or another middleware stands around it.

Modes, as in ``matrix_msgs/RobotCommand``: ``stand`` leads the joints from where they are to the policy's default pose;
``run`` follows the policy; ``hold`` keeps the last targets while the robot's state is too old; ``damp`` has no
stiffness, only damping. It does not go on from ``stand`` before the sensors have shown that they belong to this robot:
joints that answer, an IMU that agrees with the legs, states as often as the policy acts. It does not come back from a
state that the policy's monitor does not know: what it does then is latched. Damp after old state, state that keeps
getting old, a fall, a collapse, a second master or a policy that yields no numbers is latched until it is activated
again.

Which measurements no robot can make, and within what range and rate targets stay, are the rig's supervisor's rules too
(``policy.runtime.robot_rules``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np

from policy.runtime.card import Card
from policy.runtime.monitor import Verdict
from policy.runtime.monitor_file import STIFFER
from policy.runtime.onnx_policy import Proprioception
from policy.runtime.robot_rules import RobotLimits, implausible_joints, implausible_turn, limit_targets, reach
from sim.errors import LunarError
from sim.robots.go2.facts import GO2
from sim.spec.joints import JOINT_NAMES

FLAPS, FLAP_SPAN = 5, 10.0  # so many holds within so many s are a source that will not do
_RATE = 0.9  # of the policy's rate at which state must come, at least


def bounded(default: float, low: float, high: float, help: str) -> Any:
    """A config field with its range and a sentence with its unit, from which a node declares its parameter."""
    return field(default=default, metadata={"range": (low, high), "help": help})


def check_bounds(config: Any) -> None:
    """Raise LunarError when a ``bounded`` field of ``config`` lies outside its range."""
    for f in fields(config):
        low, high = f.metadata["range"]
        if not low <= getattr(config, f.name) <= high:
            raise LunarError(f"{f.name} is {getattr(config, f.name)}, it must lie between {low} and {high}")


@dataclass(frozen=True)
class ControllerConfig:
    """Limits of a deployed policy. ``metadata`` of each field holds its range and a sentence with its unit."""

    stale_after: float = bounded(0.05, 0.005, 0.5, "s. The policy never acts on state older than this: it holds.")
    damp_after: float = bounded(0.5, 0.01, 5.0, "s. With state older than this the robot goes limp, latched.")
    ramp_time: float = bounded(1.5, 0.1, 30.0, "s. Time to lead the joints to the default pose before hopping.")
    max_tilt: float = bounded(1.0472, 0.1, 1.5708, "rad. More tilt than this is a fall: the robot goes limp, latched.")
    stand_tilt: float = bounded(0.4, 0.05, 1.5708, "rad. With more tilt a robot that stands does not begin to run.")
    stand_error: float = bounded(0.35, 0.05, 3.0, "rad. Nor with a joint this far from where it was told to be.")
    stand_turn: float = bounded(1.5, 0.1, 35.0, "rad/s. Nor with a measured turn rate over this.")
    collapse_reach: float = bounded(0.15, 0.0, 0.3, "m. While it runs, some foot must get this far below the base ...")
    collapse_time: float = bounded(
        2.5,
        1.8,
        10.0,
        "s. ... at least this often, which no flight exceeds: else it lies on its belly and goes limp, latched.",
    )
    damp_kd: float = bounded(2.0, 0.0, 10.0, "N*m*s/rad. Joint damping in damp mode.")
    command_timeout: float = bounded(0.5, 0.05, 10.0, "s. Speeds are zero when the newest command is older than this.")

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.damp_after < self.stale_after:
            raise LunarError(f"damp_after ({self.damp_after} s) must not be shorter than stale_after")


@dataclass(frozen=True)
class JointCommand:
    """What the joints shall do until the next control period."""

    targets: np.ndarray
    """(12,) rad, project joint order, within the joint range."""
    kp: float
    """N*m/rad."""
    kd: float
    """N*m*s/rad."""
    mode: str
    """``stand``, ``run``, ``hold`` or ``damp``."""
    reason: str = ""
    """Why the mode is hold or damp, or what a robot that stands is waiting for; one sentence."""


class Actor(Protocol):
    """What the controller needs of a policy; ``OnnxPolicy`` has it."""

    card: Card
    verdict: Verdict
    """What its monitor says of its newest action."""

    def reset(self) -> None:
        """Forget the history."""

    def act(self, sensors: Proprioception, command: np.ndarray) -> np.ndarray:
        """Joint targets (12,) in rad."""


class Stream:
    """The newest good message of one sensor: its values, when it arrived, and why the last one was refused.

    ``plausible`` says of a message's values why no robot can have measured them, empty where one may.
    """

    def __init__(self, name: str, plausible: Callable[..., str]) -> None:
        self.name = name
        self.values: tuple[np.ndarray, ...] = ()
        self.arrived = -math.inf
        self.fault = ""
        self.count = 0
        """Good messages so far."""
        self._plausible = plausible
        self._stamp = math.nan

    def offer(self, values: tuple[np.ndarray, ...], stamp: float, now: float) -> None:
        """Take a message in if its values can be true. A repeated stamp is a sensor that froze; one that goes back is a
        publisher's clock that was set, or a publisher that began anew: when messages come is what counts."""
        if stamp == self._stamp:
            self.refuse("its time stamp does not advance")
        elif not all(np.isfinite(v).all() for v in values):
            self.refuse("it holds a value that is not a number")
        elif why := self._plausible(*values):
            self.refuse(f"it cannot be this robot's: {why}")
        else:
            self.values, self._stamp, self.arrived, self.fault = values, stamp, now, ""
            self.count += 1

    def refuse(self, why: str) -> None:
        """Note why a message could not be used; the stream ages."""
        self.fault = why

    def age(self, now: float) -> float:
        """Seconds since the newest good message; infinite before the first."""
        return now - self.arrived

    def complaint(self, now: float) -> str:
        """One sentence on why there is no fresh value."""
        state = f"{self.name}: the newest is {self.age(now):.2f} s old" if self.values else f"{self.name}: none yet"
        return f"{state}; {self.fault}" if self.fault else state


class PolicyController:
    """One robot's policy with its guards.

    Args:
        policy: a loaded policy whose observation fits the robot.
        config: limits.
        limits: of the robot.
        imu_mount: roll, pitch and yaw in rad of the IMU's frame in the base's, as in a URDF's ``rpy``.
        reaction: what the robot does, latched, when the policy's monitor does not know its state: one of
            ``monitor_file.REACTIONS``, or by default nothing.
    """

    def __init__(
        self,
        policy: Actor,
        config: ControllerConfig | None = None,
        limits: RobotLimits | None = None,
        imu_mount: Sequence[float] = (0.0, 0.0, 0.0),
        reaction: str = "",
    ) -> None:
        self.policy = policy
        self.config = config or ControllerConfig()
        self.limits = limits = limits or RobotLimits()
        self._stops = stops = policy.card.stops
        self.joints = Stream(
            "joint states", lambda position, velocity: implausible_joints(position, velocity, limits, stops)
        )
        self.imu = Stream("imu", lambda gravity, turn: implausible_turn(turn, limits))
        self._base_from_imu = rotation(*imu_mount)
        self._legs = GO2.legs if policy.card.robot == "go2" else None
        self._reaction = reaction
        self._names: tuple[str, ...] = ()
        self._index = np.zeros(0, dtype=int)
        self._command = np.zeros(5)
        self._command_time = -math.inf
        self.activate()

    @property
    def period(self) -> float:
        """Seconds between calls of ``step``."""
        return 1.0 / self.policy.card.observation.rate

    def activate(self) -> None:
        """Forget latches, targets and history; the joints are led in from the pose they have then."""
        self._latched = self._doubted = ""
        self._targets: np.ndarray | None = None
        self._ramp: tuple[float, np.ndarray, dict[Stream, int]] | None = None  # start time, start pose, messages then
        self._running = False
        self._upright_at = -math.inf  # when a foot was last well below the base
        self._last_step = self._sent_at = -math.inf
        self._holds: list[float] = []  # when the last few began

    def second_master(self, who: str) -> None:
        """Somebody else commands this robot too, which no robot survives: it goes limp, latched."""
        self._latched = self._latched or f"{who} commands this robot too: stop one of them"

    def on_joint_state(
        self,
        names: Sequence[str],
        position: Sequence[float],
        velocity: Sequence[float],
        stamp: float,
        now: float,
    ) -> None:
        """Joint angles (rad) and speeds (rad/s) in the publisher's order; further joints are ignored.

        Args:
            stamp: s, time of measurement on the publisher's clock; it must advance. now: s, arrival.
        """
        if not len(names) == len(position) == len(velocity):
            self.joints.refuse(f"{len(names)} names, {len(position)} positions and {len(velocity)} velocities came")
            return
        if tuple(names) != self._names:
            if wrong := [n for n in JOINT_NAMES if names.count(n) != 1]:
                times = "more than once" if wrong[0] in names else "not"
                self.joints.refuse(f"joint {wrong[0]} is {times} among the names of the message")
                return
            self._names = tuple(names)
            self._index = np.array([self._names.index(n) for n in JOINT_NAMES])
        self.joints.offer((np.array(position)[self._index], np.array(velocity)[self._index]), stamp, now)

    def on_imu(
        self,
        orientation: Sequence[float],
        orientation_variance: float,
        angular_velocity: Sequence[float],
        stamp: float,
        now: float,
    ) -> None:
        """Orientation quaternion (x, y, z, w) of the IMU in the world and angular velocity (rad/s) in the IMU's frame.

        ``orientation_variance`` is the first entry of the message's covariance, −1 when the IMU gives no orientation.
        Such a message is refused: in free flight an accelerometer reads zero, so gravity cannot be had from it.
        """
        quaternion = np.array(orientation, dtype=float)
        norm = float(np.linalg.norm(quaternion))
        if orientation_variance < 0.0 or not 0.5 < norm < 2.0:
            self.imu.refuse("it gives no orientation, which a hopping robot needs as it is weightless in flight")
            return
        mount = self._base_from_imu
        turn = mount @ np.array(angular_velocity, dtype=float)
        self.imu.offer((mount @ gravity_direction(quaternion / norm), turn), stamp, now)

    def on_command(self, command: Sequence[float], now: float) -> None:
        """A command (5,) in SI units; the policy clips it to its training range. Non-finite ones are ignored."""
        if np.isfinite(command).all():
            self._command, self._command_time = np.array(command, dtype=float), now

    def on_twist(self, vx: float, vy: float, yaw_rate: float, now: float) -> None:
        """Speeds in m/s and rad/s; apex gain and economy are the card's defaults."""
        self.on_command([vx, vy, yaw_rate, *self.policy.card.default_command[3:]], now)

    def command(self, now: float) -> np.ndarray:
        """The command in force, shape (5,): without a recent one, hops in place with the card's gain and economy."""
        if 0.0 <= now - self._command_time <= self.config.command_timeout:
            return self._command
        return np.array([0.0, 0.0, 0.0, *self.policy.card.default_command[3:]])

    def step(self, now: float) -> JointCommand:
        """Decide what the joints do; call once per control period."""
        if now < self._last_step:
            self._latched = self._latched or "the clock went back"
        self._last_step = now
        if self._latched:
            return self._damp(self._latched)
        if not self.joints.values:
            return self._damp(self.joints.complaint(now))
        for stream in (self.joints, self.imu):
            if not 0.0 <= stream.age(now) <= self.config.stale_after:
                return self._hold(stream, now)
        gravity, angular_velocity = self.imu.values
        position, velocity = self.joints.values
        tilt = math.acos(min(1.0, max(-1.0, -gravity[2])))
        if tilt > self.config.max_tilt:
            return self._latch(f"the robot fell: its tilt is {math.degrees(tilt):.0f} degrees")
        if self._running or self._doubted:
            if self._legs is None or not reach(position, gravity, self._legs) < self.config.collapse_reach:
                self._upright_at = now
            elif (low := now - self._upright_at) > self.config.collapse_time:
                return self._latch(f"the robot collapsed: its feet have been level with its belly for {low:.1f} s")
        if self._ramp is None:
            start = position if self._targets is None else self._targets
            self._ramp = (now, start, {stream: stream.count for stream in (self.joints, self.imu)})
        if self._doubted:
            return self._react(now)
        default, progress = np.array(self.policy.card.default_pose), (now - self._ramp[0]) / self.config.ramp_time
        if progress < 1.0:
            return self._send(_blend(self._ramp[1], default, progress), "stand", now)
        if not self._running:
            if why := self._unready(tilt, now):
                return self._send(default, "stand", now, why)
            self.policy.reset()
            self._running, self._upright_at = True, now
        targets = self.policy.act(Proprioception(angular_velocity, gravity, position, velocity), self.command(now))
        if not np.isfinite(targets).all():
            return self._latch("the policy yielded a target that is not a number")
        if self._reaction and self.policy.verdict.trip:
            self._doubted = f"the policy does not know this state: {self.policy.verdict.sentence}"
            return self._react(now)
        return self._send(targets, "run", now)

    def _react(self, now: float) -> JointCommand:
        if self._reaction == "damp" or self._targets is None:
            return self._latch(self._doubted)
        hold = self._reaction == "hold"
        targets = self._targets if hold else np.array(self.policy.card.default_pose)
        order = self._send(targets, "hold" if hold else "stand", now, self._doubted)
        return replace(order, kd=STIFFER * order.kd)

    def _unready(self, tilt: float, now: float) -> str:
        """Why a robot that was led to its default pose must not run yet; empty when it may."""
        assert self._ramp is not None
        (position, _), (_, angular_velocity) = self.joints.values, self.imu.values
        error = np.abs(position - np.array(self.policy.card.default_pose))
        turn = float(np.max(np.abs(angular_velocity)))
        since, _, before = self._ramp
        for stream, count in before.items():
            rate = (stream.count - count) / (now - since)
            if rate < _RATE / self.period:
                return f"{stream.name}: {rate:.0f} come per second, the policy acts {1.0 / self.period:.0f} times"
        if not error.max() <= self.config.stand_error:
            joint = JOINT_NAMES[int(np.argmax(error))]
            return f"{joint} is {error.max():.2f} rad from where it was told to be: does it move?"
        if not tilt <= self.config.stand_tilt:
            return f"it stands, but the IMU says that it leans by {math.degrees(tilt):.0f} degrees: how is it mounted?"
        if not turn <= self.config.stand_turn:
            return f"it stands, but the IMU says that it turns with {turn:.1f} rad/s: is that in rad/s?"
        return ""

    def _hold(self, stream: Stream, now: float) -> JointCommand:
        why = stream.complaint(now)
        if stream.values and stream.age(now) > self.config.damp_after:
            return self._latch(why)
        if self._ramp is not None:
            self._holds = [t for t in self._holds if now - t < FLAP_SPAN] + [now]
            if len(self._holds) >= FLAPS:
                return self._latch(f"{len(self._holds)} times in {FLAP_SPAN:.0f} s state was too old; {why}")
        # The history has a hole now, so that the way back leads through the ramp.
        self._ramp, self._running = None, False
        return self._send(self.joints.values[0] if self._targets is None else self._targets, "hold", now, why)

    def _latch(self, why: str) -> JointCommand:
        self._latched = why
        return self._damp(why)

    def _damp(self, why: str) -> JointCommand:
        targets = np.array(self.policy.card.default_pose) if self._targets is None else self._targets
        return JointCommand(np.clip(targets, *self._stops), 0.0, self.config.damp_kd, "damp", why)

    def _send(self, targets: np.ndarray, mode: str, now: float, why: str = "") -> JointCommand:
        sent = self.joints.values[0] if self._targets is None else self._targets
        dt = min(now - self._sent_at, 2.0 * self.period)  # one long gap is no licence for one long step
        self._targets, self._sent_at = limit_targets(targets, sent, self.limits, dt, self._stops), now
        card = self.policy.card
        return JointCommand(self._targets, card.kp, card.kd, mode, why)


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """(3, 3) that turns a vector of a frame with these angles (rad, about the fixed x, y, z) into its parent's."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    about_y = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    about_z = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    return about_z @ about_y @ about_x


def gravity_direction(quaternion: np.ndarray) -> np.ndarray:
    """Unit vector along gravity in the base frame, (3,), from the base's orientation (x, y, z, w) in the world."""
    x, y, z, w = quaternion
    return -np.array([2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)])


def _blend(start: np.ndarray, end: np.ndarray, progress: float) -> np.ndarray:
    """Minimum-jerk path: no speed and no acceleration at either end."""
    s = progress**3 * (10.0 - 15.0 * progress + 6.0 * progress**2)
    return start + s * (end - start)
