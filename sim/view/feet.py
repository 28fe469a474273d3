"""What feet do to the ground, in a viser server: a print where each landed, and a rod as long as the force on it."""

from __future__ import annotations

import numpy as np
import trimesh
import viser

from sim.spec.joints import LEGS
from sim.terrain.height_field import HeightField

_PRINTS = 96  # shown; the oldest makes room
_RADIUS = 0.034  # m
_PRINT = (24, 23, 22)  # of instances the browser takes colours as linear
_FORCE = (255, 176, 59)
_PER_WEIGHT = 0.05  # m of rod per lunar body weight
_ROD = 0.8  # m; what is not shown of it is below the ground


class FootMarks:
    """Prints and forces below the scene node ``root``, which is in world coordinates."""

    def __init__(self, server: viser.ViserServer, root: str) -> None:
        disc = trimesh.creation.cylinder(radius=_RADIUS, height=0.006, sections=20)
        disc.unmerge_vertices()  # flat on top: normals are smoothed over shared vertices
        rod = trimesh.creation.cylinder(radius=0.007, height=_ROD, sections=10)
        rod.apply_translation([0.0, 0.0, -_ROD / 2])
        self._position = np.zeros((_PRINTS, 3), dtype=np.float32)
        self._wxyz = np.zeros((_PRINTS, 4), dtype=np.float32)
        self._wxyz[:, 0] = 1.0
        self._next = 0
        self._loaded = np.zeros(4, dtype=bool)
        self._prints = server.scene.add_batched_meshes_simple(
            f"{root}/prints", disc.vertices, disc.faces, self._wxyz, self._position, batched_colors=_PRINT,
            cast_shadow=False, visible=False, lod="off",
        )  # fmt: skip
        self._forces = [
            server.scene.add_mesh_simple(
                f"{root}/force{leg}", rod.vertices, rod.faces, color=_FORCE, cast_shadow=False, visible=False
            )
            for leg in LEGS
        ]

    def clear(self) -> None:
        """Forget the prints."""
        self._next = 0
        self._prints.visible = False

    def show(self, position: np.ndarray, force: np.ndarray, loaded: np.ndarray, terrain: HeightField) -> None:
        """Show feet at ``position`` (4, 3) m with ``force`` (4,) in lunar body weights; one that is ``loaded`` (4,) and
        was not at the last call leaves a print."""
        for handle, foot, size in zip(self._forces, position, np.minimum(force, _ROD / _PER_WEIGHT), strict=True):
            handle.visible = bool(size > 0.0)
            handle.position = foot + [0.0, 0.0, _PER_WEIGHT * size]
        landed = np.flatnonzero(loaded & ~self._loaded)
        self._loaded = loaded
        if not len(landed):
            return
        height, normal = terrain.height_and_normal(position[landed, 0], position[landed, 1])
        for x, z, n in zip(position[landed], height, normal, strict=True):
            # a slot's first use hides it below the first print, so that none lies where nobody stepped
            slots = slice(None) if self._next == 0 else self._next % _PRINTS
            self._position[slots] = [x[0], x[1], z]
            quaternion = np.array([1.0 + n[2], -n[1], n[0], 0.0])  # the shortest turn from z to the normal
            self._wxyz[slots] = quaternion / np.linalg.norm(quaternion)
            self._next += 1
        self._prints.batched_positions, self._prints.batched_wxyzs = self._position.copy(), self._wxyz.copy()
        self._prints.visible = True
