"""A video of one robot's trial, in real time."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np

from policy.evaluation.picture import Recording
from sim.physics.render import Renderer
from sim.terrain.height_field import HeightField

RATE = 25  # frames per second
SIZE = (640, 360)
MARGIN = 7.0  # m of ground drawn around the robot's way: a whole map takes a second a frame without a GPU
MOST_SAMPLES = 240  # along an edge of that ground


def write_video(recording: Recording, out: Path, seconds: float) -> None:
    """Write the first ``seconds`` of the trial as an mp4 (H.264).

    Raises:
        LunarError: no EGL on this machine.
    """
    count = round(min(seconds, len(recording.qpos) * recording.dt) * RATE)
    rows = np.minimum((np.arange(count) / RATE / recording.dt).round().astype(int), len(recording.qpos) - 1)
    qpos = recording.qpos[rows]
    renderer = Renderer(recording.physics, ground_along(recording.terrain, qpos[:, :2]), *SIZE)
    writer = imageio_ffmpeg.write_frames(str(out), SIZE, fps=RATE, macro_block_size=8, ffmpeg_log_level="error")
    try:
        writer.send(None)
        for state in qpos:
            writer.send(renderer.frame(state).tobytes())
    finally:
        writer.close()
        renderer.close()


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
