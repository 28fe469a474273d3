"""How a rig is calibrated, step by step: homing, tare, tracker origin, axes, belt scale, under supervision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from matrix_hil.config import CalibrationConfig
from matrix_hil.control.stewart import PlatformLimits
from matrix_hil.link import SerialDevice
from matrix_hil.link.calibration import BELT_SCALES, FARTHEST_ORIGIN, LARGEST_ZERO
from matrix_hil.messages import (
    CounterweightCommand,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    RobotCommand,
    TreadmillCommand,
)
from matrix_hil.run.clocks import Clock
from matrix_hil.run.loop import send
from matrix_hil.safety.supervisor import SafetyConfig, Supervisor
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE

PERIOD = 0.005  # s between two cycles
_BELT_GAIN = 0.5  # m/s^2
_TURN_SPEED = 0.1  # rad/s of homing
_THERE = (0.002, 0.01)  # m and rad from a target at which the platform has arrived
_REST = 0.2  # s of rest before anything is averaged: servo, belt and the tracker's latency
_LAG = 0.2  # s from the end of the belt's ramp to a state that says so, on the slowest line
_STEP_ERROR = 0.005  # m between a step of the platform and what the tracker saw of it
_AGREEMENT = 0.02  # of the scale, between the belt's two directions


def relaxed(cfg: SafetyConfig) -> SafetyConfig:
    """Limits for a rig without a robot in the harness: what is tracked is a marker, the hook is open."""
    never = math.inf
    return replace(
        cfg, slack_time=never, frozen_time=never, tilts_apart_time=never, tilt=math.pi, height_min=-never,
        height_max=never, drift=never,
    )  # fmt: skip


class SlowMotion:
    """Machines under supervision, commanded to ``pose`` and ``belt``, one ``cycle`` at a time.

    Args:
        devices: connected drivers by name.
        safety: limits.
        platform: what the motion platform can do.
        clock: of the cycles, ``PERIOD`` s each; has been entered.
    """

    def __init__(
        self,
        devices: Mapping[str, SerialDevice],
        safety: SafetyConfig,
        platform: PlatformLimits,
        clock: Clock,
    ) -> None:
        self.devices = devices
        self.supervisor = Supervisor(relaxed(safety), platform=platform)
        self.pose = np.zeros(6)
        """m and rad, where the platform shall be."""
        self.belt = 0.0
        """m/s, where the belt's speed is being ramped to."""
        self._ramp = 0.0
        self.now = 0.0
        self._clock = clock

    def cycle(self) -> MachineStates:
        """One cycle; the newest states.

        Raises:
            LunarError: a rule of the supervisor tripped; the drivers' exit leaves the machines safe.
        """
        self._clock.wait()
        self._clock.receive()
        states = MachineStates(**{name: device.state for name, device in self.devices.items()})
        self.now = now = self._clock.now()
        step = _BELT_GAIN * PERIOD  # slow enough for a drive that is commanded 20 times per second
        self._ramp += min(max(self.belt - self._ramp, -step), step)
        wanted = MachineCommands(
            PlatformCommand(now, self.pose.copy()),
            TreadmillCommand(now, self._ramp),
            CounterweightCommand(now, 0.0, brake=True),
            RobotCommand(now, NOMINAL_POSE, 0.0, 2.0, "damp"),
        )
        _, judged = self.supervisor.step(states, wanted, now)
        send(self.devices, states, self.supervisor)
        self._clock.send()
        if judged.state in ("safe", "estop"):
            raise LunarError(f"the calibration was stopped by {judged.reason}; the machines have been left safe")
        return states

    def start(self, timeout: float) -> None:
        """Wait until every machine reports and no rule objects; from then on commands are passed."""
        until = self.now + timeout
        states = self.cycle()
        while self.supervisor.blocked:
            if self.now > until:
                raise LunarError(f"the rig cannot be calibrated: {self.supervisor.blocked}; nothing has moved")
            states = self.cycle()
        assert states.platform is not None
        self.pose = states.platform.pose.copy()
        self.supervisor.arm(self.now)
        self.supervisor.run(self.now)

    def rest(self, seconds: float) -> None:
        """Let everything come to rest."""
        until = self.now + seconds
        while self.now < until:
            ramping = self._ramp != self.belt
            self.cycle()
            if ramping:  # a loop that was held up takes longer to ramp down
                until = max(until, self.now + _REST + _LAG - PERIOD)

    def average(self, seconds: float, of: Callable[[MachineStates], Any]) -> np.ndarray:
        """Mean of a reading over ``seconds``."""
        until = self.now + seconds
        values: list[Any] = []
        while self.now < until or not values:
            values.append(of(self.cycle()))
        return np.mean(values, axis=0)

    def go(self, target: np.ndarray, speed: float, timeout: float) -> None:
        """Move the platform to ``target`` (6,) in m and rad and wait until it is there."""
        step = np.array([speed] * 3 + [_TURN_SPEED] * 3) * PERIOD
        tolerance = np.array([_THERE[0]] * 3 + [_THERE[1]] * 3)
        until = self.now + timeout
        while True:
            self.pose = self.pose + np.clip(target - self.pose, -step, step)
            states = self.cycle()
            assert states.platform is not None
            off = np.abs(states.platform.pose - target)
            if (self.pose == target).all() and (off <= tolerance).all():
                break
            if self.now > until:
                raise LunarError(
                    f"calibration: the platform was sent to {short(target)} and is {short(off)} off after"
                    f" {timeout:g} s (m, rad)"
                )
        self.rest(_REST)


def measure(
    machines: SlowMotion, cfg: CalibrationConfig, seen: Mapping[str, bool], show: Callable[[str], None]
) -> dict[str, Any]:
    """Run the procedure; values and checks by their name in ``Calibration``.

    Args:
        machines: connected.
        cfg: speeds, distances and times.
        seen: whether the tracker sees what ``platform`` and ``treadmill`` do, which on a half emulated rig it may not.
        show: takes what is going on.

    Raises:
        LunarError: a machine does not do what it is commanded, or measures what cannot be.
    """
    machines.start(cfg.timeout)
    show("homing")
    machines.go(np.zeros(6), cfg.platform_speed, cfg.timeout)
    show("load cell and tracker at rest")
    tension, *marker = machines.average(
        cfg.average,
        lambda s: np.array([s.counterweight.tension, *s.tracker.position]),  # type: ignore[union-attr]
    )
    zero = float(tension) - cfg.load
    if abs(zero) > LARGEST_ZERO:
        raise LunarError(
            f"calibration: the load cell reads {tension:.1f} N where calibration.load says {cfg.load:g} N; take the"
            " harness off the hook, or say what hangs on it"
        )
    origin = np.array(marker) - [0.0, 0.0, cfg.marker_height]
    if np.abs(origin).max() > FARTHEST_ORIGIN:
        raise LunarError(
            f"calibration: the tracker sees the marker at {short(np.array(marker))} m; put it on the belt's centre, or"
            " set the tracker's own origin nearer to it"
        )
    checks: dict[str, float] = {}
    if seen["platform"] and cfg.platform_step > 0.0:
        checks |= _platform_steps(machines, cfg, show)
    scale = _belt(machines, cfg, show) if seen["treadmill"] else 1.0
    offsets = {name: device.stats.clock_offset for name, device in machines.devices.items()}
    return {
        "load_cell_offset": zero,
        "tracker_origin": tuple(float(v) for v in origin),
        "belt_scale": scale,
        "clock_offset": {name: offset for name, offset in offsets.items() if math.isfinite(offset)},
        "checks": checks,
    }


def _platform_steps(machines: SlowMotion, cfg: CalibrationConfig, show: Callable[[str], None]) -> dict[str, float]:
    """Largest error in m of each step of the platform as the tracker saw it."""
    errors = {}
    for axis, name in enumerate("xyz"):
        show(f"platform along {name}")
        before = machines.average(cfg.average, _marker)
        target = np.zeros(6)
        target[axis] = cfg.platform_step
        machines.go(target, cfg.platform_speed, cfg.timeout)
        moved = machines.average(cfg.average, _marker) - before
        machines.go(np.zeros(6), cfg.platform_speed, cfg.timeout)
        errors[f"platform_{name}_m"] = error = float(np.abs(moved - target[:3]).max())
        if error > _STEP_ERROR:
            raise LunarError(
                f"calibration: a step of the platform of {short(target[:3])} m was seen by the tracker as"
                f" {short(moved)} m; check the axes and units of both"
            )
    return errors


def _belt(machines: SlowMotion, cfg: CalibrationConfig, show: Callable[[str], None]) -> float:
    """True metres per reported metre, from a marker that rides on the belt there and back."""
    scales = []
    for way in (1.0, -1.0):
        show("belt " + ("forward" if way > 0.0 else "back"))
        before = machines.average(cfg.average, _ride)
        until = machines.now + cfg.timeout
        machines.belt = way * cfg.belt_speed
        while True:
            travel, ride = np.abs(_ride(machines.cycle()) - before)
            if travel >= cfg.belt_travel - 0.5 * cfg.belt_speed**2 / _BELT_GAIN:
                break
            if machines.now > until or ride > BELT_SCALES[1] * cfg.belt_travel + FARTHEST_ORIGIN:
                machines.belt = 0.0
                machines.rest(_REST)
                raise LunarError(
                    f"calibration: the belt was commanded {way * cfg.belt_speed:g} m/s, reports {travel:.3f} m of"
                    f" travel, and the marker has moved by {ride:.3f} m"
                )
        machines.belt = 0.0
        machines.rest(_REST + cfg.belt_speed / _BELT_GAIN + _LAG)
        reported, ridden = machines.average(cfg.average, _ride) - before
        scales.append(float(ridden / reported))
        if not BELT_SCALES[0] <= scales[-1] <= BELT_SCALES[1]:
            raise LunarError(
                f"calibration: the marker rode {ridden:.3f} m where the belt reports {reported:.3f} m; is it on the"
                " belt, does positive speed carry it towards -x, and is the drive set to m/s?"
            )
    if abs(scales[0] - scales[1]) > _AGREEMENT:
        raise LunarError(
            f"calibration: the belt's scale is {scales[0]:.3f} forward and {scales[1]:.3f} back; does the belt slip?"
        )
    return float(np.mean(scales))


def _marker(states: MachineStates) -> np.ndarray:
    assert states.tracker is not None
    return states.tracker.position


def _ride(states: MachineStates) -> np.ndarray:
    """m: travel as the belt reports it, and how far the marker has been carried backwards."""
    assert states.treadmill is not None and states.tracker is not None
    return np.array([states.treadmill.position, -states.tracker.position[0]])


def short(values: np.ndarray) -> str:
    """Values for a sentence."""
    return "(" + ", ".join(f"{v:.3f}" for v in values) + ")"
