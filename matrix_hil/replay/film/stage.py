"""Draws one footage: the robot, the ground or the rig that it is on, dust and footprints, from a moving camera."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from matrix_hil.control.stewart import StewartGeometry
from matrix_hil.log.signals import interpolated
from matrix_hil.replay.film.config import Camera
from matrix_hil.replay.film.footage import DT, Footage
from matrix_hil.replay.look.measure import rotations
from matrix_hil.replay.look.scene import RigShape
from sim.errors import LunarError
from sim.robots.load import robot_model
from sim.spec.gravity import MOON
from sim.spec.joints import JOINT_NAMES
from sim.view.moon import lab_model, moon_model, place_sky

_FOLLOW = 0.5  # s over which the camera's aim is averaged
_GRAINS = 110  # of dust at a touch-down
_DUST_TIME = 1.3  # s that they are followed
_DUST = (0.80, 0.79, 0.76)
_PRINT = (0.10, 0.10, 0.10, 0.55)
_STRIPE = 0.25  # m between the belt's stripes
_METAL, _DECK, _BELT = (0.62, 0.64, 0.68, 1.0), (0.84, 0.63, 0.24, 1.0), (0.20, 0.21, 0.24, 1.0)
_EYE = np.eye(3)


@dataclass(frozen=True)
class _Landing:
    time: float
    place: np.ndarray  # (3,) m, on the ground
    normal: np.ndarray  # (3,)
    velocity: np.ndarray  # (_GRAINS, 3) m/s of the dust
    size: np.ndarray  # (_GRAINS,) m


class Stage:
    """One footage with its renderer.

    Args:
        footage: what is drawn.
        camera: from where.
        width: px.
        height: px.
        looks: robot to be drawn in the place of the footage's; empty draws that.

    Raises:
        LunarError: this machine cannot draw, or there is no such robot.
    """

    def __init__(self, footage: Footage, camera: Camera, width: int, height: int, looks: str = "") -> None:
        self.footage, self._path = footage, camera
        robot = looks or footage.robot
        on_moon = footage.terrain is not None
        if footage.terrain is not None:
            self._model = moon_model(robot, footage.terrain, width, height)
        else:
            self._model = lab_model(robot, StewartGeometry().height + 0.1, width, height)
        self._data = mujoco.MjData(self._model)
        self._from, self._to = _joints(robot_model(footage.robot)), _joints(self._model)
        try:
            self._renderer = mujoco.Renderer(self._model, height, width, max_geom=20_000)
        except Exception as error:  # each GL backend raises its own type
            raise LunarError(f"no film: EGL rendering failed ({error}); on Debian: apt install libegl1") from None
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.elevation = camera.elevation
        self._camera.distance = camera.distance if on_moon else 1.3 * camera.distance
        self._aim = _smoothed(footage.qpos[:, :3], round(_FOLLOW / DT))
        w, x, y, z = footage.qpos[0, 3:7]
        self._heading = np.degrees(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
        self._time = DT * np.arange(len(footage))
        self._landings = _landings(footage) if on_moon else []

    def draw(self, time: float, film_time: float) -> np.ndarray:
        """(height, width, 3) uint8 at ``time`` s of the footage, ``film_time`` s after the film's start."""
        footage, at, data = self.footage, np.array([time]), self._data
        qpos = interpolated(at, self._time, footage.qpos)[0]
        qpos[3:7] = rotations(at, self._time, footage.qpos[:, 3:7])[0]
        data.qpos[:7], data.qpos[self._to] = qpos[:7], qpos[self._from]
        aim = interpolated(at, self._time, self._aim)[0]
        if footage.terrain is not None:
            aim[2] -= 0.12
            place_sky(self._model, data, qpos[:3])
        else:
            aim = np.array([0.0, 0.0, 0.1])
        mujoco.mj_forward(self._model, data)
        self._aim_camera(aim, film_time)
        self._renderer.update_scene(data, self._camera)
        scene = self._renderer.scene
        if footage.terrain is None:
            travel = float(interpolated(at, self._time, footage.travel)[0])
            _draw_rig(scene, interpolated(at, self._time, footage.platform)[0], travel, qpos[:3])
        for landing in self._landings:
            if landing.time <= time:
                _draw_landing(scene, landing, time - landing.time)
        return np.asarray(self._renderer.render())

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()

    def _aim_camera(self, aim: np.ndarray, film_time: float) -> None:
        camera, path = self._camera, self._path
        camera.lookat[:] = aim
        camera.azimuth = self._heading + path.azimuth
        if path.path == "orbit":
            camera.azimuth += 360.0 * film_time / path.orbit_time
        elif path.path == "fixed" and self.footage.terrain is not None:
            turn, up = np.radians(camera.azimuth), np.radians(path.elevation)
            ray = np.array([np.cos(turn) * np.cos(up), np.sin(turn) * np.cos(up), np.sin(up)])
            away = aim - (self._aim[len(self._aim) // 2] - [0.0, 0.0, 0.12] - path.distance * ray)
            camera.distance = float(np.linalg.norm(away))
            camera.azimuth = float(np.degrees(np.arctan2(away[1], away[0])))
            camera.elevation = float(np.degrees(np.arcsin(away[2] / camera.distance)))


def _joints(model: mujoco.MjModel) -> np.ndarray:
    """(12,) places of ``JOINT_NAMES`` in qpos."""
    return np.array([model.joint(name).qposadr[0] for name in JOINT_NAMES])


def _smoothed(points: np.ndarray, width: int) -> np.ndarray:
    """Running mean over ``width`` samples, twice, the ends held."""
    kernel = np.full(2 * width + 1, 1.0 / (2 * width + 1))
    for _ in range(2):
        padded = np.pad(points, ((width, width), (0, 0)), mode="edge")
        points = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    return points


def _landings(footage: Footage) -> list[_Landing]:
    """Every touch-down of a foot, with the dust that it throws up: grains on ballistic paths, as in a vacuum."""
    assert footage.terrain is not None
    rng = np.random.default_rng(0)
    landings = []
    steps, legs = np.nonzero(footage.loaded[1:] & ~footage.loaded[:-1])
    for k, leg in zip(steps + 1, legs, strict=True):
        x, y = footage.feet[k, leg, :2]
        height, normal = footage.terrain.height_and_normal(x, y)
        turn, up = rng.uniform(0.0, 2.0 * np.pi, _GRAINS), np.radians(rng.uniform(15.0, 60.0, _GRAINS))
        speed = 0.25 + 0.5 * rng.random(_GRAINS) ** 2
        ray = np.stack([np.cos(turn) * np.cos(up), np.sin(turn) * np.cos(up), np.sin(up)], axis=1)
        size = 0.003 + 0.007 * rng.random(_GRAINS) ** 3
        landings.append(_Landing(DT * k, np.array([x, y, float(height)]), normal, speed[:, None] * ray, size))
    return landings


def _draw_landing(scene: mujoco.MjvScene, landing: _Landing, age: float) -> None:
    _add(scene, "CYLINDER", (0.032, 0.002, 0.0), landing.place + 0.003 * landing.normal, _frame(landing.normal), _PRINT)
    if age > _DUST_TIME:
        return
    place = landing.place + age * landing.velocity
    place[:, 2] -= 0.5 * MOON * age**2
    alpha = 0.75 * (1.0 - age / _DUST_TIME)
    for point, size in zip(place, landing.size, strict=True):
        if point[2] >= landing.place[2]:
            _add(scene, "SPHERE", (size, size, size), point, _EYE, (*_DUST, alpha))


def _draw_rig(scene: mujoco.MjvScene, pose: np.ndarray, travel: float, harness: np.ndarray) -> None:
    """Plate, belt, legs, rope and pulley; sizes as ``lunar replay`` draws them."""
    shape, geometry = RigShape(), StewartGeometry()
    flat, quaternion = np.zeros(9), np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, pose[3:], "XYZ")
    mujoco.mju_quat2Mat(flat, quaternion)
    turn = flat.reshape(3, 3)
    length, width = shape.belt_length / 2, shape.belt_width / 2
    _add(scene, "BOX", (length, width, 0.02), pose[:3] + turn @ [0, 0, -0.02], turn, _BELT)
    _add(scene, "BOX", (length + 0.08, width + 0.1, 0.04), pose[:3] + turn @ [0, 0, -0.09], turn, _DECK)
    for x in np.arange(-length + _STRIPE - travel % _STRIPE, length - 0.01, _STRIPE):
        _add(scene, "BOX", (0.008, width, 0.002), pose[:3] + turn @ [x, 0, 0], turn, (0.55, 0.58, 0.63, 1.0))
    low, high = geometry.joints
    for foot, head in zip(low - [0, 0, geometry.height], high @ turn.T + pose[:3] - turn @ [0, 0, 0.13], strict=True):
        middle = 0.5 * (foot + head)
        _connect(scene, 0.045, foot, middle, (0.35, 0.37, 0.42, 1.0))
        _connect(scene, 0.028, middle, head, _METAL)
    pulley = np.array([0.0, 0.0, shape.pulley_height])
    _connect(scene, 0.008, harness + [0, 0, 0.05], pulley, (0.92, 0.78, 0.38, 1.0))
    _add(scene, "SPHERE", (0.06, 0.06, 0.06), pulley, _EYE, _METAL)


def _add(
    scene: mujoco.MjvScene, kind: str, size: tuple[float, ...], place: np.ndarray, frame: np.ndarray,
    color: tuple[float, ...],
) -> None:  # fmt: skip
    if scene.ngeom >= scene.maxgeom:
        return
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(
        geom, getattr(mujoco.mjtGeom, f"mjGEOM_{kind}"), np.array(size, dtype=float), np.asarray(place, dtype=float),
        np.asarray(frame, dtype=float).ravel(), np.array(color, dtype=np.float32),
    )  # fmt: skip
    geom.specular, geom.shininess = 0.1, 0.1
    scene.ngeom += 1


def _connect(
    scene: mujoco.MjvScene, radius: float, start: np.ndarray, end: np.ndarray, color: tuple[float, ...]
) -> None:
    _add(scene, "CAPSULE", (radius, radius, radius), start, _EYE, color)
    mujoco.mjv_connector(
        scene.geoms[scene.ngeom - 1], mujoco.mjtGeom.mjGEOM_CAPSULE, radius,
        np.asarray(start, dtype=float), np.asarray(end, dtype=float),
    )  # fmt: skip


def _frame(normal: np.ndarray) -> np.ndarray:
    """(3, 3) rotation whose z axis is ``normal``."""
    side = np.cross(normal, [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    return np.stack([np.cross(side, normal), side, normal], axis=1)
