"""The 3-D replay: the robot on the rig, and beside it the robot where MATRIX believes it to be on the Moon.

The Moon's ground slides past as the belt does, so that both robots stay in view. Drawn by viser's offline player.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
import trimesh
import viser

from matrix_hil.log.signals import interpolated
from matrix_hil.replay.look.measure import Run, patch_field, rotations
from sim.view.robot import DrawnRobot, link_poses
from sim.view.server import close_server, open_server

_GAP = 0.5  # s without joints from which nothing is drawn
_MAX_FRAMES = 1500  # a longer run is drawn with fewer frames per second
_GRAIN = 2.0**-12  # m and quaternion: what poses are rounded to, so that the recording packs to half its size
_MAX_VERTICES = 40_000  # of the Moon's ground
_MOON = np.array([0.0, 1.7, 0.0])  # m, where the Moon's scene stands in the rig's frame
_STRIP = 0.75  # m of ground to each side of the robot's path
_STRIPE = 0.25  # m between the belt's stripes
_GRID = 0.25  # m between the lines on the Moon's ground
_AHEAD = 1.4  # m of ground before and behind the path


@dataclass(frozen=True)
class RigShape:
    """Sizes of the rig that is drawn."""

    belt_length: float = 2.5
    """m."""
    belt_width: float = 1.0
    """m."""
    pulley_height: float = 4.0
    """m."""


def replay_html(run: Run, model: mujoco.MjModel, shape: RigShape, rate: float) -> str | None:
    """A self-contained HTML document that plays the run; None when the log lacks joints or the base's pose.

    Args:
        run: what to draw.
        model: the robot alone, its joints named as the project's.
        shape: of the rig.
        rate: Hz, frames drawn; lowered for long runs. Where the log has a gap none is.
    """
    if run.base is None or "/robot/joint_states" not in run.log:
        return None
    server = open_server()
    try:
        return _record(server, run, model, shape, rate)
    finally:
        close_server(server)


@dataclass(frozen=True)
class Frame:
    """One moment. Positions in m, quaternions (w, x, y, z)."""

    platform: np.ndarray
    """(6,) pose of the top plate in m and rad."""
    travel: float
    """m, of the belt."""
    position: np.ndarray
    """(3,) of the base in the rig."""
    quaternion: np.ndarray
    links: np.ndarray
    """(bodies, 7) position and quaternion of every body in the base's frame, as ``link_poses`` gives them."""
    world: tuple[np.ndarray, np.ndarray] | None = None
    """Position and quaternion of the base on the Moon."""


class RigScene:
    """Rig, robot, and the robot on the Moon, in a viser server; ``place`` moves them.

    Args:
        server: an empty one.
        model: the robot alone.
        shape: of the rig.
        moon: also draw the robot on the Moon. The ground below ``/moon`` is the caller's, in world coordinates.
    """

    def __init__(self, server: viser.ViserServer, model: mujoco.MjModel, shape: RigShape, moon: bool) -> None:
        self.datum = 0.0
        """m, world height that stands at the height of the rig's origin."""
        self._shape = shape
        scene = server.scene
        scene.set_up_direction("+z")
        server.initial_camera.position = (-1.5, -2.5, 1.35)
        server.initial_camera.look_at = (0.1, 0.7, 0.3)
        server.initial_camera.fov = math.radians(48.0)
        self._platform, self._stripes = _add_rig(server, shape)
        self._rope = scene.add_line_segments("/rope", np.zeros((1, 2, 3)), (230, 190, 90), thickness=0.014)
        self._moon = scene.add_frame("/moon", show_axes=False) if moon else None
        self._robot = DrawnRobot(server, "/robot", model)
        self._on_moon = DrawnRobot(server, "/moon_robot", model) if moon else None

    def place(self, frame: Frame) -> None:
        """Show a moment."""
        self._platform.position, self._platform.wxyz = frame.platform[:3], _euler(frame.platform[3:])
        self._stripes.position = (-(frame.travel % _STRIPE), 0.0, 0.0)
        self._rope.points = np.array([[[0.0, 0.0, self._shape.pulley_height], frame.position]])
        self._robot.place(frame.position, frame.quaternion, frame.links)
        if frame.world is not None and self._moon is not None and self._on_moon is not None:
            position, quaternion = frame.world
            slide = np.array([position[0], position[1], self.datum])
            self._moon.position = _MOON - slide
            self._on_moon.place(position - slide + _MOON, quaternion, frame.links)


def _record(server: viser.ViserServer, run: Run, model: mujoco.MjModel, shape: RigShape, rate: float) -> str:
    log, base = run.log, run.base
    assert base is not None
    duration = max(log.duration, 1e-3)
    joints = log["/robot/joint_states"]
    steps = np.diff(joints.log_time)
    rate = min(rate, _MAX_FRAMES / max(duration - float(steps[steps > _GAP].sum()), 1e-3))
    time = run.start + np.arange(0.0, duration, 1.0 / rate)
    after = np.minimum(np.searchsorted(joints.log_time, time), len(joints) - 1)
    away = np.minimum(np.abs(joints.log_time[after] - time), np.abs(joints.log_time[after - (after > 0)] - time))
    time = time[away <= _GAP]
    pauses = np.diff(time, append=run.start + duration)
    links = _coarse(link_poses(model, interpolated(time, joints.log_time, joints.position)))
    position, quaternion = _poses(time, base.log_time, base.position, base.quaternion)
    platform = np.zeros((len(time), 6))
    if "/platform/state" in log:
        state = log["/platform/state"]
        platform = interpolated(time, state.log_time, state.pose)
    travel = np.zeros(len(time))
    if "/treadmill/state" in log:
        belt = log["/treadmill/state"]
        travel = interpolated(time, belt.log_time, belt.position)
    moon = "/world/base_pose" in log
    scene = RigScene(server, model, shape, moon)
    world: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(time)
    if moon:
        pose = log["/world/base_pose"]
        world = list(zip(*_poses(time, pose.log_time, pose.position, pose.quaternion), strict=True))
        scene.datum = _add_moon(server, run)
    recorder = server.get_scene_serializer()
    for k in range(len(time)):
        scene.place(Frame(platform[k], travel[k], position[k], quaternion[k], links[k], world[k]))
        recorder.insert_sleep(float(pauses[k]))
    return recorder.as_html(dark_mode=True)


def _poses(
    time: np.ndarray, known: np.ndarray, position: np.ndarray, quaternion: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return _coarse(interpolated(time, known, position)), _coarse(rotations(time, known, quaternion))


def _coarse(values: np.ndarray) -> np.ndarray:
    return np.round(values / _GRAIN) * _GRAIN


def _add_rig(server: viser.ViserServer, shape: RigShape) -> tuple[viser.FrameHandle, viser.FrameHandle]:
    """Belt, platform and pulley. Returns what moves with the platform, and the belt's stripes on it."""
    scene, length, width = server.scene, shape.belt_length, shape.belt_width
    platform = scene.add_frame("/platform", show_axes=False)
    scene.add_box("/platform/belt", dimensions=(length, width, 0.04), position=(0, 0, -0.02), color=(62, 66, 75))
    deck = (length + 0.16, width + 0.2, 0.08)
    scene.add_box("/platform/deck", dimensions=deck, position=(0, 0, -0.09), color=(214, 160, 60))
    stripes = scene.add_frame("/platform/stripes", show_axes=False)
    for i, x in enumerate(np.arange(-length / 2 + _STRIPE, length / 2 - 0.01, _STRIPE)):
        size = (0.012, width, 0.002)
        scene.add_box(f"/platform/stripes/{i}", dimensions=size, position=(x, 0, 0), color=(140, 146, 158))
    scene.add_box("/foot", dimensions=(0.9, 0.9, 0.3), position=(0, 0, -0.55), color=(110, 114, 122))
    scene.add_icosphere("/pulley", radius=0.06, color=(200, 200, 205), position=(0, 0, shape.pulley_height))
    return platform, stripes


def _add_moon(server: viser.ViserServer, run: Run) -> float:
    """The ground that the twin has seen along the robot's path. Returns its middle height in m."""
    path = run.log["/world/base_pose"].position
    if "/twin/patch" not in run.log:
        return 0.0
    patches = run.log["/twin/patch"]
    low, high = path[:, :2].min(axis=0) - [_AHEAD, _STRIP], path[:, :2].max(axis=0) + [_AHEAD, _STRIP]
    size = high - low
    if not np.isfinite(size).all():
        return 0.0
    step = max(float(np.min(patches.resolution)), math.sqrt(float(size.prod()) / _MAX_VERTICES), 0.01)
    x, y = np.meshgrid(np.arange(low[0], high[0], step), np.arange(low[1], high[1], step))
    z = np.full(x.shape, np.nan)
    for k in range(len(patches)):
        field = patch_field(patches, k)
        if field is None:
            continue
        x0, x1, y0, y1 = field.extent
        inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        z[inside] = field.height(x[inside], y[inside])
    return add_ground(server, x, y, z, max(1, round(_GRID / step)))


def add_ground(server: viser.ViserServer, x: np.ndarray, y: np.ndarray, z: np.ndarray, every: int) -> float:
    """Draw heights z at x, y (rows, cols) in m, NaN where unknown, below ``/moon``, with a line along every so many-th
    row and column. Returns the middle height in m."""
    rows, cols = z.shape
    corner = (np.arange(rows - 1)[:, None] * cols + np.arange(cols - 1)).ravel()
    quads = np.stack([corner, corner + 1, corner + cols + 1, corner + cols], axis=1)
    quads = quads[np.isfinite(z.ravel()[quads]).all(axis=1)]
    if not len(quads):
        return 0.0
    datum = float(np.nanmedian(z))
    vertices = np.stack([x.ravel(), y.ravel(), np.nan_to_num(z.ravel(), nan=datum)], axis=1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    server.scene.add_mesh_simple("/moon/ground", vertices, faces, color=(134, 131, 126), side="double")
    lines = _grid_lines(x, y, z, every)
    if len(lines):
        server.scene.add_line_segments("/moon/grid", lines, (74, 72, 70), thickness=0.006)
    return datum


def _grid_lines(x: np.ndarray, y: np.ndarray, z: np.ndarray, every: int) -> np.ndarray:
    """(n, 2, 3) segments along every ``every``-th row and column, so that one sees the ground move."""
    points = np.stack([x, y, z + 0.003], axis=-1)
    along = np.stack([points[::every, :-1], points[::every, 1:]], axis=-2).reshape(-1, 2, 3)
    across = np.stack([points[:-1, ::every], points[1:, ::every]], axis=-2).reshape(-1, 2, 3)
    lines = np.concatenate([along, across])
    return lines[np.isfinite(lines).all(axis=(1, 2))]


def _euler(angles: np.ndarray) -> np.ndarray:
    """Quaternion (w, x, y, z) of roll, pitch, yaw."""
    return trimesh.transformations.quaternion_from_euler(angles[0], angles[1], angles[2], "sxyz")
