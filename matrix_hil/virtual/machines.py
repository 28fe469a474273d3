"""The five emulated machines: limits, lags, dead times and sensor faults between a command and what physics sees.

``actuated`` is what the machine does, exact, for physics to follow; states on the line are what its sensors report.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from matrix_hil.config import (
    Counterweight,
    Platform,
    Robot,
    Tracker,
    Treadmill,
)
from matrix_hil.link.devices import COUNTERWEIGHT, PLATFORM, ROBOT, TRACKER, TREADMILL
from matrix_hil.link.protocol import FAULT_ESTOP, FAULT_WATCHDOG
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    RobotState,
    TrackerState,
    TreadmillCommand,
    TreadmillState,
)
from matrix_hil.virtual.emulator import Emulator
from sim.spec.joints import NOMINAL_POSE


@dataclass(frozen=True)
class PlatformActuation:
    """Pose (6,) in m and rad, velocity (6,) in m/s and rad/s."""

    pose: np.ndarray
    velocity: np.ndarray


@dataclass(frozen=True)
class TreadmillActuation:
    """Belt speed in m/s, positive towards -x, and its integral in m."""

    speed: float
    position: float


@dataclass(frozen=True)
class CounterweightActuation:
    """Force in N that the winch adds to the passive tension, and whether the drum is locked (pays nothing out)."""

    force: float
    brake: bool


@dataclass(frozen=True)
class RobotActuation:
    """Joint targets (12,) in rad, gains in N*m/rad and N*m*s/rad, mode."""

    targets: np.ndarray
    kp: float
    kd: float
    mode: str


class PlatformEmulator(Emulator):
    """Rate- and acceleration-limited 6-DoF base. Safe state: brakes to a stop and stays."""

    spec = PLATFORM

    def __init__(self, cfg: Platform, seed: int) -> None:
        super().__init__(cfg.line, seed)
        self.cfg = cfg
        self.dead_time = cfg.dead_time
        self._target: np.ndarray | None = None
        self._pose = np.zeros(6)
        self._velocity = np.zeros(6)

    @property
    def actuated(self) -> PlatformActuation:
        """Where the top plate is and how it moves."""
        return PlatformActuation(self._pose.copy(), self._velocity.copy())

    def _accept(self, command: PlatformCommand) -> None:
        self._limit = bool((np.abs(command.pose) > self.cfg.range * (1 + 1e-3)).any())
        self._target = np.clip(command.pose, -self.cfg.range, self.cfg.range)

    def _safe(self) -> None:
        self._target = None

    def _advance(self, now: float, dt: float) -> None:
        step = self.cfg.accelerations * dt
        if self._target is None:
            change = -self._velocity
        else:
            w = self.cfg.bandwidth
            change = (w**2 * (self._target - self._pose) - 2.0 * w * self._velocity) * dt
        self._velocity = np.clip(self._velocity + np.clip(change, -step, step), -self.cfg.rates, self.cfg.rates)
        self._pose = np.clip(self._pose + self._velocity * dt, -self.cfg.range, self.cfg.range)

    def _state(self, now: float) -> PlatformState:
        return PlatformState(now, _quantise(self._pose, self.cfg.resolution), self._velocity)


class TreadmillEmulator(Emulator):
    """Belt with limited acceleration. Safe state: ramps to zero."""

    spec = TREADMILL

    def __init__(self, cfg: Treadmill, seed: int) -> None:
        super().__init__(cfg.line, seed)
        self.cfg = cfg
        self.dead_time = cfg.dead_time
        self._target = self._speed = self._position = 0.0

    @property
    def actuated(self) -> TreadmillActuation:
        """How the belt moves."""
        return TreadmillActuation(self._speed, self._position)

    def _accept(self, command: TreadmillCommand) -> None:
        self._limit = abs(command.speed) > self.cfg.max_speed * (1 + 1e-3)
        speed = float(np.clip(command.speed, -self.cfg.max_speed, self.cfg.max_speed))
        self._target = float(_quantise(speed, self.cfg.resolution)) * self.cfg.scale

    def _safe(self) -> None:
        self._target = 0.0

    def _advance(self, now: float, dt: float) -> None:
        stuck = self._speed == 0.0 and abs(self._target) < self.cfg.breakaway
        step = self.cfg.max_acceleration * dt
        if not stuck:
            self._speed += float(np.clip(self._target - self._speed, -step, step))
        self._position += self._speed * dt

    def _state(self, now: float) -> TreadmillState:
        speed, position = self._speed / self.cfg.scale, self._position / self.cfg.scale
        return TreadmillState(now, float(_quantise(speed, self.cfg.resolution)), position)


class CounterweightEmulator(Emulator):
    """Winch in parallel to the hanging weight, force-controlled open loop. Safe state: the brake.

    ``drive`` (N wanted, N by load cell, m/s paying out, s since the last call) -> N of the winch closes the force loop
    inside the device, once per tick while the brake is open.
    """

    spec = COUNTERWEIGHT

    def __init__(
        self,
        cfg: Counterweight,
        seed: int,
        drive: Callable[[float, float, float, float], float] | None = None,
    ) -> None:
        super().__init__(cfg.line, seed)
        self.cfg = cfg
        self._drive = drive
        self._wanted = cfg.passive_tension
        self._target = self._force = 0.0
        self._brake = True
        self._measured = (cfg.passive_tension, 0.0, 0.0)

    @property
    def actuated(self) -> CounterweightActuation:
        """What winch and brake do."""
        return CounterweightActuation(self._force, self._brake)

    def measure(self, tension: float, length: float, speed: float) -> None:
        """True values from physics: N at the harness, m paid out, m/s paying out."""
        self._measured = (tension, length, speed)

    def _accept(self, command: CounterweightCommand) -> None:
        self._wanted = command.tension
        self._target = self._clip(command.tension - self.cfg.passive_tension)
        self._brake = command.brake

    def _safe(self) -> None:
        self._brake = True

    def _advance(self, now: float, dt: float) -> None:
        if self._drive is not None and not self._brake:
            tension, _, speed = self._measured
            self._target = self._clip(self._drive(self._wanted, self._load_cell(tension), speed, dt))
        self._force += (self._target - self._force) * (1.0 - math.exp(-dt / self.cfg.lag))

    def _state(self, now: float) -> CounterweightState:
        tension, length, speed = self._measured
        self._limit = tension > self.cfg.tension_limit
        return CounterweightState(now, self._load_cell(tension), length, speed)

    def _load_cell(self, tension: float) -> float:
        noisy = tension + self.cfg.zero + self.cfg.noise * self._random.standard_normal()
        return round(noisy / self.cfg.resolution) * self.cfg.resolution

    def _clip(self, force: float) -> float:
        return min(max(force, -self.cfg.winch_force), self.cfg.winch_force)


class TrackerEmulator(Emulator):
    """Pose tracker with noise and latency. It takes no commands."""

    spec = TRACKER

    def __init__(self, cfg: Tracker, seed: int) -> None:
        super().__init__(cfg.line, seed)
        self.cfg = cfg
        self._latest = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
        self._history: deque[tuple[float, np.ndarray, np.ndarray]] = deque()

    def measure(self, position: np.ndarray, quaternion: np.ndarray) -> None:
        """True pose from physics: (3,) m in the rig's frame, (4,) w, x, y, z."""
        self._latest = (np.array(position, dtype=float), np.array(quaternion, dtype=float))

    def _advance(self, now: float, dt: float) -> None:
        self._history.append((now, *self._latest))
        while len(self._history) > 1 and self._history[1][0] <= now - self.cfg.latency + 1e-9:
            self._history.popleft()

    def _state(self, now: float) -> TrackerState:
        _, position, quaternion = self._history[0]
        position = position + self.cfg.origin + self.cfg.noise * self._random.standard_normal(3)
        turn = 0.5 * self.cfg.turn_noise * self._random.standard_normal(3)
        w, v = quaternion[0], quaternion[1:]
        noisy = np.concatenate([[w - v @ turn], v + w * turn + np.cross(v, turn)])  # a small turn in the base frame
        return TrackerState(now, position, noisy / np.linalg.norm(noisy))


class RobotEmulator(Emulator):
    """Holds the targets of the last command. Safe state after silence: hold, stand, damp; after an e-stop: damp.

    Args:
        cfg: its controller.
        seed: of its line.
        stance: (12,) rad.
    """

    spec = ROBOT

    def __init__(self, cfg: Robot, seed: int, stance: np.ndarray = NOMINAL_POSE) -> None:
        super().__init__(cfg.line, seed)
        self.cfg = cfg
        self.dead_time = cfg.dead_time
        self._stance, self._targets = stance, stance.copy()
        self._kp, self._kd = cfg.kp, cfg.kd
        self._mode = "damp"
        self._commanded: float | None = None
        self._tripped: float | None = None
        zeros = np.zeros
        self._measured = (stance.copy(), zeros(12), zeros(3), np.array([0.0, 0.0, -1.0]), zeros(4))

    @property
    def actuated(self) -> RobotActuation:
        """What the joint controllers do; ``kp`` is 0 in ``damp``."""
        kp = 0.0 if self._mode == "damp" else self._kp
        return RobotActuation(self._targets.copy(), kp, self._kd, self._mode)

    def measure(
        self,
        joint_position: np.ndarray,
        joint_velocity: np.ndarray,
        angular_velocity: np.ndarray,
        projected_gravity: np.ndarray,
        foot_force: np.ndarray,
    ) -> None:
        """True values from physics, shapes and units as in ``RobotState``."""
        values = (joint_position, joint_velocity, angular_velocity, projected_gravity, foot_force)
        self._measured = tuple(np.array(v, dtype=float) for v in values)  # type: ignore[assignment]

    def _accept(self, command: RobotCommand) -> None:
        self._commanded = self._time
        self._tripped = None
        self._kp, self._kd = command.kp, command.kd
        if command.mode == "run":
            self._targets = np.array(command.targets, dtype=float)
        self._enter(command.mode)

    def _safe(self) -> None:
        self._commanded = None
        if self.fault & FAULT_ESTOP:
            self._enter("damp")
        elif self._tripped is None and self._mode != "damp":
            self._tripped = self._time
            self._enter("hold")

    def _enter(self, mode: str) -> None:
        if mode == "hold" and self._mode != "hold":
            self._targets = self._measured[0].copy()
        self._mode = mode

    def _advance(self, now: float, dt: float) -> None:
        # Heartbeats alone do not keep a robot running: its commands must come too.
        if self._commanded is not None and now - self._commanded > self.cfg.line.watchdog + 1e-9:
            self._trip(FAULT_WATCHDOG)
        if self._tripped is not None and self._mode != "damp":
            since = now - self._tripped
            if since > self.cfg.damp_time - 1e-9:
                self._enter("damp")
            elif since > self.cfg.hold_time - 1e-9:
                self._enter("stand")
        if self._mode == "stand":
            step = self.cfg.stand_rate * dt
            self._targets = self._targets + np.clip(self._stance - self._targets, -step, step)

    def _state(self, now: float) -> RobotState:
        return RobotState(now, *self._measured)


def _quantise(value: np.ndarray | float, step: float) -> np.ndarray:
    return np.round(np.asarray(value) / step) * step
