"""Reads the virtual ground from Unreal Engine: patches of height around a point, with a deadline and a time stamp."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TypeVar

import numpy as np

from matrix_hil.messages import TwinPatch
from matrix_hil.twin.axes import location_to_unreal, quaternion_to_matrix, rotation_to_ros
from matrix_hil.twin.calibration import Calibration, View, check_ground, judge, metres_along_axis, middle, unit_of
from matrix_hil.twin.camera import DOWN, Camera
from matrix_hil.twin.config import TwinConfig, TwinStats
from matrix_hil.twin.connection import Connection, client_class
from matrix_hil.twin.ground_cache import GroundCache
from matrix_hil.twin.height_map import height_at, patch_from_depth
from matrix_hil.twin.npy import read_array
from sim.errors import LunarError
from sim.terrain.cards import load_card

T = TypeVar("T")
KNOWN_GROUND_TOLERANCE = 0.02
"""m between ``known_ground`` and what is seen; half-precision depth is good to 2.5 mm at 3 m."""
POSE_TOLERANCE = (0.005, 0.002)  # m, and 1 (about 0.1 degrees): how far a pose read back may be from the one set
SETTLE = "set twin.settle_images to 1 if only the first images after a move are not of the scene yet"
_REACH = 8  # half edges of a patch: the square in which ground is remembered
_STRIDE = 0.8  # half edges of a patch from one look ahead to the next, so that they overlap
_FARTHEST = 3  # looks ahead; what lies farther would push the ground underfoot out of memory
POSE_READS = 5  # an engine that moves the camera on its next tick is given that many chances


@dataclass
class _Session:
    """One connection and what its camera was told last."""

    connection: Connection
    rotation: tuple[float, float, float] | None = None
    fov: float = float("nan")


class TwinClient:
    """A client of one UnrealCV camera. ``with TwinClient(cfg) as twin:`` connects and calibrates.

    Use ``fetch`` in simulated time (it blocks) or ``request`` and ``latest`` in real time (they never block: a thread
    of the client's own does the fetching). Every error drops the connection; the next attempt makes a new one.

    Args:
        cfg: the configuration.
        clock: the host clock that stamps patches fetched in the background, s.

    Raises:
        LunarError: ``cfg.filter`` does not exist, or no limits are known for its maps.
    """

    def __init__(self, cfg: TwinConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.cfg = cfg
        self.stats = TwinStats()
        self.calibration: Calibration | None = None
        self._clock = clock
        self._filter = None
        if cfg.filter != "none":
            from sim.terrain.filters import named_filter  # scipy takes half a second: only for who asks

            self._filter = named_filter(cfg.filter)
            load_card(cfg.filter)
        self._session: _Session | None = None
        self._connections = 0
        self._ground: tuple[float, float, float] | None = None  # x, y, height where the ground was seen last
        self._lock = threading.Lock()
        self._cache = GroundCache(cfg.resolution, _REACH * cfg.extent, cfg.remember)
        self._latest: TwinPatch | None = None
        self._wanted: tuple[float, float, float, float] | None = None
        self._wake = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> TwinClient:
        self.connect()
        try:
            self.calibrate()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect and set the camera up.

        Raises:
            LunarError: no server answers within ``cfg.timeout``, or it refuses the camera.
        """
        client_class()  # importing unrealcv takes its time, which is not the server's
        with self._lock:
            self._attempt(self._open, self.cfg.timeout)

    def close(self) -> None:
        """End the background thread and the connection; also after an error."""
        self._stop.set()
        with self._wake:
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=self.cfg.deadline + self.cfg.timeout + 1.0)
        with self._lock:
            self._drop()

    def calibrate(self, x: float = 0.0, y: float = 0.0) -> Calibration:
        """Find out how depth is to be read, from the ground around (x, y) in m.

        Two heights give the unit; two lateral places and two views tilted along different directions of the image give
        plane or ray depth and show, on flat ground too, whether the image is mirrored.

        Raises:
            LunarError: the images contradict each other or the configuration, or the server failed.
        """
        with self._lock:
            self.calibration = self._attempt(lambda until: self._calibrate(x, y, until), 4 * self.cfg.timeout)
            self._ground = (x, y, self.calibration.ground)
            return self.calibration

    def fetch(self, x: float, y: float, now: float) -> TwinPatch:
        """The ground around (x, y) in m, stamped ``now``; blocks for at most ``cfg.deadline``.

        Raises:
            LunarError: the patch did not come in time. The next call connects anew.
        """
        with self._lock:
            self.stats.requests += 1
            begin = time.monotonic()
            try:
                patch = self._attempt(lambda until: self._fetch(x, y, now, until), self.cfg.deadline)
            except Exception as error:  # whatever an answer may cause: the caller's thread must outlive it
                self.stats.errors += 1
                self.stats.last_error = str(error)
                if isinstance(error, LunarError):
                    raise
                raise LunarError(f"twin: the ground cannot be read ({type(error).__name__}: {error})") from error
            self.stats.last_latency = time.monotonic() - begin
            return patch

    def request(self, x: float, y: float, vx: float = 0.0, vy: float = 0.0) -> None:
        """Ask the background thread for the ground where the robot is going; returns at once.

        Args:
            x, y: m, the robot's place in the virtual world.
            vx, vy: m/s, its velocity there. The patch's centre lies ``cfg.lead`` seconds ahead, at most half of
                ``cfg.extent`` away, so that the ground underfoot stays in the patch. What is no number asks nothing.
        """
        if not np.isfinite([x, y, vx, vy]).all():
            return  # a place that is none is nowhere to look
        ahead = np.array([vx, vy]) * self.cfg.lead
        reach = self.cfg.extent / 2
        ahead *= reach / max(reach, float(np.linalg.norm(ahead)))
        with self._wake:
            self._wanted = (x + float(ahead[0]), y + float(ahead[1]), vx, vy)
            self._wake.notify()
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._work, name="twin-client", daemon=True)
            self._thread.start()

    def latest(self) -> TwinPatch | None:
        """The newest patch of the background thread, None before the first; its ``time`` tells how stale it is."""
        return self._latest

    def known(self, x: float, y: float, now: float) -> TwinPatch | None:
        """The ground around (x, y) in m as it was seen before, without asking anybody; None when it was not.

        Its ``time`` is that of the oldest sample near the centre.
        """
        with self._lock:
            patch = self._cache.patch(x, y, self.cfg.extent, now)
            return None if patch is None else self._filtered(patch)

    def look_ahead(self, x: float, y: float, vx: float, vy: float, now: float) -> bool:
        """Read the first ground along the velocity that is not known yet, one patch. Returns whether there was any.

        Raises:
            LunarError: as ``fetch``.
        """
        speed, step = float(np.hypot(vx, vy)), _STRIDE * self.cfg.extent
        reach = speed * self.cfg.prefetch
        for k in range(1, min(int(reach / step), _FARTHEST) + 1):
            px, py = x + vx / speed * step * k, y + vy / speed * step * k
            with self._lock:
                known = self._cache.knows(px, py, 0.5 * self.cfg.extent, now)
            if not known:
                self.fetch(px, py, now)
                self.stats.prefetched += 1
                return True
        return False

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._wanted is not None or self._stop.is_set())
                target, self._wanted = self._wanted, None
            if self._stop.is_set() or target is None:
                return
            x, y, vx, vy = target
            try:
                self._latest = self.fetch(x, y, self._clock())
                self.look_ahead(x, y, vx, vy, self._clock())
                self._stop.wait(self.cfg.period)
            except LunarError:
                with contextlib.suppress(LunarError):  # a filter that fails fails on what is remembered, too
                    self._latest = self.known(x, y, self._clock()) or self._latest
                self._stop.wait(self.cfg.retry)

    def _attempt(self, action: Callable[[float], T], seconds: float) -> T:
        """Run ``action(deadline)``; whatever goes wrong, the connection is not used again."""
        try:
            return action(time.monotonic() + seconds)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._session is not None:
            self._session.connection.close()
            self._session = None

    def _open(self, until: float) -> _Session:
        if self._session is not None:
            return self._session
        cfg = self.cfg
        left = max(min(cfg.timeout, until - time.monotonic()), 1e-3)
        session = self._session = _Session(Connection(cfg.host, cfg.port, left))
        self.stats.reconnects += self._connections > 0
        self._connections += 1
        wanted = 2 * np.degrees(np.arctan((cfg.extent + 2 * cfg.resolution) / (cfg.height - cfg.relief)))
        self._set(f"fov {wanted:.4f}", until)
        if cfg.pixels:
            self._set(f"size {cfg.pixels} {cfg.pixels}", until)
        session.fov = self._numbers("fov", 1, until)[0]
        if not 0.0 < session.fov < 180.0:
            raise LunarError(
                f"twin: camera {cfg.camera} has a field of view of {session.fov:g} degrees; choose another"
            )
        return session

    def _calibrate(self, x: float, y: float, until: float) -> Calibration:
        cfg = self.cfg
        high = self._look(x, y, cfg.start_height, DOWN, until)
        low = self._look(x, y, cfg.start_height - 2.0, DOWN, until)
        check_ground(high, low)
        again = self._look(x, y, cfg.start_height - 2.0, DOWN, until)
        if abs(middle(again.depth) - middle(low.depth)) > 0.01 * abs(middle(low.depth)):
            raise LunarError("twin calibration: images lag behind the camera's pose; set twin.settle_images to 1")
        unit = unit_of(high, low)
        self._keep_ground(x, y, cfg.start_height - 2.0 - middle(metres_along_axis(low, unit, "plane")))
        assert self._ground is not None
        z = self._ground[2] + cfg.height
        poses = [
            (x, y, z, DOWN), (x, y, z + 1.0, DOWN), (x + 0.5, y, z, DOWN), (x, y + 0.5, z, DOWN),
            (x - 0.6, y, z, (-75.0, 0.0, 0.0)), (x - 0.6, y, z, (-75.0, 0.0, 45.0)),
        ]  # fmt: skip
        found = judge([self._look(*pose, until) for pose in poses], unit, x, y, cfg.resolution)
        for name, value, wanted in (("unit", found.unit, cfg.depth_unit), ("kind", found.kind, cfg.depth_kind)):
            if wanted not in ("auto", value):
                raise LunarError(
                    f"twin calibration: depth {name} is '{value}' by measurement but twin.depth_{name} says "
                    f"'{wanted}'; set it to '{value}' or 'auto'"
                )
        if cfg.known_ground is not None and abs(found.ground - cfg.known_ground) > KNOWN_GROUND_TOLERANCE:
            raise LunarError(
                f"twin calibration: the ground at the start is seen at {found.ground:.3f} m, twin.known_ground says "
                f"{cfg.known_ground:g} m; correct twin.origin or twin.known_ground, or find out what shifts the depth"
            )
        return found

    def _fetch(self, x: float, y: float, now: float, until: float) -> TwinPatch:
        cfg = self.cfg
        reading = self.calibration
        if reading is None:
            raise LunarError("twin: the depth image's meaning is unknown; call calibrate() before fetch()")
        self._open(until)
        seen = self._cache.patch(x, y, 2 * cfg.resolution, now)
        if seen is not None:
            self._ground = (x, y, float(np.nanmean(seen.heights)))
        elif self._ground is None or np.hypot(self._ground[0] - x, self._ground[1] - y) > cfg.extent:
            view = self._look(x, y, cfg.start_height, DOWN, until)
            below = middle(metres_along_axis(view, reading.unit, reading.kind))
            self._keep_ground(x, y, cfg.start_height - below)
        assert self._ground is not None
        view = self._look(x, y, self._ground[2] + cfg.height, DOWN, until)
        depth = metres_along_axis(view, reading.unit, reading.kind)
        patch = patch_from_depth(depth, view.camera, x, y, cfg.extent, cfg.resolution, now)
        self._keep_ground(x, y, height_at(patch, x, y))
        return self._filtered(self._cache.fill(patch))

    def _filtered(self, patch: TwinPatch) -> TwinPatch:
        """``cfg.filter``'s heights, rounded as messages keep them, where the patch has some."""
        if self._filter is None:
            return patch
        try:
            heights = self._filter(patch.heights, patch.resolution).astype(np.float32)
        except Exception as error:  # a user's network may raise anything
            raise LunarError(f"twin.filter '{self.cfg.filter}' failed: {' '.join(str(error).split())}") from None
        if heights.shape != patch.heights.shape:
            raise LunarError(f"twin.filter '{self.cfg.filter}' gave {heights.shape} for {patch.heights.shape} heights")
        return replace(patch, heights=np.where(np.isfinite(patch.heights), heights, np.nan).astype(float))

    def _keep_ground(self, x: float, y: float, height: float) -> None:
        self._ground = (x, y, height) if np.isfinite(height) else None
        if self._ground is None:
            raise LunarError(
                f"twin: no ground in sight below ({x:.2f}, {y:.2f}) m; there may be a hole in the level, or "
                "twin.start_height is not above all ground"
            )

    def _look(self, x: float, y: float, z: float, rotation: tuple[float, float, float], until: float) -> View:
        """Move the camera, make sure that it went, and take a depth image of the pose that it reports."""
        session = self._open(until)
        axes = quaternion_to_matrix(rotation_to_ros(*rotation))
        location = location_to_unreal((x, y, z), self.cfg.origin)
        self._set("location {:.3f} {:.3f} {:.3f}".format(*location), until)
        if session.rotation != rotation:
            self._set("rotation {:.3f} {:.3f} {:.3f}".format(*rotation), until)
            session.rotation = rotation
        for _ in range(POSE_READS):
            there = Camera.from_unreal(
                self._numbers("location", 3, until), self._numbers("rotation", 3, until), session.fov, (1, 1),
                self.cfg.origin,
            )  # fmt: skip
            off = np.abs(there.position - (x, y, z)).max(), np.abs(there.axes - axes).max()
            if off[0] <= POSE_TOLERANCE[0] and off[1] <= POSE_TOLERANCE[1]:
                break
        else:
            raise LunarError(
                f"twin: camera {self.cfg.camera} was sent to ({x:.2f}, {y:.2f}, {z:.2f}) m and is {off[0]:.2f} m off; "
                "choose with twin.camera one that nothing else moves or holds"
            )
        for _ in range(self.cfg.settle_images):
            self._ask(f"vget /camera/{self.cfg.camera}/depth npy", until)
        depth = self._image(until)
        return View(Camera(there.position, there.axes, session.fov, depth.shape[1], depth.shape[0]), depth)

    def _image(self, until: float) -> np.ndarray:
        answer = self._ask(f"vget /camera/{self.cfg.camera}/depth npy", until)
        if isinstance(answer, str):
            raise LunarError(
                f"twin: camera {self.cfg.camera} answered '{answer[:60]}' in place of a depth image; check that "
                f"the plugin knows depth as npy; {SETTLE}"
            )
        try:
            image = read_array(answer)
            if image.ndim != 2 and image.shape[2:] != (1,):
                raise ValueError(f"its shape is {image.shape}, and rows and columns are needed")
            depth = np.asarray(image, float).reshape(image.shape[:2])
        except (ValueError, EOFError, OSError, IndexError) as error:
            raise LunarError(
                f"twin: the depth image of camera {self.cfg.camera} is unreadable ({error}); {SETTLE}"
            ) from None
        if min(depth.shape) < 8:
            raise LunarError(f"twin: the depth image of camera {self.cfg.camera} is empty ({depth.shape}); {SETTLE}")
        rows, cols = image.shape[:2]
        if self.cfg.pixels and (rows, cols) != (self.cfg.pixels, self.cfg.pixels):
            raise LunarError(
                f"twin: camera {self.cfg.camera} was told to take images of {self.cfg.pixels} by {self.cfg.pixels} "
                f"pixels and took one of {cols} by {rows}; {SETTLE}, or twin.pixels to 0 if its "
                "pixels are square"
            )
        return depth

    def _numbers(self, what: str, count: int, until: float) -> tuple[float, ...]:
        answer = self._ask(f"vget /camera/{self.cfg.camera}/{what}", until)
        try:
            values = tuple(float(word) for word in str(answer).split())
        except ValueError:
            values = ()
        if len(values) != count or not np.isfinite(values).all():
            raise LunarError(f"twin: camera {self.cfg.camera} answered '{str(answer)[:60]}' when asked for its {what}")
        return values

    def _set(self, what: str, until: float) -> None:
        answer = self._ask(f"vset /camera/{self.cfg.camera}/{what}", until)
        if str(answer).strip().lower() != "ok":
            raise LunarError(f"twin: camera {self.cfg.camera} answered '{str(answer)[:60]}' when told '{what}'")

    def _ask(self, command: str, until: float) -> str | bytes:
        assert self._session is not None
        return self._session.connection.request(command, until)
