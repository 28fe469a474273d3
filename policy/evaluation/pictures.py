"""Pictures of an evaluation: one robot's hops as a strip and a video, and all robots' hops laid over each other."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from policy.evaluation.cycle import BINS, Cycles, hop_cycles
from policy.evaluation.trials import Recording, Trials
from sim.errors import LunarError
from sim.spec.gravity import lunar_weight
from sim.spec.joints import LEGS
from sim.terrain.height_field import HeightField
from sim.view.render import Renderer

TRUE, ESTIMATED = "#2b6cb0", "#c05621"
FEET = ("#c05621", "#dd9b3f", "#2c7a7b", "#4fb0a5")
PHASES = (np.arange(BINS) + 0.5) / BINS
FRAMES = 7  # of the strip
WINDOW = 8.0  # s of one robot's curves
RATE = 25  # frames per second of the video
VIDEO_SIZE = (640, 360)
MARGIN = 7.0  # m of ground drawn around the robot's path: a whole map takes a second a frame without a GPU
MOST_SAMPLES = 240  # along an edge of that ground


def draw_robot(recording: Recording, out: Path) -> str:
    """One robot: a strip of frames through a hop, and its height and foot forces. Returns what was left out, if any."""
    strip, missing = _strip(recording)
    rows = 3 if strip is not None else 2
    figure = plt.figure(figsize=(12, 5.6 if rows == 3 else 4), layout="constrained")
    grid = figure.add_gridspec(rows, 1, height_ratios=[1.25, 1, 1][-rows:])
    if strip is not None:
        axis = figure.add_subplot(grid[0])
        axis.imshow(strip)
        axis.set_axis_off()
        axis.set_title("One hop from lift-off to touch-down, equal times apart", fontsize=10, loc="left")
    time = np.arange(recording.height.size) * recording.dt / recording.height.shape[1]
    shown = time < WINDOW
    height_axis = figure.add_subplot(grid[-2])
    height_axis.plot(time[shown], recording.height.ravel()[shown], color=TRUE, linewidth=1.4)
    height_axis.set_ylabel("base height, m")
    height_axis.set_ylim(bottom=0)
    force_axis = figure.add_subplot(grid[-1], sharex=height_axis)
    force = recording.foot_force.reshape(-1, 4)[shown] / lunar_weight(recording.mass)
    for leg, color, column in zip(LEGS, FEET, force.T, strict=True):
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


def draw_cycle(trials: Trials, title: str, out: Path) -> str:
    """All hops of all robots: what height, speeds, pitch, feet and motors do from one lift-off to the next. Returns why
    there is no picture, empty when there is."""
    hop = hop_cycles(trials.hops, trials.dt, *trials.alive.shape)
    if not hop.count:
        return "no hop was followed by another"
    figure, axes = plt.subplots(2, 3, figsize=(13, 6.4), layout="constrained", sharex=True)
    panels = {
        "height": ("height of the centre of mass, m", trials.com_height),
        "vz": ("vertical speed, m/s", trials.velocity[:, :, 2]),
        "vx": ("forward speed, m/s", trials.velocity[:, :, 0]),
    }
    for axis, (name, (label, truth)) in zip(axes[0], panels.items(), strict=True):
        _band(axis, hop, truth, TRUE, "truth")
        if name in trials.estimates:
            _band(axis, hop, trials.estimate[:, :, trials.estimates.index(name)], ESTIMATED, "estimate")
            axis.legend(fontsize=8, frameon=False)
        axis.set_ylabel(label)
    _band(axes[1, 0], hop, np.degrees(trials.pitch), TRUE, "")
    axes[1, 0].set_ylabel("pitch, degrees, nose down")
    for leg, color, force in zip(LEGS, FEET, np.moveaxis(trials.foot_force, 2, 0), strict=True):
        _band(axes[1, 1], hop, force / lunar_weight(trials.mass), color, leg)
    axes[1, 1].set_ylabel("foot force, lunar body weights")
    axes[1, 1].legend(fontsize=8, frameon=False, ncols=4)
    _band(axes[1, 2], hop, trials.power, TRUE, "")
    axes[1, 2].set_ylabel("positive joint power, W")
    for axis in axes.flat:
        axis.axvspan(hop.touchdown, 1.0, color="#000000", alpha=0.06, linewidth=0)
        axis.set_xlim(0.0, 1.0)
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("phase, lift-off to lift-off; stance shaded")
    figure.suptitle(f"{title}: {hop.count} hops, median and 10th to 90th percentile", fontsize=11)
    figure.savefig(out, dpi=100)
    plt.close(figure)
    return ""


def write_video(recording: Recording, out: Path, seconds: float) -> None:
    """Write the first ``seconds`` of the trial as an mp4 (H.264), in real time.

    Raises:
        LunarError: no EGL on this machine.
    """
    count = round(min(seconds, len(recording.qpos) * recording.dt) * RATE)
    rows = np.minimum((np.arange(count) / RATE / recording.dt).round().astype(int), len(recording.qpos) - 1)
    renderer = _renderer(recording, rows, *VIDEO_SIZE)
    writer = imageio_ffmpeg.write_frames(str(out), VIDEO_SIZE, fps=RATE, macro_block_size=8, ffmpeg_log_level="error")
    try:
        writer.send(None)
        for state in recording.qpos[rows]:
            writer.send(renderer.frame(state).tobytes())
    finally:
        writer.close()
        renderer.close()


def ground_along(terrain: HeightField, path: np.ndarray) -> HeightField:
    """The part of ``terrain`` within ``MARGIN`` of ``path`` (n, 2) m, its samples thinned out to ``MOST_SAMPLES``."""
    if terrain.is_flat:
        return terrain
    rows, cols = terrain.heights.shape
    origin = np.array(terrain.origin)
    last = np.array([cols - 1, rows - 1])
    low = np.clip(((path.min(axis=0) - MARGIN - origin) / terrain.resolution).astype(int), 0, last - 1)
    high = np.clip(((path.max(axis=0) + MARGIN - origin) / terrain.resolution).astype(int) + 1, low + 1, last)
    stride = max(1, -int((low - high).min() // MOST_SAMPLES))
    heights = terrain.heights[low[1] : high[1] + 1 : stride, low[0] : high[0] + 1 : stride]
    x, y = origin + low * terrain.resolution
    return HeightField(heights, stride * terrain.resolution, (float(x), float(y)))


def _renderer(recording: Recording, rows: np.ndarray, width: int, height: int) -> Renderer:
    """Of the ground around the robot at its states ``rows``."""
    return Renderer(recording.physics, ground_along(recording.terrain, recording.qpos[rows, :2]), width, height)


def _strip(recording: Recording) -> tuple[np.ndarray | None, str]:
    """Frames of the longest flight side by side."""
    airborne = recording.foot_force.max(axis=(1, 2)) == 0.0
    flights = np.flatnonzero(np.diff(np.concatenate([[False], airborne, [False]]).astype(int))).reshape(-1, 2)
    if not len(flights):
        return None, "no strip of frames: the robot never left the ground"
    start, end = flights[np.argmax(flights[:, 1] - flights[:, 0])]
    rows = np.clip(np.linspace(start - 4, end + 2, FRAMES).round().astype(int), 0, len(recording.qpos) - 1)
    try:
        renderer = _renderer(recording, rows, 320, 260)
    except LunarError as error:
        return None, str(error)
    frames = [renderer.frame(state) for state in recording.qpos[rows]]
    renderer.close()
    return np.concatenate(frames, axis=1), ""


def _band(axis: Axes, hop: Cycles, values: np.ndarray, color: str, label: str) -> None:
    band = hop.band(values)
    axis.plot(PHASES, band.median, color=color, linewidth=1.5, label=label)
    axis.fill_between(PHASES, band.low, band.high, color=color, alpha=0.18, linewidth=0)
