"""What a camera's depth image means, found from the ground itself: unit, plane or ray, and the image's orientation.

These differ between versions of Unreal Engine and UnrealCV, and a wrong guess moves the ground by metres or bends it by
centimetres. The same ground seen from several poses settles it: only the right reading gives the same heights.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from matrix_hil.twin.camera import Camera
from matrix_hil.twin.height_map import height_at, patch_from_depth
from sim.errors import LunarError

UNITS = {"cm": 0.01, "m": 1.0}
AGREEMENT = 0.03
"""m. Largest disagreement (RMS) between the poses that still counts as the same ground."""
NEAR, FAR = 0.1, 100.0
"""m. Depth below Unreal's near clipping plane means a camera under the ground; from ``FAR`` on it is sky."""


@dataclass(frozen=True)
class Calibration:
    """How to read one camera's depth images."""

    unit: Literal["cm", "m"]
    """Unit of the depth image."""
    kind: Literal["plane", "ray"]
    """Depth along the optical axis, or along each pixel's ray."""
    ground: float
    """m, height of the ground under the start, ROS world."""
    disagreement: float
    """m, RMS difference between the ground as seen from the calibration's poses."""


@dataclass(frozen=True)
class View:
    """One raw depth image and the pose that the server said it was taken from."""

    camera: Camera
    depth: np.ndarray
    """(rows, cols) in the server's unit."""


def check_ground(high: View, low: View) -> None:
    """Refuse two straight-down views, ``high`` above ``low``, in which the camera sees nothing.

    Raises:
        LunarError: depth is the same in both, as that of the sky is.
    """
    if np.array_equal(high.depth, low.depth, equal_nan=True):
        raise LunarError(
            "twin calibration: the depth image is the same from two heights: it shows sky and no ground. UnrealCV's "
            "depth camera draws static and skeletal meshes and no Landscape: put in the static mesh that "
            "'lunar terrain export --unreal' writes (docs/unreal.md), or move twin.origin and twin.start_height so "
            "that there is ground below"
        )


def unit_of(high: View, low: View) -> Literal["cm", "m"]:
    """Unit of depth from two straight-down views of the same place, ``high`` above ``low``.

    Raises:
        LunarError: the depth does not follow the camera.
    """
    moved = float(high.camera.position[2] - low.camera.position[2])
    change = (middle(high.depth) - middle(low.depth)) / moved
    for unit, scale in UNITS.items():
        if abs(change * scale - 1.0) < 0.2:
            return unit  # type: ignore[return-value]
    raise LunarError(
        f"twin calibration: raising the camera by {moved:g} m changed the depth by {change * moved:.4g}, which is "
        "neither centimetres nor metres; set twin.settle_images to 1 if a first image is not of the scene yet, and "
        "check that twin.camera can be moved and looks at ground within 100 m below twin.start_height"
    )


def middle(depth: np.ndarray) -> float:
    """Median depth of the image's central ninth, in the image's unit."""
    rows, cols = depth.shape
    return float(np.median(depth[rows // 3 : rows - rows // 3, cols // 3 : cols - cols // 3]))


def metres_along_axis(view: View, unit: str, kind: str) -> np.ndarray:
    """Depth along the optical axis, (rows, cols) m; NaN for the sky and inside the ground."""
    depth = view.depth * UNITS[unit]
    if kind == "ray":
        depth = depth / view.camera.stretch()
    return np.where((depth > NEAR) & (depth < FAR), depth, np.nan)


def judge(views: Sequence[View], unit: Literal["cm", "m"], x: float, y: float, resolution: float) -> Calibration:
    """Choose plane or ray depth by which the views agree on the ground around (x, y); check the image's orientation.

    Raises:
        LunarError: the views agree on no reading, or only on a mirrored image.
    """
    results = {}
    for kind, flips in itertools.product(("plane", "ray"), ((1, 1), (-1, 1), (1, -1), (-1, -1))):
        patches = []
        for view in views:
            flat = metres_along_axis(view, unit, kind)[:: flips[0], :: flips[1]]
            patches.append(patch_from_depth(flat, view.camera, x, y, 0.75, resolution, 0.0))
        spread = np.var([patch.heights for patch in patches], axis=0)
        seen = np.isfinite(spread)
        center = np.mean([height_at(patch, x, y) for patch in patches])
        if seen.mean() > 0.25 and np.isfinite(center):
            results[kind, flips] = float(np.sqrt(spread[seen].mean())), float(center)
    if not results:
        raise LunarError(
            "twin calibration: the ground under the start is not in view of all poses; check the camera's field of "
            "view, and that it turns when asked"
        )
    (kind, flips), (disagreement, ground) = min(results.items(), key=lambda item: item[1][0])
    if disagreement > AGREEMENT:
        raise LunarError(
            f"twin calibration: the ground seen from different poses differs by {100 * disagreement:.1f} cm RMS at "
            "best; set twin.settle_images to 1 if images lag behind the pose, and check that nothing else moves the "
            "camera"
        )
    if flips != (1, 1):
        raise LunarError(
            "twin calibration: the camera's images are mirrored against its rotation; use a camera of positive scale, "
            "with no parent that is scaled by a negative number"
        )
    return Calibration(unit, kind, ground, disagreement)  # type: ignore[arg-type]
