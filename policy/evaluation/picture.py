"""A picture of one robot hopping: a strip of frames through a hop, and height and foot forces over the trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sim.errors import LunarError
from sim.physics.render import Renderer
from sim.physics.scene import PhysicsConfig
from sim.spec.gravity import lunar_weight
from sim.spec.joints import LEGS
from sim.terrain.height_field import HeightField

FRAMES = 7
WINDOW = 8.0  # s shown in the plots
MARGIN = 7.0  # m of ground drawn around the robot's way: a whole map takes a second a frame without a GPU
MOST_SAMPLES = 240  # along an edge of that ground


@dataclass(frozen=True)
class Recording:
    """One robot's trial, T control steps of S physics steps."""

    dt: float
    """s per control step."""
    qpos: np.ndarray
    """(T, 19)."""
    height: np.ndarray
    """(T, S) m, base."""
    foot_force: np.ndarray
    """(T, S, 4) N."""
    mass: float
    """kg."""
    physics: PhysicsConfig
    terrain: HeightField


def draw(recording: Recording, out: Path) -> str:
    """Write the picture; returns what was left out, empty when nothing was."""
    strip, missing = _strip(recording)
    rows = 3 if strip is not None else 2
    figure = plt.figure(figsize=(12, 5.6 if rows == 3 else 4), layout="constrained")
    grid = figure.add_gridspec(rows, 1, height_ratios=[1.25, 1, 1][-rows:])
    if strip is not None:
        axis = figure.add_subplot(grid[0])
        axis.imshow(strip)
        axis.set_axis_off()
        axis.set_title("One hop from lift-off to touch-down, equal times apart", fontsize=10, loc="left")
    _, samples, _ = recording.foot_force.shape
    time = np.arange(recording.height.size) * recording.dt / samples
    shown = time < WINDOW
    height_axis = figure.add_subplot(grid[-2])
    height_axis.plot(time[shown], recording.height.ravel()[shown], color="#2b6cb0", linewidth=1.4)
    height_axis.set_ylabel("base height, m")
    height_axis.set_ylim(bottom=0)
    force_axis = figure.add_subplot(grid[-1], sharex=height_axis)
    force = recording.foot_force.reshape(-1, 4)[shown] / lunar_weight(recording.mass)
    for leg, color, column in zip(LEGS, ("#c05621", "#dd9b3f", "#2c7a7b", "#4fb0a5"), force.T, strict=True):
        force_axis.plot(time[shown], column, color=color, linewidth=0.9, label=leg)
    force_axis.set_ylabel("foot force,\nlunar body weights")
    force_axis.set_xlabel("time, s")
    force_axis.set_xlim(0, min(WINDOW, time[-1]))
    force_axis.legend(ncols=4, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
    for axis in (height_axis, force_axis):
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return missing


def ground_along(terrain: HeightField, way: np.ndarray) -> HeightField:
    """The part of ``terrain`` within ``MARGIN`` of ``way`` (n, 2) m, its samples thinned out to ``MOST_SAMPLES``."""
    if terrain.is_flat:
        return terrain
    rows, cols = terrain.heights.shape
    origin = np.array(terrain.origin)
    last = np.array([cols - 1, rows - 1])
    low = np.clip(((way.min(axis=0) - MARGIN - origin) / terrain.resolution).astype(int), 0, last - 1)
    high = np.clip(((way.max(axis=0) + MARGIN - origin) / terrain.resolution).astype(int) + 1, low + 1, last)
    stride = max(1, -int((low - high).min() // MOST_SAMPLES))
    heights = terrain.heights[low[1] : high[1] + 1 : stride, low[0] : high[0] + 1 : stride]
    x, y = origin + low * terrain.resolution
    return HeightField(heights, stride * terrain.resolution, (float(x), float(y)))


def _strip(recording: Recording) -> tuple[np.ndarray | None, str]:
    """Frames of the longest flight side by side."""
    airborne = recording.foot_force.max(axis=(1, 2)) == 0.0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], airborne, [False]]).astype(int)))
    flights = edges.reshape(-1, 2)
    if not len(flights):
        return None, "no strip of frames: the robot never left the ground"
    start, end = flights[np.argmax(flights[:, 1] - flights[:, 0])]
    steps = np.clip(np.linspace(start - 4, end + 2, FRAMES).round().astype(int), 0, len(recording.qpos) - 1)
    try:
        ground = ground_along(recording.terrain, recording.qpos[steps, :2])
        renderer = Renderer(recording.physics, ground, width=320, height=260)
    except LunarError as error:
        return None, str(error)
    frames = [renderer.frame(recording.qpos[k]) for k in steps]
    renderer.close()
    return np.concatenate(frames, axis=1), ""
