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
SUN = (26.6, 42.1)
"""deg, azimuth from +x towards +y, and height above the horizon."""
AMBIENT = 0.05
"""Light from everywhere, over the sun's on ground that faces it: what shadows show."""
SURGE, SURGE_WIDTH = 1.0, 0.06
"""Opposition surge: how much brighter ground is seen with the sun behind the eye, and the tangent of half the phase
angle at which half of that is left; regolith's order of size (Hapke, Theory of Reflectance and Emittance Spectroscopy,
2012)."""


@dataclass(frozen=True)
class Hits:
    """What the rays of one image met."""

    depth: np.ndarray
    """(rows, cols) m along the optical axis; ``FAR`` for a miss."""
    normal: np.ndarray
    """(rows, cols, 3) upward unit normal of the ground, ROS world; zero for a miss."""
    hit: np.ndarray
    """(rows, cols) bool."""
    to_eye: np.ndarray
    """(rows, cols, 3) unit vector from the ground to the camera."""
    sunlit: np.ndarray
    """(rows, cols) bool, whether nothing stands between the ground and the sun; false for a miss. True everywhere where
    no sun was asked for."""


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

    def trace(self, camera: Camera, sun: np.ndarray | None = None) -> Hits:
        """First intersection of every pixel's ray with the ground; and from there one ray each to the ``sun`` (3,), a
        unit vector towards it, if one is given.

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
        sunlit = np.ones(len(t), bool)
        if sun is not None:
            sunlit[:] = False
            sunlit[on] = self._reaches(camera.position + rays[on] * depth[on, None], sun)
        to_eye = -rays / np.linalg.norm(rays, axis=1, keepdims=True)
        shape = (camera.height, camera.width)
        return Hits(
            depth.reshape(shape), normal.reshape(*shape, 3), reached.reshape(shape), to_eye.reshape(*shape, 3),
            sunlit.reshape(shape),
        )  # fmt: skip

    def _reaches(self, points: np.ndarray, sun: np.ndarray) -> np.ndarray:
        """(n,) whether a ray from each of ``points`` (n, 3) on the ground comes to the sun: by steps that jump over
        nothing but what is narrower than half a cell."""
        run, rise = float(np.hypot(sun[0], sun[1])), float(sun[2])
        if rise <= 0.0:
            return np.zeros(len(points), bool)
        cell = 0.5 * self.field.resolution / max(run, 1e-9)
        closing = max(self._steepest * run - rise, 1e-9)
        x0, x1, y0, y1 = self.field.extent
        free, active, t = np.zeros(len(points), bool), np.arange(len(points)), np.full(len(points), cell)
        while len(active):
            x, y, z = (points[active] + t[active, None] * sun).T
            gap = z - self.field.height(x, y)
            out = (z > self._top) | (x < x0) | (x > x1) | (y < y0) | (y > y1)
            free[active[out]] = True
            goes_on = ~out & (gap > 0.0)
            active, gap = active[goes_on], gap[goes_on]
            t[active] += np.maximum(gap / closing, cell)
        return free

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


def towards(azimuth: float, height: float) -> np.ndarray:
    """(3,) unit vector, ROS world, of an azimuth from +x towards +y and a height above the horizon, deg."""
    a, h = np.radians([azimuth, height])
    return np.array([np.cos(h) * np.cos(a), np.cos(h) * np.sin(a), np.sin(h)])


def radiance(hits: Hits, sun: np.ndarray, ambient: float = AMBIENT) -> np.ndarray:
    """Light that comes from the ground, (rows, cols): 1 of flat ground under the sun overhead that is seen at a large
    phase angle; 0 of the sky.

    Lommel and Seeliger's law, with which the full Moon is as bright at its rim as in its middle, times an opposition
    surge that falls off with the phase angle (Hapke's B), where the ``sun`` reaches; and ``ambient`` light, which is
    spread.
    """
    incidence = np.clip(hits.normal @ sun, 0.0, 1.0)
    emission = np.clip(np.einsum("ijk,ijk->ij", hits.normal, hits.to_eye), 1e-3, 1.0)
    half = np.arccos(np.clip(hits.to_eye @ sun, -1.0, 1.0)) / 2.0
    surge = 1.0 + SURGE / (1.0 + np.tan(np.minimum(half, 1.55)) / SURGE_WIDTH)
    direct = 2.0 * incidence / (incidence + emission) * surge * hits.sunlit
    return np.where(hits.hit, (1.0 - ambient) * direct + ambient, 0.0)


def encode_normals(hits: Hits) -> np.ndarray:
    """World normals in Unreal's axes (y to the right) as (n + 1) / 2 in 8 bits per channel; zero for the sky."""
    coded = np.round((hits.normal * np.array([1.0, -1.0, 1.0]) + 1.0) * 127.5).astype(np.uint8)
    return np.where(hits.hit[..., None], coded, 0).astype(np.uint8)


def mask(hits: Hits, color: tuple[int, ...] = GROUND_COLOR) -> np.ndarray:
    """Object mask, (rows, cols, 3) uint8: the ground's one colour, black for the sky."""
    return np.where(hits.hit[..., None], np.array(color, np.uint8), np.uint8(0)).astype(np.uint8)
