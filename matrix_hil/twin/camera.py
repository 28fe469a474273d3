"""A pinhole camera in the ROS world: the geometry shared by the depth reader and the stand-in renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matrix_hil.twin.axes import location_to_ros, quaternion_to_matrix, rotation_to_ros

DOWN = (-90.0, 0.0, 0.0)
"""Unreal pitch, yaw, roll in degrees of a camera that looks straight down, the image's upper edge towards +x."""


@dataclass(frozen=True)
class Camera:
    """Where a camera is and what it covers; pixel (row 0, column 0) is the image's upper left, row-major."""

    position: np.ndarray
    """(3,) m, ROS world."""
    axes: np.ndarray
    """(3, 3) whose columns are the camera's forward, left and up in the ROS world."""
    fov: float
    """deg, horizontal field of view."""
    width: int
    """pixels."""
    height: int
    """pixels."""

    @classmethod
    def from_unreal(
        cls, location: Sequence[float], rotation: Sequence[float], fov: float, shape: tuple[int, int],
        origin: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> Camera:  # fmt: skip
        """From Unreal's location (cm) and pitch, yaw, roll (deg); ``shape`` is (rows, cols) of the image."""
        axes = quaternion_to_matrix(rotation_to_ros(*rotation))
        return cls(location_to_ros(location, origin), axes, fov, width=shape[1], height=shape[0])

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.width / 2 / np.tan(np.radians(self.fov) / 2)

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Left (1, cols) and up (rows, 1) per metre forward, for the centre of every pixel."""
        left = (self.width / 2 - (np.arange(self.width) + 0.5)) / self.focal
        up = (self.height / 2 - (np.arange(self.height) + 0.5)) / self.focal
        return left[None, :], up[:, None]

    def stretch(self) -> np.ndarray:
        """Distance along the ray per metre of distance along the optical axis, (rows, cols)."""
        left, up = self.slopes()
        return np.sqrt(1.0 + left**2 + up**2)

    def rays(self) -> np.ndarray:
        """Direction of every pixel in the world, (rows, cols, 3), one metre long along the optical axis."""
        left, up = self.slopes()
        forward, to_left, to_up = self.axes.T
        return forward + left[..., None] * to_left + up[..., None] * to_up
