"""The virtual rig: a quadruped on a belt on a 6-DoF platform, hung from a counterweight, under Earth gravity at 1 kHz.

Platform and belt are very heavy bodies whose position and velocity are prescribed every step, so that feet feel their
motion through ordinary contacts. The belt's position is put back to zero each step (the box stays centred) while its
velocity stays: MuJoCo's friction depends on velocity alone. The rope is our own (``sim.rig.rope``) and pulls at the
harness through an external force. Frame of the rig: origin at the belt's centre with the platform at home, z up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.physics.actuator import RESISTANCE, add_actuators, set_gains
from sim.physics.payload import bare_trunk, loaded_trunk
from sim.physics.scene import robot_spec
from sim.rig.rope import Rope, RopeParameters
from sim.spec.gravity import EARTH
from sim.spec.joints import JOINT_NAMES, LEGS, NOMINAL_POSE

_HEAVY = 1e5  # kg; the robot's 1 kN landing moves it by less than 1e-8 m before it is put back
_PLATFORM_AXES = (("slide", 0), ("slide", 1), ("slide", 2), ("hinge", 2), ("hinge", 1), ("hinge", 0))
POSE_ORDER = [0, 1, 2, 5, 4, 3]  # pose is x y z roll pitch yaw, the joints nest x y z yaw pitch roll
PLATFORM_Q, BELT_Q = slice(19, 25), 25  # layout of qpos: robot (free base, 12 joints), platform, belt
PLATFORM_V, BELT_V, ROBOT_V = slice(18, 24), 24, slice(0, 18)


@dataclass(frozen=True)
class RigConfig:
    """The rig's mechanics. Defaults are the design's figures; a lab gives its own."""

    robot: str = "go2"
    """Name of an MJCF in sim/robot/, or the path of another one with the same joint, body and foot names."""
    timestep: float = 0.001
    """s. Physics step."""
    belt_length: float = 2.5
    """m, along x."""
    belt_width: float = 1.0
    """m, along y."""
    friction: float = 0.8
    """1. Sliding friction of feet on the belt."""
    added_mass: float = 0.0
    """kg at the trunk's centre of mass unknown to the robot's file and the counterweight; negative: lighter."""
    strength: float = 1.0
    """1. Factor of the motors' torque at every speed."""
    pulley_height: float = 4.0
    """m. Pulley above the belt's centre."""
    harness: tuple[float, float, float] = (-0.003, 0.0, 0.03)
    """m. Where the rope holds the trunk, base frame. The default lies 5 cm above the centre of mass in the nominal
    pose: at the centre of mass itself the legs' motion tips the flying robot over (tilt at landing up to 1 rad)."""
    rope_ratio: float = 0.5
    """m/m. How far the counterweight moves per metre of the robot, k."""
    offload: float = 5.0 / 6.0
    """1. Share of the robot's weight that the counterweight carries at rest: m_c = offload * M / k."""
    rope_friction: float = 0.05
    """1. Share of the rope force lost in the pulleys."""
    pulley_mass: float = 0.2
    """kg. Rotational inertia of pulleys and drum over their radius squared."""
    rope_stiffness: float = 1e4
    """N/m, rope and harness between pulley and trunk."""
    rope_damping: float = 100.0
    """N*s/m."""


@dataclass(frozen=True)
class RigInputs:
    """What the machines' actuators do during a step; held constant over it."""

    platform_pose: np.ndarray = field(default_factory=lambda: np.zeros(6))
    """(6,) x, y, z in m, roll, pitch, yaw in rad, at the start of the step."""
    platform_velocity: np.ndarray = field(default_factory=lambda: np.zeros(6))
    """(6,) rates of ``platform_pose``."""
    belt_speed: float = 0.0
    """m/s, positive carries the robot towards -x."""
    winch_force: float = 0.0
    """N added to the counterweight's pull, seen at the harness; negative pays out."""
    brake: bool = False
    """The drum pays nothing out."""
    targets: np.ndarray = field(default_factory=lambda: NOMINAL_POSE.copy())
    """(12,) rad, project joint order."""
    kp: float = 30.0
    """N*m/rad."""
    kd: float = 0.75
    """N*m*s/rad."""
    mode: str = "stand"
    """``run`` and ``hold`` (PD to targets), ``stand`` (PD to the nominal pose), ``damp`` (kp = 0)."""


@dataclass(frozen=True)
class RigOutputs:
    """True state of the rig; sensor noise and delay belong to the devices that measure it."""

    time: float
    """s since the reset."""
    platform_pose: np.ndarray
    """(6,) m, rad."""
    platform_velocity: np.ndarray
    """(6,) m/s, rad/s."""
    belt_position: float
    """m, integral of the speed since the reset."""
    belt_speed: float
    """m/s."""
    rope_tension: float
    """N at the harness."""
    rope_length: float
    """m paid out from pulley to harness."""
    rope_speed: float
    """m/s, positive pays out."""
    base_position: np.ndarray
    """(3,) m, rig frame."""
    base_quaternion: np.ndarray
    """(4,) w, x, y, z."""
    base_velocity: np.ndarray
    """(3,) m/s, rig frame."""
    angular_velocity: np.ndarray
    """(3,) rad/s, base frame."""
    projected_gravity: np.ndarray
    """(3,) unit vector, base frame."""
    joint_position: np.ndarray
    """(12,) rad."""
    joint_velocity: np.ndarray
    """(12,) rad/s."""
    foot_force: np.ndarray
    """(4,) N, normal, FL FR RL RR."""
    foot_position: np.ndarray
    """(4, 3) m, centres of the feet in the rig frame; a loaded foot touches the belt one foot radius below."""


class VirtualRig:
    """Robot and machines together.

    Args:
        cfg: mechanics.
        seed: of the small scatter (0.01 rad) of the joint angles at each reset; the same seed gives the same motion.
    """

    def __init__(self, cfg: RigConfig, seed: int = 0) -> None:
        self.cfg = cfg
        self.model = build_model(cfg)
        self.data = mujoco.MjData(self.model)
        base = int(self.model.body_parentid[self.model.jnt_bodyid[self.model.joint(JOINT_NAMES[0]).id]])
        self._base = base
        self.mass = float(self.model.body_subtreemass[base])
        """kg, of the robot."""
        offset = np.array(cfg.harness) - self.model.body_ipos[base]
        self._harness = tuple(float(v) for v in cfg.harness)
        self._lever = tuple(float(v) for v in offset)
        self.rope = Rope(RopeParameters(
            counterweight=cfg.offload * (self.mass - cfg.added_mass) / cfg.rope_ratio,
            ratio=cfg.rope_ratio,
            pulley_mass=cfg.pulley_mass,
            friction=cfg.rope_friction,
            stiffness=cfg.rope_stiffness,
            damping=cfg.rope_damping,
        ))  # fmt: skip
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._qpos = self.data.qpos
        self._qvel = self.data.qvel
        self._wrench = self.data.xfrc_applied[base]
        self._gains: tuple[float, float] | None = None
        self.belt_position = 0.0
        self.reset()

    def reset(
        self,
        height: float | None = None,
        offset: tuple[float, float] = (0.0, 0.0),
        joint_position: np.ndarray | None = None,
        velocity: np.ndarray | None = None,
        tension: float | None = None,
    ) -> None:
        """Put the robot upright over the belt and the machines at home.

        Args:
            height: m of the base above the belt; standing on its feet when absent.
            offset: m, x and y of the base from the belt's centre.
            joint_position: (12,) rad; the nominal pose with the seed's scatter when absent.
            velocity: (3,) m/s of the base; at rest when absent. The rope follows its vertical part.
            tension: N of the rope at the start; the counterweight's passive pull when absent.
        """
        if joint_position is None:
            joint_position = NOMINAL_POSE + self._rng.uniform(-0.01, 0.01, 12)
        mujoco.mj_resetData(self.model, self.data)
        self._qpos[0:7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
        self._qpos[7:19] = joint_position
        mujoco.mj_kinematics(self.model, self.data)
        if height is None:
            feet = [self.data.geom(leg).xpos[2] - self.model.geom(leg).size[0] for leg in LEGS]
            height = -min(feet)
        self._qpos[0:3] = (*offset, height)
        if velocity is not None:
            self._qvel[0:3] = velocity
        self.data.ctrl[:] = joint_position
        self.belt_position = 0.0
        distance, rate, _ = self._rope_geometry()
        self.rope.reset(distance, self.rope.parameters.passive_force if tension is None else tension)
        self.rope.speed = rate
        mujoco.mj_forward(self.model, self.data)

    def place(self, qpos: np.ndarray, qvel: np.ndarray, tension: float, rope_speed: float) -> None:
        """Begin from a known state, machines at home and the belt's position zero.

        Args:
            qpos: (19,) base position in m, quaternion (w, x, y, z), joints in rad.
            qvel: (18,) m/s in the rig's frame, rad/s in the base's, joints in rad/s.
            tension: N in the rope.
            rope_speed: m/s, paying out.
        """
        mujoco.mj_resetData(self.model, self.data)
        self._qpos[0:19], self._qvel[ROBOT_V] = qpos, qvel
        self.belt_position = 0.0
        self.rope.reset(self._rope_geometry()[0], tension)
        self.rope.speed = rope_speed
        mujoco.mj_forward(self.model, self.data)

    def step(self, inputs: RigInputs, dt: float) -> None:
        """Advance by ``dt`` seconds, a whole number of timesteps.

        Raises:
            LunarError: the simulation diverged.
        """
        self._drive_joints(inputs)
        h = self.cfg.timestep
        pose = np.asarray(inputs.platform_pose, dtype=float)[POSE_ORDER]
        velocity = np.asarray(inputs.platform_velocity, dtype=float)[POSE_ORDER]
        for i in range(round(dt / h)):
            self._qpos[PLATFORM_Q] = pose + velocity * (i * h)
            self._qvel[PLATFORM_V] = velocity
            self._qpos[BELT_Q] = 0.0
            self._qvel[BELT_V] = -inputs.belt_speed
            self.belt_position += inputs.belt_speed * h
            self._pull(inputs.winch_force, inputs.brake, h)
            mujoco.mj_step(self.model, self.data)
        # what the solver did to the prescribed bodies is not the machines' motion
        self._qpos[PLATFORM_Q] = pose + velocity * dt
        self._qvel[PLATFORM_V] = velocity
        self._qpos[BELT_Q] = 0.0
        self._qvel[BELT_V] = -inputs.belt_speed
        if not math.isfinite(float(self._qpos.sum())) or self.data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number:
            raise LunarError("virtual rig: the simulation diverged; lower rig.timestep or the gains")

    def outputs(self) -> RigOutputs:
        """The state now; forces are those of the last physics step."""
        q, v = self._qpos, self._qvel
        quaternion = q[3:7].copy()
        sensors = self.data.sensordata
        return RigOutputs(
            time=self.data.time,
            platform_pose=q[PLATFORM_Q][POSE_ORDER],
            platform_velocity=v[PLATFORM_V][POSE_ORDER],
            belt_position=self.belt_position,
            belt_speed=-float(v[BELT_V]),
            rope_tension=self.rope.tension,
            rope_length=self.rope.length,
            rope_speed=self.rope.speed,
            base_position=q[0:3].copy(),
            base_quaternion=quaternion,
            base_velocity=v[0:3].copy(),
            angular_velocity=v[3:6].copy(),
            projected_gravity=-_rotation(quaternion)[2],
            joint_position=q[7:19].copy(),
            joint_velocity=v[6:18].copy(),
            foot_force=sensors[:4].copy(),
            foot_position=sensors[4:16].reshape(4, 3).copy(),
        )

    def center_of_mass(self) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) m and velocity (3,) m/s of the robot's centre of mass, rig frame."""
        return self.data.sensordata[16:19].copy(), self.data.sensordata[19:22].copy()

    def energy(self) -> float:
        """Mechanical energy of robot, counterweight and rope in J, up to a constant (platform and belt left out)."""
        mujoco.mj_forward(self.model, self.data)
        com, _ = self.center_of_mass()
        inertia = np.zeros((self.model.nv, self.model.nv))
        mujoco.mj_fullM(self.model, self.data, inertia)
        speed = self._qvel[ROBOT_V]
        rope, p = self.rope, self.rope.parameters
        distance, _, _ = self._rope_geometry()
        return float(
            self.mass * EARTH * com[2]
            + 0.5 * speed @ inertia[ROBOT_V, ROBOT_V] @ speed
            + p.passive_force * rope.length
            + 0.5 * p.inertia * rope.speed**2
            + 0.5 * p.stiffness * max(0.0, distance - rope.length) ** 2
        )

    def _drive_joints(self, inputs: RigInputs) -> None:
        kp, kd = inputs.kp, inputs.kd
        targets = inputs.targets
        if inputs.mode == "damp":
            kp = 0.0
        elif inputs.mode == "stand":
            targets = NOMINAL_POSE
        elif inputs.mode not in ("run", "hold"):
            raise LunarError(f"virtual rig: robot mode '{inputs.mode}' is unknown; choose run, hold, stand or damp")
        if self._gains != (kp, kd):
            self._gains = (kp, kd)
            set_gains(self.model, kp * self.cfg.strength, kd * self.cfg.strength)
        self.data.ctrl[:] = targets

    def _rope_geometry(self) -> tuple[float, float, tuple[float, ...]]:
        """Distance pulley to harness (m), its rate (m/s), and unit vector (3) towards the pulley with the lever (3)
        from the base's centre of mass to the harness, rig frame. Plain floats: this runs at 1 kHz."""
        x, y, z, qw, qx, qy, qz = self._qpos[0:7].tolist()
        vx, vy, vz, wx, wy, wz = self._qvel[0:6].tolist()
        ax, ay, az = 1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy + qw * qz), 2 * (qx * qz - qw * qy)  # columns of R
        bx, by, bz = 2 * (qx * qy - qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz + qw * qx)
        cx, cy, cz = 2 * (qx * qz + qw * qy), 2 * (qy * qz - qw * qx), 1 - 2 * (qx * qx + qy * qy)
        h0, h1, h2 = self._harness
        l0, l1, l2 = self._lever
        s0, s1, s2 = wy * h2 - wz * h1, wz * h0 - wx * h2, wx * h1 - wy * h0  # omega x harness, base frame
        dx = -(x + ax * h0 + bx * h1 + cx * h2)
        dy = -(y + ay * h0 + by * h1 + cy * h2)
        dz = self.cfg.pulley_height - (z + az * h0 + bz * h1 + cz * h2)
        distance = math.sqrt(dx * dx + dy * dy + dz * dz)
        ux, uy, uz = dx / distance, dy / distance, dz / distance
        rate = -(
            ux * (vx + ax * s0 + bx * s1 + cx * s2)
            + uy * (vy + ay * s0 + by * s1 + cy * s2)
            + uz * (vz + az * s0 + bz * s1 + cz * s2)
        )
        rx, ry, rz = ax * l0 + bx * l1 + cx * l2, ay * l0 + by * l1 + cy * l2, az * l0 + bz * l1 + cz * l2
        return distance, rate, (ux, uy, uz, rx, ry, rz)

    def _pull(self, winch: float, brake: bool, dt: float) -> None:
        distance, rate, (ux, uy, uz, rx, ry, rz) = self._rope_geometry()
        t = self.rope.step(distance, rate, winch, brake, dt)
        fx, fy, fz = t * ux, t * uy, t * uz
        self._wrench[:] = (fx, fy, fz, ry * fz - rz * fy, rz * fx - rx * fz, rx * fy - ry * fx)


def build_model(cfg: RigConfig) -> mujoco.MjModel:
    """Robot, platform and belt. ``sensordata``: foot force (4, N), foot positions (4 x 3, m), robot's centre of mass
    (3, m) and its velocity (3, m/s), rig frame.

    Raises:
        LunarError: the robot's file is missing or unfit.
    """
    spec = robot_spec(cfg.robot)
    spec.option.timestep = cfg.timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = [0.0, 0.0, -EARTH]
    for geom in spec.geoms:  # contacts only through the pairs below
        geom.contype = geom.conaffinity = 0
    for sensor in list(spec.sensors):
        spec.delete(sensor)
    base = spec.joint(JOINT_NAMES[0]).parent.parent
    if spec.geom("trunk") is None:
        raise LunarError(f"robot {cfg.robot} has no geom 'trunk'; the rig needs one to know when the trunk lands")
    bare = spec.compile()
    if bare.nq != 19:
        raise LunarError(f"robot {cfg.robot} has {bare.nq - 7} joints beside the free base; exactly 12 are expected")
    trunk = bare_trunk(bare, bare.body(base.name).id)
    mass, com, inertia, axes = loaded_trunk(trunk, np.array([cfg.added_mass]), trunk.com[None], np.zeros((1, 3)))
    base.explicitinertial = True
    base.mass, base.ipos, base.inertia, base.iquat = float(mass[0]), com[0], inertia[0], axes[0]
    base.fullinertia[:] = np.nan
    add_actuators(spec, kp=30.0, kd=0.75)
    for actuator in spec.actuators:
        actuator.gainprm[RESISTANCE] /= cfg.strength
        actuator.forcerange *= cfg.strength
    _add_machines(spec, cfg)
    for leg in LEGS:
        foot = spec.geom(leg)
        foot.parent.add_site(name=f"{leg}_foot", pos=foot.pos, size=[1.5 * foot.size[0]] * 3, group=5)
    for name in [*LEGS, "trunk", *(f"{leg}_knee" for leg in LEGS)]:
        if spec.geom(name) is not None:
            mu = cfg.friction
            spec.add_pair(geomname1=name, geomname2="belt", condim=3, friction=[mu, mu, 0.005, 1e-4, 1e-4])
    sensor, thing = mujoco.mjtSensor, mujoco.mjtObj
    for leg in LEGS:
        spec.add_sensor(type=sensor.mjSENS_TOUCH, objtype=thing.mjOBJ_SITE, objname=f"{leg}_foot", name=f"{leg}_force")
    for leg in LEGS:
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=thing.mjOBJ_SITE, objname=f"{leg}_foot", name=f"{leg}_pos")
    for name, kind in (("com", sensor.mjSENS_SUBTREECOM), ("com_velocity", sensor.mjSENS_SUBTREELINVEL)):
        spec.add_sensor(type=kind, objtype=thing.mjOBJ_BODY, objname=base.name, name=name)
    model = spec.compile()
    # the solver stops at a cost relative to this; the heavy bodies would make it stop far too early
    model.stat.meaninertia = bare.stat.meaninertia
    return model


def _add_machines(spec: mujoco.MjSpec, cfg: RigConfig) -> None:
    """Platform and belt, after the robot in the body tree."""
    platform = spec.worldbody.add_body(name="platform", gravcomp=1.0)
    for kind, axis in _PLATFORM_AXES:
        joint = mujoco.mjtJoint.mjJNT_SLIDE if kind == "slide" else mujoco.mjtJoint.mjJNT_HINGE
        platform.add_joint(name=f"platform_{kind}_{'xyz'[axis]}", type=joint, axis=np.eye(3)[axis])
    size = [cfg.belt_length / 2, cfg.belt_width / 2, 0.05]
    box = mujoco.mjtGeom.mjGEOM_BOX
    platform.add_geom(type=box, size=[*size[:2], 0.02], pos=[0, 0, -0.14], mass=_HEAVY, contype=0, conaffinity=0)
    belt = platform.add_body(name="belt", gravcomp=1.0)
    belt.add_joint(name="belt_slide", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0])
    belt.add_geom(name="belt", type=box, size=size, pos=[0, 0, -0.05], mass=_HEAVY, contype=0, conaffinity=0)


def _rotation(q: np.ndarray) -> np.ndarray:
    """(3, 3) base to rig, from (w, x, y, z)."""
    w, x, y, z = q.tolist()
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
