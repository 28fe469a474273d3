"""Between ROS axes (m, right-handed: x forward, y left, z up) and Unreal's (cm, left-handed: x forward, y right, z up).

Unreal turns by pitch (positive lifts the nose), yaw (positive is clockwise seen from above) and roll (positive is
clockwise seen from behind), in degrees, applied in the order roll, pitch, yaw (``FRotator``). Mirroring y turns yaw and
pitch around and leaves roll: the same body is ``Rz(-yaw) Ry(-pitch) Rx(roll)`` in ROS. Nothing outside this package
sees Unreal's axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CM = 100.0  # centimetres per metre
_MIRROR = np.array([1.0, -1.0, 1.0])
_POLE = 1e-7  # cosine of the pitch under which yaw and roll turn about the same axis


def location_to_ros(location: Sequence[float] | np.ndarray, origin: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """ROS position (3,) in m of an Unreal location (3,) in cm; ``origin`` is the ROS origin's Unreal location, cm."""
    return (np.asarray(location, float) - np.asarray(origin, float)) * _MIRROR / CM


def location_to_unreal(position: Sequence[float] | np.ndarray, origin: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Unreal location (3,) in cm of a ROS position (3,) in m; ``origin`` is the ROS origin's Unreal location, cm."""
    return np.asarray(position, float) * _MIRROR * CM + np.asarray(origin, float)


def rotation_to_ros(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Quaternion (w, x, y, z) of body axes (forward, left, up) in the ROS world, from Unreal degrees."""
    half = np.radians([-yaw, -pitch, roll]) / 2
    (cz, cy, cx), (sz, sy, sx) = np.cos(half), np.sin(half)
    return np.array([
        cz * cy * cx + sz * sy * sx,
        cz * cy * sx - sz * sy * cx,
        cz * sy * cx + sz * cy * sx,
        sz * cy * cx - cz * sy * sx,
    ])  # fmt: skip


def rotation_to_unreal(quaternion: np.ndarray) -> tuple[float, float, float]:
    """Unreal (pitch, yaw, roll) in degrees of a unit quaternion (w, x, y, z); roll is 0 where pitch is +-90 degrees."""
    m = quaternion_to_matrix(quaternion)
    cos_pitch = np.hypot(m[0, 0], m[1, 0])
    pitch = np.arctan2(m[2, 0], cos_pitch)
    if cos_pitch > _POLE:
        yaw, roll = -np.arctan2(m[1, 0], m[0, 0]), np.arctan2(m[2, 1], m[2, 2])
    else:
        yaw, roll = np.arctan2(m[0, 1], m[1, 1]), 0.0
    return float(np.degrees(pitch)), float(np.degrees(yaw)), float(np.degrees(roll))


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of a unit quaternion (w, x, y, z); its columns are forward, left and up in the world."""
    w, x, y, z = np.asarray(quaternion, float)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
