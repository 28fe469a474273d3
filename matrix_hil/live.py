"""``lunar hil --live``: the running rig in a browser on this computer, drawn beside the loop and never waited for.

The loop leaves its newest cycle; a thread of its own draws what is newest some times per second and drops the rest.
"""

from __future__ import annotations

import logging
import math
import threading
from types import TracebackType

import mujoco
import numpy as np

from matrix_hil.loop import Cycle
from matrix_hil.report.scene import Frame, RigScene, RigShape, add_ground, close_server, link_poses, open_server
from sim.errors import LunarError
from sim.physics.scene import robot_spec
from sim.rig import RigConfig

_GROUND_PERIOD = 25  # frames between drawings of the ground, which is the costly part


def live_view(rig: RigConfig, heading: float, port: int) -> LiveView:
    """A view of this rig; see ``LiveView``."""
    shape = RigShape(rig.belt_length, rig.belt_width, rig.pulley_height)
    return LiveView(robot_spec(rig.robot).compile(), shape, heading, port)


class LiveView:
    """Shows a running rig; a context manager. ``show`` may be called from a real-time loop.

    Args:
        model: the robot alone.
        shape: of the rig.
        heading: rad, world yaw of the rig's x axis.
        port: of the page on 127.0.0.1; 0 takes a free one.
        rate: Hz, frames at most.

    Raises:
        LunarError: the port is taken.
    """

    def __init__(
        self, model: mujoco.MjModel, shape: RigShape, heading: float = 0.0, port: int = 0, rate: float = 25.0
    ) -> None:
        self.frames = 0
        """Frames drawn so far."""
        self._model = model
        self._turn = np.array([math.cos(heading / 2), 0.0, 0.0, math.sin(heading / 2)])
        self._period = 1.0 / rate
        self._newest: Cycle | None = None
        self._end = threading.Event()
        self._ground_time: float | None = None
        try:
            self.server = open_server(port)
        except OSError as error:
            raise LunarError(f"live_port {port} cannot be used: {error.strerror or error}") from None
        if port not in (0, self.server.get_port()):
            close_server(self.server)
            raise LunarError(f"live_port {port} is in use; choose another, or 0 for any free one")
        # browsers open connections that they then do not use, which is no error
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self._scene = RigScene(self.server, model, shape, moon=True)
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://127.0.0.1:{self.server.get_port()}"

    def show(self, cycle: Cycle) -> None:
        """Leave a cycle to be drawn unless a newer one comes first; returns at once."""
        self._newest = cycle

    def __enter__(self) -> LiveView:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        close_server(self.server)

    def _run(self) -> None:
        shown: Cycle | None = None
        while not self._end.wait(self._period):
            cycle = self._newest
            if cycle is not None and cycle is not shown and self.server.get_clients():
                self._draw(cycle)
                shown = cycle

    def _draw(self, cycle: Cycle) -> None:
        s = cycle.states
        if s.tracker is None or s.robot is None:
            return
        if self.frames % _GROUND_PERIOD == 0:
            self._draw_ground(cycle)
        turn = np.zeros(4)
        mujoco.mju_mulQuat(turn, self._turn, s.tracker.quaternion)
        frame = Frame(
            platform=np.zeros(6) if s.platform is None else s.platform.pose,
            travel=0.0 if s.treadmill is None else s.treadmill.position,
            position=s.tracker.position,
            quaternion=s.tracker.quaternion,
            links=link_poses(self._model, s.robot.joint_position[None])[0],
            world=(cycle.world, turn),
        )
        with self.server.atomic():
            self._scene.place(frame)
        self.frames += 1

    def _draw_ground(self, cycle: Cycle) -> None:
        patch = cycle.patch
        if patch is None or patch.time == self._ground_time or min(patch.heights.shape) < 2:
            return
        self._ground_time = patch.time
        rows, cols = patch.heights.shape
        x, y = np.meshgrid(
            patch.origin[0] + np.arange(cols) * patch.resolution, patch.origin[1] + np.arange(rows) * patch.resolution
        )
        datum = add_ground(self.server, x, y, patch.heights, max(1, round(0.25 / patch.resolution)))
        if self.frames == 0:
            self._scene.datum = datum
