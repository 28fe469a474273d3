"""Find the legs of a quadruped by its kinematics: which joint of which leg is which, which way it turns, and where the
feet are. Names play no part in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.spec.joints import LEGS

_KINDS = ("abduction", "hip", "knee")
_ALONG = ("x", "y", "y")  # of the base frame, about which they turn
_ALIGNED = 0.7  # cosine between a joint's axis and that direction, at least
_TIP = 0.08  # of the shank's length: what reaches within that of the farthest point belongs to the foot
_SHAPE = mujoco.mjtGeom


@dataclass(frozen=True, eq=False)
class Foot:
    """A sphere on the body of a leg's knee joint."""

    geom: int
    """Of the file where it is that sphere, else -1: the file's foot is a box, a mesh, or on a body of its own."""
    center: np.ndarray
    """(3,) m, in the frame of the knee joint's body."""
    radius: float
    """m."""


@dataclass(frozen=True, eq=False)
class Legs:
    """Of a model as its file has it; arrays in project joint order."""

    base: int
    """Id of the body that carries them."""
    joints: np.ndarray
    """(12,) ids."""
    signs: np.ndarray
    """(12,) 1 or -1: the file's angle is this times the project's, whose joints turn about +x, +y and +y."""
    feet: tuple[Foot, ...]


def find_legs(model: mujoco.MjModel, path: object) -> Legs:
    """The legs of the quadruped in ``model``; ``path`` names its file in messages.

    Raises:
        LunarError: it is no quadruped with three joints a leg on one free trunk.
    """
    base, chains = _chains(model, path)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    turn = data.xmat[base].reshape(3, 3)
    places = np.array([(data.xanchor[chain[1]] - data.xpos[base]) @ turn for chain in chains])
    order = _corners(places, path)
    joints = np.array([chains[i] for i in order])
    axes = data.xaxis[joints.ravel()] @ turn
    along = np.tile([0, 1, 1], 4)
    share = axes[np.arange(12), along]
    if (wrong := np.abs(share) < _ALIGNED).any():
        k = int(np.argmax(wrong))
        axis = " ".join(f"{v:.2f}" for v in axes[k])
        raise LunarError(
            f"robot {path}: joint '{_name(model, joints.ravel()[k])}', the {_KINDS[k % 3]} of its leg, turns about "
            f"({axis}) of the base frame and not about {_ALONG[k % 3]}: a leg needs abduction, hip and knee in that "
            "order on a trunk whose x points forward and z up"
        )
    feet = tuple(_foot(model, data, int(chain[2])) for chain in joints)
    return Legs(base, joints.ravel(), np.sign(share), feet)


def _chains(model: mujoco.MjModel, path: object) -> tuple[int, list[list[int]]]:
    """The trunk, and the joints of each leg from hip to foot."""
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    trunks: dict[int, list[list[int]]] = {}
    for j in np.flatnonzero(model.jnt_type != mujoco.mjtJoint.mjJNT_FREE):
        root = int(model.body_rootid[model.jnt_bodyid[j]])
        chains = trunks.setdefault(root, [])
        above = _joint_above(model, int(j))
        grown = next((chain for chain in chains if chain[-1] == above), None)
        if grown is not None:
            grown.append(int(j))
        else:
            chains.append([int(j)])
    trunk, chains = max(trunks.items(), key=lambda item: sum(len(c) == 3 for c in item[1]), default=(0, []))
    legs = [
        chain for chain in chains if len(chain) == 3 and (model.jnt_type[chain] == mujoco.mjtJoint.mjJNT_HINGE).all()
    ]
    if len(legs) != len(LEGS):
        shown = "; ".join(", ".join(_name(model, j) for j in chain) for chain in chains[:8])
        raise LunarError(
            f"robot {path} is no quadruped with twelve joints: it needs four legs of three hinges in a row each, and "
            f"has {shown or 'no joints'}"
        )
    if extra := [_name(model, j) for chain in chains if chain not in legs for j in chain]:
        raise LunarError(
            f"robot {path} has more joints than a free base and the twelve of its legs: {', '.join(extra)}; delete "
            "them, which fixes what they carry"
        )
    if not any(model.body_rootid[model.jnt_bodyid[j]] == trunk for j in free):
        raise LunarError(f"robot {path} has no free trunk: the body that carries the legs needs a <freejoint/>")
    return trunk, legs


def _joint_above(model: mujoco.MjModel, joint: int) -> int:
    """The nearest joint towards the trunk that is not the free one; -1 for none."""
    body = int(model.jnt_bodyid[joint])
    if joint > model.body_jntadr[body]:
        above = joint - 1
    else:
        body = int(model.body_parentid[body])
        while body and not model.body_jntnum[body]:
            body = int(model.body_parentid[body])
        above = int(model.body_jntadr[body] + model.body_jntnum[body] - 1) if body else -1
    return -1 if above < 0 or model.jnt_type[above] == mujoco.mjtJoint.mjJNT_FREE else above


def _corners(places: np.ndarray, path: object) -> list[int]:
    """Indices of legs whose hips are at ``places`` (4, 3) m of the base frame, in the order of ``LEGS``."""
    x, y = (places[:, :2] - places[:, :2].mean(0)).T
    wanted = {"FL": (1, 1), "FR": (1, -1), "RL": (-1, 1), "RR": (-1, -1)}
    found = [[i for i in range(4) if (np.sign(x[i]), np.sign(y[i])) == wanted[leg]] for leg in LEGS]
    if any(len(legs) != 1 for legs in found):
        shown = ", ".join(f"({p[0]:.2f}, {p[1]:.2f})" for p in places)
        raise LunarError(
            f"robot {path}: its hips at {shown} m are no two pairs, left and right of a trunk whose x points forward"
        )
    return [legs[0] for legs in found]


def _foot(model: mujoco.MjModel, data: mujoco.MjData, knee: int) -> Foot:
    """The sphere that the leg below joint ``knee`` meets the ground with: the file's own at its end, or one that fits
    there into another shape."""
    shank = int(model.jnt_bodyid[knee])
    anchor = data.xanchor[knee]
    below = [b for b in range(shank, model.nbody) if _carries(model, shank, b)]
    geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] in below]
    in_pair = {int(g) for g in (*model.pair_geom1, *model.pair_geom2)}
    solid = [g for g in geoms if model.geom_contype[g] | model.geom_conaffinity[g] or g in in_pair] or geoms
    if not solid:
        leg = _name(model, knee)
        raise LunarError(f"robot: the leg below joint '{leg}' has no geom: it needs a foot, such as a sphere")
    points = {g: _outline(model, data, g) for g in solid}
    reach = {g: float(np.linalg.norm(p - anchor, axis=1).max()) for g, p in points.items()}
    farthest = max(reach.values())
    spheres = [g for g in solid if model.geom_type[g] == _SHAPE.mjGEOM_SPHERE]
    turn, origin = data.xmat[shank].reshape(3, 3), data.xpos[shank]
    ends = [g for g in spheres if reach[g] >= (1.0 - _TIP) * farthest]
    if ends:
        foot = max(ends, key=lambda g: reach[g])
        own = foot if model.geom_bodyid[foot] == shank else -1
        return Foot(own, (data.geom_xpos[foot] - origin) @ turn, float(model.geom_size[foot, 0]))
    foot = max(solid, key=lambda g: reach[g])
    away = np.linalg.norm(points[foot] - anchor, axis=1)
    tip = points[foot][away >= away.max() - _TIP * farthest].mean(0)
    radius = _tip_radius(model, foot, farthest)
    center = tip - radius * (tip - anchor) / np.linalg.norm(tip - anchor)
    return Foot(-1, (center - origin) @ turn, radius)


def _tip_radius(model: mujoco.MjModel, geom: int, length: float) -> float:
    """m, of a sphere in the end of ``geom``, a shape that ends ``length`` m from the knee."""
    half = model.geom_aabb[geom, 3:]
    thin = float(model.geom_size[geom, 0] if model.geom_type[geom] == _SHAPE.mjGEOM_CAPSULE else half.min())
    return float(np.clip(thin, 0.04 * length, 0.2 * length))


def _outline(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray:
    """(n, 3) m, points of the surface of ``geom`` that reach farthest, in the world."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    if kind == _SHAPE.mjGEOM_SPHERE:
        dense = np.array(np.meshgrid(*[np.linspace(-1, 1, 9)] * 3)).reshape(3, -1).T
        dense = dense[np.linalg.norm(dense, axis=1) > 0.1]
        local = size[0] * dense / np.linalg.norm(dense, axis=1, keepdims=True)
    elif kind == _SHAPE.mjGEOM_CAPSULE:
        local = np.array([[0, 0, z * (size[1] + size[0])] for z in (-1.0, 1.0)])
    elif kind == _SHAPE.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        start = model.mesh_vertadr[mesh]
        local = model.mesh_vert[start : start + model.mesh_vertnum[mesh]].astype(float)
    else:
        center, half = model.geom_aabb[geom].reshape(2, 3)
        local = center + corners * half
    return local @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]


def _carries(model: mujoco.MjModel, body: int, other: int) -> bool:
    while other > body:
        other = int(model.body_parentid[other])
    return other == body


def _name(model: mujoco.MjModel, joint: Any) -> str:
    return model.joint(int(joint)).name or f"joint {int(joint)}"
