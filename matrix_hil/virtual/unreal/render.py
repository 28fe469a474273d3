"""Depth, normals, light and masks of a height field seen by a camera, by marching one ray per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matrix_hil.twin.camera import Camera
from sim.terrain.height_field import HeightField

FAR = 655.04  # m; what a miss reads: the largest half-precision number, in centimetres, as Unreal's far depth does
TOLERANCE = 1e-3  # m above the ground at which marching ends; one Newton step then lands within micrometres
MAX_STEPS = 400
"""Steps that never jump over anything; rays that then are still in the air go on by the cell."""
STRIDE = 0.004
"""Share of its length by which such a ray goes on at least: less than a pixel."""
BISECTIONS = 24
GROUND_COLOR = (64, 128, 192)
SUN = np.array([0.6, 0.3, 0.742])  # unit vector towards the sun, ROS world: 42 degrees high


@dataclass(frozen=True)
class Hits:
    """What the rays of one image met."""

    depth: np.ndarray
    """(rows, cols) m along the optical axis; ``FAR`` for a miss."""
    normal: np.ndarray
    """(rows, cols, 3) upward unit normal of the ground, ROS world; zero for a miss."""
    hit: np.ndarray
    """(rows, cols) bool."""


class Scene:
    """A height field prepared for ray marching."""

    def __init__(self, field: HeightField) -> None:
        self.field = field
        heights = field.heights
        slope_x = np.abs(np.diff(heights, axis=1)) / field.resolution
        slope_y = np.abs(np.diff(heights, axis=0)) / field.resolution
        self._slope = np.hypot(np.maximum(slope_x[1:], slope_x[:-1]), np.maximum(slope_y[:, 1:], slope_y[:, :-1]))
        self._steepest = float(self._slope.max())
        self._top = float(heights.max())

    def trace(self, camera: Camera) -> Hits:
        """First intersection of every pixel's ray with the ground.

        A ray at height g above the ground cannot meet it before g / (descent + steepest slope * horizontal run), so
        steps of that length never jump over a ridge and close in geometrically. A ray that stays almost parallel to the
        ground goes on in steps of half a cell or of a small share of its length, and is bisected where it goes under.
        """
        rays = camera.rays().reshape(-1, 3)
        run = np.hypot(rays[:, 0], rays[:, 1])
        top, steepest = self._bounds(camera, rays)
        closing = np.maximum(steepest * run - rays[:, 2], 1e-9)
        above = max(float(camera.position[2]) - top, 0.0)
        t = np.where(rays[:, 2] < 0, above / np.maximum(-rays[:, 2], 1e-9), 0.0 if above == 0.0 else np.inf)

        active = np.flatnonzero(t < FAR)
        reached = np.zeros(len(t), bool)
        for _ in range(MAX_STEPS):
            if not len(active):
                break
            here = t[active]
            gap = self._gap(camera, rays[active], here)
            near = gap <= TOLERANCE
            if near.any():
                reached[active[near]] = True
                active, here, gap = active[~near], here[~near], gap[~near]
            here = here + gap / closing[active]
            t[active] = here
            active = active[here < FAR]

        crossed = self._walk(camera, rays[active], t[active])
        t[active], reached[active] = crossed, crossed < FAR
        depth = np.full(len(t), FAR)
        normal = np.zeros((len(t), 3))
        on = np.flatnonzero(reached)
        depth[on], normal[on] = self._land(camera, rays[on], t[on])
        shape = (camera.height, camera.width)
        return Hits(depth.reshape(shape), normal.reshape(*shape, 3), reached.reshape(shape))

    def _walk(self, camera: Camera, rays: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Where rays that are at ``t`` (n,) go under the ground, to within ``TOLERANCE``; ``FAR`` where they do not."""
        crossed, low = np.full(len(t), FAR), t.copy()
        cell = 0.5 * self.field.resolution / np.maximum(np.hypot(rays[:, 0], rays[:, 1]), 1e-9)
        active = np.arange(len(t))
        while len(active):
            high = low[active] + np.maximum(cell[active], STRIDE * low[active])
            under = self._gap(camera, rays[active], high) <= 0.0
            crossed[active[under]] = high[under]
            low[active[~under]] = high[~under]
            active = active[~under & (high < FAR)]
        found = np.flatnonzero(crossed < FAR)
        high = crossed[found]
        low = low[found]
        for _ in range(BISECTIONS):
            half = (low + high) / 2
            under = self._gap(camera, rays[found], half) <= 0.0
            low, high = np.where(under, low, half), np.where(under, half, high)
        crossed[found] = high
        return crossed

    def _gap(self, camera: Camera, rays: np.ndarray, t: np.ndarray) -> np.ndarray:
        x, y, z = camera.position[:, None] + rays.T * t
        return z - self.field.height(x, y)

    def _land(self, camera: Camera, rays: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One Newton step onto the surface, and the normal there."""
        x, y, z = camera.position[:, None] + rays.T * t
        ground, normal = self.field.height_and_normal(x, y)
        closing = -np.einsum("ij,ij->i", normal, rays) / normal[:, 2]
        step = (z - ground) / np.maximum(closing, 0.05)
        return np.maximum(t + np.clip(step, -TOLERANCE, 20 * TOLERANCE), 0.0), normal

    def _bounds(self, camera: Camera, rays: np.ndarray) -> tuple[float, float]:
        """Highest ground and steepest slope that the rays can meet: of the part in view when all rays go down."""
        field = self.field
        drop = float(camera.position[2] - field.heights.min())
        if rays[:, 2].max() > -0.2 or drop <= 0.0:
            return self._top, self._steepest
        reach = camera.position[:2] + drop * rays[:, :2] / -rays[:, 2:]
        low = np.minimum(reach.min(axis=0), camera.position[:2])
        high = np.maximum(reach.max(axis=0), camera.position[:2])
        rows, cols = self._slope.shape
        i = np.clip((np.array([low[0], high[0]]) - field.origin[0]) // field.resolution, 0, cols - 1).astype(int)
        j = np.clip((np.array([low[1], high[1]]) - field.origin[1]) // field.resolution, 0, rows - 1).astype(int)
        ground = field.heights[j[0] : j[1] + 2, i[0] : i[1] + 2]
        return float(ground.max()), float(self._slope[j[0] : j[1] + 1, i[0] : i[1] + 1].max())


def shade(hits: Hits, ambient: float = 0.05) -> np.ndarray:
    """Lambertian light of a low sun on grey ground, (rows, cols, 3) uint8; black sky."""
    light = np.clip(hits.normal @ SUN, 0.0, 1.0) * (1 - ambient) + ambient
    grey = np.round(np.where(hits.hit, light, 0.0) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def encode_normals(hits: Hits) -> np.ndarray:
    """World normals in Unreal's axes (y to the right) as (n + 1) / 2 in 8 bits per channel; zero for the sky."""
    coded = np.round((hits.normal * np.array([1.0, -1.0, 1.0]) + 1.0) * 127.5).astype(np.uint8)
    return np.where(hits.hit[..., None], coded, 0).astype(np.uint8)


def mask(hits: Hits, color: tuple[int, ...] = GROUND_COLOR) -> np.ndarray:
    """Object mask, (rows, cols, 3) uint8: the ground's one colour, black for the sky."""
    return np.where(hits.hit[..., None], np.array(color, np.uint8), np.uint8(0)).astype(np.uint8)
