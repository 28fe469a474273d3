"""Read a robot by name or from an MJCF: check that we can simulate it, and measure what follows from its file."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.robots.adopt import TRUNK, adopt, build
from sim.robots.anatomy import find_legs
from sim.robots.derive import derive
from sim.robots.facts import Facts
from sim.robots.identity import ROBOTS, identify, robot_file
from sim.spec.joints import JOINT_NAMES, LEGS

HOUSING = 0.8  # of the way from a leg's abduction joint to its hip joint


@dataclass(frozen=True, eq=False, kw_only=True)
class Robot(Facts):
    """Facts and geometry. Lengths are rounded to 1 mm, so that they do not hang on the last bit of a library."""

    standing_height: float
    """m, base above the ground with the feet of the nominal pose on it."""
    com_height: float
    """m, centre of mass above the ground where the robot stands."""
    reach: float
    """m, half the length of the trunk."""
    hips: np.ndarray
    """(4, 2) m, x and y in the base frame of the hip joints (``thigh``) in the nominal pose: where the legs hang."""
    housings: np.ndarray
    """(4, 3) m in the base frame, middles of the motors between abduction and hip joint in that pose."""


def robot_spec(robot: str) -> mujoco.MjSpec:
    """The MJCF of ``robot`` (``sim.robots.identity.robot_file``) in the project's terms (``sim.robots.adopt``).

    Raises:
        LunarError: no such file, not an MJCF, or no quadruped that the project can drive (it says why).
    """
    path = robot_file(robot)
    return adopt(_read(path), path)


def base_of(spec: mujoco.MjSpec) -> mujoco.MjsBody:
    """The body that carries the legs."""
    body = spec.joint(JOINT_NAMES[0]).parent
    while body.parent.name != "world":
        body = body.parent
    return body


def robot_model(robot: str) -> mujoco.MjModel:
    """The model of ``robot_spec`` alone.

    Raises:
        LunarError: as ``robot_spec``, or MuJoCo cannot build it, such as for a mesh that is not there.
    """
    return build(robot_spec(robot), robot_file(robot))


def load_robot(robot: str) -> Robot:
    """All facts of ``robot``: those of the project's own from its folder, of any other from its file
    (``sim.robots.derive``).

    Raises:
        LunarError: as ``robot_model``, or the file does not say what its motors can give.
    """
    return _loaded(robot_file(robot), identify(robot).digest)


@functools.lru_cache(maxsize=16)
def _loaded(path: Path, digest: str) -> Robot:
    """``load_robot`` of the file that has this ``digest``: meshes take seconds."""
    folder = path.resolve().parent
    if folder.parent == ROBOTS:
        facts: Facts = getattr(importlib.import_module(f"sim.robots.{folder.name}.facts"), folder.name.upper())
    else:
        own = build(_read(path), path)
        facts = derive(own, find_legs(own, path), path)
    return _measured(facts, robot_model(str(path)))


def _read(path: Path) -> mujoco.MjSpec:
    """The file with all of its shapes and bodies, whatever it asks to be left out."""
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise LunarError(f"robot {path} is not a valid MJCF: {' '.join(str(error).split())}") from None
    spec.compiler.fusestatic = spec.compiler.discardvisual = False
    return spec


def _measured(facts: Facts, model: mujoco.MjModel) -> Robot:
    """Forward kinematics of the nominal pose, base upright at the origin."""
    data = mujoco.MjData(model)
    base = int(model.body_rootid[model.jnt_bodyid[model.joint(JOINT_NAMES[0]).id]])
    root = int(model.jnt_qposadr[model.body_jntadr[base]])
    data.qpos[root : root + 7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    data.qpos[[model.joint(name).qposadr[0] for name in JOINT_NAMES]] = facts.nominal_pose
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    standing = -min(data.geom(leg).xpos[2] - model.geom(leg).size[0] for leg in LEGS)
    com = standing + float(data.subtree_com[base, 2])
    inner = np.array([data.joint(f"{leg}_hip_joint").xanchor for leg in LEGS])
    outer = np.array([data.joint(f"{leg}_thigh_joint").xanchor for leg in LEGS])
    trunk = model.geom(TRUNK).id
    _, half = model.geom_aabb[trunk].reshape(2, 3)
    extent = np.abs(data.geom_xmat[trunk].reshape(3, 3)) @ half
    caps = model.geom_size[trunk, 0] if model.geom_type[trunk] == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0
    return Robot(
        **vars(facts),
        standing_height=round(standing, 3),
        com_height=round(com, 3) if facts.standing_com_height is None else facts.standing_com_height,
        reach=round(float(extent[0] - caps), 3),
        hips=outer[:, :2].round(4),
        housings=(inner + HOUSING * (outer - inner)).round(4),
    )  # fmt: skip
