"""One robot that an exported policy drives on the ground and in the contact of training, a control step at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from policy.runtime.card import ESTIMATES
from policy.runtime.monitor import NOTHING, Verdict
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from policy.runtime.switch import SwitchPolicy
from sim.errors import LunarError
from sim.mdp.config import NoiseConfig
from sim.mdp.state import heading, rotate_inverse, to_heading
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_FRACTION, HopDetector
from sim.spec.joints import LEGS
from sim.spec.observation import SENSORS
from sim.tasks.config import FallConfig
from sim.tasks.pronk import TRUNK_LOAD
from sim.terrain.height_field import HeightField

LYING_TIME = 2.0  # s between a fall and the next start
EDGE = 2.0  # m from the map's edge at which a robot is taken back
_CLEARANCE = 0.02  # m of the lowest foot above the ground at the start
_START = 0.2  # of the map's edge: starts lie within so much of its centre, as in training
_ME = torch.zeros(1, dtype=torch.long)
_DOWN = torch.tensor([[0.0, 0.0, -1.0]])


@dataclass(frozen=True)
class Tally:
    """What the hop detector of ``sim.spec.hops`` has counted since the start."""

    hops: int = 0
    pronks: int = 0
    run: int = 0
    """Pronks in a row up to now."""
    longest_run: int = 0
    apex_gain: float = 0.0
    """m, of the last hop."""
    apex_command: float = 0.0
    """m, asked for when that hop was complete."""
    flight_time: float = 0.0
    """s, of the last hop."""
    peak_force: float = 0.0
    """Lunar body weights, of the last hop's landing."""


@dataclass(frozen=True)
class Moment:
    """The robot after a control step; world frame and SI units."""

    time: float
    """s since it was first put down."""
    qpos: np.ndarray
    """(19,) position, quaternion w x y z, joint angles in project order."""
    truth: dict[str, float]
    """When the policy last looked, one control step ago: ``vx``, ``vy``, ``vz`` of the base in the heading frame, m/s,
    and ``height`` of the centre of mass above the ground below the base, m."""
    estimate: dict[str, float]
    """What the policy took them to be; empty when it does not estimate."""
    foot_position: np.ndarray
    """(4, 3) m, centres of the feet."""
    foot_force: np.ndarray
    """(4,) N, each foot's largest during the step."""
    loaded: np.ndarray
    """(4,) bool."""
    ground: float
    """m, height of the ground below the base."""
    tally: Tally
    falls: int
    """Since it was first put down."""
    lying: bool
    """It fell, is limp, and waits for the next start."""
    verdict: Verdict = NOTHING
    """What the monitor says of the policy's newest action; nothing where there is no monitor."""


class LiveRobot:
    """Starts standing and does what its policy says for as long as ``step`` is called. After a fall it lies limp for
    ``LYING_TIME`` and starts anew.

    Args:
        policy: an exported one; its card names the robot and the servos' gains.
        terrain: what it stands on.
        noise: of the sensors that the policy sees.
        gravity: m/s^2.
        seed: of noise and of the places where it starts.
        place: x and y in m and yaw in rad, where it starts instead.

    Raises:
        LunarError: there is no such robot.
    """

    def __init__(
        self, policy: OnnxPolicy | SwitchPolicy, terrain: HeightField, noise: NoiseConfig, gravity: float,
        seed: int = 0, place: tuple[float, float, float] | None = None,
    ) -> None:  # fmt: skip
        card = policy.card
        self.policy = policy
        self.cfg = PhysicsConfig(robot=card.physics_robot, kp=card.kp, kd=card.kd)
        self.dt = self.cfg.control_dt
        """s per ``step``."""
        self._noise, self._place = noise, place
        self._gravity = gravity
        self.broken: int | None = None
        """The joint whose motor gives no torque, if any."""
        self._rng = np.random.default_rng(seed)
        self._time = 0.0
        self._falls = 0
        self.set_terrain(terrain)

    @property
    def yaw(self) -> float:
        """rad."""
        cos, sin = heading(self.physics.qpos[:, 3:7])[0].tolist()
        return math.atan2(sin, cos)

    @property
    def position(self) -> np.ndarray:
        """(2,) m."""
        return self.physics.qpos[0, :2].double().numpy()

    @property
    def loaded(self) -> bool:
        """Whether a foot bears load."""
        return bool(np.any(self._hops.loaded))

    def wander(self) -> None:
        """Start at places drawn from now on."""
        self._place = None

    def set_terrain(self, terrain: HeightField) -> None:
        """Put it on another ground, in a simulation of its own."""
        self.physics = BatchPhysics(self.cfg, 1, terrain, threads=1)
        """Of one robot."""
        self._terrain = terrain
        self._hops = HopDetector(np.array([lunar_weight(self.physics.mass)]), self.cfg.timestep)
        self.restart()

    def set_gravity(self, gravity: float) -> None:
        """Let it fall at ``gravity`` m/s^2 from now on."""
        self._gravity = gravity
        self.physics.set_gravity(_ME, torch.tensor([gravity]), torch.zeros(1))

    def push(self, impulse: np.ndarray) -> None:
        """Hit it with ``impulse`` (3,) N*s through its centre of mass, heading frame (x forward, y left, z up)."""
        physics = self.physics
        cos, sin = heading(physics.qpos[:, 3:7])[0].tolist()
        x, y, z = impulse
        qvel = physics.qvel.clone()
        qvel[0, :3] += torch.tensor([cos * x - sin * y, sin * x + cos * y, z], dtype=torch.float32) / physics.mass
        physics.reset(_ME, physics.qpos.clone(), qvel)

    def restart(self) -> None:
        """Stand at its place, or at one drawn near the map's centre and facing along x, with nothing counted."""
        physics = self.physics
        qpos, still = torch.zeros(1, 19), torch.zeros(1, 18)
        qpos[0, 3] = 1.0
        qpos[0, 7:] = torch.tensor(self.policy.card.default_pose)
        if self._place is not None:
            qpos[0, 0], qpos[0, 1], yaw = self._place
            qpos[0, 3], qpos[0, 6] = math.cos(yaw / 2), math.sin(yaw / 2)
        elif not self._terrain.is_flat:
            x0, x1, y0, y1 = self._terrain.extent
            share = self._rng.uniform(0.5 - _START, 0.5 + _START, 2)
            qpos[0, 0], qpos[0, 1] = x0 + share[0] * (x1 - x0), y0 + share[1] * (y1 - y0)
        physics.reset(_ME, qpos, still)  # at height zero, to see by how much which foot is below its ground
        radius = max(physics.model.geom(leg).size[0] for leg in LEGS)
        qpos[0, 2] = (physics.ground[0, :4] - physics.foot_position[0, :, 2]).max() + radius + _CLEARANCE
        physics.reset(_ME, qpos, still)
        self._set_stiffness(1.0)
        self.set_gravity(self._gravity)
        self.policy.reset()
        self._hops.reset(np.zeros(1, dtype=int))
        self._hops.drain()
        self._bias = {s.name: self._error(f"{s.name}_bias", s.size) for s in SENSORS}
        self._tally = Tally()
        self._lies_for = 0.0
        self._lying, self._lying_time = False, 0.0

    def step(self, command: np.ndarray) -> Moment:
        """One control step under ``command`` (5,), in the units and order of ``HopCommand``.

        Raises:
            LunarError: the policy yields no numbers.
        """
        physics = self.physics
        truth, estimate = self._truth(), {}
        if self._lying:
            self._lies_for += self.dt
            targets = physics.qpos[:, 7:].clone()
        else:
            targets = torch.as_tensor(self.policy.act(self._sense(), command)[None], dtype=torch.float32)
            output = self.policy.output
            assert output is not None
            if not bool(torch.isfinite(targets).all()):
                raise LunarError("the policy's action is not finite: it is broken, nothing was moved")
            estimate = dict(zip(self.policy.card.estimates, output.estimate.tolist(), strict=True))
        if self.broken is not None:
            targets[0, self.broken] = physics.qpos[0, 7 + self.broken]  # all that is left is damping
        diverged = bool(physics.step(targets))
        self._time += self.dt
        if diverged or self._lies_for >= LYING_TIME or self._is_at_edge():
            self.restart()
        elif not self._lying:
            self._count(float(command[3]))
            self._watch()
        feet = physics.foot_position[0].double().numpy()
        force = physics.foot_force[0].amax(0).double().numpy()
        qpos = physics.qpos[0].double().numpy()
        return Moment(
            self._time, qpos, truth, estimate, feet, force, self._hops.loaded[0].copy(), float(physics.ground[0, 4]),
            self._tally, self._falls, self._lying, self.policy.verdict,
        )  # fmt: skip

    def _sense(self) -> Proprioception:
        qpos, qvel = self.physics.qpos, self.physics.qvel
        exact = {
            "angular_velocity": qvel[0, 3:6], "projected_gravity": rotate_inverse(qpos[:, 3:7], _DOWN)[0],
            "joint_position": qpos[0, 7:], "joint_velocity": qvel[0, 6:],
        }  # fmt: skip
        return Proprioception(**{
            name: value.double().numpy() + self._bias[name] + self._error(name, len(value))
            for name, value in exact.items()
        })  # fmt: skip

    def _error(self, name: str, size: int) -> np.ndarray:
        """(size,) drawn from what ``NoiseConfig`` says under ``name``."""
        width = getattr(self._noise, name, 0.0)
        return self._rng.uniform(-width, width, size)

    def _truth(self) -> dict[str, float]:
        physics = self.physics
        velocity = to_heading(physics.qpos[:, 3:7], physics.qvel[:, :3])[0].tolist()
        height = float(physics.com[0, 2] - physics.ground[0, 4])
        return dict(zip(ESTIMATES, (*velocity, height, self._gravity, 0.0, 0.0), strict=True))  # no joint rubs

    def _count(self, apex_command: float) -> None:
        """Feed the hop detector every physics step of the control step, and tally the hops that are complete."""
        physics = self.physics
        force, height = physics.foot_force.numpy(), physics.base_height.numpy()
        speed, spread = physics.com_velocity[:, :, 2].numpy(), np.ptp(physics.ground[:, :4].numpy(), axis=1)
        tilt = np.array([self._tilt()])
        other = (physics.limb_force.sum(2) + physics.trunk_force).numpy()
        for k in range(self.cfg.substeps):
            self._hops.update(force[:, k], height[:, k], speed[:, k], tilt, spread, other[:, k])
        new, t = self._hops.drain(), self._tally
        for k in range(len(new)):
            run = t.run + 1 if new.pronk[k] else 0
            t = Tally(
                t.hops + 1, t.pronks + int(new.pronk[k]), run, max(t.longest_run, run), float(new.apex_gain[k]),
                apex_command, float(new.flight_time[k]), float(new.peak_force[k]),
            )  # fmt: skip
        self._tally = t

    def _watch(self) -> None:
        """Let it go limp when it has fallen."""
        physics, weight = self.physics, lunar_weight(self.physics.mass)
        trunk = float(physics.trunk_force.mean()) / weight
        self._lying_time = self._lying_time + self.cfg.control_dt if trunk >= TRUNK_LOAD else 0.0
        limbs = max(float(physics.foot_force.max()), float(physics.limb_force.max())) / weight
        if FallConfig().fell(self._lying_time, self._tilt(), max(limbs, trunk) > LOAD_FRACTION):
            self._lying = True
            self._falls += 1
            self._set_stiffness(0.0)

    def _tilt(self) -> float:
        """rad between the base's z axis and the vertical."""
        return math.acos(np.clip(-float(rotate_inverse(self.physics.qpos[:, 3:7], _DOWN)[0, 2]), -1.0, 1.0))

    def _set_stiffness(self, factor: float) -> None:
        one = torch.ones(1)
        self.physics.set_motors(_ME, factor * one, one, one, torch.zeros(1))

    def _is_at_edge(self) -> bool:
        x0, x1, y0, y1 = self._terrain.extent
        x, y = self.physics.qpos[0, :2].tolist()
        return not self._terrain.is_flat and not (x0 + EDGE < x < x1 - EDGE and y0 + EDGE < y < y1 - EDGE)
