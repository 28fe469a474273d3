"""A video of one robot's trial, in real time."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np

from policy.evaluation.picture import Recording, ground_along
from sim.physics.render import Renderer

RATE = 25  # frames per second
SIZE = (640, 360)


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
