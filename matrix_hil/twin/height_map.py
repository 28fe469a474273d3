"""From a depth image to the ground's height on a regular grid, and what is read from such a patch. Pure functions."""

from __future__ import annotations

import numpy as np

from matrix_hil.messages import TwinPatch
from matrix_hil.twin.camera import Camera
from sim.terrain.height_field import HeightField

ITERATIONS = 6
"""Each shrinks the error by slope times tan(view angle): 0.3^6 at a 27 degree slope seen at 30 degrees."""


def patch_from_depth(
    depth: np.ndarray, camera: Camera, x: float, y: float, extent: float, resolution: float, time: float
) -> TwinPatch:
    """Heights around (x, y) from one depth image of a camera that looks down, upright or tilted.

    For each grid point the height is the fixed point of: project the point into the image, read the depth there, take
    the height of what that ray hit. Grid points lie on whole multiples of ``resolution`` in the world, so that
    patches taken from different places share their samples. Points that the image does not show are NaN.

    Args:
        depth: (rows, cols) m along the optical axis; NaN where nothing was hit.
        camera: pose and field of view at the time of the image.
        x, y: m, ROS world, centre of the patch.
        extent: m, half the edge of the patch.
        resolution: m between samples.
        time: s, host clock, of the patch.
    """
    first = np.floor((np.array([x, y]) - extent) / resolution + 1e-9)
    n = round(2 * extent / resolution) + 2
    gx, gy = ((first[:, None] + np.arange(n)) * resolution)[:, :, None]
    points = np.stack(np.broadcast_arrays(gx.T, gy), axis=-1).reshape(-1, 2)
    flat = points - camera.position[:2]
    to_camera = flat @ camera.axes[:2]  # (points, 3) forward, left, up of a point at the camera's height

    middle = depth[depth.shape[0] // 4 : -depth.shape[0] // 4, depth.shape[1] // 4 : -depth.shape[1] // 4]
    seen = middle[np.isfinite(middle)]
    guess = np.median(seen) * camera.axes[2, 0] if seen.size else np.nan
    drop = np.full(len(points), guess)  # height below the camera, negative
    for _ in range(ITERATIONS):
        local = to_camera + drop[:, None] * camera.axes[2]
        left, up = local[:, 1] / local[:, 0], local[:, 2] / local[:, 0]
        found = _bilinear(
            depth,
            camera.height / 2 - up * camera.focal - 0.5,
            camera.width / 2 - left * camera.focal - 0.5,
        )
        drop = found * (camera.axes[2, 0] + left * camera.axes[2, 1] + up * camera.axes[2, 2])
    # rounded as messages and logs keep them, so that a loop that is run again from its log sees the same ground
    heights = (camera.position[2] + drop).astype(np.float32).astype(float).reshape(n, n)
    return TwinPatch(time=time, origin=first * resolution, resolution=resolution, heights=heights)


def to_height_field(patch: TwinPatch) -> HeightField:
    """The patch as a height field with bilinear look-up; beyond its border the last value continues."""
    return HeightField(patch.heights, patch.resolution, (float(patch.origin[0]), float(patch.origin[1])))


def height_at(patch: TwinPatch, x: float, y: float) -> float:
    """Bilinear height in m at a point; NaN outside the patch or where the image did not show the ground."""
    field = to_height_field(patch)
    x_min, x_max, y_min, y_max = field.extent
    if not (x_min <= x <= x_max and y_min <= y <= y_max):
        return float("nan")
    return float(field.height(np.array(x), np.array(y)))


def _bilinear(image: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Values at fractional pixels; NaN more than half a pixel outside the outermost pixel centres."""
    rows, cols = image.shape
    inside = (row >= -0.5) & (row <= rows - 0.5) & (col >= -0.5) & (col <= cols - 0.5)
    row = np.where(inside, row, 0.0)  # NaN and far points must not reach the integer conversion
    col = np.where(inside, col, 0.0)
    i = np.clip(np.floor(row).astype(int), 0, rows - 2)
    j = np.clip(np.floor(col).astype(int), 0, cols - 2)
    v, u = row - i, col - j
    base, flat = i * cols + j, image.ravel()
    upper = flat[base] * (1 - u) + flat[base + 1] * u
    lower = flat[base + cols] * (1 - u) + flat[base + cols + 1] * u
    return np.where(inside, upper * (1 - v) + lower * v, np.nan)
