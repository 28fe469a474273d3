"""The sync loop: from measured states and the virtual ground to what every machine shall do, once per cycle.

Pure: time is an argument, nothing blocks, nothing is sent. States of different ages are carried to the same now first.
The robot's place in the virtual world is the belt's travel plus the body's motion in the rig, turned by the world
heading that the run started with: a belt carries along x only, so an outer loop on the pose tracker keeps heading and
lateral drift at zero through the policy's own commands. Everything is planned for two events of a hop: plate and
command for the coming touch-down, the belt for the coming lift-off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from matrix_hil.control.counterweight import wanted_tension
from matrix_hil.control.landing import FreeFlight, Landing, predict_landing, speed_home
from matrix_hil.control.platform import Ground, HopHeights, PlatformControl, PlatformPlanner, ground_under
from matrix_hil.control.state_estimate import BaseEstimate, TrackerFilter, tilt_of, yaw_of
from matrix_hil.control.steering import Steering, SteeringConfig
from matrix_hil.control.stewart import PlatformLimits, plane_slope, plate_height
from matrix_hil.control.treadmill import BeltControl, BeltFollower
from matrix_hil.messages import (
    CounterweightCommand,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    TreadmillCommand,
    TreadmillState,
    TwinPatch,
    is_finite,
)
from policy.runtime.monitor import NOTHING, Verdict
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from policy.runtime.switch import SwitchPolicy
from sim.spec.command import HopCommand
from sim.spec.gravity import lunar_weight
from sim.spec.hops import HopDetector

_LONGEST_CARRY = 0.05  # s over which a measured speed says where a machine has got to


@dataclass(frozen=True)
class Delays:
    """s from a command on the wire until the machine has done what it says; by data sheet, or measured with the log.

    What is planned for an event is finished that much before it, so that plate, belt and robot meet there.
    """

    platform: float = 0.045
    """Dead time and two time constants of its servo."""
    treadmill: float = 0.022
    """Dead time and the line."""
    counterweight: float = 0.012
    """Lag of the winch and the line."""
    robot: float = 0.003
    """The line and a period of its servos."""


@dataclass(frozen=True)
class SyncConfig:
    """The sync loop and the controls that it runs."""

    rate: float = 200.0
    """Hz. Cycles per second."""
    mass: float = 15.206
    """kg of the robot, as weighed."""
    stand_kp: float = 40.0
    """N*m/rad in the stand before a run."""
    stand_kd: float = 1.0
    """N*m*s/rad in the stand before a run."""
    start_x: float = 0.0
    """m, the robot's place in the virtual world at the start."""
    start_y: float = 0.0
    """m."""
    heading: float = 0.0
    """rad, world yaw of the rig's x axis."""
    leg_relief: bool = True
    """The robot's motors carry the excess Earth weight of its legs, see ``rig.leg_weight``; off in lunar gravity."""
    ramp: float = 4.0
    """s over which the speeds of the command rise from zero after the start, so that the belt can follow."""
    settle: float = 0.105
    """s before the expected landing, its own delay not counted, from which the platform gets no new target, so that it
    stands when feet land."""
    patch_stale: float = 1.0
    """s. Ground older than this is not used: the platform stays where it is."""
    delays: Delays = field(default_factory=Delays)
    flight: FreeFlight = field(default_factory=FreeFlight)
    steering: SteeringConfig = field(default_factory=SteeringConfig)
    belt: BeltControl = field(default_factory=BeltControl)
    platform: PlatformControl = field(default_factory=PlatformControl)
    tracker: TrackerFilter = field(default_factory=TrackerFilter)


@dataclass(frozen=True)
class SyncInfo:
    """What the loop believed in a cycle, for log and operator."""

    time: float
    running: bool
    """The policy drives the robot."""
    airborne: bool
    loaded: np.ndarray
    """(4,) bool, FL FR RL RR."""
    velocity: np.ndarray
    """(3,) m/s, base, rig frame, estimated."""
    speed_over_belt: float
    """m/s, forward, over the belt's surface."""
    command: HopCommand
    """What the policy was told, the outer loop's corrections included."""
    hops: int
    """While the policy drove, since its start."""
    pronks: int
    """As for ``hops``."""
    landing: Landing | None
    """The coming touch-down while airborne."""
    rest: np.ndarray
    """(3,) m/s, m/s, rad/s: what no command explains of lift-offs, see ``rig.steering``."""
    heights: HopHeights | None
    """Of the newest hop over known ground."""
    heights_count: int
    """Hops over known ground."""
    terrain_error: float
    """m, sum of the magnitudes of their height errors since the start."""
    policy_time: float
    """s, when the policy last acted; -inf before."""
    verdict: Verdict = NOTHING
    """What its monitor said then."""
    doubt: str = ""
    """Why the policy's action must not be sent; empty where it may, or where its monitor only warns."""


class Sync:
    """One robot on one rig.

    Args:
        cfg: rates, mass, gains.
        policy: drives the robot once ``start`` has been called; its card gives the joint gains and its period.
        platform: what the motion platform can do.
        trips: whether what the policy's monitor says is a reason not to send its action.
    """

    def __init__(
        self, cfg: SyncConfig, policy: OnnxPolicy | SwitchPolicy, platform: PlatformLimits | None = None,
        trips: bool = False,
    ) -> None:  # fmt: skip
        self.cfg = cfg
        self.policy = policy
        self._trips = trips
        self.dt = 1.0 / cfg.rate
        self.detector = HopDetector(np.array([lunar_weight(cfg.mass)]), self.dt)
        self.planner = PlatformPlanner(cfg.platform, platform)
        self.belt = BeltFollower(cfg.belt)
        self.estimate = BaseEstimate(cfg.tracker, cfg.flight)
        card = policy.card
        low, high = np.array(card.command_low[:3]), np.array(card.command_high[:3])
        self.steering = Steering(cfg.steering, cfg.flight, low, high)
        from matrix_hil.control.leg_weight import LegRelief  # brings MuJoCo, which who reads a config does not need

        self._relief = LegRelief(policy.card.physics_robot)
        self.running = False
        self._last_sound: dict[str, Any] = {}
        self._targets = policy.card.joints.stance
        self._acted = -math.inf
        self._command = HopCommand(0.0, 0.0, 0.0, 0.0, 0.0)
        self._hops = self._pronks = 0
        self._legs = 0.3  # m, base above the plate when it last touched down
        self._datum = 0.0  # m, virtual ground minus plate under the robot's last stance
        self._was_airborne = False
        self._belt_start: float | None = None
        self._homed = False
        self._started: float | None = None

    def start(self) -> None:
        """Let the policy drive from the next cycle on, its history empty, hops counted from zero."""
        self.policy.reset()
        self.detector = HopDetector(self.detector.weight, self.dt)
        self.steering.reset()
        self._acted = -math.inf
        self._targets = self.policy.card.joints.stance
        self._started = None
        self._homed = False  # wherever the platform was left
        self.running = True

    def stop(self) -> None:
        """Back to standing; belt to a stop."""
        self.running = False

    def step(
        self, states: MachineStates, patch: TwinPatch | None, command: HopCommand, now: float
    ) -> tuple[MachineCommands, np.ndarray, SyncInfo]:
        """One cycle.

        Args:
            states: newest state of every machine; None where nothing has come yet.
            patch: newest ground of the virtual world; None keeps the platform still.
            command: what the operator wants of the robot.
            now: s, the loop's clock.

        Returns:
            Commands; the robot's place in the virtual world (x, y, z of the base, (3,) m); what the loop believed.
        """
        states = self._sound(states)
        if self.running and self._started is None:
            self._started = now
        command = self._ramp(command, now)
        if patch is not None and now - patch.time > self.cfg.patch_stale:
            patch = None
        self._observe(states, now)
        if self.running:  # a robot that is set down, or knocked about standing, makes no hops
            self._hops, self._pronks = int(self.detector.hops[0]), int(self.detector.pronks[0])
        airborne = bool(self.detector.airborne[0]) and self.running
        belt_speed, belt_travel = (0.0, 0.0)
        if states.treadmill is not None:
            if self._belt_start is None:
                self._belt_start = states.treadmill.position
            belt_speed = states.treadmill.speed
            belt_travel = states.treadmill.position + belt_speed * _age(states.treadmill, now) - self._belt_start
        position, velocity = self.estimate.position, self.estimate.velocity
        yaw = 0.0 if states.tracker is None else yaw_of(states.tracker.quaternion)
        plate = self._plate(states, now)
        landing = self._landing(plate, airborne)
        slope = plane_slope(plate if landing is None else self.planner.target)
        corrected = self.steering.step(position, velocity, yaw, belt_speed, landing, slope, command, now)
        pose = self._platform(plate, patch, belt_travel, belt_speed, landing)
        world = self._world(belt_travel + float(position[0]), float(position[1]))
        world[2] = position[2] + self._datum
        self._act(states, corrected, now)
        belt = self._belt(airborne)
        self._was_airborne = airborne
        card = self.policy.card
        commands = MachineCommands(
            platform=PlatformCommand(now, pose),
            treadmill=TreadmillCommand(now, belt),
            counterweight=CounterweightCommand(now, wanted_tension(self.cfg.mass)),
            # stamped when the policy acted: who no longer acts must not look alive
            robot=RobotCommand(max(self._acted, self._started), self._targets, card.kp, card.kd, "run")
            if self.running and self._started is not None
            else RobotCommand(now, card.joints.stance, self.cfg.stand_kp, self.cfg.stand_kd, "stand"),
        )
        info = SyncInfo(
            time=now,
            running=self.running,
            airborne=airborne,
            loaded=self.detector.loaded[0].copy(),
            velocity=self.estimate.velocity.copy(),
            speed_over_belt=float(velocity[0]) + belt_speed,
            command=self._command,
            hops=self._hops,
            pronks=self._pronks,
            landing=landing,
            rest=self.steering.rest.copy(),
            heights=self.planner.last,
            heights_count=self.planner.hops,
            terrain_error=self.planner.terrain_error,
            policy_time=self._acted,
            verdict=self.policy.verdict,
            doubt=self.policy.verdict.sentence if self._trips and self.running and self.policy.verdict.trip else "",
        )
        return commands, world, info

    def _sound(self, states: MachineStates) -> MachineStates:
        """The states; in place of one that is no number the newest that was.

        The supervisor judges them as they are; what is decided here until it has must not break on them.
        """
        for name, state in vars(states).items():
            if state is not None and is_finite(state):
                self._last_sound[name] = state
        return MachineStates(**self._last_sound)

    def _ramp(self, command: HopCommand, now: float) -> HopCommand:
        if self._started is None:
            return replace(command, vx=0.0, vy=0.0, yaw_rate=0.0)
        share = min(1.0, (now - self._started) / self.cfg.ramp) if self.cfg.ramp > 0.0 else 1.0
        return replace(command, vx=share * command.vx, vy=share * command.vy, yaw_rate=share * command.yaw_rate)

    def _observe(self, states: MachineStates, now: float) -> None:
        """Count hops and estimate the base's motion."""
        if states.tracker is not None:
            airborne = bool(self.detector.airborne[0])
            self.estimate.step(states.tracker.time, states.tracker.position, airborne, now)
        if states.robot is not None:
            self.detector.update(
                states.robot.foot_force[None],
                self.estimate.position[2:3],
                self.estimate.velocity[2:3],
                np.array([tilt_of(states.robot.projected_gravity)]),
            )
            self.detector.forget()  # the counters are all that is asked for

    def _world(self, along: float, across: float) -> np.ndarray:
        c, s = math.cos(self.cfg.heading), math.sin(self.cfg.heading)
        return np.array([self.cfg.start_x + c * along - s * across, self.cfg.start_y + s * along + c * across, 0.0])

    def _plate(self, states: MachineStates, now: float) -> np.ndarray:
        """Pose (6,) of the platform now, as measured; where it is commanded to be before the first."""
        if states.platform is None:
            return self.planner.pose
        if not self._homed:
            self.planner.reset(states.platform.pose)
            self._homed = True
        return states.platform.pose + states.platform.velocity * _age(states.platform, now)

    def _landing(self, plate: np.ndarray, airborne: bool) -> Landing | None:
        """The coming touch-down; in stance, what the next prediction needs is noted."""
        position = self.estimate.position
        x, y, z = (float(v) for v in position)
        if airborne:
            floor = plate_height(self.planner.target, x, y) + self._legs
            return predict_landing(self.cfg.flight, position, self.estimate.velocity, floor)
        if self._was_airborne:
            self._legs = z - plate_height(plate, x, y)
        return None

    def _platform(
        self,
        plate: np.ndarray,
        patch: TwinPatch | None,
        belt_travel: float,
        belt_speed: float,
        landing: Landing | None,
    ) -> np.ndarray:
        """The pose (6,) to command: the ground under the robot in stance, under its landing place in flight."""
        x, y = (float(v) for v in (self.estimate.position if landing is None else landing.position)[:2])
        ground: Ground | None = None
        late = landing is not None and landing.left < self.cfg.settle + self.cfg.delays.platform
        if patch is not None and not late:
            ahead = 0.0 if landing is None else belt_speed * landing.left
            there = self._world(belt_travel + ahead + x, y)
            ground = ground_under(patch, float(there[0]), float(there[1]), self.cfg.heading)
        if landing is None and ground is not None:
            self._datum = ground.height - plate_height(plate, x, y)
        return self.planner.step(landing is not None, (x, y), ground, self.dt, plate, self.steering.bearable)

    def _belt(self, airborne: bool) -> float:
        """Belt speed to command, m/s."""
        if not self.running:
            self.belt.reset()
            return 0.0
        steering, position = self.steering, self.estimate.position
        homing = 0.0
        if steering.flight_time is not None:
            homing = speed_home(float(position[0]), self.cfg.flight.swing(float(position[2])), steering.flight_time)
        stance = steering.stance_time - self.cfg.delays.treadmill
        return self.belt.step(float(steering.predicted[0]), homing, stance, airborne, self.dt)

    def _act(self, states: MachineStates, command: HopCommand, now: float) -> None:
        """Run the policy when its period has come."""
        period = 1.0 / self.policy.card.observation.rate
        if not self.running or states.robot is None or now - self._acted < period - 0.5 * self.dt:
            return
        self._acted = now
        self._command = command
        robot = states.robot
        sensors = Proprioception(
            robot.angular_velocity, robot.projected_gravity, robot.joint_position, robot.joint_velocity
        )
        self._targets = self.policy.act(sensors, command.array())
        if self.cfg.leg_relief:
            torques = self._relief.torques(robot.joint_position, robot.projected_gravity)
            self._targets = self._targets + torques / self.policy.card.kp


def _age(state: PlatformState | TreadmillState, now: float) -> float:
    """s over which a measured motion may be carried on to ``now``."""
    return min(max(now - state.time, 0.0), _LONGEST_CARRY)
