"""Build the MuJoCo model of one quadruped on terrain.

Ground is a mocap plane per foot, knee and shin and one for trunk and hips, met only through explicit contact pairs.
Small feet on a MuJoCo height field get ghost contacts with wrong normals; planes that ``ground.py`` lays on our own
``HeightField`` do not, and on flat ground they are exactly the flat plane.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import mujoco

from sim.physics.actuator import add_actuators
from sim.physics.soil import SoilConfig, apply_soil
from sim.robots.adopt import GHOST, KNEES, TRUNK
from sim.robots.facts import Facts
from sim.robots.load import Robot, base_of, load_robot, robot_spec
from sim.spec.gravity import MOON
from sim.spec.joints import JOINT_NAMES, LEGS

SHINS = tuple(f"{leg}_shin" for leg in LEGS)
HIPS = tuple(f"{leg}_side" for leg in LEGS)
GROUNDS = tuple(f"ground_{name}" for name in (*LEGS, *KNEES, *SHINS, TRUNK))  # mocap order
SHIN_RADIUS = 0.018  # m, of the sphere half way between knee and foot of a robot of the Go2's size
HIP_RADIUS = 0.046  # m, of its abduction motors' housings
EVERYWHERE = 1.0  # m, a site that no contact of its body misses
_SENSOR, _OF = mujoco.mjtSensor, mujoco.mjtObj
FOOT_FORCES = [(f"{leg}_force", _SENSOR.mjSENS_TOUCH, _OF.mjOBJ_SITE, f"{leg}_touch") for leg in LEGS]
LIMB_FORCES = [(f"{leg}_calf", _SENSOR.mjSENS_TOUCH, _OF.mjOBJ_SITE, f"{leg}_calf_touch") for leg in LEGS]
TRUNK_FORCE = ("trunk_force", _SENSOR.mjSENS_TOUCH, _OF.mjOBJ_SITE, "trunk_touch")
FOOT_POSITIONS = [(leg, _SENSOR.mjSENS_FRAMEPOS, _OF.mjOBJ_SITE, f"{leg}_touch") for leg in LEGS]


@dataclass(frozen=True)
class PhysicsConfig:
    """Robot, ground contact and integration."""

    robot: str = "go2"
    """Name of a robot (docs/robots.md), or the path of a quadruped's MJCF or of its folder."""
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
    kp: float | None = None
    """N*m/rad. Joint stiffness; the robot's own by default."""
    kd: float | None = None
    """N*m*s/rad. Joint damping, likewise."""
    backend: Literal["auto", "batch", "warp"] = "auto"
    """Engine: C++ threads (``batch``, cpu) or MuJoCo Warp (``warp``, cuda or cpu); ``auto`` follows the device."""
    joint_sensors: bool = False
    """Record joint torques and speeds at every physics step; for measuring effort."""

    @property
    def control_dt(self) -> float:
        """Seconds between control steps."""
        return self.timestep * self.substeps


def gains(cfg: PhysicsConfig, robot: Facts) -> tuple[float, float]:
    """Stiffness N*m/rad and damping N*m*s/rad of the joints: what ``cfg`` says, else the robot's own."""
    return robot.kp if cfg.kp is None else cfg.kp, robot.kd if cfg.kd is None else cfg.kd


def build_scene(cfg: PhysicsConfig) -> mujoco.MjModel:
    """The model for training: reduced collision geometry, planes for the ground, sensors at the physics rate.

    ``sensordata`` holds, in order: foot force (4, N), centre of mass (3, m), its velocity (3, m/s), angular momentum
    about it (3, kg*m^2/s), base position (3, m), positions of feet and knees (4 x 3 each, m), all forces on each calf,
    its foot's among them (4, N), and on trunk and hips (1, N); world frame. Forces are normal to the ground. With
    ``joint_sensors`` also joint torques (12, N*m) and speeds (12, rad/s).
    """
    model = scene_spec(cfg).compile()
    apply_soil(model, cfg.soil)
    return model


def scene_spec(cfg: PhysicsConfig) -> mujoco.MjSpec:
    """``build_scene``'s model before it is compiled, on rigid ground."""
    robot = load_robot(cfg.robot)
    spec = bare_scene(cfg.robot, cfg.timestep, cfg.gravity)
    for name in GROUNDS:
        body = spec.worldbody.add_body(name=name, mocap=True)
        body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], contype=0, conaffinity=0, group=4)
    _add_shins_and_hips(spec, robot)
    for name in (*(n for limb in zip(LEGS, KNEES, SHINS, strict=True) for n in limb), TRUNK):
        add_pair(spec, name, f"ground_{name}", cfg.friction)
    for name in HIPS:
        add_pair(spec, name, f"ground_{TRUNK}", cfg.friction)
    add_actuators(spec, robot, *gains(cfg, robot))
    base = base_of(spec).name
    sensors = [
        *FOOT_FORCES,
        *mass_sensors(base),
        ("angular_momentum", _SENSOR.mjSENS_SUBTREEANGMOM, _OF.mjOBJ_BODY, base),
    ]
    sensors += [("base", _SENSOR.mjSENS_FRAMEPOS, _OF.mjOBJ_XBODY, base), *FOOT_POSITIONS]
    sensors += [(knee, _SENSOR.mjSENS_FRAMEPOS, _OF.mjOBJ_GEOM, knee) for knee in KNEES]
    sensors += [*LIMB_FORCES, TRUNK_FORCE]
    if cfg.joint_sensors:
        sensors += [(f"{j}_torque", _SENSOR.mjSENS_ACTUATORFRC, _OF.mjOBJ_ACTUATOR, j) for j in JOINT_NAMES]
        sensors += [(f"{j}_speed", _SENSOR.mjSENS_JOINTVEL, _OF.mjOBJ_JOINT, j) for j in JOINT_NAMES]
    add_sensors(spec, sensors)
    return spec


def bare_scene(name: str, timestep: float, gravity: float) -> mujoco.MjSpec:
    """The robot alone, as training and rig both take it from its file: our solver, cone and integrator, no contacts but
    the pairs that are added, and a site ``<leg>_touch`` around each foot.

    Args:
        name: of the robot or its file.
        timestep: s.
        gravity: m/s^2.
    """
    spec = robot_spec(name)
    spec.option = mujoco.MjSpec().option  # the file's solver, cone or wind are not ours
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # loaded feet creep on a pyramid, fastest at 45 degrees to its axes
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.gravity = [0.0, 0.0, -gravity]
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
    for element in (*spec.sensors, *spec.pairs, *spec.keys):
        spec.delete(element)
    for leg in LEGS:
        foot = spec.geom(leg)
        size = [1.5 * foot.size[0]] * 3
        foot.parent.add_site(name=f"{leg}_touch", type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=foot.pos, size=size, group=5)
    return spec


def _add_shins_and_hips(spec: mujoco.MjSpec, robot: Robot) -> None:
    """What else strikes the ground of a robot that falls or lands in a crouch; and touch sites of calves and trunk,
    which count every contact of their bodies, so that a calf's less its foot's is that of knee and shin."""
    sphere, base = mujoco.mjtGeom.mjGEOM_SPHERE, base_of(spec)
    size = robot.length_ratio
    for leg, knee, shin, hip, place in zip(LEGS, KNEES, SHINS, HIPS, robot.housings, strict=True):
        foot, calf = spec.geom(leg), spec.joint(f"{leg}_calf_joint").parent
        middle = 0.5 * (foot.pos + spec.geom(knee).pos)
        calf.add_geom(name=shin, type=sphere, size=[SHIN_RADIUS * size, 0, 0], pos=middle, **GHOST)
        calf.add_site(name=f"{leg}_calf_touch", type=sphere, size=[EVERYWHERE, 0, 0], group=5)
        # on the trunk: the housings hardly move against it
        base.add_geom(name=hip, type=sphere, size=[HIP_RADIUS * size, 0, 0], pos=place, **GHOST)
    base.add_site(name="trunk_touch", type=sphere, size=[EVERYWHERE, 0, 0], group=5)


def mass_sensors(base: str) -> list[tuple[str, Any, Any, str]]:
    """For ``add_sensors``: centre of mass (3, m) and its velocity (3, m/s) of the robot whose trunk is ``base``."""
    kinds = {"com": _SENSOR.mjSENS_SUBTREECOM, "com_velocity": _SENSOR.mjSENS_SUBTREELINVEL}
    return [(name, kind, _OF.mjOBJ_BODY, base) for name, kind in kinds.items()]


def add_sensors(spec: mujoco.MjSpec, rows: Iterable[tuple[str, Any, Any, str]]) -> None:
    """Add sensors, each (its name, kind, the kind of what it is on, the name of that)."""
    for name, kind, of, what in rows:
        spec.add_sensor(name=name, type=kind, objtype=of, objname=what)


def add_pair(spec: mujoco.MjSpec, geom: str, ground: str, friction: float) -> None:
    """Let ``geom`` meet ``ground`` with this sliding friction."""
    spec.add_pair(geomname1=geom, geomname2=ground, condim=3, friction=[friction, friction, 0.005, 1e-4, 1e-4])
