"""The rules of the safety supervisor: its limits, the pure helpers that clamp, and the table of what trips.

Every check is a function of one ``Cycle`` that returns a sentence, empty when all is well. Bounds are written as
"not within", so that a NaN is outside of every bound. docs/safety.md lists each id with its residual hazard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from matrix_hil.link.protocol import FAULT_ESTOP, ROBOT_MODES
from matrix_hil.messages import MachineCommands, MachineStates
from sim.spec.joints import LOWER, UPPER


@dataclass(frozen=True)
class SafetyConfig:
    """Limits of rig and robot. Within these the supervisor passes or clamps commands, beyond them it trips."""

    platform_travel: float = 0.18
    """m, each way along x, y, z."""
    platform_tilt: float = math.radians(22.0)
    """rad, each way about x, y, z."""
    platform_speed: float = 0.3
    """m/s along each axis."""
    platform_turn_rate: float = math.radians(30.0)
    """rad/s about each axis."""
    platform_acceleration: float = 4.905
    """m/s^2 along each axis."""
    platform_turn_acceleration: float = math.radians(500.0)
    """rad/s^2 about each axis."""
    belt_speed: float = 3.0
    """m/s, each way."""
    belt_acceleration: float = 2.0
    """m/s^2."""
    tension_max: float = 450.0
    """N. Commands are clamped to it; a measured tension above it trips."""
    tension_rate: float = 10000.0
    """N/s. Greatest change of the commanded tension."""
    slack_tension: float = 5.0
    """N. Below it the rope counts as slack."""
    slack_time: float = 0.5
    """s of slack rope before a trip: by then it has parted or come off."""
    measured_margin: float = 1.15
    """Measured poses and speeds may exceed their command's limit by this factor (overshoot, noise)."""
    far_outside: float = 1.5
    """A commanded pose, belt speed or tension beyond its limit times this factor trips instead of being clamped."""
    tilt: float = math.radians(60.0)
    """rad between the robot's z axis and the vertical."""
    height_min: float = 0.12
    """m from the plate under it to the robot's base."""
    height_max: float = 1.6
    """m, base in the rig's frame."""
    drift: float = 0.45
    """m from the belt's centre along x or y."""
    joint_margin: float = 0.0
    """rad beyond the joint's range that a target may lie."""
    joint_far_outside: float = math.pi
    """rad beyond the joint's range at which a target trips."""
    joint_rate: float = 120.0
    """rad/s. Greatest change of a joint target; 0.6 rad per 200 Hz cycle passes a policy's steps, not a glitch."""
    kp_max: float = 100.0
    """N*m/rad."""
    kd_max: float = 10.0
    """N*m*s/rad."""
    platform_stale: float = 0.05
    """s, oldest state to act upon."""
    treadmill_stale: float = 0.05
    """s, oldest state to act upon."""
    counterweight_stale: float = 0.05
    """s, oldest state to act upon."""
    tracker_stale: float = 0.06
    """s, oldest state to act upon."""
    robot_stale: float = 0.04
    """s, oldest state to act upon."""
    command_stale: float = 0.05
    """s. An older command is not sent."""
    command_silence: float = 0.1
    """s without a fresh command for some machine before a trip."""
    deadline: float = 0.04
    """s between two steps at most."""
    hold_time: float = 0.03
    """s after a trip that the robot holds its pose, before it stands."""
    damp_time: float = 0.1
    """s after a trip at which the robot damps."""

    @property
    def platform_range(self) -> np.ndarray:
        """(6,) m and rad."""
        return np.array([self.platform_travel] * 3 + [self.platform_tilt] * 3)

    @property
    def platform_rates(self) -> np.ndarray:
        """(6,) m/s and rad/s."""
        return np.array([self.platform_speed] * 3 + [self.platform_turn_rate] * 3)

    @property
    def platform_accelerations(self) -> np.ndarray:
        """(6,) m/s^2 and rad/s^2."""
        return np.array([self.platform_acceleration] * 3 + [self.platform_turn_acceleration] * 3)


CLOCK_TOLERANCE = 1e-3
"""s. What is stamped later than this after now comes from another clock."""


# ---- clamps --------------------------------------------------------------------------------------------------------


def limit_range(command: Any, previous: Any, low: Any, high: Any) -> np.ndarray:
    """Clamp to [low, high]. Non-finite commands hold ``previous``. Element by element, any shape."""
    command, previous = np.asarray(command, dtype=float), np.asarray(previous, dtype=float)
    return np.clip(np.where(np.isfinite(command), command, previous), low, high)


def limit_rate(command: Any, previous: Any, max_rate: Any, dt: float) -> np.ndarray:
    """Clamp the change since ``previous`` to ``max_rate`` per second.

    Non-finite commands hold ``previous``, and so does a clock that stands or jumps back. Any shape.
    """
    command, previous = np.asarray(command, dtype=float), np.asarray(previous, dtype=float)
    step = np.asarray(max_rate) * dt if dt > 0.0 else 0.0
    return previous + np.clip(np.where(np.isfinite(command), command - previous, 0.0), -step, step)


def limit_motion(
    command: np.ndarray,
    previous: np.ndarray,
    velocity: np.ndarray,
    max_rate: np.ndarray,
    max_acceleration: np.ndarray,
    dt: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The position nearest to ``command`` that speed and acceleration allow, and the velocity of getting there.

    It approaches no faster than it can stop, in steps of dt, so a step does not overshoot. Any shape, SI units.
    """
    if not dt > 0.0:
        return previous, velocity
    error = np.where(np.isfinite(command), command - previous, 0.0)
    step = max_acceleration * dt
    stopping = np.sqrt(0.25 * step**2 + 2.0 * max_acceleration * np.abs(error)) - 0.5 * step
    speed = np.minimum(np.minimum(stopping, max_rate), np.abs(error) / dt)
    velocity = velocity + np.clip(np.sign(error) * speed - velocity, -step, step)
    return previous + velocity * dt, velocity


# ---- what is judged ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cycle:
    """Everything that the rules look at in one step."""

    cfg: SafetyConfig
    states: MachineStates
    wanted: MachineCommands
    now: float
    """s, host clock."""
    dt: float
    """s since the last step; 0 in the first."""
    running: bool = True
    """Whether the supervisor runs. A robot that is still to be lifted may lie on the plate."""
    slack_for: float = 0.0
    """s that the rope has been slack while running."""
    refused_for: float = 0.0
    """s that some machine has had no fresh command."""

    def present(self) -> Iterator[tuple[str, Any]]:
        """(name, state) of every device that has been heard."""
        return ((f.name, s) for f in fields(self.states) if (s := getattr(self.states, f.name)) is not None)


def tilt_of_gravity(projected_gravity: np.ndarray) -> float:
    """rad between the base's z axis and the vertical; projected_gravity is (3,), base frame."""
    return math.acos(min(max(-projected_gravity[2] / np.linalg.norm(projected_gravity), -1.0), 1.0))


def tilt_of_quaternion(quaternion: np.ndarray) -> float:
    """rad between the base's z axis and the vertical; quaternion is (4,) w, x, y, z."""
    _, x, y, _ = quaternion / np.linalg.norm(quaternion)
    return math.acos(min(max(1.0 - 2.0 * (x * x + y * y), -1.0), 1.0))


def plate_height(pose: np.ndarray, x: float, y: float) -> float:
    """m, height of the platform's top at rig coordinates x, y; pose is (6,) m and rad (yaw, pitch, roll order)."""
    roll, pitch, yaw = pose[3:]
    normal_x = math.cos(yaw) * math.sin(pitch) * math.cos(roll) + math.sin(yaw) * math.sin(roll)
    normal_y = math.sin(yaw) * math.sin(pitch) * math.cos(roll) - math.cos(yaw) * math.sin(roll)
    normal_z = math.cos(pitch) * math.cos(roll)
    return float(pose[2] - (normal_x * (x - pose[0]) + normal_y * (y - pose[1])) / normal_z)


# ---- rules ---------------------------------------------------------------------------------------------------------


def estop_input(c: Cycle) -> str:
    """A device reports its hardware e-stop."""
    return next((f"{name} reports its e-stop" for name, s in c.present() if s.fault & FAULT_ESTOP), "")


def clock_back(c: Cycle) -> str:
    """The host's clock went backwards."""
    return f"clock jumped back by {-c.dt:.3f} s" if not c.dt >= 0.0 else ""


def missed_deadline(c: Cycle) -> str:
    """The loop was away for too long."""
    return f"{c.dt:.3f} s between two steps, limit {c.cfg.deadline} s" if not c.dt <= c.cfg.deadline + 1e-9 else ""


def device_fault(c: Cycle) -> str:
    """A device reports its watchdog, its range or anything else but the e-stop."""
    return next((f"{name} reports fault bits {s.fault:#x}" for name, s in c.present() if s.fault & ~FAULT_ESTOP), "")


def stale_state(c: Cycle) -> str:
    """A device has not been heard lately, or speaks from the future."""
    for f in fields(c.states):
        state, limit = getattr(c.states, f.name), getattr(c.cfg, f"{f.name}_stale")
        if state is None:
            return f"{f.name} has sent no state"
        age = c.now - state.time
        if not -CLOCK_TOLERANCE <= age <= limit + 1e-9:
            return f"{f.name} state is {age:.3f} s old, limit {limit} s"
    return ""


def broken_state(c: Cycle) -> str:
    """A measured value is not finite, or a direction has no length."""
    for name, state in c.present():
        if (field := _not_finite(state)) is not None:
            return f"{name} state {field} is not finite"
    if c.states.tracker is not None and not 0.8 <= np.linalg.norm(c.states.tracker.quaternion) <= 1.2:
        return "tracker state quaternion is not a unit quaternion"
    if c.states.robot is not None and not 0.8 <= np.linalg.norm(c.states.robot.projected_gravity) <= 1.2:
        return "robot state projected_gravity is not a unit vector"
    return ""


def platform_pose(c: Cycle) -> str:
    """The platform is measured outside of its range."""
    p = c.states.platform
    if p is None or (np.abs(p.pose) <= c.cfg.platform_range * c.cfg.measured_margin).all():
        return ""
    return f"platform pose {_short(p.pose)} is outside of its range"


def platform_speed(c: Cycle) -> str:
    """The platform is measured faster than it may move."""
    p = c.states.platform
    if p is None or (np.abs(p.velocity) <= c.cfg.platform_rates * c.cfg.measured_margin).all():
        return ""
    return f"platform velocity {_short(p.velocity)} is over its limit"


def belt_speed(c: Cycle) -> str:
    """The belt is measured faster than it may run."""
    t, limit = c.states.treadmill, c.cfg.belt_speed * c.cfg.measured_margin
    return "" if t is None or abs(t.speed) <= limit else f"belt runs at {t.speed:.2f} m/s, limit {limit:.2f} m/s"


def rope_tension(c: Cycle) -> str:
    """The rope pulls harder than harness and robot bear."""
    r, limit = c.states.counterweight, c.cfg.tension_max
    return "" if r is None or r.tension <= limit else f"rope tension {r.tension:.0f} N, limit {limit:.0f} N"


def rope_slack(c: Cycle) -> str:
    """The rope has been slack for longer than any hop explains."""
    return "" if c.slack_for <= c.cfg.slack_time + 1e-9 else f"rope slack for {c.slack_for:.2f} s: parted or unhooked"


def robot_tilt(c: Cycle) -> str:
    """The robot has fallen over, by its own sensors or by the tracker's."""
    tilts = []
    if c.states.robot is not None:
        tilts.append(tilt_of_gravity(c.states.robot.projected_gravity))
    if c.states.tracker is not None:
        tilts.append(tilt_of_quaternion(c.states.tracker.quaternion))
    for tilt in tilts:
        if not tilt <= c.cfg.tilt + 1e-9:
            return f"robot tilt {math.degrees(tilt):.1f} deg, limit {math.degrees(c.cfg.tilt):.1f} deg"
    return ""


def robot_height(c: Cycle) -> str:
    """The robot lies on the plate, or is hauled up to the pulley."""
    if c.states.tracker is None:
        return ""
    x, y, z = c.states.tracker.position
    plate = 0.0 if c.states.platform is None else plate_height(c.states.platform.pose, x, y)
    if c.running and not z - plate >= c.cfg.height_min - 1e-9:
        return f"robot base {z - plate:.3f} m above the plate, limit {c.cfg.height_min} m"
    return "" if z <= c.cfg.height_max else f"robot base at {z:.2f} m, limit {c.cfg.height_max} m"


def robot_drift(c: Cycle) -> str:
    """The robot is about to leave the belt."""
    if c.states.tracker is None or (np.abs(c.states.tracker.position[:2]) <= c.cfg.drift).all():
        return ""
    return f"robot at {_short(c.states.tracker.position[:2])} m from the belt's centre, limit {c.cfg.drift} m"


def broken_command(c: Cycle) -> str:
    """A wanted value is not finite, or a mode is unknown."""
    for f in fields(c.wanted):
        if (field := _not_finite(getattr(c.wanted, f.name))) is not None:
            return f"{f.name} command {field} is not finite"
    return "" if c.wanted.robot.mode in ROBOT_MODES else f"robot command mode {c.wanted.robot.mode!r} is unknown"


def far_command(c: Cycle) -> str:
    """A wanted value is so far out that its source must have failed."""
    w, factor = c.wanted, c.cfg.far_outside
    if not (np.abs(w.platform.pose) <= c.cfg.platform_range * factor).all():
        return f"platform command {_short(w.platform.pose)} is far outside of its range"
    if not abs(w.treadmill.speed) <= c.cfg.belt_speed * factor:
        return f"belt command {w.treadmill.speed:.2f} m/s is far over its limit"
    if not abs(w.counterweight.tension) <= c.cfg.tension_max * factor:
        return f"rope command {w.counterweight.tension:.0f} N is far over its limit"
    beyond = np.maximum(LOWER - w.robot.targets, w.robot.targets - UPPER)
    if not (beyond <= c.cfg.joint_far_outside + 1e-9).all():
        return f"joint target {float(np.max(beyond)):.1f} rad beyond the joint's range"
    return ""


def command_silence(c: Cycle) -> str:
    """Commands have been too old to send for too long."""
    limit = c.cfg.command_silence
    return "" if c.refused_for <= limit + 1e-9 else f"no fresh command for {c.refused_for:.3f} s, limit {limit} s"


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    id: str
    check: Callable[[Cycle], str]
    state: str = "safe"
    """State that the supervisor goes to."""


RULES = (
    Rule("S01", estop_input, "estop"),
    Rule("S02", clock_back),
    Rule("S03", missed_deadline),
    Rule("S04", device_fault),
    Rule("S05", stale_state),
    Rule("S06", broken_state),
    Rule("S07", platform_pose),
    Rule("S08", platform_speed),
    Rule("S09", belt_speed),
    Rule("S10", rope_tension),
    Rule("S11", rope_slack),
    Rule("S12", robot_tilt),
    Rule("S13", robot_height),
    Rule("S14", robot_drift),
    Rule("S15", broken_command),
    Rule("S16", far_command),
    Rule("S17", command_silence),
)
"""In the order in which they are asked; the first that answers is latched."""

OPERATOR = "S00"
"""Id of an e-stop asked for by ``Supervisor.estop``."""

CLAMPS = {
    "S20": "command too old: the last one sent is kept",
    "S21": "platform command clamped in position, speed or acceleration",
    "S22": "belt command clamped in speed or acceleration",
    "S23": "rope command clamped in tension or its rate",
    "S24": "joint target clamped to the range or in rate",
    "S25": "joint gains clamped",
}
"""Ids of what is corrected without a trip."""


def first_violation(cycle: Cycle) -> tuple[Rule, str] | None:
    """The first rule that answers, with its sentence."""
    return next(((rule, text) for rule in RULES if (text := rule.check(cycle))), None)


def _not_finite(message: Any) -> str | None:
    """Name of the first field that holds a NaN or infinity."""
    for name, value in vars(message).items():
        if isinstance(value, str):
            continue
        if not (math.isfinite(value) if isinstance(value, float) else np.isfinite(value).all()):
            return name
    return None


def _short(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.2f}" for v in values) + ")"
