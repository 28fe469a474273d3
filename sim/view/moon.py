"""The Moon around a robot, as a MuJoCo model to be drawn: grey ground, one low sun, stars, and the Earth."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.robots.load import robot_spec
from sim.terrain.height_field import HeightField

SUN = np.array([-0.88, -0.10, 0.42])
"""Towards the sun, 25 degrees high, so that relief shows and shadows are long."""
EARTH = np.array([0.66, 0.42, 0.17])
"""Towards the Earth, low as from a polar site."""
EARTH_DISTANCE = 60.0
"""m from what is looked at to the sphere that stands for it."""
EARTH_ENLARGED = 3.0
"""1. It is drawn so many times wider than the 1.9 degrees that it spans."""
_SHADOWS = 6.0  # m around the robot in which shadows are drawn
_FACE = 512  # px, edge of a face of the sky
_GRAIN = 512  # px, edge of the ground's texture
_GRAIN_SIZE = 1.6  # m that it covers


def moon_model(robot: str, terrain: HeightField, width: int, height: int) -> mujoco.MjModel:
    """A model of ``robot`` (name or path of an MJCF) on ``terrain`` for pictures of ``width`` x ``height`` px.
    ``place_sky`` must be called before each picture.

    Raises:
        LunarError: there is no such robot.
    """
    spec = robot_spec(robot)
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.quality.shadowsize = 4096
    spec.stat.extent = 2.0
    spec.visual.map.zfar, spec.visual.map.shadowclip = 60.0, _SHADOWS / 2.0
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.16] * 3, [0.22] * 3
    spec.worldbody.add_light(
        name="sun", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, dir=-SUN, diffuse=[1.0, 0.98, 0.94],
        specular=[0.2] * 3, castshadow=True,
    )  # fmt: skip
    spec.add_texture(
        name="stars",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        width=_FACE,
        height=6 * _FACE,
        nchannel=3,
        data=_stars().ravel(),
    )
    _add_material(spec, "regolith", _GRAIN, _grain(_GRAIN), 1.0 / _GRAIN_SIZE)
    ground = {"name": "ground", "material": "regolith", "contype": 0, "conaffinity": 0}
    if terrain.is_flat:
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], **ground)
    else:
        x0, x1, y0, y1 = terrain.extent
        low, high = float(terrain.heights.min()), float(terrain.heights.max())
        rows, cols = terrain.heights.shape
        spec.add_hfield(
            name="ground", nrow=rows, ncol=cols, size=[(x1 - x0) / 2, (y1 - y0) / 2, max(high - low, 1e-6), 0.1],
            userdata=((terrain.heights - low) / max(high - low, 1e-6)).ravel(),
        )  # fmt: skip
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="ground", pos=[(x0 + x1) / 2, (y0 + y1) / 2, low], **ground
        )
    _add_material(spec, "earth", 256, _earth(256), 1.0, uniform=False)
    earth = spec.worldbody.add_body(name="earth", mocap=True)
    radius = EARTH_DISTANCE * np.tan(np.radians(0.95 * EARTH_ENLARGED))
    earth.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[radius, 0, 0], material="earth", contype=0, conaffinity=0)
    return spec.compile()


def place_sky(model: mujoco.MjModel, data: mujoco.MjData, place: np.ndarray) -> None:
    """Let sun and Earth of a ``moon_model`` stand as seen from ``place`` (3,) m, from the next forward step on."""
    data.mocap_pos[0] = place + EARTH_DISTANCE * EARTH / np.linalg.norm(EARTH)
    model.light_pos[model.light("sun").id] = place + 6.0 * SUN


def lab_model(robot: str, floor: float, width: int, height: int) -> mujoco.MjModel:
    """A model of ``robot`` in a laboratory whose floor lies ``floor`` m below the origin, for pictures of ``width`` x
    ``height`` px.

    Raises:
        LunarError: there is no such robot.
    """
    spec = robot_spec(robot)
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.quality.shadowsize = 2048
    spec.stat.extent = 4.0
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.30] * 3
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0, 0, 5], dir=[0.3, 0.25, -1.0], diffuse=[0.55] * 3,
        castshadow=True,
    )  # fmt: skip
    spec.add_texture(
        name="wall", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.20, 0.22, 0.26], rgb2=[0.06, 0.07, 0.09], width=256, height=256,
    )  # fmt: skip
    spec.add_texture(
        name="floor", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.30, 0.32, 0.35], rgb2=[0.27, 0.29, 0.32], width=256, height=256,
    )  # fmt: skip
    material = spec.add_material(name="floor", texrepeat=[1.0, 1.0], texuniform=True, specular=0.1, shininess=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], pos=[0, 0, -floor], material="floor", contype=0,
        conaffinity=0,
    )  # fmt: skip
    return spec.compile()


def _grain(size: int) -> np.ndarray:
    """(size, size, 3) uint8, grey ground that goes on without a seam."""
    rng = np.random.default_rng(3)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = np.inf
    waves = np.fft.fft2(rng.standard_normal((size, size))) * frequency**-0.9
    value = np.real(np.fft.ifft2(waves))
    value = value / value.std()
    grey = np.clip(140.0 + 13.0 * value, 60, 210)
    return np.clip(grey[..., None] * np.array([1.0, 0.985, 0.955]), 0, 255).astype(np.uint8)


def _add_material(
    spec: mujoco.MjSpec, name: str, size: int, data: np.ndarray, repeat: float, uniform: bool = True
) -> None:
    height = len(data)
    spec.add_texture(
        name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=size, height=height, nchannel=3, data=data.ravel()
    )
    material = spec.add_material(
        name=name, texrepeat=[repeat, repeat], texuniform=uniform, specular=0.0, shininess=0.0, reflectance=0.0
    )
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _stars() -> np.ndarray:
    """Six faces of a cube, one below the other: (6 * _FACE, _FACE, 3) uint8."""
    rng = np.random.default_rng(1)
    sky = np.zeros((6 * _FACE, _FACE, 3), dtype=np.uint8)
    count = 1100
    rows, cols = rng.integers(6 * _FACE, size=count), rng.integers(_FACE, size=count)
    sky[rows, cols] = (70 + 185 * rng.random((count, 1)) ** 3) * np.array([1.0, 1.0, 1.0])
    return sky


def _earth(size: int) -> np.ndarray:
    """(size, size, 3) uint8: oceans, land and clouds by noise."""
    rng = np.random.default_rng(11)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = np.inf

    def noise(power: float) -> np.ndarray:
        value = np.real(np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * frequency**-power))
        return np.asarray(value / value.std())

    land, cloud = noise(1.8), noise(1.5)
    color = np.where((land > 0.45)[..., None], [96.0, 110.0, 66.0], [28.0, 70.0, 150.0])
    cover = np.clip(0.75 * (cloud - 0.1), 0.0, 1.0)[..., None]
    return (color * (1.0 - cover) + 245.0 * cover).astype(np.uint8)
