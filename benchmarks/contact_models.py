"""Contact models for ``lunar bench contact``: MuJoCo's height field, tangent planes, rocks as shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import mujoco
import numpy as np
from mujoco.batch import Batch

from sim.physics.ground import planes, points_below
from sim.physics.scene import GROUNDS, PhysicsConfig, add_pair, scene_spec
from sim.physics.soil import apply_soil
from sim.robots.load import load_robot
from sim.spec.joints import LEGS
from sim.terrain.generators import TerrainConfig, build_terrain
from sim.terrain.height_field import HeightField
from sim.terrain.rocks import RockConfig, Rocks

CELL = 0.1  # m, of the raster that knows the nearest rocks
NEAR = 3  # rocks that it knows


@dataclass(frozen=True)
class ContactModel:
    """How feet meet the ground."""

    name: str
    shape: Literal["height field", "planes"] = "planes"
    every_substep: bool = False
    """Lay planes and rocks at every physics step, else once per control step."""
    closest: int = 0
    """Refinements from the ground below a foot's centre towards the nearest ground."""
    rocks: int = 0
    """Nearest rocks per foot that are ellipsoids of their own; the planes then follow the ground without rocks."""


class Ground:
    """A map, and the exact surface that it samples: bilinear ground and half-buried ellipsoids.

    Args:
        cfg: terrain.
        seed: of the terrain.
    """

    def __init__(self, cfg: TerrainConfig, seed: int) -> None:
        terrain = build_terrain(cfg, seed)
        self.field: HeightField = terrain.field
        self.rocks: Rocks = terrain.rocks
        self.bare: HeightField = build_terrain(replace(cfg, rocks=RockConfig(coefficient=0.0)), seed).field
        half = self.rocks.diameter / 2
        stretch = np.sqrt(self.rocks.elongation)
        self.axes = np.stack([half * stretch, half / stretch, self.rocks.height], axis=-1)  # (R, 3) m, semi-axes
        self.centres = np.stack([self.rocks.x, self.rocks.y, self.rocks.ground], axis=-1)  # (R, 3) m
        self._nearest = self._raster()

    def near(self, xy: np.ndarray) -> np.ndarray:
        """Indices (..., NEAR) of the rocks nearest to ``xy`` (..., 2), nearest first; only with that many rocks."""
        x0, _, y0, _ = self.field.extent
        cells = ((xy - (x0, y0)) / CELL).astype(int).clip(0, np.array(self._nearest.shape[1::-1]) - 1)
        return self._nearest[cells[..., 1], cells[..., 0]]

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance (P,) in m from ``points`` (P, 3) to the exact surface, and its normal (P, 3) there."""
        xy, height, normal = tangent(self.bare, points, closest=4)
        distance = ((points - np.concatenate([xy, height[:, None]], axis=-1)) * normal).sum(-1)
        if len(self.centres) >= NEAR:
            for rock in self.near(points[:, :2]).T:
                rock_distance, rock_normal = self._to_ellipsoid(points, rock)
                closer = rock_distance < distance
                distance = np.where(closer, rock_distance, distance)
                normal = np.where(closer[:, None], rock_normal, normal)
        return distance, normal

    def _to_ellipsoid(self, points: np.ndarray, rock: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance (P,) to rocks (P,), and normals (P, 3): Newton on the multiplier of the nearest point."""
        c, s = np.cos(self.rocks.yaw[rock]), np.sin(self.rocks.yaw[rock])
        d = points - self.centres[rock]
        local = np.stack([c * d[:, 0] + s * d[:, 1], c * d[:, 1] - s * d[:, 0], d[:, 2]], axis=-1)
        axes = self.axes[rock]
        t = np.zeros(len(points))
        for _ in range(20):
            share = axes * local / (axes**2 + t[:, None])
            excess = (share**2).sum(-1) - 1.0
            slope = -2.0 * (share**2 / (axes**2 + t[:, None])).sum(-1)
            t = np.maximum(t - excess / np.minimum(slope, -1e-9), -0.9 * (axes**2).min(-1))
        foot = axes**2 * local / (axes**2 + t[:, None])
        gradient = foot / axes**2
        gradient /= np.linalg.norm(gradient, axis=-1, keepdims=True)
        distance = ((local - foot) * gradient).sum(-1)
        world = np.stack(
            [c * gradient[:, 0] - s * gradient[:, 1], s * gradient[:, 0] + c * gradient[:, 1], gradient[:, 2]], axis=-1
        )
        return distance, world

    def _raster(self) -> np.ndarray:
        x0, x1, y0, y1 = self.field.extent
        if len(self.centres) < NEAR:
            return np.zeros((1, 1, NEAR), dtype=int)
        x, y = np.arange(x0, x1, CELL) + CELL / 2, np.arange(y0, y1, CELL) + CELL / 2
        nearest = np.empty((len(y), len(x), NEAR), dtype=int)
        for row, at in zip(nearest, y, strict=True):
            gap = np.hypot(x[:, None] - self.rocks.x, at - self.rocks.y) - self.axes[:, 0]
            row[:] = np.argsort(gap, axis=1)[:, :NEAR]
        return nearest


def tangent(field: HeightField, points: np.ndarray, closest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ground below ``points`` (..., 3), or after ``closest`` refinements nearest to them: xy, height and normal."""
    xy = points[..., :2]
    height, normal = field.height_and_normal(xy[..., 0], xy[..., 1])
    for _ in range(closest):
        distance = (points[..., 2] - height) * normal[..., 2] + ((points[..., :2] - xy) * normal[..., :2]).sum(-1)
        xy = points[..., :2] - distance[..., None] * normal[..., :2]
        height, normal = field.height_and_normal(xy[..., 0], xy[..., 1])
    return xy, height, normal


def build_model(cfg: PhysicsConfig, contact_model: ContactModel, ground: Ground) -> mujoco.MjModel:
    """The training model, with this contact model."""
    spec = scene_spec(cfg)
    if contact_model.shape == "height field":
        x0, x1, y0, y1 = ground.field.extent
        low, high = float(ground.field.heights.min()), float(ground.field.heights.max()) + 1e-6
        heights = ground.field.heights
        if min(heights.shape) < 3:  # a flat map of four samples would be one huge cell
            heights = np.full((481, 481), low)
        spec.add_hfield(
            name="terrain", nrow=heights.shape[0], ncol=heights.shape[1],
            userdata=((heights - low) / (high - low)).ravel(), size=[(x1 - x0) / 2, (y1 - y0) / 2, high - low, 0.1],
        )  # fmt: skip
        spec.worldbody.add_geom(
            name="terrain", type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="terrain", contype=0, conaffinity=0,
            pos=[(x0 + x1) / 2, (y0 + y1) / 2, low],
        )  # fmt: skip
        for pair in spec.pairs:
            pair.geomname2 = "terrain"
    for leg in LEGS:
        for k in range(contact_model.rocks):
            body = spec.worldbody.add_body(name=f"rock{k}_{leg}", mocap=True, pos=[0, 0, -100])
            body.add_geom(
                name=f"rock{k}_{leg}", type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=[0.1] * 3, mass=0,
                contype=0, conaffinity=0,
            )  # fmt: skip
            add_pair(spec, leg, f"rock{k}_{leg}", cfg.friction)
    model = spec.compile()
    apply_soil(model, cfg.soil)
    return model


@dataclass(frozen=True)
class Start:
    """States of N robots about to land."""

    qpos: np.ndarray
    """(N, 19)."""
    qvel: np.ndarray
    """(N, 18)."""
    targets: np.ndarray
    """(12,) rad, held throughout."""


class Landing:
    """N robots landing, with one contact model.

    Args:
        cfg: physics; its timestep and substeps hold.
        contact_model: how they meet the ground.
        ground: the map.
        start: states before the landing.
    """

    def __init__(self, cfg: PhysicsConfig, contact_model: ContactModel, ground: Ground, start: Start) -> None:
        self.cfg, self.contact_model, self.ground, self._start = cfg, contact_model, ground, start
        self.model = build_model(cfg, contact_model, ground)
        self._reach = load_robot(cfg.robot).reach
        self.batch = Batch(self.model, nsim=len(start.qpos))
        names = ("qpos", "qvel", "ctrl", "mocap_pos", "mocap_quat", "sensordata")
        self.qpos, self.qvel, self.ctrl, self._pos, self._quat, self._sensordata = map(self.batch.bind, names)
        self._field = ground.bare if contact_model.rocks else ground.field
        self._follows = contact_model.shape == "planes" and not (self._field.is_flat and not contact_model.rocks)
        if contact_model.rocks:
            self._rock_geoms = np.array(
                [[self.model.geom(f"rock{k}_{leg}").id for k in range(contact_model.rocks)] for leg in LEGS]
            )
            self._sizes, self._bounds, self._boxes = map(self.batch.expand, ("geom_size", "geom_rbound", "geom_aabb"))
        self._record = np.zeros((len(start.qpos), cfg.substeps, self.model.nsensordata))
        self.feet = self.knees = np.zeros((len(start.qpos), 4, 3))  # m, centres, as last known

    def start(self) -> None:
        """Back before the landing."""
        self.batch.reset(stage=0)
        self.qpos[:], self.qvel[:], self.ctrl[:] = self._start.qpos, self._start.qvel, self._start.targets
        self.batch.forward(stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self.feet, self.knees = _limbs(self._sensordata)

    def step(self, watch: Callable[[], None] | None = None) -> np.ndarray:
        """One control step; foot forces (N, S) in N, summed over feet, which the next call overwrites.

        Args:
            watch: called before every physics step, when the ground lies where that step will meet it.
        """
        substeps = self.cfg.substeps
        if not self.contact_model.every_substep and watch is None:
            self._lay()
            self.batch.rollout(substeps, record=("sensordata",), out={"sensordata": self._record})
            self.feet, self.knees = _limbs(self._record[:, -1])
        else:
            for k in range(substeps):
                if k == 0 or self.contact_model.every_substep:
                    self._lay()
                if watch is not None:
                    watch()
                self.batch.step()
                self._record[:, k] = self._sensordata
                self.feet, self.knees = _limbs(self._sensordata)
        return self._record[:, :, :4].sum(axis=2)

    def _lay(self) -> None:
        """Planes and rocks under the feet's last known places."""
        if not self._follows:
            return
        points = points_below(self.feet, self.knees, self.qpos, self._reach)
        if self.contact_model.closest:
            points[:, :4] = tangent(self._field, self.feet, self.contact_model.closest)[0]
        found = self._field.height_and_slopes(points[..., 0], points[..., 1])
        self._pos[:, : len(GROUNDS)], self._quat[:, : len(GROUNDS)], _ = planes(points, *found, self._reach)
        if self.contact_model.rocks and len(self.ground.centres) >= NEAR:
            self._lay_rocks()

    def _lay_rocks(self) -> None:
        rocks = self.ground.near(self.feet[..., :2])[..., : self.contact_model.rocks].reshape(len(self.qpos), -1)
        geoms, first = self._rock_geoms.ravel(), len(GROUNDS)
        axes, half_yaw = self.ground.axes[rocks], self.ground.rocks.yaw[rocks] / 2
        self._pos[:, first:] = self.ground.centres[rocks]
        self._quat[:, first:, 0], self._quat[:, first:, 3] = np.cos(half_yaw), np.sin(half_yaw)
        self._sizes[:, geoms] = axes
        self._bounds[:, geoms] = axes.max(-1)
        self._boxes[:, geoms, 3:] = axes


def _limbs(sensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    limbs = sensors[:, 16:40].reshape(-1, 8, 3).copy()
    return limbs[:, :4], limbs[:, 4:]
