"""Builds the MuJoCo model of robot, platform and belt. The rope is no part of it (``sim.rig.rope``).

Platform and belt are very heavy bodies whose position and velocity are prescribed every step, so that feet feel their
motion through ordinary contacts.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.physics.actuator import RESISTANCE, add_actuators
from sim.physics.payload import bare_trunk, loaded_trunk
from sim.physics.scene import robot_spec
from sim.rig.config import RigConfig
from sim.spec.joints import JOINT_NAMES, LEGS

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
    spec = robot_spec(cfg.robot)
    spec.option.timestep = cfg.timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = [0.0, 0.0, -cfg.gravity]
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
