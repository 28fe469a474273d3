"""Kinematics of the Stewart platform: legs from pose and back, workspace, the plate's plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.control.stewart import (
    StewartGeometry,
    leg_lengths,
    plane_slope,
    plate_height,
    reachable,
    rotation,
    shrink_to_reach,
)

GEOMETRY = StewartGeometry()
RANGE = np.array([0.18] * 3 + [math.radians(22.0)] * 3)
share = st.floats(-1.0, 1.0)


def test_at_home_the_legs_are_equal_and_in_the_middle_of_their_stroke() -> None:
    legs = leg_lengths(GEOMETRY, np.zeros(6))
    assert np.ptp(legs) < 1e-12
    rise = leg_lengths(GEOMETRY, np.array([0.0, 0.0, 0.01, 0.0, 0.0, 0.0])) - legs
    # by hand: the horizontal run of a leg stays, its height grows by 10 mm
    run = math.sqrt(legs[0] ** 2 - GEOMETRY.height**2)
    assert rise == pytest.approx(math.hypot(run, GEOMETRY.height + 0.01) - legs[0], abs=1e-12)


def test_every_axis_alone_reaches_its_range_and_no_further_than_the_stroke() -> None:
    for axis in range(6):
        for sign in (-1.0, 1.0):
            assert reachable(GEOMETRY, sign * RANGE[axis] * np.eye(6)[axis])
    assert not reachable(GEOMETRY, np.array([0.0, 0.0, 0.3, 0.0, 0.0, 0.0]))


def test_leg_limit_at_its_bound() -> None:
    """Straight up every leg grows alike; the heave at which it has used half its stroke is the last one reached."""
    leg = GEOMETRY.home_lengths[0]
    run = math.sqrt(leg**2 - GEOMETRY.height**2)
    top = math.sqrt((leg + GEOMETRY.stroke / 2) ** 2 - run**2) - GEOMETRY.height
    assert reachable(GEOMETRY, np.array([0.0, 0.0, top - 1e-6, 0.0, 0.0, 0.0]))
    assert not reachable(GEOMETRY, np.array([0.0, 0.0, top + 1e-6, 0.0, 0.0, 0.0]))


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[share] * 6))
def test_shrunk_poses_are_reached_and_reached_poses_are_not_shrunk(shares: tuple[float, ...]) -> None:
    pose = np.array(shares) * RANGE
    shrunk = shrink_to_reach(GEOMETRY, pose, np.zeros(6))
    assert reachable(GEOMETRY, shrunk)
    if reachable(GEOMETRY, pose):
        assert (shrunk == pose).all()
    else:
        assert not reachable(GEOMETRY, shrunk + pose / 16) or np.abs(shrunk).max() >= np.abs(pose).max() * 15 / 16


def test_positive_pitch_lowers_the_front() -> None:
    assert (rotation(np.array([0.0, 0.1, 0.0])) @ [1.0, 0.0, 0.0])[2] < 0.0
    assert (rotation(np.array([0.1, 0.0, 0.0])) @ [0.0, 1.0, 0.0])[2] > 0.0


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[share] * 6), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_slope_and_height_are_those_of_the_plates_points(shares: tuple[float, ...], u: float, v: float) -> None:
    pose = np.array(shares) * RANGE
    point = pose[:3] + rotation(pose[3:]) @ [u, v, 0.0]
    assert plate_height(pose, point[0], point[1]) == pytest.approx(point[2], abs=1e-9)
    along, across = plane_slope(pose)
    middle = pose[2] + along * (point[0] - pose[0]) + across * (point[1] - pose[1])
    assert middle == pytest.approx(point[2], abs=1e-9)
