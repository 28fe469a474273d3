"""Lunar ground in a viser server: one mesh that is fine near a point and coarser away from it, and a sky above it."""

from __future__ import annotations

import math

import numpy as np
import viser

from sim.terrain.height_field import HeightField

SUN = (-3.0, -6.0, 3.6)
"""Direction to the sun: 28 degrees high, so that relief shows."""
_FINE = 4.0  # m around the centre, in which every sample is drawn
_GROWTH = 1.12  # by which a cell is wider than the one before, outside of that
_FAR = 60.0  # m around the centre at most
_DRIFT = 1.0  # m by which the point of interest may leave the centre before the mesh is made anew
_FLAT_CELL = 0.25  # m, where no sample is missed
_REGOLITH = (152, 150, 147)
_LINE = (96, 94, 92)
_LINE_SPACING = 1.0  # m
_LINE_STEP = 0.1  # m between the points of a line
_LINE_REACH = 6.0  # m around the centre
_STARS = 2600
_SKY = 150.0  # m to what hangs in it
_EARTH = (0.55, 0.84, 0.15)
"""Direction to the Earth, low as from a polar site."""


class DrawnGround:
    """``terrain`` below the scene node ``root``, with a faint line every metre. ``look_at`` before it is seen.

    Args:
        server: where it is drawn.
        root: name of a scene node in world coordinates.
        terrain: the ground.
    """

    def __init__(self, server: viser.ViserServer, root: str, terrain: HeightField) -> None:
        self._server, self._root, self._terrain = server, root, terrain
        self._cell = _FLAT_CELL if terrain.is_flat else terrain.resolution
        self._offsets = mesh_offsets(self._cell)
        self._centre = np.full(2, np.inf)
        count = len(self._offsets)
        self._faces = _grid_faces(count, count)
        self._mesh: viser.MeshHandle | None = None
        self._lines: viser.LineSegmentsHandle | None = None

    def look_at(self, x: float, y: float) -> None:
        """Centre it on world ``x``, ``y`` in m, if that is no longer near enough."""
        if max(abs(x - self._centre[0]), abs(y - self._centre[1])) <= _DRIFT:
            return
        self._centre = self._snapped(x, y, self._cell)
        vertices = self._vertices()
        lines = self._grid_lines()
        if self._mesh is None or self._lines is None:
            scene = self._server.scene
            self._mesh = scene.add_mesh_simple(
                f"{self._root}/ground", vertices, self._faces, color=_REGOLITH, side="double", cast_shadow=False
            )
            self._lines = scene.add_line_segments(f"{self._root}/lines", lines, _LINE, thickness=0.005)
        else:
            self._mesh.vertices = vertices
            self._lines.points = lines

    def _vertices(self) -> np.ndarray:
        x, y = (centre + self._offsets for centre in self._centre)
        if not self._terrain.is_flat:  # cells beyond the map's edge have no area
            x0, x1, y0, y1 = self._terrain.extent
            x, y = np.clip(x, x0, x1), np.clip(y, y0, y1)
        px, py = np.meshgrid(x, y)
        z = self._terrain.height(px, py)
        return np.stack([px, py, z], axis=-1).reshape(-1, 3).astype(np.float32)

    def _grid_lines(self) -> np.ndarray:
        """(n, 2, 3) segments, a hair above the ground."""
        x0, y0 = self._snapped(self._centre[0], self._centre[1], _LINE_SPACING)
        along = np.arange(-_LINE_REACH, _LINE_REACH + _LINE_STEP / 2, _LINE_STEP)
        across = np.arange(-_LINE_REACH, _LINE_REACH + _LINE_SPACING / 2, _LINE_SPACING)
        ways = []
        for u, v in (np.meshgrid(along, across), np.meshgrid(along, across)[::-1]):
            points = np.stack([x0 + u, y0 + v, self._terrain.height(x0 + u, y0 + v) + 0.004], axis=-1)
            ways.append(np.stack([points[:, :-1], points[:, 1:]], axis=2).reshape(-1, 2, 3))
        return np.concatenate(ways).astype(np.float32)

    def _snapped(self, x: float, y: float, to: float) -> np.ndarray:
        origin = np.array(self._terrain.origin)
        return origin + np.round((np.array([x, y]) - origin) / to) * to


def add_sky(server: viser.ViserServer) -> None:
    """Black sky with stars and the Earth, one low sun and almost no other light."""
    scene = server.scene
    scene.set_background_image(np.zeros((2, 2, 3), dtype=np.uint8), format="png")
    scene.configure_default_lights(enabled=False)
    scene.configure_environment_map(hdri=None)
    scene.add_light_directional("/sun", color=(255, 250, 240), intensity=3.6, cast_shadow=True, position=SUN)
    scene.add_light_ambient("/earthshine", color=(190, 205, 255), intensity=0.25)
    rng = np.random.default_rng(1)
    direction = rng.standard_normal((_STARS, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction = direction[direction[:, 2] > -0.1]
    brightness = 90 + 165 * rng.random(len(direction))[:, None] ** 3
    colors = np.repeat(brightness, 3, axis=1).astype(np.uint8)
    scene.add_point_cloud(
        "/stars", _SKY * direction, colors, point_size=0.16, point_shape="circle", point_shading="flat"
    )
    earth = _SKY * np.array(_EARTH) / np.linalg.norm(_EARTH)
    radius = _SKY * math.tan(math.radians(0.95))  # as large as it is
    scene.add_icosphere(
        "/earth", radius=radius, color=(96, 140, 205), position=earth, cast_shadow=False, receive_shadow=False
    )


def mesh_offsets(cell: float) -> np.ndarray:
    """(n,) m from the centre at which an axis is sampled: multiples of ``cell``, every one near zero, ever wider apart
    outside."""
    near = round(_FINE / cell)
    steps, reach, width = list(range(1, near + 1)), float(near), 1.0
    while reach * cell < _FAR:
        width *= _GROWTH
        reach += max(1, math.floor(width))
        steps.append(round(reach))
    half = cell * np.array(steps)
    return np.concatenate([-half[::-1], [0.0], half])


def _grid_faces(rows: int, cols: int) -> np.ndarray:
    corner = (np.arange(rows - 1)[:, None] * cols + np.arange(cols - 1)).ravel()
    ways = ([corner, corner + 1, corner + cols + 1], [corner, corner + cols + 1, corner + cols])
    return np.concatenate([np.stack(way, axis=1) for way in ways])
