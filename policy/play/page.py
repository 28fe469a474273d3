"""The page of ``lunar play``: the robot on its ground, what can be set, and what can be read."""

from __future__ import annotations

import logging
import math

import mujoco
import numpy as np
import viser

from policy.play.controls import KEYS, Controls
from policy.play.live_robot import Moment
from policy.play.readouts import Readouts, Status
from policy.runtime.card import Card
from sim.robots.load import robot_model
from sim.spec.gravity import lunar_weight
from sim.terrain.generators import preset_names
from sim.terrain.height_field import HeightField
from sim.view.feet import FootMarks
from sim.view.ground import DrawnGround, add_sky
from sim.view.robot import DrawnRobot, link_poses
from sim.view.server import close_server, open_server

DRAW_EVERY = 2
"""Control steps per drawing: 25 Hz."""
WAY_COLOURS = (
    (255, 127, 14), (31, 119, 180), (44, 160, 44), (227, 119, 194), (148, 103, 189), (188, 189, 34), (23, 190, 207),
)  # fmt: skip
"""Of a plan's options, in their order, as in its picture."""
_PIECES = 25  # of a drawn segment
_SETTLE = (0.12, 0.12, 0.6)  # s in which the view follows in x, y and z
_JUMP = 1.0  # m in one drawing: the robot was put elsewhere


class Page:
    """A web page on 127.0.0.1; close it when done.

    Args:
        card: of the policy.
        terrain: the ground.
        kind: name of its preset.
        level: its difficulty.
        dt: s between calls of ``show``.
        port: 0 takes a free one; when another is taken, the next free one is.
    """

    def __init__(self, card: Card, terrain: HeightField, kind: str, level: int, dt: float, port: int = 0) -> None:
        # browsers open connections that they then do not use, which is no error
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self.server = server = open_server(port, "lunar play")
        self._dt = DRAW_EVERY * dt
        self._calls = 0
        server.gui.configure_theme(dark_mode=True, control_width="medium", show_logo=False, show_share_button=False)
        server.scene.set_up_direction("+z")
        camera = server.initial_camera
        camera.position, camera.look_at, camera.fov = (-1.5, -2.2, 0.8), (0.1, 0.0, 0.32), math.radians(42.0)
        camera.far = 400.0
        add_sky(server)
        self._world = server.scene.add_frame("/world", show_axes=False)
        self._model = robot_model(card.physics_robot)
        self._weight = lunar_weight(float(mujoco.mj_getTotalmass(self._model)))
        self._robot = DrawnRobot(server, "/world/robot", self._model)
        self._feet = FootMarks(server, "/world")
        self._way: viser.LineSegmentsHandle | None = None
        self._note = server.scene.add_label("/world/note", "fell", visible=False)
        self._anchor = self._target = np.full(3, np.inf)
        self.status = Status(server)
        presets = preset_names()
        self.controls = Controls(server, card, presets if kind in presets else [*presets, kind], kind, level)
        server.gui.add_markdown(KEYS)
        panel = server.gui.add_panel()
        with panel.add_tab("Robot"):
            self.readouts = Readouts(server, card.estimates, self._dt)
        panel.float(x=15, y=15, width=290)
        self.set_terrain(terrain)

    @property
    def url(self) -> str:
        """Where to look."""
        return self.server.url

    def draw_way(self, points: np.ndarray, options: np.ndarray) -> None:
        """Draw a plan's segments, whose ends are ``points`` (S + 1, 2) m, on the ground in the colours of their
        ``options`` (S,); with the next ground they are gone."""
        ends = np.stack([points[:-1], points[1:]], axis=1)
        along = ends[:, :1] + np.linspace(0.0, 1.0, _PIECES + 1)[:, None] * (ends[:, 1:] - ends[:, :1])
        height = self._terrain.height(along[..., 0], along[..., 1]) + 0.02
        line = np.concatenate([along, height[..., None]], axis=2)
        pieces = np.stack([line[:, :-1], line[:, 1:]], axis=2).reshape(-1, 2, 3).astype(np.float32)
        colours = np.array(WAY_COLOURS, np.uint8)[np.asarray(options) % len(WAY_COLOURS)]
        colours = np.repeat(colours, _PIECES, axis=0)[:, None].repeat(2, axis=1)
        self._way = self.server.scene.add_line_segments("/world/way", pieces, colours, thickness=0.04)

    def set_terrain(self, terrain: HeightField) -> None:
        """Draw another ground, without prints."""
        if self._way is not None:
            self._way.remove()
            self._way = None
        self._terrain = terrain
        self._ground = DrawnGround(self.server, "/world", terrain)
        self._feet.clear()

    def show(self, moment: Moment) -> None:
        """Draw a moment, if it is due and anybody looks. Call it every control step."""
        self._calls += 1
        if self._calls % DRAW_EVERY or not self.server.get_clients():
            return
        position, quaternion = moment.qpos[:3], moment.qpos[3:7]
        links = link_poses(self._model, moment.qpos[None, 7:])[0]
        with self.server.atomic():
            self._ground.look_at(*position[:2])
            self._robot.place(position, quaternion, links)
            self._feet.show(moment.foot_position, moment.foot_force / self._weight, moment.loaded, self._terrain)
            self._note.visible = moment.lying
            if moment.lying:
                self._note.position = position + [0.0, 0.0, 0.3]
            before, self._target = self._target, np.array([*position[:2], moment.ground])
            self._anchor = followed(self._anchor, before, self._target, self._dt if self.controls.follow else 0.0)
            self._world.position = -self._anchor
        self.readouts.show(moment)

    def close(self) -> None:
        """End the page."""
        close_server(self.server)


def followed(anchor: np.ndarray, before: np.ndarray, target: np.ndarray, dt: float) -> np.ndarray:
    """The point of the world (3,) m that shall lie where the camera, which is the user's, looks.

    Args:
        anchor: (3,) m, that point until now.
        before: (3,) m, the target at the last call.
        target: (3,) m, what is followed; where it jumps, the view jumps with it.
        dt: s since then; 0 does not follow it.
    """
    if not np.all(np.abs(target - before)[:2] < _JUMP):
        return target
    return anchor + (target - anchor) * (1.0 - np.exp(-dt / np.array(_SETTLE)))
