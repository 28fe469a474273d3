"""Draws docs/images/matrix.png: the virtual rig's MuJoCo model, with what has no body in it (legs, rope, pulley,
weight, cameras) added as shapes, and labels. Run from the repository's root; needs EGL."""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "egl")

import matplotlib.pyplot as plt
import mujoco
import numpy as np

from sim.rig.config import RigConfig
from sim.rig.virtual_rig import VirtualRig

SIZE = (1050, 1500)  # rows, columns
STEEL, DARK, ROPE, EYE = (0.6, 0.66, 0.74, 1), (0.3, 0.33, 0.37, 1), (0.9, 0.4, 0.1, 1), (0.1, 0.5, 0.85, 1)
TOP = 4.0  # m, the pulley
DRUM, WEIGHT = np.array([-1.9, 0, TOP]), np.array([-1.9, 0, 1.9])
SHIFT = 0.10  # m that the plate is raised and 8 deg that it is pitched, so that one sees it move

LEGS = ((-10, -50), (10, 50), (110, 70), (130, 170), (230, 190), (250, 290))  # deg, where each begins and ends

LABELS = {  # text: (what it points to in m, place of the text as shares of the picture)
    "Rope over a pulley 4 m up:\ncarries 5/6 of the weight": ((0, 0, 2.4), (0.50, 0.22)),
    "Counterweight and winch, ratio 1/2:\nload cell, force loop, brake": ((-1.9, 0, 1.75), (0.02, 0.62)),
    "Harness, 4 cm above\nthe centre of mass": ((0, 0, 0.72), (0.10, 0.74)),
    "Pose tracker, 120 Hz: heading and drift\nbecome yaw-rate and vy commands": ((1.93, -0.85, 2.25), (0.66, 0.53)),
    "Robot, 200 Hz: the policy's targets;\nits watchdog holds, stands, damps": ((0.2, 0, 0.55), (0.68, 0.64)),
    "Belt: follows the robot, steady in flight": ((0.95, -0.4, 0.22), (0.68, 0.77)),
    "Motion platform, 6 legs: height and slope of the\n"
    "ground at the landing; moves only in flight": ((0.5, -0.4, -0.3), (0.6, 0.93)),
}  # fmt: skip


def main() -> None:
    """Render, label, save."""
    rig = VirtualRig(RigConfig())
    model, data = rig.model, rig.data
    data.joint("platform_slide_z").qpos[0] = SHIFT
    data.joint("platform_hinge_y").qpos[0] = -np.radians(8.0)
    data.qpos[2] += 0.35  # in flight
    mujoco.mj_forward(model, data)
    model.vis.global_.offwidth, model.vis.global_.offheight = SIZE[1], SIZE[0]
    camera = mujoco.MjvCamera()
    camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = [0.15, 0, 1.6], 7.4, 112, -10
    renderer = mujoco.Renderer(model, *SIZE, max_geom=2000)
    renderer.update_scene(data, camera)
    scene = renderer.scene
    for geom in scene.geoms[: scene.ngeom]:
        geom.emission = 0.25
    _machines(scene, data)
    picture = renderer.render()
    white = picture.sum(axis=2) == 0  # the background
    picture[white] = 255
    figure = plt.figure(figsize=(11, 7.7), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture)
    axes.axis("off")
    for text, (point, place) in LABELS.items():
        x, y = _project(np.array(point), scene.camera[0])
        axes.annotate(
            text, (x, y), (place[0] * SIZE[1], place[1] * SIZE[0]), fontsize=10.5, va="center",
            bbox={"boxstyle": "round", "fc": "white", "ec": "0.6"}, arrowprops={"arrowstyle": "-", "color": "0.25"},
        )  # fmt: skip
    figure.savefig("docs/images/matrix.png")


def _machines(scene: mujoco.MjvScene, data: mujoco.MjData) -> None:
    plate = data.body("platform")
    turn = plate.xmat.reshape(3, 3)
    for above, below in np.radians(LEGS):
        top = plate.xpos + turn @ [0.8 * np.cos(above), 0.42 * np.sin(above), -0.16]
        _line(scene, top, [0.95 * np.cos(below), 0.55 * np.sin(below), -0.85], 0.03, STEEL)
    for x in (-1.45, 2.0):
        for y in (0.9, -0.9):
            _line(scene, [x, y, -0.85], [x, y, TOP + 0.1], 0.03, DARK)
        _line(scene, [x, -0.9, TOP + 0.1], [x, 0.9, TOP + 0.1], 0.03, DARK)
    _line(scene, [-2.0, 0, TOP + 0.1], [2.0, 0, TOP + 0.1], 0.03, DARK)
    harness = data.body("base").xpos + [0, 0, 0.08]
    _line(scene, harness, [0, 0, TOP], 0.012, ROPE)
    _line(scene, [0, 0, TOP], DRUM, 0.012, ROPE)
    _line(scene, DRUM, WEIGHT, 0.012, ROPE)
    for wheel in (np.array([0, 0, TOP]), DRUM):
        _line(scene, wheel - [0, 0.04, 0], wheel + [0, 0.04, 0], 0.09, STEEL)
    _line(scene, WEIGHT, WEIGHT - [0, 0, 0.45], 0.16, STEEL)
    for y in (0.9, -0.9):
        _line(scene, [2.0, y, 2.3], [1.86, y * 0.93, 2.22], 0.06, EYE)


def _line(scene: mujoco.MjvScene, start: object, end: object, radius: float, colour: tuple) -> None:
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(
        geom,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        np.zeros(3),
        np.zeros(3),
        np.eye(3).ravel(),
        np.array(colour, dtype=np.float32),
    )
    mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, radius, np.asarray(start, float), np.asarray(end, float))
    geom.emission = 0.5
    scene.ngeom += 1


def _project(point: np.ndarray, camera: mujoco.MjvGLCamera) -> tuple[float, float]:
    """Column and row of a point in m."""
    forward, up = np.array(camera.forward), np.array(camera.up)
    away = point - np.array(camera.pos)
    depth, half = away @ forward, camera.frustum_top / camera.frustum_near
    row = 0.5 * SIZE[0] * (1.0 - away @ up / depth / half)
    return 0.5 * SIZE[1] + 0.5 * SIZE[0] * (away @ np.cross(forward, up)) / depth / half, row


if __name__ == "__main__":
    main()
