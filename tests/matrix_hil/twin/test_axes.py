"""Conversion between ROS and Unreal axes, against poses whose meaning Unreal's documentation states in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_hil.twin.axes import (
    location_to_ros,
    location_to_unreal,
    quaternion_to_matrix,
    rotation_to_ros,
    rotation_to_unreal,
)

S = np.sqrt(0.5)

# Unreal: x forward, y right, z up, centimetres. ROS (REP-103): x forward, y left, z up, metres.
LOCATIONS = [
    ((100.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
    ((0.0, 100.0, 0.0), (0.0, -1.0, 0.0)),
    ((0.0, 0.0, 250.0), (0.0, 0.0, 2.5)),
    ((-320.0, 45.0, -7.0), (-3.2, -0.45, -0.07)),
]

# (pitch, yaw, roll) in degrees, then where the body's forward, left and up axes point in ROS.
ROTATIONS = [
    # at rest
    ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    # positive yaw turns clockwise seen from above: forward goes to the right
    ((0, 90, 0), (0, -1, 0), (1, 0, 0), (0, 0, 1)),
    # positive pitch lifts the nose
    ((90, 0, 0), (0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    # a camera that looks straight down; its image's upper edge is towards +x
    ((-90, 0, 0), (0, 0, -1), (0, 1, 0), (1, 0, 0)),
    # positive roll is clockwise seen from behind: the right side drops, the left side rises
    ((0, 0, 90), (1, 0, 0), (0, 0, 1), (0, -1, 0)),
    # FRotator applies roll, then pitch, then yaw
    ((45, 90, 0), (0, -S, S), (1, 0, 0), (0, S, S)),
    ((-90, 90, 0), (0, 0, -1), (1, 0, 0), (0, -1, 0)),
]


@pytest.mark.parametrize(("unreal", "ros"), LOCATIONS)
def test_known_locations(unreal: tuple[float, ...], ros: tuple[float, ...]) -> None:
    np.testing.assert_allclose(location_to_ros(unreal), ros, atol=1e-12)
    np.testing.assert_allclose(location_to_unreal(ros), unreal, atol=1e-9)


def test_the_world_origin_may_lie_anywhere_in_the_unreal_level() -> None:
    origin = (5000.0, -2000.0, 130.0)
    np.testing.assert_allclose(location_to_ros(origin, origin), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(location_to_ros((5100.0, -2000.0, 130.0), origin), (1.0, 0.0, 0.0))
    np.testing.assert_allclose(location_to_unreal((0.0, 1.0, 0.0), origin), (5000.0, -2100.0, 130.0))


@pytest.mark.parametrize(("rotation", "forward", "left", "up"), ROTATIONS)
def test_known_rotations(rotation: tuple, forward: tuple, left: tuple, up: tuple) -> None:
    axes = quaternion_to_matrix(rotation_to_ros(*rotation))
    np.testing.assert_allclose(axes, np.array([forward, left, up], float).T, atol=1e-12)


@pytest.mark.parametrize("rotation", [(0.0, 30.0, 0.0), (20.0, 0.0, 0.0), (0.0, 0.0, -40.0), (-35.0, 120.0, 15.0)])
def test_euler_angles_away_from_the_poles_come_back(rotation: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(rotation_to_unreal(rotation_to_ros(*rotation)), rotation, atol=1e-9)


@pytest.mark.parametrize(("quaternion", "rotation"), [
    ((S, 0, 0, S), (0, -90, 0)),  # ROS yaw is counter-clockwise from above
    ((S, 0, S, 0), (-90, 0, 0)),  # ROS pitch about the left axis lowers the nose
    ((S, S, 0, 0), (0, 0, 90)),  # roll about the forward axis agrees
])  # fmt: skip
def test_known_quaternions(quaternion: tuple, rotation: tuple) -> None:
    np.testing.assert_allclose(rotation_to_unreal(np.array(quaternion)), rotation, atol=1e-6)


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 3), st.tuples(*[st.floats(-1e6, 1e6)] * 3))
def test_locations_round_trip(position: tuple[float, ...], origin: tuple[float, float, float]) -> None:
    back = location_to_ros(location_to_unreal(position, origin), origin)
    np.testing.assert_allclose(back, position, atol=1e-6)


@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotations_round_trip(quaternion: tuple[float, ...]) -> None:
    q = np.array(quaternion) / np.linalg.norm(quaternion)
    back = rotation_to_ros(*rotation_to_unreal(q))
    np.testing.assert_allclose(quaternion_to_matrix(back), quaternion_to_matrix(q), atol=2e-6)


@given(st.floats(-360, 360), st.floats(-360, 360), st.sampled_from([-90.0, 90.0]))
def test_rotations_round_trip_at_the_poles(yaw: float, roll: float, pitch: float) -> None:
    q = rotation_to_ros(pitch, yaw, roll)
    np.testing.assert_allclose(
        quaternion_to_matrix(rotation_to_ros(*rotation_to_unreal(q))), quaternion_to_matrix(q), atol=2e-6
    )
