"""Bring a quadruped's MJCF into the project's terms: order, names and signs of its joints, spheres for feet and knees,
a capsule for the trunk. What moves, weighs and is drawn stays the file's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.robots.anatomy import Legs, find_legs
from sim.spec.joints import JOINT_NAMES, LEGS

TRUNK = "trunk"  # geom that meets the ground where the robot falls
KNEES = tuple(f"{leg}_knee" for leg in LEGS)
SHANK = 0.213
"""m, half the length of a leg of the robot whose housings the radii below are, the Go2's."""
TRUNK_RADIUS, KNEE_RADIUS = 0.06, 0.024  # m, of its size, where a file has no such shapes
GHOST: dict[str, Any] = {"contype": 0, "conaffinity": 0, "mass": 0, "group": 3}
_SHAPE = mujoco.mjtGeom


@dataclass(frozen=True, eq=False)
class _Parts:
    """What ``Legs`` found, as elements of the spec: ids change with every deletion."""

    base: mujoco.MjsBody
    joints: list[mujoco.MjsJoint]
    feet: list[mujoco.MjsGeom | None]


def adopt(spec: mujoco.MjSpec, path: Path) -> mujoco.MjSpec:
    """The quadruped of ``spec``, read from ``path`` with nothing fused or discarded, in the project's terms; the rest
    of its world is left out.

    Raises:
        LunarError: it is none that the project can drive, or cannot be built.
    """
    model = build(spec, path)
    legs = find_legs(model, path)
    _check_free(spec, path)
    if (np.diff(legs.joints) < 0).any():
        spec = _reordered(spec, legs, path)
        model = build(spec, path)
        legs = find_legs(model, path)
    parts = _parts(spec, legs)
    _keep_robot(spec, parts.base)
    _rename(spec, parts, legs)
    _add_shapes(spec, parts, model, legs)
    return spec


def build(spec: mujoco.MjSpec, path: Path) -> mujoco.MjModel:
    """``spec`` compiled. Raises LunarError where MuJoCo cannot build it, such as for a mesh that is not there."""
    try:
        return spec.compile()
    except ValueError as error:
        raise LunarError(f"robot {path} cannot be built: {' '.join(str(error).split())}") from None


def leg_length(model: mujoco.MjModel, data: mujoco.MjData, legs: Legs) -> float:
    """m, half the length of the stretched legs, to 1 mm; ``data`` after its kinematics."""
    anchors = data.xanchor[legs.joints].reshape(4, 3, 3)
    feet = foot_centers(model, data, legs)
    parts = [anchors[:, 1] - anchors[:, 2], anchors[:, 2] - feet]
    return round(float(np.mean([np.linalg.norm(part, axis=1) for part in parts])), 3)


def foot_centers(model: mujoco.MjModel, data: mujoco.MjData, legs: Legs) -> np.ndarray:
    """(4, 3) m in the world; ``data`` after its kinematics."""
    shanks = model.jnt_bodyid[legs.joints[2::3]]
    return np.array([
        data.xpos[b] + data.xmat[b].reshape(3, 3) @ foot.center for b, foot in zip(shanks, legs.feet, strict=True)
    ])  # fmt: skip


def _check_free(spec: mujoco.MjSpec, path: Path) -> None:
    """Refuse joints that do not move on their own."""
    if coupled := [*spec.equalities, *spec.tendons]:
        raise LunarError(
            f"robot {path} couples its bodies or joints by '{coupled[0].name or 'an equality or tendon'}', which "
            "twelve motors that each turn one joint do not know: delete it"
        )


def _reordered(spec: mujoco.MjSpec, legs: Legs, path: Path) -> mujoco.MjSpec:
    """The same robot with its legs in the file in the order of ``LEGS``."""
    for body in spec.bodies:
        if not body.name:
            body.name = f"body{body.id}"
    names = [_joint(spec, legs.joints[3 * k]).parent.name for k in range(4)]
    spec.meshdir, spec.texturedir = (str(path.parent.resolve() / folder) for folder in (spec.meshdir, spec.texturedir))
    root = ElementTree.fromstring(spec.to_xml())

    def place(element: ElementTree.Element) -> int:
        inside = [names.index(b.get("name", "")) for b in element.iter("body") if b.get("name", "") in names]
        return min(inside, default=-1)

    for parent in root.iter():
        slots = [i for i, child in enumerate(parent) if child.tag in ("body", "frame") and place(child) >= 0]
        for slot, child in zip(slots, sorted((parent[i] for i in slots), key=place), strict=True):
            parent[slot] = child
    try:
        ordered = mujoco.MjSpec.from_string(ElementTree.tostring(root, encoding="unicode"))
    except ValueError as error:
        raise LunarError(f"robot {path} cannot be built: {' '.join(str(error).split())}") from None
    ordered.compiler.fusestatic = ordered.compiler.discardvisual = False
    if (np.diff(find_legs(build(ordered, path), path).joints) < 0).any():
        raise LunarError(
            f"robot {path}: two of its legs hang on a body of their own, so that they cannot stand in the order "
            f"{', '.join(LEGS)}; hang all four on the trunk"
        )
    return ordered


def _parts(spec: mujoco.MjSpec, legs: Legs) -> _Parts:
    """Feet only where the file's sphere can be taken as it is: on the shank, not in a frame of its own."""
    feet = [next((g for g in spec.geoms if g.id == foot.geom and g.frame is None), None) for foot in legs.feet]
    base = next(b for b in spec.bodies if b.id == legs.base)
    return _Parts(base, [_joint(spec, j) for j in legs.joints], feet)


def _keep_robot(spec: mujoco.MjSpec, base: mujoco.MjsBody) -> None:
    """Delete what is not the robot: the world's other bodies and shapes, and what refers to the robot by name."""
    for element in (
        *spec.actuators, *spec.sensors, *spec.keys, *spec.pairs, *spec.excludes, *spec.tuples, *spec.worldbody.geoms,
        *spec.worldbody.sites, *[b for b in spec.worldbody.bodies if b.id != base.id],
    ):  # fmt: skip
        spec.delete(element)


def _rename(spec: mujoco.MjSpec, parts: _Parts, legs: Legs) -> None:
    """Joints get the project's names and turn its ways."""
    for k, joint in enumerate(parts.joints):
        joint.name = f"project {k}"
    for joint, name, sign in zip(parts.joints, JOINT_NAMES, legs.signs, strict=True):
        for other in spec.joints:
            if other.name == name:
                other.name = f"{name} of the file"
        joint.name = name
        if sign < 0:
            joint.axis = -joint.axis
            joint.range = -joint.range[::-1]
            joint.ref, joint.springref = -joint.ref, -joint.springref
            joint.actfrcrange = -joint.actfrcrange[::-1]
    parts.base.name = parts.base.name or "base"
    for body in spec.bodies:
        body.gravcomp = 0.0  # the rig's rope, or nothing, carries the robot


def _add_shapes(spec: mujoco.MjSpec, parts: _Parts, model: mujoco.MjModel, legs: Legs) -> None:
    """Name or add the shapes that meet the ground. Added ones weigh nothing and collide with nothing by themselves."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    size = leg_length(model, data, legs) / SHANK
    shanks = [joint.parent for joint in parts.joints[2::3]]
    own = {TRUNK: _named(spec, TRUNK, parts.base)}
    for leg, knee, shank, foot in zip(LEGS, KNEES, shanks, parts.feet, strict=True):
        own[knee] = _named(spec, knee, shank, _SHAPE.mjGEOM_SPHERE)
        own[leg] = foot
    for element in (*spec.geoms, *spec.sites):
        if element.name in own or element.name.endswith("_touch"):
            element.name = f"{element.name} of the file"
    for name, geom in own.items():
        if geom is not None:
            geom.name = name
    places = model.jnt_pos[legs.joints[2::3]]
    for leg, knee, shank, foot, place in zip(LEGS, KNEES, shanks, legs.feet, places, strict=True):
        if own[leg] is None:
            _add_sphere(shank, leg, foot.center, foot.radius)
        if own[knee] is None:
            _add_sphere(shank, knee, place, KNEE_RADIUS * size)
    if own[TRUNK] is None:
        hips = (data.xanchor[legs.joints[1::3]] - data.xpos[legs.base]) @ data.xmat[legs.base].reshape(3, 3)
        low, high = _trunk_heights(model, legs.base, TRUNK_RADIUS * size)
        radius = float(np.clip(0.5 * (high - low), 0.5 * TRUNK_RADIUS * size, 2.0 * TRUNK_RADIUS * size))
        parts.base.add_geom(
            name=TRUNK, type=_SHAPE.mjGEOM_CAPSULE, size=[radius, float(np.abs(hips[:, 0]).mean()), 0],
            pos=[0.0, 0.0, low + radius], quat=[0.7071068, 0, 0.7071068, 0], **GHOST,
        )  # fmt: skip


def _add_sphere(body: mujoco.MjsBody, name: str, place: np.ndarray, radius: float) -> None:
    body.add_geom(name=name, type=_SHAPE.mjGEOM_SPHERE, size=[radius, 0, 0], pos=place, **GHOST)


def _trunk_heights(model: mujoco.MjModel, base: int, radius: float) -> tuple[float, float]:
    """m, lowest and highest of the trunk's own shapes in the base frame, solid ones where there are any; without
    shapes +-``radius``."""
    first, count = model.body_geomadr[base], model.body_geomnum[base]
    geoms = np.arange(first, first + count)
    solid = geoms[(model.geom_contype[geoms] | model.geom_conaffinity[geoms]) > 0]
    spans = []
    for g in solid if len(solid) else geoms:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[g])
        center, half = model.geom_aabb[g].reshape(2, 3)
        middle = model.geom_pos[g, 2] + (turn.reshape(3, 3) @ center)[2]
        extent = float((np.abs(turn.reshape(3, 3)) @ half)[2])
        spans.append((middle - extent, middle + extent))
    return (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else (-radius, radius)


def _named(spec: mujoco.MjSpec, name: str, body: mujoco.MjsBody, kind: Any = None) -> mujoco.MjsGeom | None:
    """The geom of that name, if it is on ``body``, of that kind and not in a frame of its own."""
    geom = spec.geom(name)
    fits = geom is not None and geom.parent == body and geom.frame is None and kind in (None, geom.type)
    return geom if fits else None


def _joint(spec: mujoco.MjSpec, joint: Any) -> mujoco.MjsJoint:
    return next(j for j in spec.joints if j.id == joint)
