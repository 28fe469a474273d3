"""Builds the MuJoCo model of robot, platform and belt. The rope is no part of it (``sim.rig.rope``).

Platform and belt are very heavy bodies whose position and velocity are prescribed every step, so that feet feel their
motion through ordinary contacts.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.physics.actuator import RESISTANCE, add_actuators
from sim.physics.payload import bare_trunk, loaded_trunk
from sim.physics.scene import FOOT_FORCES, FOOT_POSITIONS, add_pair, add_sensors, bare_scene, mass_sensors
from sim.rig.config import RigConfig
from sim.robots.adopt import KNEES, TRUNK
from sim.robots.load import base_of, load_robot
from sim.spec.joints import LEGS

POSE_ORDER = [0, 1, 2, 5, 4, 3]  # pose is x y z roll pitch yaw, the joints nest x y z yaw pitch roll
PLATFORM_Q, BELT_Q = slice(19, 25), 25  # layout of qpos: robot (free base, 12 joints), platform, belt
PLATFORM_V, BELT_V, ROBOT_V = slice(18, 24), 24, slice(0, 18)
_HEAVY = 1e5  # kg; the robot's 1 kN landing moves it by less than 1e-8 m before it is put back
_PLATFORM_AXES = (("slide", 0), ("slide", 1), ("slide", 2), ("hinge", 2), ("hinge", 1), ("hinge", 0))


def build_model(cfg: RigConfig) -> mujoco.MjModel:
    """Robot, platform and belt. ``sensordata``: foot force (4, N), foot positions (4 x 3, m), robot's centre of mass
    (3, m) and its velocity (3, m/s), rig frame.

    Raises:
        LunarError: the robot's file is missing or unfit.
    """
    robot = load_robot(cfg.robot)
    spec = bare_scene(cfg.robot, cfg.timestep, cfg.gravity)
    base = base_of(spec)
    bare = spec.copy().compile()  # a file may ask for geoms without a pair to be discarded
    trunk = bare_trunk(bare, bare.body(base.name).id)
    mass, com, inertia, axes = loaded_trunk(trunk, np.array([cfg.added_mass]), trunk.com[None], np.zeros((1, 3)))
    base.explicitinertial = True
    base.mass, base.ipos, base.inertia, base.iquat = float(mass[0]), com[0], inertia[0], axes[0]
    base.fullinertia[:] = np.nan
    add_actuators(spec, robot, robot.kp, robot.kd)
    for actuator in spec.actuators:
        actuator.gainprm[RESISTANCE] /= cfg.strength
        actuator.forcerange *= cfg.strength
    _add_machines(spec, cfg)
    for name in (*LEGS, TRUNK, *KNEES):
        add_pair(spec, name, "belt", cfg.friction)
    add_sensors(spec, [*FOOT_FORCES, *FOOT_POSITIONS, *mass_sensors(base.name)])
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
