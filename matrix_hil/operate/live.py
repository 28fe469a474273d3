"""The page of ``lunar hil --live`` and ``--panel``: the running rig in a browser on this computer, gauges and orders.

The web server is a process of its own, at low priority: a browser that connects keeps it busy for tens of milliseconds,
in which a thread would hold the interpreter that the loop needs. The loop leaves its newest cycle in shared memory,
some microseconds of work; the other side draws whichever is newest some times per second and drops the rest. Orders
come back the same way, as counters that the loop looks at.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any

import mujoco
import numpy as np

from matrix_hil.beside import end_with, leave_signals
from matrix_hil.operate.panel import Desk
from matrix_hil.operate.panel_page import PanelPage
from matrix_hil.replay.look.scene import Frame, RigScene, RigShape, add_ground
from matrix_hil.run.loop import Cycle
from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.robots.load import robot_model
from sim.view.robot import link_poses
from sim.view.server import close_server, open_server

RATE = 25.0
"""Hz. Frames drawn at most."""
_START = 60.0  # s within which the server must be up
_GROUND_PERIOD = 1.0  # s between drawings of the ground, which is the costly part
_GRID = 0.25  # m between the lines on it
_CELLS = 256 * 256  # of ground that is drawn; a finer one is thinned
_NICE = 10  # below the loop and everything that serves it
_PARTS = {"platform": 6, "travel": 1, "position": 3, "quaternion": 4, "joints": 12, "world": 3, "turned": 4}
_SIZE = sum(_PARTS.values())


@dataclass(frozen=True)
class _Address:
    """What the page's process tells once it can be reached."""

    url: str


class Board:
    """Memory that both processes see: the newest moment and the newest ground, each behind a count that is odd while it
    is being written."""

    def __init__(self) -> None:
        self.moment = RawArray("d", 1 + _SIZE)
        self.ground = RawArray("d", 6)  # count, x and y of the first sample, m between samples, rows, columns
        self.heights = RawArray("f", _CELLS)
        self.frames = RawArray("q", 1)  # drawn so far

    def put(self, values: np.ndarray) -> None:
        """Leave a moment."""
        view = np.frombuffer(self.moment)
        view[0] += 1
        view[1:] = values
        view[0] += 1

    def put_ground(self, origin: np.ndarray, resolution: float, heights: np.ndarray) -> None:
        """Leave heights (rows, cols) in m whose first sample lies at ``origin``, thinned to what is drawn."""
        every = max(1, math.ceil(math.sqrt(heights.size / _CELLS)))
        every += heights[::every, ::every].size > _CELLS  # what is left of rows and columns is rounded up
        heights = heights[::every, ::every]
        view = np.frombuffer(self.ground)
        view[0] += 1
        np.frombuffer(self.heights, np.float32)[: heights.size] = heights.ravel()
        view[1:] = [*origin, resolution * every, *heights.shape]
        view[0] += 1

    def take(self, seen: float) -> tuple[float, np.ndarray] | None:
        """Count and values of the newest moment; None while it is not newer than ``seen`` or is being written."""
        view = np.frombuffer(self.moment)
        count, values = view[0], view[1:].copy()
        return (count, values) if count != seen and count % 2 == 0 and view[0] == count else None

    def take_ground(self, seen: float) -> tuple[float, np.ndarray, float, np.ndarray] | None:
        """Count, origin, resolution and heights of the newest ground; None as for ``take``."""
        view = np.frombuffer(self.ground)
        count, x, y, resolution, rows, cols = view.tolist()
        size = int(rows * cols)
        heights = np.frombuffer(self.heights, np.float32)[:size].astype(float).reshape(int(rows), int(cols))
        whole = count != seen and count % 2 == 0 and view[0] == count
        return (count, np.array([x, y]), resolution, heights) if whole and min(heights.shape) > 1 else None


class LiveView:
    """Shows a running rig; a context manager. ``show`` is for a real-time loop, one thread at a time.

    Args:
        rig: its sizes and robot are drawn.
        heading: rad, world yaw of the rig's x axis.
        port: of the page on 127.0.0.1; 0 takes a free one.
        operated: show buttons for every order, not only the e-stop.

    Raises:
        LunarError: the port is taken, or the robot's file is unfit.
    """

    def __init__(self, rig: RigConfig, heading: float = 0.0, port: int = 0, operated: bool = False) -> None:
        self._turn = np.array([math.cos(heading / 2), 0.0, 0.0, math.sin(heading / 2)])
        self._patch_time = self._ground_time = -math.inf
        context = multiprocessing.get_context("spawn")  # nothing of the loop's threads, lines and files
        self._board = Board()
        self.desk = Desk()
        """What the operator asks for, and the gauges."""
        self._connection, theirs = context.Pipe()
        arguments = (self._board, self.desk, theirs, rig, port, operated)
        self._process = context.Process(target=_serve, args=arguments, name="live", daemon=True)
        self._process.start()
        end_with(self, self._process)
        theirs.close()
        answer: Any = f"it did not start within {_START:g} s"
        try:
            if self._connection.poll(_START):
                answer = self._connection.recv()
        except EOFError:
            answer = "its process ended at once; a script must start it below 'if __name__ == \"__main__\":'"
        if not isinstance(answer, _Address):
            self.close()
            raise LunarError(f"the live view cannot be shown: {answer}")
        self.url = answer.url
        """Where to look. Whoever knows it may operate the rig."""

    @property
    def frames(self) -> int:
        """Drawn so far."""
        return int(self._board.frames[0])

    def alive(self) -> bool:
        """Whether the page's process runs."""
        return self._process.is_alive()

    def show(self, cycle: Cycle) -> None:
        """Leave a cycle to be drawn unless a newer one comes first; returns at once."""
        s = cycle.states
        if s.tracker is None or s.robot is None:
            return
        turned = np.zeros(4)
        mujoco.mju_mulQuat(turned, self._turn, s.tracker.quaternion)
        pose = np.zeros(6) if s.platform is None else s.platform.pose
        travel = 0.0 if s.treadmill is None else s.treadmill.position
        joints = s.robot.joint_position
        tracker = s.tracker
        self._board.put(
            np.concatenate([pose, [travel], tracker.position, tracker.quaternion, joints, cycle.world, turned])
        )
        patch = cycle.patch
        if patch is not None and patch.time != self._patch_time and cycle.time - self._ground_time >= _GROUND_PERIOD:
            self._patch_time, self._ground_time = patch.time, cycle.time
            self._board.put_ground(patch.origin, patch.resolution, patch.heights)

    def close(self) -> None:
        """End the page. May be called twice."""
        self._connection.close()
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Page:
    """The server's side: draws what is on the board, and the desk. ``server`` is viser's."""

    def __init__(self, board: Board, desk: Desk, rig: RigConfig, port: int = 0, operated: bool = False) -> None:
        self._board = board
        self._model = robot_model(rig.robot)
        self._seen = self._ground_seen = 0.0
        self.server = open_server(port)
        if port not in (0, self.server.get_port()):
            close_server(self.server)
            raise LunarError(f"live_port {port} is in use; choose another, or 0 for any free one")
        # browsers open connections that they then do not use, which is no error
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        shape = RigShape(rig.belt_length, rig.belt_width, rig.pulley_height)
        self._scene = RigScene(self.server, self._model, shape, moon=True)
        self._controls = PanelPage(self.server, desk, operated)

    def draw(self) -> None:
        """Draw what is new, if anybody looks."""
        self._controls.draw()
        if not self.server.get_clients():
            return
        ground = self._board.take_ground(self._ground_seen)
        if ground is not None:
            first = self._ground_seen == 0.0
            self._ground_seen, origin, resolution, heights = ground
            rows, cols = heights.shape
            x, y = np.meshgrid(origin[0] + np.arange(cols) * resolution, origin[1] + np.arange(rows) * resolution)
            datum = add_ground(self.server, x, y, heights, max(1, round(_GRID / resolution)))
            if first:
                self._scene.datum = datum
        moment = self._board.take(self._seen)
        if moment is None:
            return
        self._seen, values = moment
        platform, travel, position, quaternion, joints, world, turned = np.split(
            values, np.cumsum(list(_PARTS.values()))[:-1]
        )
        links = link_poses(self._model, joints[None])[0]
        with self.server.atomic():
            self._scene.place(Frame(platform, float(travel[0]), position, quaternion, links, (world, turned)))
        self._board.frames[0] += 1

    def close(self) -> None:
        """End the server."""
        close_server(self.server)


def _serve(board: Board, desk: Desk, connection: Connection, rig: RigConfig, port: int, operated: bool) -> None:
    """What the process does: tell its address or what is wrong, draw until the other end of ``connection`` is gone."""
    leave_signals()
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(_NICE)
    try:
        page = Page(board, desk, rig, port, operated)
    except (LunarError, OSError) as error:
        connection.send(str(error))
        return
    try:
        connection.send(_Address(page.server.url))
        while not connection.poll(1.0 / RATE):
            page.draw()
    finally:
        page.close()
