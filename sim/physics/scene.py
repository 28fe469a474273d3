"""Build the MuJoCo model of one robot on terrain from any MJCF with the project's joint names.

Ground is a mocap plane per foot and knee and one for the trunk, met only through explicit contact pairs. Small feet on
a MuJoCo height field get ghost contacts with wrong normals; planes that ``ground.py`` lays on our own ``HeightField``
do not, and on flat ground they are exactly the flat plane.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mujoco

from sim.errors import LunarError
from sim.physics.actuator import add_actuators
from sim.physics.ground import REACH
from sim.physics.soil import SoilConfig, apply_soil
from sim.spec.gravity import MOON
from sim.spec.joints import JOINT_NAMES, LEGS

ROBOTS = Path(__file__).resolve().parent.parent / "robot"
KNEES = tuple(f"{leg}_knee" for leg in LEGS)
GROUNDS = tuple(f"ground_{name}" for name in (*LEGS, *KNEES, "trunk"))  # mocap order


@dataclass(frozen=True)
class PhysicsConfig:
    """Robot, ground contact and integration."""

    robot: str = "go2"
    """Name of an MJCF in sim/robot/, or the path of another one with the same joint, body and foot names."""
    gravity: float = MOON
    """m/s^2."""
    timestep: float = 0.005
    """s. Physics step."""
    substeps: int = 4
    """Physics steps per control step; 4 x 5 ms = 50 Hz."""
    friction: float = 0.8
    """1. Sliding friction of feet on regolith."""
    soil: SoilConfig = field(default_factory=SoilConfig)
    """Rigid ground or regolith that gives way."""
    kp: float = 30.0
    """N*m/rad. Joint stiffness."""
    kd: float = 0.75
    """N*m*s/rad. Joint damping."""
    backend: Literal["auto", "batch", "warp"] = "auto"
    """Engine: C++ threads (``batch``, cpu) or MuJoCo Warp (``warp``, cuda or cpu); ``auto`` follows the device."""
    joint_sensors: bool = False
    """Record joint torques and speeds at every physics step; for measuring effort."""

    @property
    def control_dt(self) -> float:
        """Seconds between control steps."""
        return self.timestep * self.substeps


def robot_spec(robot: str) -> mujoco.MjSpec:
    """Load a robot.

    Raises:
        LunarError: no such file, not an MJCF, or a joint, trunk or foot is missing or unfit (it is named).
    """
    path = ROBOTS / f"{robot}.xml" if "/" not in robot and not robot.endswith(".xml") else Path(robot)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in ROBOTS.glob("*.xml")))
        raise LunarError(f"robot '{robot}': {path} does not exist; use the path of an MJCF file or one of: {known}")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise LunarError(f"robot {path} is not a valid MJCF: {error}") from None
    missing = [j for j in JOINT_NAMES if spec.joint(j) is None]
    if missing:
        raise LunarError(f"robot {path} has no joint '{missing[0]}'; it needs {', '.join(JOINT_NAMES)}")
    missing = [leg for leg in LEGS if spec.geom(leg) is None]
    if missing:
        raise LunarError(f"robot {path} has no foot geom '{missing[0]}'; its four feet must be named FL, FR, RL, RR")
    _check_robot(spec, path)
    return spec


def _check_robot(spec: mujoco.MjSpec, path: Path) -> None:
    """Refuse a robot with the right names in a wrong arrangement."""
    trunk = spec.joint(JOINT_NAMES[0]).parent.parent
    if trunk.name == "world" or not any(j.type == mujoco.mjtJoint.mjJNT_FREE for j in trunk.joints):
        raise LunarError(f"robot {path} has no free trunk: the body that carries the legs needs a <freejoint/>")
    order = [j.name for j in spec.joints if j.type != mujoco.mjtJoint.mjJNT_FREE]
    if len(order) != len(JOINT_NAMES):
        extra = sorted(set(order) - set(JOINT_NAMES))
        raise LunarError(f"robot {path} has more joints than a free base and the twelve of its legs: {extra}")
    if order != list(JOINT_NAMES):
        raise LunarError(
            f"robot {path}: the legs must stand in the file in the order FL, FR, RL, RR, not as {order[::3]}"
        )
    for leg in LEGS:
        if spec.geom(leg).type != mujoco.mjtGeom.mjGEOM_SPHERE:
            raise LunarError(f"robot {path}: foot geom '{leg}' must be a sphere")


def build_scene(cfg: PhysicsConfig) -> mujoco.MjModel:
    """The model for training: reduced collision geometry, planes for the ground, sensors at the physics rate.

    ``sensordata`` holds, in order: foot force (4, N), centre of mass (3, m), its velocity (3, m/s), angular momentum
    about it (3, kg*m^2/s), base position (3, m), positions of feet and knees (4 x 3 each, m); world frame. With
    ``joint_sensors`` also joint torques (12, N*m) and speeds (12, rad/s).
    """
    model = scene_spec(cfg).compile()
    apply_soil(model, cfg.soil)
    return model


def scene_spec(cfg: PhysicsConfig) -> mujoco.MjSpec:
    """``build_scene``'s model before it is compiled, on rigid ground."""
    spec = robot_spec(cfg.robot)
    spec.option = mujoco.MjSpec().option  # the file's solver, cone or wind are not the Moon's
    spec.option.timestep = cfg.timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = [0.0, 0.0, -cfg.gravity]
    for geom in spec.geoms:  # contacts only through the pairs below
        geom.contype = geom.conaffinity = 0
    for element in (*spec.sensors, *spec.pairs, *spec.keys):
        spec.delete(element)
    for joint in spec.joints:  # costs 40% of the speed; the randomised damping and gains cover it
        joint.frictionloss = 0.0
    for name in GROUNDS:
        body = spec.worldbody.add_body(name=name, mocap=True)
        body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], contype=0, conaffinity=0, group=4)
    base = spec.joint(JOINT_NAMES[0]).parent.parent
    _add_trunk_if_missing(spec, base)
    for leg in LEGS:
        foot = spec.geom(leg)
        if spec.geom(f"{leg}_knee") is None:
            spec.joint(f"{leg}_calf_joint").parent.add_geom(
                name=f"{leg}_knee",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[0.024, 0, 0],
                contype=0,
                conaffinity=0,
                mass=0,
                group=3,
            )
        touch, radius = mujoco.mjtGeom.mjGEOM_SPHERE, 1.5 * foot.size[0]
        foot.parent.add_site(name=f"{leg}_touch", type=touch, pos=foot.pos, size=[radius] * 3, group=5)
        add_pair(spec, leg, f"ground_{leg}", cfg.friction)
        add_pair(spec, f"{leg}_knee", f"ground_{leg}_knee", cfg.friction)
    add_pair(spec, "trunk", "ground_trunk", cfg.friction)
    add_actuators(spec, cfg.kp, cfg.kd)
    for leg in LEGS:
        spec.add_sensor(
            name=f"{leg}_force",
            type=mujoco.mjtSensor.mjSENS_TOUCH,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname=f"{leg}_touch",
        )
    kinds = {
        "com": mujoco.mjtSensor.mjSENS_SUBTREECOM,
        "com_velocity": mujoco.mjtSensor.mjSENS_SUBTREELINVEL,
        "angular_momentum": mujoco.mjtSensor.mjSENS_SUBTREEANGMOM,
    }
    for name, kind in kinds.items():
        spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_BODY, objname=base.name)
    position = mujoco.mjtSensor.mjSENS_FRAMEPOS
    spec.add_sensor(name="base", type=position, objtype=mujoco.mjtObj.mjOBJ_XBODY, objname=base.name)
    for leg in LEGS:
        spec.add_sensor(name=leg, type=position, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=f"{leg}_touch")
    for knee in KNEES:
        spec.add_sensor(name=knee, type=position, objtype=mujoco.mjtObj.mjOBJ_GEOM, objname=knee)
    if cfg.joint_sensors:
        torque, speed = mujoco.mjtSensor.mjSENS_ACTUATORFRC, mujoco.mjtSensor.mjSENS_JOINTVEL
        for name in JOINT_NAMES:
            spec.add_sensor(name=f"{name}_torque", type=torque, objtype=mujoco.mjtObj.mjOBJ_ACTUATOR, objname=name)
        for name in JOINT_NAMES:
            spec.add_sensor(name=f"{name}_speed", type=speed, objtype=mujoco.mjtObj.mjOBJ_JOINT, objname=name)
    return spec


def _add_trunk_if_missing(spec: mujoco.MjSpec, base: mujoco.MjsBody) -> None:
    if spec.geom("trunk") is None:
        base.add_geom(
            name="trunk",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=[0.06, REACH, 0],
            quat=[0.7071068, 0, 0.7071068, 0],
            contype=0,
            conaffinity=0,
            mass=0,
            group=3,
        )


def add_pair(spec: mujoco.MjSpec, geom: str, ground: str, friction: float) -> None:
    """Let ``geom`` meet ``ground`` with this sliding friction."""
    spec.add_pair(geomname1=geom, geomname2=ground, condim=3, friction=[friction, friction, 0.005, 1e-4, 1e-4])
