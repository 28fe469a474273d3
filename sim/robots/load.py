"""Read a robot by name or from an MJCF: check that we can simulate it, and measure what follows from its file."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.robots.facts import Facts
from sim.robots.go2.facts import GO2
from sim.robots.identity import ROBOTS, robot_file
from sim.spec.joints import JOINT_NAMES, LEGS

TRUNK = "trunk"  # geom that meets the ground where the robot falls
TRUNK_RADIUS = 0.06  # m, of the capsule that stands for it where the file names none


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


def robot_spec(robot: str) -> mujoco.MjSpec:
    """The MJCF of ``robot``, a name in sim/robots/ or the path of a file.

    Raises:
        LunarError: no such file, not an MJCF, or a joint, trunk or foot is missing or unfit (it is named).
    """
    path = robot_file(robot)
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
    _check_arrangement(spec, path)
    return spec


def base_of(spec: mujoco.MjSpec) -> mujoco.MjsBody:
    """The body that carries the legs."""
    return spec.joint(JOINT_NAMES[0]).parent.parent


def robot_model(robot: str) -> mujoco.MjModel:
    """The model of ``robot_spec`` alone, as its file has it.

    Raises:
        LunarError: as ``robot_spec``, or MuJoCo cannot build it, such as for a mesh that is not there.
    """
    try:
        return robot_spec(robot).compile()
    except ValueError as error:
        raise LunarError(f"robot {robot_file(robot)} cannot be built: {' '.join(str(error).split())}") from None


def load_robot(robot: str) -> Robot:
    """All facts of ``robot``, a name in sim/robots/ or the path of an MJCF.

    A file has its own joint ranges, torque limits (``actuatorfrcrange``) and geometry; what it does not say is taken to
    be as the Go2's.

    Raises:
        LunarError: as ``robot_model``.
    """
    model = robot_model(robot)
    folder = robot_file(robot).resolve().parent
    if folder.parent == ROBOTS:
        facts: Facts = getattr(importlib.import_module(f"sim.robots.{folder.name}.facts"), folder.name.upper())
    else:
        joints = [model.joint(name) for name in JOINT_NAMES]
        ranges = np.array([j.range if model.jnt_limited[j.id] else (-np.pi, np.pi) for j in joints])
        own = np.array([model.jnt_actfrcrange[j.id, 1] for j in joints])
        torque = np.where(own > 0.0, own, GO2.torque_limit)
        facts = replace(GO2, lower=ranges[:, 0], upper=ranges[:, 1], torque_limit=torque, standing_com_height=None)
    return _measured(facts, model)


def _check_arrangement(spec: mujoco.MjSpec, path: Path) -> None:
    """Refuse a robot with the right names in a wrong arrangement."""
    trunk = base_of(spec)
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


def _measured(facts: Facts, model: mujoco.MjModel) -> Robot:
    """Forward kinematics of the nominal pose, base upright at the origin."""
    data = mujoco.MjData(model)
    base = int(model.body_parentid[model.jnt_bodyid[model.joint(JOINT_NAMES[0]).id]])
    root = int(model.jnt_qposadr[model.body_jntadr[base]])
    data.qpos[root : root + 7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    data.qpos[[model.joint(name).qposadr[0] for name in JOINT_NAMES]] = facts.nominal_pose
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    standing = -min(data.geom(leg).xpos[2] - model.geom(leg).size[0] for leg in LEGS)
    com = standing + float(data.subtree_com[base, 2])
    hips = np.array([data.joint(f"{leg}_thigh_joint").xanchor[:2] for leg in LEGS])
    reach = float(np.abs(hips[:, 0]).mean())
    trunk = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, TRUNK)
    if trunk >= 0:
        _, half = model.geom_aabb[trunk].reshape(2, 3)
        turn = data.geom_xmat[trunk].reshape(3, 3)
        extent = np.abs(turn) @ half
        caps = model.geom_size[trunk, 0] if model.geom_type[trunk] == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0
        reach = float(extent[0] - caps)
    return Robot(
        **vars(facts),
        standing_height=round(standing, 3),
        com_height=round(com, 3) if facts.standing_com_height is None else facts.standing_com_height,
        reach=round(reach, 3),
        hips=hips.round(4),
    )  # fmt: skip
