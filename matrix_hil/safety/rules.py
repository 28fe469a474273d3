"""The rules of the safety supervisor: what trips, to which state, and within which time.

Every check is a function of one ``Cycle`` that returns a sentence, empty when all is well. Bounds are written as
"not within", so that a NaN is outside of every bound. docs/safety.md lists each id with its residual hazard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from matrix_hil.control.stewart import PlatformLimits, plate_height
from matrix_hil.link.order import CLOCK_TOLERANCE
from matrix_hil.link.protocol import FAULT_ESTOP, ROBOT_MODES
from matrix_hil.messages import MachineCommands, MachineStates, broken_field
from matrix_hil.safety.limits import SafetyConfig
from matrix_hil.safety.trends import Trends, tilt_of_gravity, tilt_of_quaternion
from policy.runtime.robot_rules import Joints, implausible_joints, implausible_turn

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
    platform: PlatformLimits = field(default_factory=PlatformLimits)
    failure: str = ""
    """What went wrong where the wanted commands are made; they are old ones then."""
    doubt: str = ""
    """Why the policy's monitor does not want its action sent; empty where it does, or only warns."""
    joints: Joints = field(default_factory=Joints)
    """The robot's."""
    running: bool = True
    """Whether the supervisor runs. A robot that is still to be lifted may lie on the plate."""
    trends: Trends = field(default_factory=Trends)
    """What only the cycles before can tell."""

    def present(self) -> Iterator[tuple[str, Any]]:
        """(name, state) of every device that has been heard."""
        return ((f.name, s) for f in fields(self.states) if (s := getattr(self.states, f.name)) is not None)


def stale_limits(cfg: SafetyConfig, states: MachineStates) -> Iterator[tuple[str, Any, float]]:
    """(name, newest state or None, oldest age in s to act upon) of every device."""
    return ((f.name, getattr(states, f.name), getattr(cfg, f"{f.name}_stale")) for f in fields(states))


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


def failed_cycle(c: Cycle) -> str:
    """Whoever decides what is wanted has failed."""
    return f"the loop failed: {c.failure}" if c.failure else ""


def doubtful_policy(c: Cycle) -> str:
    """The policy's monitor says that it does not know this state."""
    return f"the policy does not know this state: {c.doubt}" if c.doubt else ""


def device_fault(c: Cycle) -> str:
    """A device reports its watchdog, its range or anything else but the e-stop."""
    return next((f"{name} reports fault bits {s.fault:#x}" for name, s in c.present() if s.fault & ~FAULT_ESTOP), "")


def stale_state(c: Cycle) -> str:
    """A device has not been heard lately, or speaks from the future."""
    for name, state, limit in stale_limits(c.cfg, c.states):
        if state is None:
            return f"{name} has sent no state"
        age = c.now - state.time
        if not -CLOCK_TOLERANCE <= age <= limit + 1e-9:
            return f"{name} state is {age:.3f} s old, limit {limit} s"
    return ""


def broken_state(c: Cycle) -> str:
    """A measured value is not finite, or a direction has no length."""
    for name, state in c.present():
        if field := broken_field(state):
            return f"{name} state {field} is not finite"
    if c.states.tracker is not None and not 0.8 <= np.linalg.norm(c.states.tracker.quaternion) <= 1.2:
        return "tracker state quaternion is not a unit quaternion"
    if c.states.robot is not None and not 0.8 <= np.linalg.norm(c.states.robot.projected_gravity) <= 1.2:
        return "robot state projected_gravity is not a unit vector"
    return ""


def platform_pose(c: Cycle) -> str:
    """The platform is measured outside of its range."""
    p = c.states.platform
    if p is None or (np.abs(p.pose) <= c.platform.range * c.cfg.measured_margin).all():
        return ""
    return f"platform pose {_short(p.pose)} is outside of its range"


def platform_speed(c: Cycle) -> str:
    """The platform is measured faster than it may move."""
    p = c.states.platform
    if p is None or (np.abs(p.velocity) <= c.platform.rates * c.cfg.measured_margin).all():
        return ""
    return f"platform velocity {_short(p.velocity)} is over its limit"


def belt_speed(c: Cycle) -> str:
    """The belt is measured faster than it may run."""
    t, limit = c.states.treadmill, c.cfg.belt_speed * c.cfg.measured_margin
    return "" if t is None or abs(t.speed) <= limit else f"belt runs at {t.speed:.2f} m/s, limit {limit:.2f} m/s"


def rope_tension(c: Cycle) -> str:
    """The rope pulls harder than harness and robot bear, or pushes."""
    r, low, high = c.states.counterweight, c.cfg.tension_min, c.cfg.tension_max
    return "" if r is None or low <= r.tension <= high else f"rope tension {r.tension:.0f} N, limit {high:.0f} N"


def rope_astray(c: Cycle) -> str:
    """The winch does not pull as it is told: it ran away, or lets go."""
    lasted = c.trends.rope_astray_for
    if lasted <= c.cfg.rope_astray_time + 1e-9:
        return ""
    rope, limit = c.states.counterweight, c.cfg.rope_astray
    force = "" if rope is None else f" at {rope.tension:.0f} N"
    return f"rope force{force} is over {limit:.0f} N off its command for {lasted:.2f} s"


def rope_slack(c: Cycle) -> str:
    """The rope has been slack for longer than any hop explains."""
    slack = c.trends.slack_for
    return "" if slack <= c.cfg.slack_time + 1e-9 else f"rope slack for {slack:.2f} s: parted or unhooked"


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
        if field := broken_field(getattr(c.wanted, f.name)):
            return f"{f.name} command {field} is not finite"
    return "" if c.wanted.robot.mode in ROBOT_MODES else f"robot command mode {c.wanted.robot.mode!r} is unknown"


def far_command(c: Cycle) -> str:
    """A wanted value is so far out that its source must have failed."""
    w, factor = c.wanted, c.cfg.far_outside
    if not (np.abs(w.platform.pose) <= c.platform.range * factor).all():
        return f"platform command {_short(w.platform.pose)} is far outside of its range"
    if not abs(w.treadmill.speed) <= c.cfg.belt_speed * factor:
        return f"belt command {w.treadmill.speed:.2f} m/s is far over its limit"
    if not abs(w.counterweight.tension) <= c.cfg.tension_max * factor:
        return f"rope command {w.counterweight.tension:.0f} N is far over its limit"
    lower, upper = c.joints.stops
    beyond = np.maximum(lower - w.robot.targets, w.robot.targets - upper)
    if not (beyond <= c.cfg.joint_far_outside + 1e-9).all():
        return f"joint target {float(np.max(beyond)):.1f} rad beyond the joint's range"
    return ""


def command_silence(c: Cycle) -> str:
    """Commands have been too old to send for too long."""
    silent, limit = c.trends.refused_for, c.cfg.command_silence
    return "" if silent <= limit + 1e-9 else f"no fresh command for {silent:.3f} s, limit {limit} s"


def frozen_state(c: Cycle) -> str:
    """A device repeats a measurement that cannot stand still."""
    for name, lasted in c.trends.frozen_for.items():
        if not lasted <= c.cfg.frozen_time + 1e-9:
            return f"{name} repeats the same measurement for {lasted:.2f} s"
    return ""


def machine_astray(c: Cycle) -> str:
    """Platform or belt does not do what it is told."""
    p, t, limit = c.trends.platform_astray_for, c.trends.belt_astray_for, c.cfg.astray_time + 1e-9
    if not p <= limit:
        return f"platform is not where it was told to be for {p:.2f} s"
    return "" if t <= limit else f"belt does not run as it was told to for {t:.2f} s"


def robot_implausible(c: Cycle) -> str:
    """A robot's measurement that no robot of this kind can make."""
    r, cfg = c.states.robot, c.cfg
    if r is None:
        return ""
    why = implausible_joints(r.joint_position, r.joint_velocity, cfg, c.joints.stops)
    why = why or implausible_turn(r.angular_velocity, cfg)
    force = float(np.max(np.abs(r.foot_force)))
    if not why and not force <= cfg.foot_force + 1e-9:
        why = f"foot force {force:.2f}, limit {cfg.foot_force:.2f}"
    return f"robot reports {why}" if why else ""


def inconsistent(c: Cycle) -> str:
    """Measurements contradict each other or jump."""
    t, cfg = c.trends, c.cfg
    moved, turned, dt = t.tracker_step
    if not moved <= cfg.tracker_speed * dt + cfg.tracker_jump + 1e-9:
        return f"tracker jumped by {moved:.2f} m in {dt:.3f} s"
    if not turned <= cfg.tracker_turn_rate * dt + cfg.tracker_turn_jump + 1e-9:
        return f"tracker turned by {turned:.2f} rad in {dt:.3f} s"
    if not abs(t.travel_error) <= cfg.travel_error + 1e-9:
        return f"belt position is {abs(t.travel_error):.3f} m off the sum of its speed"
    if not t.tilts_apart_for <= cfg.tilts_apart_time + 1e-9:
        return f"robot and tracker report different tilts for {t.tilts_apart_for:.2f} s"
    return ""


def stale_ground(c: Cycle) -> str:
    """The virtual ground is old while the robot runs over it."""
    age, limit = c.trends.ground_age, c.cfg.ground_stale
    if not c.running or -CLOCK_TOLERANCE <= age <= limit + 1e-9:
        return ""
    return f"virtual ground is {age:.2f} s old, limit {limit} s"


def ground_jump(c: Cycle) -> str:
    """The virtual ground is not what it was."""
    step, limit = c.trends.ground_step, c.cfg.ground_jump
    return "" if not c.running or abs(step) <= limit + 1e-9 else f"virtual ground jumped by {step:.2f} m"


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    id: str
    check: Callable[[Cycle], str]
    state: str = "safe"
    """State that the supervisor goes to."""
    lasting: str = ""
    """Field of ``SafetyConfig``, s: how long what it looks for must last. Empty: a cycle is enough."""


RULES = (
    Rule("S01", estop_input, "estop"),
    Rule("S02", clock_back),
    Rule("S03", missed_deadline),
    Rule("S31", failed_cycle),
    Rule("S04", device_fault),
    Rule("S05", stale_state),
    Rule("S06", broken_state),
    Rule("S07", platform_pose),
    Rule("S08", platform_speed),
    Rule("S09", belt_speed),
    Rule("S10", rope_tension),
    Rule("S30", rope_astray, lasting="rope_astray_time"),
    Rule("S26", robot_implausible),
    Rule("S11", rope_slack, lasting="slack_time"),
    Rule("S12", robot_tilt),
    Rule("S13", robot_height),
    Rule("S14", robot_drift),
    Rule("S27", inconsistent),
    Rule("S15", broken_command),
    Rule("S16", far_command),
    Rule("S17", command_silence, lasting="command_silence"),
    Rule("S18", frozen_state, lasting="frozen_time"),
    Rule("S19", machine_astray, lasting="astray_time"),
    Rule("S28", stale_ground, lasting="ground_stale"),
    Rule("S29", ground_jump),
    Rule("S32", doubtful_policy),
)
"""In the order in which they are asked; the first that answers is latched."""

OPERATOR = "S00"
"""Id of an e-stop asked for by ``Supervisor.estop``."""

CLAMPS = {
    "S20": "command too old: the last one sent is kept",
    "S21": "platform command clamped in position, speed, acceleration or jerk",
    "S22": "belt command clamped in speed, acceleration or jerk",
    "S23": "rope command clamped in tension or its rate",
    "S24": "joint target clamped to the range or in rate",
    "S25": "joint gains clamped",
}
"""Ids of what is corrected without a trip."""


def first_violation(cycle: Cycle) -> tuple[Rule, str] | None:
    """The first rule that answers, with its sentence."""
    return next(((rule, text) for rule in RULES if (text := rule.check(cycle))), None)


def _short(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.2f}" for v in values) + ")"
