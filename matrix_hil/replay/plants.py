"""A robot in the simulator that starts where a log's robot was and gets the same commands: on the rig, or on the Moon.

``RigPlant`` is the whole virtual rig with rope and winch, one stretch at a time: its gap to the log is the rig's too.
``Robots`` steps many stretches of many candidate robots at once in C++ threads. There the rope pulls as the load cell
measured, so that what a fit learns of the robot does not depend on the model of rope and winch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from mujoco.batch import Batch

from matrix_hil.config import Winch
from matrix_hil.control.counterweight import TrimConfig, WinchTrim
from matrix_hil.replay.trajectory import DT, Trajectory
from sim.physics.actuator import motor_parameters
from sim.physics.payload import bare_trunk, loaded_trunk
from sim.physics.scene import PhysicsConfig, build_scene
from sim.rig.config import RigConfig
from sim.rig.model import BELT_Q, BELT_V, PLATFORM_Q, PLATFORM_V, POSE_ORDER, build_model
from sim.rig.signals import RigInputs
from sim.rig.virtual_rig import VirtualRig
from sim.spec.joints import JOINT_NAMES

TICK = 0.001
"""s. Physics step, and period of the winch's force loop."""
_TICKS = round(DT / TICK)
_WARM_UP = 30  # samples before a start over which the winch's force loop gets to know the rope
_BASE = 7  # leading values of qpos that are not joints


@dataclass(frozen=True)
class Body:
    """What may differ between a robot and its model."""

    added_mass: float = 0.0
    """kg at the trunk's centre of mass."""
    friction: float = 0.8
    """1. Sliding friction of the feet."""
    strength: float = 1.0
    """1. Factor of the motors' torque."""
    delay: float = 0.002
    """s from a command's time stamp to the servos."""


@dataclass(frozen=True)
class Setup:
    """Everything else that a simulation needs."""

    rig: RigConfig = field(default_factory=RigConfig)
    trim: TrimConfig = field(default_factory=TrimConfig)
    winch: Winch = field(default_factory=Winch)


@dataclass(frozen=True)
class Motion:
    """What a simulation did; leading axes are those of the call, then samples every ``DT`` s, the start included."""

    base_position: np.ndarray
    """(..., 3) m."""
    base_quaternion: np.ndarray
    """(..., 4) w, x, y, z."""
    joint_position: np.ndarray
    """(..., 12) rad."""
    joint_velocity: np.ndarray
    """(..., 12) rad/s."""
    tension: np.ndarray
    """(...) N; what was measured where the rope is not simulated."""


def targets_at(path: Trajectory, first: int, count: int, delay: float) -> np.ndarray:
    """(count, ticks, 12) rad: targets that the servos have from sample ``first`` on, in every tick.

    A delay that is no whole number of ticks mixes two targets, so that motion depends smoothly on it.
    """
    at = first * _TICKS + np.arange(count * _TICKS) - delay / TICK
    whole = np.floor(at).astype(int)
    share = (at - whole)[:, None]
    old, new = (path.targets[np.clip((whole + i) // _TICKS, 0, len(path) - 1)] for i in (0, 1))
    return ((1.0 - share) * old + share * new).reshape(count, _TICKS, -1)


class RigPlant:
    """The virtual rig with a candidate robot."""

    def __init__(self, setup: Setup, body: Body) -> None:
        self.setup = setup
        self.body = body
        rig = replace(setup.rig, added_mass=body.added_mass, friction=body.friction, strength=body.strength)
        self.rig = VirtualRig(replace(rig, timestep=TICK))
        rope = self.rig.rope.parameters
        self._trim = WinchTrim(setup.trim, rope.inertia, rope.passive_force)
        self._lag = 1.0 - math.exp(-TICK / setup.winch.lag)

    def simulate(self, path: Trajectory, first: int, count: int) -> Motion:
        """``count`` samples from sample ``first`` on, platform and belt moving as they were measured to."""
        self.rig.place(
            np.concatenate([path.base_position[first], path.base_quaternion[first], path.joint_position[first]]),
            np.concatenate([path.base_velocity[first], path.angular_velocity[first], path.joint_velocity[first]]),
            float(path.tension[first]),
            float(path.rope_speed[first]),
        )
        force = self._warm_up(path, first)
        targets = targets_at(path, first, count, self.body.delay)
        rows = [self._row()]
        for k in range(count):
            i = first + k
            rate = (path.platform_pose[i + 1] - path.platform_pose[i]) / DT
            for t in range(_TICKS):
                tension, speed = self.rig.rope.tension, self.rig.rope.speed
                force = self._winch(force, float(path.tension_command[i]), tension, speed, bool(path.brake[i]))
                inputs = RigInputs(
                    platform_pose=path.platform_pose[i] + rate * (t * TICK),
                    platform_velocity=rate,
                    belt_speed=float(path.belt_speed[i]),
                    winch_force=force,
                    brake=bool(path.brake[i]),
                    targets=targets[k, t],
                    kp=float(path.kp[i]),
                    kd=float(path.kd[i]),
                    mode="run",
                )
                self.rig.step(inputs, TICK)
            rows.append(self._row())
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        return Motion(*columns)

    def _row(self) -> tuple[np.ndarray | float, ...]:
        o = self.rig.outputs()
        return o.base_position, o.base_quaternion, o.joint_position, o.joint_velocity, o.rope_tension

    def _warm_up(self, path: Trajectory, first: int) -> float:
        """N that the winch adds at the start, its loop having seen what the log says of the rope before it."""
        self._trim.reset()
        begin = max(0, first - _WARM_UP)
        at = np.arange(begin * _TICKS, first * _TICKS + 1) / _TICKS
        tension, speed = (np.interp(at, np.arange(len(path)), v) for v in (path.tension, path.rope_speed))
        force = float(path.tension_command[begin]) - self.rig.rope.parameters.passive_force
        for t, s, sample in zip(tension.tolist(), speed.tolist(), at.astype(int), strict=True):
            force = self._winch(force, float(path.tension_command[sample]), t, s, bool(path.brake[sample]))
        return force

    def _winch(self, force: float, commanded: float, tension: float, speed: float, brake: bool) -> float:
        if brake:
            return force
        limit = self.setup.winch.winch_force
        target = self._trim.step(commanded, tension, speed, TICK)
        return force + (min(max(target, -limit), limit) - force) * self._lag


class Robots:
    """Many stretches of many candidates at once.

    Args:
        path: whose stretches are simulated.
        setup: of the rig; of a robot on the Moon only its file counts.
        threads: C++ threads; 0 takes every core.
    """

    def __init__(self, path: Trajectory, setup: Setup, threads: int = 0) -> None:
        self.path = path
        self.rig = replace(setup.rig, timestep=TICK, added_mass=0.0, strength=1.0)  # candidates bring their own
        if path.on_rig:
            self.model = build_model(self.rig)
        else:
            self.model = build_scene(PhysicsConfig(robot=setup.rig.robot, timestep=TICK))
        self._body = int(self.model.body_rootid[self.model.jnt_bodyid[self.model.joint(JOINT_NAMES[0]).id]])
        self._trunk = bare_trunk(self.model, self._body)
        self._threads = threads
        self._batches: dict[int, Batch] = {}

    def simulate(self, starts: np.ndarray, count: int, bodies: Sequence[Body]) -> Motion:
        """``count`` samples from each of ``starts`` (W,) on by each of ``bodies`` (B): leading axes (B, W)."""
        path, shape = self.path, (len(bodies), len(starts))
        n = shape[0] * shape[1]
        batch = self._batches.setdefault(n, Batch(self.model, nsim=n, nthread=self._threads))
        first = np.tile(starts, len(bodies))
        self._set_bodies(batch, np.repeat(np.arange(len(bodies)), len(starts)), bodies, first)
        targets = np.concatenate([targets_at(path, int(s), count, b.delay)[None] for b in bodies for s in starts])
        batch.reset()
        qpos, qvel, wrench = (batch.bind(name) for name in ("qpos", "qvel", "xfrc_applied"))
        qpos[:, :19] = np.hstack([path.base_position[first], path.base_quaternion[first], path.joint_position[first]])
        qvel[:, :18] = np.hstack([path.base_velocity[first], path.angular_velocity[first], path.joint_velocity[first]])
        positions, velocities = np.empty((n, count + 1, 19)), np.empty((n, count + 1, 12))
        positions[:, 0], velocities[:, 0] = qpos[:, :19], qvel[:, 6:18]
        for k in range(count):
            if path.on_rig:
                self._move_machines(qpos, qvel, first + k)
                wrench[:, self._body] = self._pull(qpos, first + k)
            batch.rollout(_TICKS, targets[:, k], record=())
            positions[:, k + 1], velocities[:, k + 1] = qpos[:, :19], qvel[:, 6:18]
        q, v = positions.reshape(*shape, count + 1, -1), velocities.reshape(*shape, count + 1, -1)
        measured = path.tension[first[:, None] + np.arange(count + 1)].reshape(*shape, -1)
        return Motion(q[..., :3], q[..., 3:_BASE], q[..., _BASE:], v, measured)

    def _set_bodies(self, batch: Batch, index: np.ndarray, bodies: Sequence[Body], first: np.ndarray) -> None:
        load, friction, strength = (
            np.array([getattr(b, name) for b in bodies])[index] for name in ("added_mass", "friction", "strength")
        )
        place = np.repeat(self._trunk.com[None], len(index), axis=0)
        mass, _, inertia, axes = loaded_trunk(self._trunk, load, place, np.zeros_like(place))
        batch.expand("body_mass")[:, self._body] = mass
        batch.expand("body_inertia")[:, self._body] = inertia
        batch.expand("body_iquat")[:, self._body] = axes
        batch.expand("pair_friction")[:, :, :2] = friction[:, None, None]
        gains, limits = motor_parameters(self.model, self.path.kp[first], self.path.kd[first], strength)
        batch.expand("actuator_gainprm")[:] = gains
        batch.expand("actuator_forcerange")[:] = limits

    def _move_machines(self, qpos: np.ndarray, qvel: np.ndarray, at: np.ndarray) -> None:
        pose = self.path.platform_pose[:, POSE_ORDER]
        qpos[:, PLATFORM_Q] = pose[at]
        qvel[:, PLATFORM_V] = (pose[at + 1] - pose[at]) / DT
        qpos[:, BELT_Q] = 0.0
        qvel[:, BELT_V] = -self.path.belt_speed[at]

    def _pull(self, qpos: np.ndarray, at: np.ndarray) -> np.ndarray:
        """(n, 6) force and torque of the rope on the trunk, by the tension measured over the coming sample."""
        w, x, y, z = qpos[:, 3:7].T
        rotation = np.array([
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]).transpose(2, 0, 1)  # fmt: skip
        harness = np.array(self.rig.harness)
        rope = np.array([0.0, 0.0, self.rig.pulley_height]) - qpos[:, :3] - rotation @ harness
        tension = 0.5 * (self.path.tension[at] + self.path.tension[at + 1])
        force = rope * (tension / np.linalg.norm(rope, axis=1))[:, None]
        return np.hstack([force, np.cross(rotation @ (harness - self._trunk.com), force)])


def logged(path: Trajectory, starts: np.ndarray, count: int) -> Motion:
    """What the log's robot did in these stretches: leading axis (W,)."""
    at = starts[:, None] + np.arange(count + 1)
    names = ("base_position", "base_quaternion", "joint_position", "joint_velocity", "tension")
    return Motion(*(getattr(path, name)[at] for name in names))
