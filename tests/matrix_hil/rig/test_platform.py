"""Stewart kinematics, ground planes and the planner that moves the platform in flight only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from matrix_hil.messages import TwinPatch
from matrix_hil.rig.platform import (
    Ground,
    PlatformControl,
    PlatformPlanner,
    StewartGeometry,
    ground_under,
    leg_lengths,
    reachable,
    rotation,
)

GEOMETRY = StewartGeometry()
DT = 0.005
pose_entry = st.floats(-0.15, 0.15)
slope = st.floats(-0.4, 0.4)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[pose_entry] * 6))
def test_forward_of_inverse_kinematics_is_the_pose(pose: tuple[float, ...]) -> None:
    lengths = leg_lengths(GEOMETRY, np.array(pose))
    found = least_squares(lambda p: leg_lengths(GEOMETRY, p) - lengths, np.zeros(6), xtol=1e-12, ftol=1e-12).x
    assert found == pytest.approx(np.array(pose), abs=1e-6)


def test_every_axis_alone_reaches_its_range_and_no_further_than_the_stroke() -> None:
    for axis, limit in enumerate([0.18] * 3 + [math.radians(22.0)] * 3):
        for sign in (-1.0, 1.0):
            assert reachable(GEOMETRY, sign * limit * np.eye(6)[axis])
    assert not reachable(GEOMETRY, np.array([0.0, 0.0, 0.3, 0.0, 0.0, 0.0]))


def test_positive_pitch_lowers_the_front() -> None:
    assert (rotation(np.array([0.0, 0.1, 0.0])) @ [1.0, 0.0, 0.0])[2] < 0.0
    assert (rotation(np.array([0.1, 0.0, 0.0])) @ [0.0, 1.0, 0.0])[2] > 0.0


@settings(max_examples=40, deadline=None)
@given(slope, slope, st.floats(-3.1, 3.1), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_plane_of_the_ground_in_the_heading_frame(a: float, b: float, heading: float, x: float, y: float) -> None:
    axis = np.arange(-20, 21) * 0.05
    patch = TwinPatch(0.0, np.array([-1.0, -1.0]), 0.05, 1.0 + a * axis[None, :] + b * axis[:, None])
    ground = ground_under(patch, x, y, heading)
    assert ground is not None
    assert ground.height == pytest.approx(1.0 + a * x + b * y)
    c, s = math.cos(heading), math.sin(heading)
    assert (ground.slope_x, ground.slope_y) == pytest.approx((c * a + s * b, c * b - s * a), abs=1e-9)


def test_unknown_ground_is_none_and_holes_are_left_out() -> None:
    heights = np.zeros((21, 21))
    heights[5:8] = np.nan
    patch = TwinPatch(0.0, np.array([-0.5, -0.5]), 0.05, heights)
    assert ground_under(patch, 0.0, 0.0, 0.0) == Ground(0.0, 0.0, 0.0)
    assert ground_under(patch, 5.0, 0.0, 0.0) is None
    assert ground_under(TwinPatch(0.0, np.zeros(2), 0.05, np.full((9, 9), np.nan)), 0.2, 0.2, 0.0) is None


def hop(planner: PlatformPlanner, start: Ground, end: Ground, seconds: float = 1.0) -> np.ndarray:
    """Poses over a stance on ``start``, a flight to ``end`` and the touch-down there."""
    poses = [planner.step(False, start, DT) for _ in range(40)]
    poses += [planner.step(True, end, DT) for _ in range(round(seconds / DT))]
    poses += [planner.step(False, end, DT) for _ in range(40)]
    return np.array(poses)


def test_platform_rises_by_the_ground_and_leans_with_it_in_flight_only() -> None:
    planner = PlatformPlanner(PlatformControl())
    poses = hop(planner, Ground(2.0, 0.0, 0.0), Ground(2.08, 0.1, -0.05))
    assert (poses[:40] == 0.0).all()
    assert poses[-1] == pytest.approx([0.0, 0.0, 0.08, math.atan(-0.05), -math.atan(0.1), 0.0], abs=1e-4)
    assert np.ptp(poses[-39:], axis=0).max() < 1e-3
    assert planner.height_error == pytest.approx(0.0, abs=1e-4)
    assert planner.terrain_error < 1e-3


def test_speed_and_acceleration_stay_within_the_limits() -> None:
    cfg = PlatformControl()
    poses = hop(PlatformPlanner(cfg), Ground(0.0, 0.0, 0.0), Ground(0.15, 0.3, 0.3))
    speed = np.diff(poses, axis=0) / DT
    assert np.abs(speed[:, 2]).max() <= cfg.speed + 1e-9
    assert np.abs(speed[:, 3:]).max() <= cfg.turn_rate + 1e-9
    assert np.abs(np.diff(speed[:, 2])).max() <= cfg.acceleration * DT + 1e-9


def test_what_the_travel_does_not_allow_is_booked() -> None:
    planner = PlatformPlanner(PlatformControl())
    poses = hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.4, 0.0, 0.0), seconds=2.0)
    assert poses[-1, 2] <= 0.16 + 1e-6
    assert planner.height_error == pytest.approx(poses[-1, 2] - 0.4, abs=1e-3)
    assert planner.terrain_error == pytest.approx(0.24, abs=0.01)


def test_what_a_short_flight_does_not_allow_is_booked_too() -> None:
    planner = PlatformPlanner(PlatformControl())
    poses = hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.15, 0.0, 0.0), seconds=0.3)
    assert planner.height_error == pytest.approx(poses[-40, 2] - 0.15, abs=0.01)
    assert planner.height_error < -0.05


def test_heave_is_washed_out_on_level_ground() -> None:
    planner = PlatformPlanner(PlatformControl())
    hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.1, 0.0, 0.0))
    heaves = [hop(planner, Ground(0.1, 0.0, 0.0), Ground(0.1, 0.0, 0.0))[-1, 2] for _ in range(12)]
    assert (np.diff(heaves) < 0.0).all()
    assert heaves[-1] < 0.02


def test_unknown_ground_keeps_the_platform_still() -> None:
    planner = PlatformPlanner(PlatformControl())
    planner.step(False, Ground(0.0, 0.0, 0.0), DT)
    assert all((planner.step(True, None, DT) == 0.0).all() for _ in range(50))
