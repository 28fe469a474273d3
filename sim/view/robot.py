"""A robot's shapes in a viser server, taken from its MuJoCo model."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import trimesh
import viser

from sim.spec.joints import JOINT_NAMES


class DrawnRobot:
    """A robot below the scene node ``root``: one frame per body, the base's first and the others its children.

    Args:
        server: where it is drawn.
        root: name of the base's scene node.
        model: the robot alone, its joints named as the project's.
    """

    def __init__(self, server: viser.ViserServer, root: str, model: mujoco.MjModel) -> None:
        self._bodies = _bodies(model)
        self._frames: list[viser.FrameHandle] = []
        for body in self._bodies:
            name = f"{root}/{body.name}" if self._frames else root
            self._frames.append(server.scene.add_frame(name, show_axes=False))
            for i, (mesh, color) in enumerate(body.meshes):
                server.scene.add_mesh_simple(f"{name}/shape{i}", mesh.vertices, mesh.faces, color=color)

    def place(self, position: np.ndarray, quaternion: np.ndarray, links: np.ndarray) -> None:
        """Show the base at ``position`` (3,) m, ``quaternion`` (w, x, y, z), and ``links`` as of ``link_poses``."""
        self._frames[0].position, self._frames[0].wxyz = position, quaternion
        for body, frame in zip(self._bodies[1:], self._frames[1:], strict=True):
            frame.position, frame.wxyz = links[body.index, :3], links[body.index, 3:]


def link_poses(model: mujoco.MjModel, joints: np.ndarray) -> np.ndarray:
    """(frames, bodies, 7) position and quaternion of every body in the base's frame, for joints (frames, 12) in rad."""
    data = mujoco.MjData(model)
    addresses = [model.jnt_qposadr[model.joint(name).id] for name in JOINT_NAMES]
    out = np.zeros((len(joints), model.nbody, 7))
    data.qpos[:7] = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    for k, angles in enumerate(np.nan_to_num(joints)):
        data.qpos[addresses] = angles
        mujoco.mj_kinematics(model, data)
        out[k, :, :3], out[k, :, 3:] = data.xpos, data.xquat
    return out


HIDDEN = 3  # groups from this on hold shapes for contact, by MuJoCo's custom
UNCOLORED = 0.5  # red, green and blue of a geom whose file gives it no color


@dataclass(frozen=True)
class _Body:
    name: str
    index: int  # in the MuJoCo model
    meshes: tuple[tuple[trimesh.Trimesh, tuple[int, int, int]], ...]


def _bodies(model: mujoco.MjModel) -> list[_Body]:
    """The robot's bodies, the base first, with the shapes that are drawn."""
    base = int(model.body_rootid[model.jnt_bodyid[model.joint(JOINT_NAMES[0]).id]])
    bodies = []
    for index in range(base, model.nbody):
        by_color: dict[tuple[int, int, int], list[trimesh.Trimesh]] = {}
        first = int(model.body_geomadr[index])
        shapes = range(first, first + int(model.body_geomnum[index]))
        drawn = [g for g in shapes if model.geom_group[g] < HIDDEN]
        for g in drawn or shapes:
            mesh = _mesh(model, g)
            if mesh is not None:
                r, gr, b = (int(255 * v) for v in _color(model, g))
                by_color.setdefault((r, gr, b), []).append(mesh)
        meshes = tuple((_joined(parts), color) for color, parts in by_color.items())
        bodies.append(_Body(model.body(index).name, index, meshes))
    return bodies


def _color(model: mujoco.MjModel, g: int) -> np.ndarray:
    """(3,) from 0 to 1: the geom's own where it has one, else its material's."""
    own, material = model.geom_rgba[g, :3], model.geom_matid[g]
    return model.mat_rgba[material, :3] if material >= 0 and (own == UNCOLORED).all() else own


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    joined = trimesh.util.concatenate(parts)
    assert isinstance(joined, trimesh.Trimesh)
    return joined


def _mesh(model: mujoco.MjModel, g: int) -> trimesh.Trimesh | None:
    """Geom ``g`` in its body's frame; None for shapes that are not drawn."""
    size, kind = model.geom_size[g], mujoco.mjtGeom(model.geom_type[g])
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        mesh = trimesh.creation.box(extents=2.0 * size)
        mesh.unmerge_vertices()  # sharp edges: normals are smoothed over shared vertices
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        mesh = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        mesh = trimesh.creation.capsule(radius=size[0], height=2.0 * size[1], count=[16, 16])
        mesh.apply_translation([0.0, 0.0, -mesh.bounds.mean(axis=0)[2]])
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        mesh = trimesh.creation.cylinder(radius=size[0], height=2.0 * size[1], sections=28)
        mesh.unmerge_vertices()
    elif kind == mujoco.mjtGeom.mjGEOM_MESH:
        m = model.geom_dataid[g]
        v, f = model.mesh_vertadr[m], model.mesh_faceadr[m]
        vertices = model.mesh_vert[v : v + model.mesh_vertnum[m]]
        mesh = trimesh.Trimesh(vertices, model.mesh_face[f : f + model.mesh_facenum[m]], process=False)
    else:
        return None
    transform = trimesh.transformations.quaternion_matrix(model.geom_quat[g])
    transform[:3, 3] = model.geom_pos[g]
    mesh.apply_transform(transform)
    return mesh
