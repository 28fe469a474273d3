"""The virtual rig: a quadruped on a belt on a 6-DoF platform, hung from a counterweight, under Earth gravity at 1 kHz.

The belt's position is put back to zero each step (the box stays centred) while its velocity stays: MuJoCo's friction
depends on velocity alone. The rope (``sim.rig.suspension``) pulls at the harness through an external force. Frame of
the rig: origin at the belt's centre with the platform at home, z up.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.physics.actuator import set_gains
from sim.rig.config import RigConfig
from sim.rig.model import BELT_Q, BELT_V, PLATFORM_Q, PLATFORM_V, POSE_ORDER, ROBOT_V, build_model
from sim.rig.signals import RigInputs, RigOutputs
from sim.rig.suspension import Suspension
from sim.robots.load import load_robot
from sim.spec.joints import JOINT_NAMES, LEGS


class VirtualRig:
    """Robot and machines together.

    Args:
        cfg: mechanics.
        seed: of the small scatter (0.01 rad) of the joint angles at each reset; the same seed gives the same motion.
    """

    def __init__(self, cfg: RigConfig, seed: int = 0) -> None:
        self.cfg = cfg
        self.model = build_model(cfg)
        self.robot = load_robot(cfg.robot)
        self.data = mujoco.MjData(self.model)
        base = int(self.model.body_rootid[self.model.jnt_bodyid[self.model.joint(JOINT_NAMES[0]).id]])
        self._base = base
        self.mass = float(self.model.body_subtreemass[base])
        """kg, of the robot."""
        self.suspension = Suspension(cfg, self.mass - cfg.added_mass, self.model.body_ipos[base].copy())
        self.rope = self.suspension.rope
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
            joint_position = self.robot.nominal_pose + self._rng.uniform(-0.01, 0.01, 12)
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
        self.suspension.reset(self._qpos, self._qvel, tension)
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
        self.suspension.reset(self._qpos, self._qvel, tension, rope_speed)
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
            self._wrench[:] = self.suspension.step(self._qpos, self._qvel, inputs.winch_force, inputs.brake, h)
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
            joint_torque=self.data.qfrc_actuator[6:18].copy(),
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
        return float(
            self.mass * self.cfg.gravity * com[2]
            + 0.5 * speed @ inertia[ROBOT_V, ROBOT_V] @ speed
            + p.passive_force * rope.length
            + 0.5 * p.inertia * rope.speed**2
            + self.suspension.spring_energy(self._qpos, self._qvel)
        )

    def _drive_joints(self, inputs: RigInputs) -> None:
        kp, kd = inputs.kp, inputs.kd
        targets = inputs.targets
        if inputs.mode == "damp":
            kp = 0.0
        elif inputs.mode == "stand":
            targets = self.robot.nominal_pose
        elif inputs.mode not in ("run", "hold"):
            raise LunarError(f"virtual rig: robot mode '{inputs.mode}' is unknown; choose run, hold, stand or damp")
        if self._gains != (kp, kd):
            self._gains = (kp, kd)
            set_gains(self.model, kp * self.cfg.strength, kd * self.cfg.strength)
        self.data.ctrl[:] = targets


def _rotation(q: np.ndarray) -> np.ndarray:
    """(3, 3) base to rig, from (w, x, y, z)."""
    w, x, y, z = q.tolist()
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
