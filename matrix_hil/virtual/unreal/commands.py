"""What the stand-in Unreal answers: UnrealCV's commands for cameras, objects and the game, over one height field."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from matrix_hil.twin.camera import Camera
from matrix_hil.virtual.unreal.render import (
    AMBIENT,
    FAR,
    GROUND_COLOR,
    SUN,
    Hits,
    Scene,
    encode_normals,
    mask,
    radiance,
    towards,
)
from matrix_hil.virtual.unreal.sensor import Sensor, expose
from sim.terrain.height_field import HeightField

VERSION = "1.1.0"
VIEWS = ("lit", "depth", "normal", "object_mask")
MOST_CAMERAS = 64
FORMATS = ("npy", "png", "bmp")


@dataclass(frozen=True)
class ServerConfig:
    """The stand-in's port and its cameras' habits, which differ between versions of Unreal Engine."""

    port: int = 9000
    """TCP port on 127.0.0.1; 0 takes a free one."""
    width: int = 96
    """pixels per image row, until a client sets another size."""
    height: int = 96
    """pixels per image column, until a client sets another size."""
    fov: float = 90.0
    """deg, horizontal, until a client sets another."""
    depth_unit: Literal["cm", "m"] = "cm"
    """Unit of the depth image."""
    depth_kind: Literal["plane", "ray"] = "plane"
    """Depth along the optical axis, or along each pixel's ray."""
    half_float: bool = True
    """Round depth to half precision, as the plugin's float16 render target does: 2.5 mm at 3 m."""
    image_lag: bool = False
    """Show the pose before the latest change, as an engine that answers from the previous frame does."""
    landscape: bool = False
    """The ground is a Landscape, which UnrealCV's depth camera does not draw: depth shows the sky alone."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """cm, Unreal location of the height field's origin."""
    sun: tuple[float, float] = SUN
    """deg, azimuth from ahead to the left, and height above the horizon, of the light of ``lit``."""
    ambient: float = AMBIENT
    """Light that shadows get, over the sun's."""
    sensor: Sensor | None = None
    """Detector of the cameras that take ``lit``; null: one without noise."""


@dataclass
class Placed:
    """Something with an Unreal pose: location in cm, rotation as pitch, yaw, roll in deg."""

    location: tuple[float, ...] = (0.0, 0.0, 0.0)
    rotation: tuple[float, ...] = (0.0, 0.0, 0.0)


@dataclass
class SceneObject(Placed):
    """An object of the scene and its colour in ``object_mask``, red, green, blue of 255."""

    color: tuple[int, ...] = (0, 0, 0)


@dataclass
class CameraState(Placed):
    """A camera of the scene, and the pose that its previous image had."""

    fov: float = 90.0
    size: tuple[int, int] = (96, 96)
    shown: tuple[tuple[float, ...], tuple[float, ...]] = field(default=((0.0,) * 3, (0.0,) * 3))


class SceneCommands:
    """Answers commands. Numbers are Unreal's: cm, degrees, left-handed."""

    def __init__(self, terrain: HeightField, cfg: ServerConfig) -> None:
        self.cfg = cfg
        self.lift = 0.0
        """m by which the ground is shown too high."""
        self._scene, self._sun = Scene(terrain), towards(*cfg.sun)
        self._noise = np.random.default_rng(0)
        if cfg.sensor is not None:
            cfg.sensor.check()
        ground = float(terrain.height(np.array(0.0), np.array(0.0)))
        start = (cfg.origin[0], cfg.origin[1], cfg.origin[2] + 100.0 * (ground + 3.0))
        self._cameras = [CameraState(start, (0.0,) * 3, cfg.fov, (cfg.width, cfg.height)) for _ in range(2)]
        self._objects = {
            "ground": SceneObject(cfg.origin, color=GROUND_COLOR), "robot": SceneObject(cfg.origin, color=(192, 64, 64))
        }  # fmt: skip
        self._paused = False
        self._view = "lit"
        self._eyes: float | None = None  # cm from camera 0 to camera 1, which then moves with it
        self._files: tempfile.TemporaryDirectory[str] | None = None
        self._written = 0
        number, name = r"/camera/(\d+)", r"/object/(\S+)"
        vector = r" (\S+) (\S+) (\S+)"
        routes: tuple[tuple[str, str, Callable[..., bytes]], ...] = (
            ("vget /unrealcv/commands", "vget /unrealcv/commands", self._commands),
            ("vget /unrealcv/help", "vget /unrealcv/help", self._commands),
            ("vget /unrealcv/echo [str]", r"vget /unrealcv/echo (.+)", str.encode),
            ("vget /unrealcv/status", "vget /unrealcv/status", self._status),
            ("vget /unrealcv/version", "vget /unrealcv/version", lambda: VERSION.encode()),
            ("vget /cameras", "vget /cameras", self._camera_names),
            ("vset /cameras/spawn", "vset /cameras/spawn", self._spawn),
            ("vget /viewmode", "vget /viewmode", lambda: self._view.encode()),
            ("vset /viewmode [str]", rf"vset /viewmode ({'|'.join(VIEWS)})", self._set_view),
            ("vget /actor/location", "vget /actor/location", lambda: self._camera_location("0")),
            ("vget /actor/rotation", "vget /actor/rotation", lambda: self._camera_rotation("0")),
            ("vget /objects", "vget /objects", lambda: " ".join(self._objects).encode()),
            ("vget /camera/[uint]/location", f"vget {number}/location", self._camera_location),
            ("vget /camera/[uint]/rotation", f"vget {number}/rotation", self._camera_rotation),
            ("vget /camera/[uint]/fov", f"vget {number}/fov", self._fov),
            ("vget /camera/[uint]/size", f"vget {number}/size", self._size),
            ("vset /camera/[uint]/location [float] [float] [float]", f"vset {number}/location{vector}", self._move),
            ("vset /camera/[uint]/rotation [float] [float] [float]", f"vset {number}/rotation{vector}", self._turn),
            ("vset /camera/[uint]/fov [float]", rf"vset {number}/fov (\S+)", self._set_fov),
            ("vset /camera/[uint]/size [uint] [uint]", rf"vset {number}/size (\d+) (\d+)", self._set_size),
            ("vget /object/[str]/location", f"vget {name}/location", self._object_location),
            ("vget /object/[str]/rotation", f"vget {name}/rotation", self._object_rotation),
            ("vset /object/[str]/location [float] [float] [float]", f"vset {name}/location{vector}", self._push),
            ("vset /object/[str]/rotation [float] [float] [float]", f"vset {name}/rotation{vector}", self._spin),
            ("vget /object/[str]/color", f"vget {name}/color", self._color),
            ("vset /object/[str]/color [uint] [uint] [uint]", rf"vset {name}/color (\d+) (\d+) (\d+)", self._paint),
            ("vset /action/eyes_distance [float]", r"vset /action/eyes_distance (\S+)", self._set_eyes),
            ("vset /action/game/pause", "vset /action/game/pause", lambda: self._pause(True)),
            ("vset /action/game/resume", "vset /action/game/resume", lambda: self._pause(False)),
            *(
                (f"vget /camera/[uint]/{view}{word}", rf"vget {number}/({view}){pattern}", self._image)
                for view in VIEWS
                for word, pattern in (("", ""), (" [str]", r" (\S+)"))
            ),
        )
        self._routes = [(template, re.compile(pattern), handler) for template, pattern, handler in routes]

    def answer(self, command: str) -> bytes:
        """The body that UnrealCV would send; starts with ``error`` for what cannot be done."""
        command = " ".join(command.split())
        for _, pattern, handler in self._routes:
            if match := pattern.fullmatch(command):
                try:
                    return handler(*match.groups())
                except (IndexError, KeyError):
                    return f"error no such camera or object: {command}".encode()
                except ValueError:
                    return f"error bad argument: {command}".encode()
        return f"error Can not find a handler for URI '{command}'".encode()

    def close(self) -> None:
        """Remove the files of images that clients asked for by a file's name."""
        if self._files is not None:
            self._files.cleanup()

    def _commands(self) -> bytes:
        return "\n".join(template for template, _, _ in self._routes).encode()

    def _status(self) -> bytes:
        cfg = self.cfg
        return (
            f"Is Listening\nClient Connected\n{'Paused' if self._paused else 'Running'}\nConfiguration\n"
            f"Config file: none\nPort: {cfg.port}\nWidth: {cfg.width}\nHeight: {cfg.height}\nFOV: {cfg.fov:g}\n"
        ).encode()

    def _camera_names(self) -> bytes:
        return " ".join(["PlayerCamera", *(f"FusionCamera_{k}" for k in range(1, len(self._cameras)))]).encode()

    def _spawn(self) -> bytes:
        if len(self._cameras) >= MOST_CAMERAS:
            raise ValueError(MOST_CAMERAS)
        self._cameras.append(CameraState((0.0,) * 3, (0.0,) * 3, self.cfg.fov, (self.cfg.width, self.cfg.height)))
        return self._camera_names().split()[-1]

    def _set_view(self, view: str) -> bytes:
        self._view = view
        return b"ok"

    def _set_eyes(self, distance: str) -> bytes:
        (self._eyes,) = _numbers((distance,))
        return self._pair()

    def _pair(self) -> bytes:
        """Put camera 1 to the right of camera 0, once a client has asked for a pair of eyes."""
        if self._eyes is not None:
            left, right = self._cameras[:2]
            towards = Camera.from_unreal(left.location, left.rotation, left.fov, (1, 1)).axes[:, 1]  # left, ROS axes
            offset = -self._eyes * towards * np.array([1.0, -1.0, 1.0])
            right.location, right.rotation = tuple(np.add(left.location, offset)), left.rotation
        return b"ok"

    def _pause(self, paused: bool) -> bytes:
        self._paused = paused
        return b"ok"

    def _camera_location(self, number: str) -> bytes:
        return _format(self._cameras[int(number)].location)

    def _camera_rotation(self, number: str) -> bytes:
        return _format(self._cameras[int(number)].rotation)

    def _fov(self, number: str) -> bytes:
        return _format((self._cameras[int(number)].fov,))

    def _size(self, number: str) -> bytes:
        return "{} {}".format(*self._cameras[int(number)].size).encode()

    def _move(self, number: str, *numbers: str) -> bytes:
        self._cameras[int(number)].location = _numbers(numbers)
        return self._pair()

    def _turn(self, number: str, *numbers: str) -> bytes:
        self._cameras[int(number)].rotation = _numbers(numbers)
        return self._pair()

    def _set_fov(self, number: str, fov: str) -> bytes:
        (value,) = _numbers((fov,))
        if not 1.0 <= value <= 170.0:
            raise ValueError(fov)
        self._cameras[int(number)].fov = value
        return b"ok"

    def _set_size(self, number: str, width: str, height: str) -> bytes:
        size = int(width), int(height)
        if not (2 <= size[0] <= 4096 and 2 <= size[1] <= 4096):
            raise ValueError(size)
        self._cameras[int(number)].size = size
        return b"ok"

    def _object_location(self, name: str) -> bytes:
        return _format(self._objects[name].location)

    def _object_rotation(self, name: str) -> bytes:
        return _format(self._objects[name].rotation)

    def _push(self, name: str, *numbers: str) -> bytes:
        self._objects[name].location = _numbers(numbers)
        return b"ok"

    def _spin(self, name: str, *numbers: str) -> bytes:
        self._objects[name].rotation = _numbers(numbers)
        return b"ok"

    def _color(self, name: str) -> bytes:
        return "(R={},G={},B={},A=255)".format(*self._objects[name].color).encode()

    def _paint(self, name: str, *color: str) -> bytes:
        values = tuple(map(int, color))
        if max(values) > 255:
            raise ValueError(color)
        self._objects[name].color = values
        return b"ok"

    def _image(self, number: str, view: str, target: str = "") -> bytes:
        """An image as bytes where ``target`` is a format; else it is written as a file, and its path the answer."""
        if target in FORMATS:
            return self._render(int(number), view, target)
        name = target or f"{self._written:08d}.png"
        form = name.rpartition(".")[2]
        if name != Path(name).name or form not in FORMATS:
            raise ValueError(target)
        self._files = self._files or tempfile.TemporaryDirectory(prefix="lunar-unreal-", ignore_cleanup_errors=True)
        path = Path(self._files.name) / name
        path.write_bytes(self._render(int(number), view, form))
        self._written += 1
        return str(path).encode()

    def _render(self, number: int, view: str, form: str) -> bytes:
        state = self._cameras[number]
        pose = (state.location, state.rotation)
        location, rotation = state.shown if self.cfg.image_lag else pose
        state.shown = pose
        camera = Camera.from_unreal(location, rotation, state.fov, (state.size[1], state.size[0]), self.cfg.origin)
        camera = replace(camera, position=camera.position - [0.0, 0.0, self.lift])
        hits = self._scene.trace(camera, self._sun if view == "lit" else None)
        if view != "depth":
            return _encode(self._picture(view, hits), form)
        if self.cfg.landscape:
            hits = replace(hits, depth=np.full_like(hits.depth, FAR), hit=np.zeros_like(hits.hit))
        depth = hits.depth * camera.stretch() if self.cfg.depth_kind == "ray" else hits.depth
        depth = np.minimum(depth * (100.0 if self.cfg.depth_unit == "cm" else 1.0), 65504.0)
        if form == "npy":
            return _encode((depth.astype(np.float16) if self.cfg.half_float else depth).astype(np.float32), form)
        seen = depth[hits.hit]
        grey = np.where(hits.hit, depth / (seen.max() if seen.size else 1.0), 1.0)
        return _encode(np.round(grey * 255).astype(np.uint8), form)

    def _picture(self, view: str, hits: Hits) -> np.ndarray:
        """(rows, cols, 3) uint8."""
        if view != "lit":
            return encode_normals(hits) if view == "normal" else mask(hits, self._objects["ground"].color)
        light, sensor = radiance(hits, self._sun, self.cfg.ambient), self.cfg.sensor
        if sensor is not None:
            light = expose(light, sensor, self._noise) / sensor.highest
        grey = np.round(np.clip(light, 0.0, 1.0) * 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)


def _encode(image: np.ndarray, form: str) -> bytes:
    out = io.BytesIO()
    if form == "npy":
        np.save(out, image, allow_pickle=False)
    else:
        Image.fromarray(image).save(out, form)
    return out.getvalue()


def _format(numbers: tuple[float, ...]) -> bytes:
    return " ".join(f"{value:.3f}" for value in numbers).encode()


def _numbers(words: tuple[str, ...]) -> tuple[float, ...]:
    values = tuple(float(word) for word in words)
    if not np.isfinite(values).all():
        raise ValueError(words)
    return values
