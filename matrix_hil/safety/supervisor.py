"""The safety supervisor: the last thing that sees a command before a driver sends it. Pure: time is an argument.

It judges in true units, by limits that hold in true units and in those that the machines count in, and hands out what
goes onto the wire itself: nothing changes a command after it.

It is not a safety function in the sense of ISO 13849-1 or IEC 61508; docs/safety.md says which hardware must exist.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from matrix_hil.control.stewart import PlatformLimits, overreach, shrink_to_reach
from matrix_hil.link.calibration import SOUND, Calibration
from matrix_hil.link.devices import safe_platform, safe_robot, safe_treadmill
from matrix_hil.link.order import CLOCK_TOLERANCE
from matrix_hil.messages import (
    CounterweightCommand,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    RobotCommand,
    TreadmillCommand,
    TwinPatch,
)
from matrix_hil.safety.limits import (
    Motion,
    SafetyConfig,
    limit_motion,
    limit_speed,
    tightened,
)
from matrix_hil.safety.refuge import Refuge
from matrix_hil.safety.rules import OPERATOR, Cycle, first_violation, stale_limits
from matrix_hil.safety.trends import Trends, TrendWatch
from policy.runtime.robot_rules import Joints, limit_targets
from sim.spec.clamps import limit_range, limit_rate

__all__ = ["SafetyConfig", "Supervisor", "SupervisorState"]

STATES = ("idle", "armed", "run", "hold", "safe", "estop")
_LATCHED = ("safe", "estop")
_ACTIVE = ("armed", "run", "hold")
_RESTLESS = 0.03  # s that a machine may move when it should have come to rest
_CLAMPED = 1e-9  # a smaller correction is rounding

Command = TypeVar("Command", PlatformCommand, TreadmillCommand, CounterweightCommand, RobotCommand)


@dataclass(frozen=True)
class SupervisorState:
    """What the supervisor did in a step, as ``matrix_msgs/SupervisorState``."""

    time: float
    state: str
    """One of ``STATES``."""
    reason: str
    """Id and sentence of the rule that tripped first since the last reset; empty while none has."""
    trips: int
    """Trips since start."""
    stale_commands: int
    """Commands refused since start because they were too old."""


class Supervisor:
    """Passes, clamps or replaces the commands of one cycle.

    ``idle`` → ``arm`` → ``armed`` → ``run`` → ``run`` ⇄ ``hold``. In ``armed`` and ``hold`` the platform is frozen,
    the belt stopped, the rope carries what is wanted and the robot stands. A violated rule leads to ``safe``, an
    e-stop to ``estop``; both are latched until ``reset`` leads to ``idle``, from where the rig must be armed again.
    In ``idle``, ``safe`` and ``estop`` the rig gets its safe commands: platform frozen where it was measured, belt
    ramped to zero, rope braked, robot hold, stand, damp.

    Args:
        cfg: limits, for true values and for what the machines are commanded in their own units.
        calibration: what the machines' units mean.
        platform: what the motion platform can do.
        joints: of the robot; the Go2's by default.
    """

    def __init__(
        self,
        cfg: SafetyConfig,
        calibration: Calibration = SOUND,
        platform: PlatformLimits | None = None,
        joints: Joints | None = None,
    ) -> None:
        self.calibration = calibration
        self.platform = PlatformLimits() if platform is None else platform
        self.joints = Joints() if joints is None else joints
        self.cfg = tightened(cfg, calibration.belt_scale, calibration.load_cell_offset)
        self.wire = MachineCommands(None, None, None, None)  # type: ignore[arg-type]
        """The last step's commands as the machines count: what drivers send, bit by bit."""
        self._belt_limit, self._tension_limit = cfg.belt_speed, cfg.tension_max
        self.state = "idle"
        self.reason = ""
        self.blocked = "no step has been made"
        """Why ``arm`` would refuse; empty when it would not."""
        self.silenced: frozenset[str] = frozenset()
        """Machines that do not come to rest although they are told to: nothing more must be said to them, not even a
        heartbeat, so that their own watchdog stops them. Until a reset."""
        self.clamped: Counter[str] = Counter()
        """How often each clamp corrected a command, by id."""
        self._trips = 0
        self._stale_commands = 0
        self._last: float | None = None
        self._sent: MachineCommands | None = None
        self._platform_motion = Motion(np.zeros(6), np.zeros(6))  # of what is commanded
        self._belt_gain = np.zeros(())  # m/s^2, of what is commanded
        self._trends = TrendWatch(self.cfg)
        self._refused = False
        self._safe_for = np.inf  # s in a safe state; from the start the robot is to be damped
        self._refuge = Refuge()  # where the last retreat began

    # ---- what an operator or a sequence asks for ------------------------------------------------------------------

    def arm(self, now: float) -> bool:
        """From ``idle``, if no rule objected in the last step. Returns whether the rig is armed."""
        if self.state == "idle" and not self.blocked:
            self.state = "armed"
        return self.state == "armed"

    def run(self, now: float) -> bool:
        """From ``armed`` or ``hold``. Returns whether the rig runs."""
        if self.state in ("armed", "hold"):
            self.state = "run"
        return self.state == "run"

    def hold(self, now: float) -> bool:
        """Pause: from ``armed`` or ``run``. Returns whether the rig holds."""
        if self.state in ("armed", "run"):
            self.state = "hold"
        return self.state == "hold"

    def estop(self, now: float) -> None:
        """From anywhere. The next step sends safe commands."""
        self._trip("estop", f"{OPERATOR} e-stop asked for by the operator")

    def reset(self, now: float) -> None:
        """Back to ``idle``, the latched reason cleared. What caused it must be gone before ``arm`` agrees again."""
        if self.state in _ACTIVE:
            self._safe_for = 0.0  # disarmed in motion: come down as after a trip
        self.state, self.reason, self.silenced = "idle", "", frozenset()
        self.blocked = "no step since the reset"

    # ---- one cycle ------------------------------------------------------------------------------------------------

    def step(
        self,
        states: MachineStates,
        wanted: MachineCommands,
        now: float,
        patch: TwinPatch | None = None,
        failure: str = "",
        doubt: str = "",
    ) -> tuple[MachineCommands, SupervisorState]:
        """What the machines may do now, in true units, and the supervisor's state; ``wire`` is what to send for it.

        Never raises on values.

        Args:
            states: newest true state of every machine; drivers send nothing to a device whose state is None.
            wanted: what sync asks for, ``time`` being when it was made.
            now: s, the clock of all time stamps.
            patch: newest virtual ground; None where there is no twin.
            failure: why ``wanted`` is what was wanted before; empty when it is new.
            doubt: why the policy's monitor does not want ``wanted.robot`` sent; empty when it does.
        """
        dt = 0.0 if self._last is None else now - self._last
        self._last = now if np.isfinite(now) else self._last
        forward = dt if dt > 0.0 else 0.0
        running = self.state == "run"
        # also once it is idle again: a reset is no licence to move
        told = self.state != "idle" or math.isfinite(self._safe_for)
        trends = self._trends.step(states, self._sent, patch, now, told, running, self._refused)
        cycle = Cycle(self.cfg, states, wanted, now, dt, self.platform, failure, doubt, self.joints, running, trends)
        self._judge(cycle)

        sent = self._sent if self._sent is not None else _start(states, now)
        self._refused = False
        dt = min(forward, self.cfg.deadline)  # one long gap is no licence for one long step
        if self.state == "run":
            commands = self._run(wanted, sent, states, now, dt)
        elif self.state in ("armed", "hold"):
            commands = self._pause(wanted, sent, states, now, dt)
        else:
            commands = self._retreat(sent, states, now, dt)
            self._safe_for += forward
            self._silence(trends)
        self._sent = commands = self._let_expire(commands, states, now)
        self.wire = self._to_wire(commands)
        return commands, SupervisorState(now, self.state, self.reason, self._trips, self._stale_commands)

    def _let_expire(self, commands: MachineCommands, states: MachineStates, now: float) -> MachineCommands:
        """Commands that machines follow may be written while all data that they were made from are fresh, safe ones
        for ever."""
        if self.state not in _ACTIVE:
            return commands
        heard = [s.time + limit - now for _, s, limit in stale_limits(self.cfg, states) if s is not None]
        left = min(heard, default=math.inf)
        return MachineCommands(**{name: replace(c, valid_for=left) for name, c in vars(commands).items()})

    def _to_wire(self, commands: MachineCommands) -> MachineCommands:
        """``commands`` as the machines count, within the limits there too, whatever the calibration says."""
        reported = self.calibration.reported(commands)
        speed = float(limit_range(reported.treadmill.speed, 0.0, -self._belt_limit, self._belt_limit))
        tension = float(limit_range(reported.counterweight.tension, 0.0, 0.0, self._tension_limit))
        return replace(
            reported,
            treadmill=replace(reported.treadmill, speed=speed),
            counterweight=replace(reported.counterweight, tension=tension),
        )

    def _judge(self, cycle: Cycle) -> None:
        violation = first_violation(cycle)
        self.blocked = "" if violation is None else f"{violation[0].id} {violation[1]}"
        if violation is not None and (self.state != "idle" or violation[0].state == "estop"):
            self._trip(violation[0].state, self.blocked)

    def _trip(self, state: str, reason: str) -> None:
        if self.state not in _LATCHED:
            if self.state != "idle":
                self._safe_for = 0.0
            self.state, self.reason = state, reason
            self._trips += 1
        elif state == "estop":
            self.state = state  # the first reason stays

    def _run(
        self, wanted: MachineCommands, sent: MachineCommands, states: MachineStates, now: float, dt: float
    ) -> MachineCommands:
        self._refuge = Refuge()
        return MachineCommands(
            self._platform(self._fresh(wanted.platform, sent.platform, now), sent.platform, now, dt),
            self._belt(self._fresh(wanted.treadmill, sent.treadmill, now).speed, sent.treadmill, now, dt),
            self._rope(self._fresh(wanted.counterweight, sent.counterweight, now), sent.counterweight, now, dt),
            self._robot(self._fresh(wanted.robot, sent.robot, now), sent.robot, states, now, dt),
        )

    def _pause(
        self, wanted: MachineCommands, sent: MachineCommands, states: MachineStates, now: float, dt: float
    ) -> MachineCommands:
        self._refuge = Refuge()
        gains = wanted.robot if self._is_fresh(wanted.robot, now) else sent.robot
        robot = RobotCommand(now, self.joints.stance, gains.kp, gains.kd, "stand")
        return MachineCommands(
            self._platform(sent.platform, sent.platform, now, dt),
            self._belt(0.0, sent.treadmill, now, dt),
            self._rope(self._fresh(wanted.counterweight, sent.counterweight, now), sent.counterweight, now, dt),
            self._robot(robot, sent.robot, states, now, dt),
        )

    def _retreat(self, sent: MachineCommands, states: MachineStates, now: float, dt: float) -> MachineCommands:
        """Safe commands."""
        refuge = self._refuge
        if math.isfinite(self._safe_for):
            refuge.take(states, sent, self.joints, now)
        else:
            refuge.find(states, now)
        self._rest()
        pose = sent.platform.pose if refuge.pose is None else refuge.pose
        tension = sent.counterweight.tension if refuge.tension is None else refuge.tension
        tension = float(np.clip(tension, 0.0, self.cfg.tension_max))
        if self._safe_for > self.cfg.damp_time - 1e-9:
            robot = safe_robot(states.robot, sent.robot, now)
        elif self._safe_for > self.cfg.hold_time - 1e-9:
            robot = RobotCommand(now, self.joints.stance, sent.robot.kp, sent.robot.kd, "stand")
        else:
            joints = sent.robot.targets if refuge.joints is None else refuge.joints
            robot = RobotCommand(now, joints, sent.robot.kp, sent.robot.kd, "hold")
        ramp = float(limit_rate(0.0, sent.treadmill.speed, self.cfg.belt_acceleration, dt))
        return MachineCommands(
            PlatformCommand(now, pose), TreadmillCommand(now, ramp), CounterweightCommand(now, tension, True), robot
        )

    def _silence(self, trends: Trends) -> None:
        """Give up on machines that do not rest where they were told to, once S19's time to get there is over."""
        if not self._safe_for > self.cfg.astray_time - 1e-9:
            return
        for name, lasted in (("platform", trends.platform_astray_for), ("treadmill", trends.belt_astray_for)):
            if not lasted <= _RESTLESS + 1e-9:
                self.silenced |= {name}

    # ---- clamps per machine ---------------------------------------------------------------------------------------

    def _is_fresh(self, command: Command, now: float) -> bool:
        return -CLOCK_TOLERANCE <= now - command.time <= self.cfg.command_stale + 1e-9

    def _fresh(self, wanted: Command, sent: Command, now: float) -> Command:
        if self._is_fresh(wanted, now):
            return wanted
        self._stale_commands += 1
        self._refused = True
        self.clamped["S20"] += 1
        return sent

    def _platform(self, wanted: PlatformCommand, sent: PlatformCommand, now: float, dt: float) -> PlatformCommand:
        can, legs = self.platform, self.platform.geometry
        out = max(0.0, overreach(legs, sent.pose))  # a platform that was found there may come back
        target = limit_range(wanted.pose, sent.pose, -can.range, can.range)
        target = shrink_to_reach(legs, target, np.zeros(6) if out else sent.pose)
        pose, motion = limit_motion(
            target, sent.pose, self._platform_motion, can.rates, can.accelerations, self.cfg.platform_jerks, dt
        )
        pose = np.clip(pose, -can.range, can.range)
        if overreach(legs, pose) > out:  # the way to a pose within reach may lead outside, axis by axis
            pose, motion = sent.pose, Motion(np.zeros(6), np.zeros(6))
        self._platform_motion = motion
        self._note("S21", pose, wanted.pose)
        return PlatformCommand(now, pose)

    def _belt(self, wanted: float, sent: TreadmillCommand, now: float, dt: float) -> TreadmillCommand:
        cfg = self.cfg
        target = limit_range(wanted, sent.speed, -cfg.belt_speed, cfg.belt_speed)
        speed, self._belt_gain = limit_speed(
            target, sent.speed, self._belt_gain, cfg.belt_acceleration, cfg.belt_jerk, dt
        )
        speed = np.clip(speed, -cfg.belt_speed, cfg.belt_speed)
        self._note("S22", speed, wanted)
        return TreadmillCommand(now, float(speed))

    def _rope(
        self, wanted: CounterweightCommand, sent: CounterweightCommand, now: float, dt: float
    ) -> CounterweightCommand:
        target = limit_range(wanted.tension, sent.tension, 0.0, self.cfg.tension_max)
        tension = float(limit_rate(target, sent.tension, self.cfg.tension_rate, dt))
        self._note("S23", tension, wanted.tension)
        return CounterweightCommand(now, tension, wanted.brake)

    def _robot(
        self, wanted: RobotCommand, sent: RobotCommand, states: MachineStates, now: float, dt: float
    ) -> RobotCommand:
        cfg = self.cfg
        # Targets that were not in force say nothing of where the joints are.
        measured = sent.targets if states.robot is None else states.robot.joint_position
        base = sent.targets if sent.mode == wanted.mode else limit_range(measured, sent.targets, *self.joints.stops)
        targets = limit_targets(wanted.targets, base, cfg, dt, self.joints.stops)
        kp = float(limit_range(wanted.kp, sent.kp, 0.0, cfg.kp_max))
        kd = float(limit_range(wanted.kd, sent.kd, 0.0, cfg.kd_max))
        self._note("S24", targets, wanted.targets)
        self._note("S25", [kp, kd], [wanted.kp, wanted.kd])
        return RobotCommand(now, targets, kp, kd, wanted.mode)

    def _rest(self) -> None:
        """What is commanded stands still."""
        self._platform_motion = Motion(np.zeros(6), np.zeros(6))
        self._belt_gain = np.zeros(())

    def _note(self, clamp: str, given: object, wanted: object) -> None:
        change = np.abs(np.subtract(given, wanted))  # type: ignore[call-overload]
        if not (change <= _CLAMPED).all():  # NaN counts as clamped
            self.clamped[clamp] += 1


def _start(states: MachineStates, now: float) -> MachineCommands:
    """Commands that change nothing, to begin from; zeros stand for what has not been heard.

    A belt that runs has not been told to by anybody here: it is stopped, whatever it says of its speed.
    """
    frozen = safe_platform(states.platform, None, now)
    return MachineCommands(
        frozen if frozen is not None else PlatformCommand(now, np.zeros(6)),
        safe_treadmill(states.treadmill, None, now),
        CounterweightCommand(now, 0.0, True),
        safe_robot(states.robot, None, now),
    )
