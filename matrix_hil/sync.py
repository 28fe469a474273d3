"""The sync loop: from measured states and the virtual ground to what every machine shall do, once per cycle.

Pure: time is an argument, nothing blocks, nothing is sent. The robot's place in the virtual world is the belt's travel
plus the body's motion in the rig, turned by the world heading that the run started with: a belt carries along x only,
so an outer loop on the pose tracker keeps heading and lateral drift at zero through the policy's own commands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from matrix_hil.messages import (
    CounterweightCommand,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    RobotCommand,
    TreadmillCommand,
    TwinPatch,
)
from matrix_hil.rig.counterweight import wanted_tension
from matrix_hil.rig.platform import Ground, PlatformControl, PlatformPlanner, ground_under
from matrix_hil.rig.state_estimate import TrackerFilter, VelocityEstimate, tilt_of, yaw_of
from matrix_hil.rig.treadmill import BeltControl, BeltFollower
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from sim.spec.command import HopCommand
from sim.spec.gravity import lunar_weight
from sim.spec.hops import HopDetector
from sim.spec.joints import NOMINAL_POSE


@dataclass(frozen=True)
class HeadingControl:
    """Outer loop on the pose tracker."""

    yaw_gain: float = 1.0
    """1/s. Yaw rate commanded per rad of heading error."""
    yaw_limit: float = 0.4
    """rad/s of correction."""
    lateral_gain: float = 0.6
    """1/s. Lateral speed commanded per metre off the belt's centre line."""
    lateral_limit: float = 0.2
    """m/s of correction."""


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
    ramp: float = 2.0
    """s over which the speeds of the command rise from zero after the start, so that the belt can follow."""
    lookahead: float = 1.0
    """s. The ground under the robot's landing place is read at most this far ahead."""
    settle: float = 0.15
    """s before the expected landing from which the platform gets no new target, so that it stands when feet land."""
    patch_stale: float = 1.0
    """s. Ground older than this is not used: the platform stays where it is."""
    heading_control: HeadingControl = field(default_factory=HeadingControl)
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
    pronks: int
    height_error: float
    """m, platform against virtual ground at the last touch-down."""
    terrain_error: float
    """m, sum of their magnitudes since the start."""
    policy_time: float
    """s, when the policy last acted; -inf before."""


class Sync:
    """One robot on one rig.

    Args:
        cfg: rates, mass, gains.
        policy: drives the robot once ``start`` has been called; its card gives the joint gains and its period.
    """

    def __init__(self, cfg: SyncConfig, policy: OnnxPolicy) -> None:
        self.cfg = cfg
        self.policy = policy
        self.dt = 1.0 / cfg.rate
        self.detector = HopDetector(np.array([lunar_weight(cfg.mass)]), self.dt)
        self.planner = PlatformPlanner(cfg.platform)
        self.belt = BeltFollower(cfg.belt)
        self.estimate = VelocityEstimate(cfg.tracker)
        self.running = False
        self._targets = NOMINAL_POSE.copy()
        self._acted = -math.inf
        self._command = HopCommand(0.0, 0.0, 0.0, 0.0, 0.0)
        self._stance_base = 0.3  # m, height of the base when it last stood
        self._ground_height = 0.0
        self._belt_start: float | None = None
        self._homed = False
        self._started: float | None = None

    def start(self) -> None:
        """Let the policy drive from the next cycle on, its history empty, hops counted from zero."""
        self.policy.reset()
        self.detector = HopDetector(self.detector.weight, self.dt)
        self._acted = -math.inf
        self._started = None
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
        if self.running and self._started is None:
            self._started = now
        command = self._ramp(command, now)
        if patch is not None and now - patch.time > self.cfg.patch_stale:
            patch = None
        self._observe(states, now)
        airborne = bool(self.detector.airborne[0]) and self.running
        belt_speed, belt_travel = (0.0, 0.0)
        if states.treadmill is not None:
            if self._belt_start is None:
                self._belt_start = states.treadmill.position
            belt_speed, belt_travel = states.treadmill.speed, states.treadmill.position - self._belt_start
        along = belt_travel + self.estimate.position[0]
        speed = float(self.estimate.velocity[0]) + belt_speed
        world = self._world(along, float(self.estimate.position[1]))
        pose = self._platform(states, patch, world, speed, airborne)
        world[2] = self.estimate.position[2] - pose[2] + self._ground_height
        corrected = self._correct(command, states)
        self._act(states, corrected, now)
        if self.running:
            belt = self.belt.step(float(self.estimate.position[0]), speed, command.vx, airborne, self.dt)
        else:
            belt = 0.0
            self.belt.reset()
        card = self.policy.card
        commands = MachineCommands(
            platform=PlatformCommand(now, pose),
            treadmill=TreadmillCommand(now, belt),
            counterweight=CounterweightCommand(now, wanted_tension(self.cfg.mass)),
            robot=RobotCommand(now, self._targets, card.kp, card.kd, "run")
            if self.running
            else RobotCommand(now, NOMINAL_POSE, self.cfg.stand_kp, self.cfg.stand_kd, "stand"),
        )
        info = SyncInfo(
            time=now,
            running=self.running,
            airborne=airborne,
            loaded=self.detector.loaded[0].copy(),
            velocity=self.estimate.velocity.copy(),
            speed_over_belt=speed,
            command=self._command,
            hops=int(self.detector.hops[0]),
            pronks=int(self.detector.pronks[0]),
            height_error=self.planner.height_error,
            terrain_error=self.planner.terrain_error,
            policy_time=self._acted,
        )
        return commands, world, info

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

    def _world(self, along: float, across: float) -> np.ndarray:
        c, s = math.cos(self.cfg.heading), math.sin(self.cfg.heading)
        return np.array([self.cfg.start_x + c * along - s * across, self.cfg.start_y + s * along + c * across, 0.0])

    def _platform(
        self, states: MachineStates, patch: TwinPatch | None, world: np.ndarray, speed: float, airborne: bool
    ) -> np.ndarray:
        if not self._homed:
            if states.platform is None:
                return np.zeros(6)
            self.planner.reset(states.platform.pose)
            self._homed = True
        ground: Ground | None = None
        left = self.estimate.time_to_land(self._stance_base) if airborne else 0.0
        if patch is not None and not (airborne and left < self.cfg.settle):
            ahead = min(left, self.cfg.lookahead)
            step_x, step_y = speed * ahead, float(self.estimate.velocity[1]) * ahead
            c, s = math.cos(self.cfg.heading), math.sin(self.cfg.heading)
            landing = world[:2] + [c * step_x - s * step_y, s * step_x + c * step_y]
            ground = ground_under(patch, float(landing[0]), float(landing[1]), self.cfg.heading)
        if not airborne:
            self._stance_base = float(self.estimate.position[2])
            if ground is not None:
                self._ground_height = ground.height
        return self.planner.step(airborne, ground, self.dt)

    def _correct(self, command: HopCommand, states: MachineStates) -> HopCommand:
        """The operator's command with the outer loop's corrections."""
        if states.tracker is None:
            return command
        c = self.cfg.heading_control
        yaw = yaw_of(states.tracker.quaternion)
        across = float(self.estimate.position[1])
        turn = min(max(-c.yaw_gain * yaw, -c.yaw_limit), c.yaw_limit)
        side = min(max(-c.lateral_gain * across, -c.lateral_limit), c.lateral_limit)
        # the correction is along the rig's y axis, the policy takes speeds in its heading frame
        return replace(
            command,
            vx=command.vx + math.sin(yaw) * side,
            vy=command.vy + math.cos(yaw) * side,
            yaw_rate=command.yaw_rate + turn,
        )

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
