"""Runs one trial per robot and records it: deterministic actions, and no robot is restarted in its trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policy.networks.actor import Actor
from policy.networks.imported import Imported
from policy.networks.student import Student
from policy.runtime.card import ESTIMATES
from sim.envs.world import PronkWorld
from sim.mdp.state import State
from sim.physics.scene import PhysicsConfig, build_scene
from sim.physics.threads import physics_first
from sim.spec.hops import HopTable
from sim.terrain.height_field import HeightField

CANDIDATES = 16  # robots whose every state is kept, one of which is shown


@dataclass(frozen=True)
class Recording:
    """One robot's trial, T control steps of S physics steps."""

    dt: float
    """s per control step."""
    qpos: np.ndarray
    """(T, 19)."""
    height: np.ndarray
    """(T, S) m, base."""
    foot_force: np.ndarray
    """(T, S, 4) N."""
    mass: float
    """kg."""
    physics: PhysicsConfig
    terrain: HeightField


@dataclass(frozen=True)
class Trials:
    """T control steps of N trials. Row k of an array holds the state before step k, or what happened during it.

    Robots go on after a fall; rows from then on are to be masked by ``alive``.
    """

    dt: float
    """s per control step."""
    command: np.ndarray
    """(N, 5) vx, vy, yaw rate, apex gain, economy."""
    gravity: np.ndarray
    """(N,) m/s^2, at which each robot falls."""
    joint_rub: np.ndarray
    """(N, 2) N*m and N*m*s/rad, friction and damping of each robot's joints as ``State.joint_rub`` tells them."""
    mass: float
    """kg, of the robot without a payload."""
    survived: np.ndarray
    """(N,) bool."""
    map: np.ndarray
    """(N,) whole numbers, which of the suite's maps each robot was on."""
    tilt: np.ndarray
    """(T, N) rad."""
    strikes: np.ndarray
    """(T, N) legs whose knee or shin struck the ground in the step."""
    landings: np.ndarray
    """(N,) s, the last touch-down of a hop, whether before or after a fall; -infinity without one."""
    hops: HopTable
    """Completed before the robot's fall."""
    alive: np.ndarray
    """(T, N) bool, not fallen yet."""
    airborne: np.ndarray
    """(T, N) bool, no foot loaded."""
    velocity: np.ndarray
    """(T, N, 3) m/s of the base, heading frame."""
    com_height: np.ndarray
    """(T, N) m, centre of mass above the ground below the base."""
    yaw_rate: np.ndarray
    """(T, N) rad/s about the vertical."""
    pitch: np.ndarray
    """(T, N) rad, nose down positive."""
    estimate: np.ndarray
    """(T, N, E) what the policy believed, in the units of ``card.ESTIMATES``."""
    estimates: tuple[str, ...]
    """Names of those E, out of ``card.ESTIMATES``."""
    foot_force: np.ndarray
    """(T, N, 4) N, largest in the step."""
    power: np.ndarray
    """(T, N) W, mean over the step of the joints' positive mechanical power."""
    torque_share: np.ndarray
    """(T, N) of the joint nearest to its torque limit, at its worst moment in the step."""
    speed_share: np.ndarray
    """(T, N) likewise, of the motor's no-load speed."""
    power_share: np.ndarray
    """(T, N) likewise, of the most power that the motor can give."""
    pushed: np.ndarray
    """(T, N) 0, or 1 for a push in stance, or 2 for one in flight during the step."""
    recording: Recording
    """The first robot that survived among those kept, or the first."""

    @property
    def duration(self) -> float:
        """s."""
        return len(self.alive) * self.dt

    @property
    def truth(self) -> np.ndarray:
        """(T, N, E) what ``estimate`` should be."""
        steady = np.broadcast_to(np.column_stack([self.gravity, self.joint_rub]), (*self.alive.shape, 3))
        everything = np.concatenate([self.velocity, self.com_height[..., None], steady], axis=2)
        return everything[:, :, [list(ESTIMATES).index(name) for name in self.estimates]]


@dataclass(frozen=True)
class MotorLimits:
    """Of the twelve joints, each (12,)."""

    torque: Tensor
    """N*m."""
    speed: Tensor
    """rad/s without load."""
    corner: float
    """1. Share of it up to which the torque is full."""

    @property
    def power(self) -> Tensor:
        """W, the most that ``sim.physics.actuator``'s torque-speed curve gives at any speed: T w (1 - w / w0) / (1 - c)
        has its maximum at half of the no-load speed w0, as c is below one half."""
        return self.torque * self.speed * 0.25 / (1.0 - self.corner)


def effort(torque: Tensor, speed: Tensor, limits: MotorLimits) -> dict[str, Tensor]:
    """``power``, ``torque_share``, ``speed_share``, ``power_share`` of ``Trials`` for one control step, each (N,).

    Args:
        torque: (N, S, 12) N*m at each physics step.
        speed: (N, S, 12) rad/s at the same moments.
        limits: of the motors.
    """
    power = (torque * speed).clamp(min=0.0)
    return {
        "power": power.sum(2).mean(1),
        "torque_share": (torque.abs() / limits.torque).amax((1, 2)),
        "speed_share": (speed.abs() / limits.speed).amax((1, 2)),
        "power_share": (power / limits.power).amax((1, 2)),
    }


@physics_first()
def run_trials(
    actor: Actor | Student | Imported,
    world: PronkWorld,
    duration: float,
    estimates: tuple[str, ...] = (),
    tick: Callable[[], None] | None = None,
) -> Trials:
    """One trial per robot, from the world's reset to a fall or the end.

    Args:
        actor: the policy; its mean actions are taken.
        world: fresh, with ``physics.joint_sensors``.
        duration: s.
        estimates: names of the actor's estimates.
        tick: called after every control step.
    """
    n, dt, physics = world.num_envs, world.dt, world.physics
    steps = round(duration / dt)
    model = build_scene(world.cfg.physics)
    robot = physics.robot
    torque, speed = (
        torch.as_tensor(v, dtype=torch.float32, device=world.device)
        for v in (model.actuator_forcerange[:, 1], robot.speed_limit)
    )
    limits = MotorLimits(torque, speed, robot.corner)
    record = _Record(steps)
    alive = np.ones(n, dtype=bool)
    down = torch.zeros(n, 4, dtype=torch.bool, device=world.device)
    lifetime = np.full(n, duration)
    obs = world.reset()
    world.hops.drain()
    command = world.command.cpu().numpy().copy()  # a fall draws anew
    gravity, joint_rub = (drawn.cpu().numpy().copy() for drawn in (world.state.gravity, world.state.joint_rub))
    for k in range(steps):
        with torch.no_grad():
            out = actor(obs["policy"])
        record.keep(k, alive=alive, airborne=world.hops.airborne, estimate=out.estimate, **_seen(world.state))
        step = world.step(out.action)
        before, down = down, world.state.limb_contact
        record.keep(k, strikes=(down & ~before).sum(1), tilt=world.state.tilt)
        record.keep(k, foot_force=physics.foot_force.amax(1), pushed=world.pushes.kind)
        record.keep(k, **effort(physics.joint_torque, physics.joint_speed, limits))
        record.keep(
            k, qpos=physics.qpos[:CANDIDATES], height=physics.base_height[:CANDIDATES],
            every_force=physics.foot_force[:CANDIDATES],
        )  # fmt: skip
        ended = step.terminated.cpu().numpy()
        lifetime[alive & ended] = (k + 1) * dt
        alive = alive & ~ended
        obs = step.observations
        if tick is not None:
            tick()
    table = world.hops.table()
    touchdown = table.liftoff_time + table.flight_time
    landings = np.full(n, -np.inf)
    np.maximum.at(landings, table.robot, touchdown)
    own = touchdown <= lifetime[table.robot] + 1e-6
    qpos, height, force = (record.rows.pop(name) for name in ("qpos", "height", "every_force"))
    shown = int(np.argmax(alive[:CANDIDATES]))
    recording = Recording(
        dt=dt, qpos=qpos[:, shown], height=height[:, shown], foot_force=force[:, shown], mass=physics.mass,
        physics=world.cfg.physics, terrain=physics.terrain[0],
    )  # fmt: skip
    return Trials(
        dt=dt, command=command, gravity=gravity, joint_rub=joint_rub, mass=physics.mass, survived=alive,
        estimates=estimates,
        hops=HopTable(**{name: column[own] for name, column in vars(table).items()}),
        recording=recording, map=physics.level.cpu().numpy(), landings=landings, **record.rows,
    )  # fmt: skip


def _seen(s: State) -> dict[str, Tensor]:
    return {
        "velocity": s.velocity, "com_height": s.com_height, "yaw_rate": s.yaw_rate,
        "pitch": torch.asin(s.projected_gravity[:, 0].clamp(-1.0, 1.0)),
    }  # fmt: skip


class _Record:
    """Arrays (T, ...) that are filled row by row."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rows: dict[str, np.ndarray] = {}

    def keep(self, k: int, **values: Tensor | np.ndarray) -> None:
        """Copy ``values`` into row ``k`` of the arrays of their names."""
        for name, value in values.items():
            array = value.cpu().numpy() if isinstance(value, Tensor) else value
            if name not in self.rows:
                self.rows[name] = np.zeros((self.steps, *array.shape), dtype=array.dtype)
            self.rows[name][k] = array
