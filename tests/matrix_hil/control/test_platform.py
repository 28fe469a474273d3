"""Ground planes, and the planner that moves the platform in flight only."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.control.platform import Ground, PlatformControl, PlatformPlanner, ground_under
from matrix_hil.control.stewart import PlatformLimits, plane_slope, plate_height
from matrix_hil.messages import TwinPatch

DT = 0.005
MIDDLE = (0.0, 0.0)
KEEPS = replace(PlatformControl(), washout=0.0)
LIMITS = PlatformLimits()
slope = st.floats(-0.4, 0.4)


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


def hop(
    planner: PlatformPlanner,
    start: Ground,
    end: Ground,
    seconds: float = 1.0,
    places: tuple[tuple[float, float], tuple[float, float]] = (MIDDLE, MIDDLE),
) -> np.ndarray:
    """Poses over a stance on ``start``, a flight to ``end`` and the touch-down there."""
    poses = [planner.step(False, places[0], start, DT) for _ in range(40)]
    poses += [planner.step(True, places[1], end, DT) for _ in range(round(seconds / DT))]
    poses += [planner.step(False, places[1], end, DT) for _ in range(40)]
    return np.array(poses)


@pytest.mark.parametrize("rise", [-0.3, 0.3])
def test_of_a_side_slope_the_plate_shows_what_can_be_borne_at_the_right_height(rise: float) -> None:
    planner, place, ground = PlatformPlanner(KEEPS), (0.05, 0.1), Ground(0.04, 0.1, rise)
    hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.0, 0.0, 0.0))
    for _ in range(200):
        pose = planner.step(True, place, ground, DT, bearable=(-0.1, 0.05))
    assert plane_slope(pose) == pytest.approx((0.1, 0.05 if rise > 0.0 else -0.1), abs=1e-3)
    assert plate_height(pose, *place) == pytest.approx(0.04, abs=1e-3)
    planner.step(False, place, ground, DT)
    assert planner.last is not None
    assert planner.last.slope_error == pytest.approx(0.2, abs=0.05)


def test_platform_rises_by_the_ground_and_leans_with_it_in_flight_only() -> None:
    planner = PlatformPlanner(KEEPS)
    poses = hop(planner, Ground(2.0, 0.0, 0.0), Ground(2.08, 0.1, -0.05))
    assert (poses[:40] == 0.0).all()
    assert poses[-1][2] == pytest.approx(0.08, abs=1e-4)
    assert plane_slope(poses[-1]) == pytest.approx((0.1, -0.05), abs=1e-4)
    assert np.ptp(poses[-39:], axis=0).max() < 1e-3
    assert planner.last is not None and planner.last.within
    assert planner.last.error == pytest.approx(0.0, abs=1e-4)
    assert planner.last.slope_error == pytest.approx(0.0, abs=1e-3)


def test_off_the_middle_the_plates_tilt_counts() -> None:
    """0.1 m ahead on a plate that leans by 0.2 the plate is 20 mm higher than in the middle."""
    planner = PlatformPlanner(KEEPS)
    poses = hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.05, 0.2, 0.0), places=((0.0, 0.0), (0.1, -0.05)))
    assert plate_height(poses[-1], 0.1, -0.05) == pytest.approx(0.05, abs=1e-4)
    assert poses[-1][2] == pytest.approx(0.03, abs=1e-4)
    assert planner.last is not None and planner.last.error == pytest.approx(0.0, abs=1e-4)


def test_the_book_is_kept_by_the_measured_pose() -> None:
    planner = PlatformPlanner(KEEPS)
    ground, sunk = Ground(0.0, 0.0, 0.0), np.array([0.0, 0.0, -0.004, 0.0, 0.0, 0.0])
    planner.step(False, MIDDLE, ground, DT, np.zeros(6))
    for _ in range(100):
        planner.step(True, MIDDLE, ground, DT, np.zeros(6))
    planner.step(False, MIDDLE, ground, DT, sunk)
    assert planner.last is not None and planner.last.error == pytest.approx(-0.004)
    assert planner.terrain_error == pytest.approx(0.004)


def test_a_bounce_is_no_hop() -> None:
    planner = PlatformPlanner(KEEPS)
    hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.0, 0.0, 0.0), seconds=0.29)
    assert planner.hops == 0 and planner.last is None
    hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.0, 0.0, 0.0), seconds=0.31)
    assert planner.hops == 1


def test_speed_and_acceleration_stay_within_the_limits() -> None:
    planner = PlatformPlanner(PlatformControl())
    poses = hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.15, 0.3, 0.3))
    speed = np.diff(poses, axis=0) / DT
    assert np.abs(speed[:, 2]).max() <= LIMITS.speed
    assert np.abs(speed[:, 3:]).max() <= LIMITS.turn_rate
    assert np.abs(np.diff(speed[:, 2])).max() <= LIMITS.acceleration * DT


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.5, 0.5), slope, slope, st.floats(-0.15, 0.15), st.floats(-0.15, 0.15))
def test_no_ground_makes_it_leave_travel_and_tilt(rise: float, a: float, b: float, x: float, y: float) -> None:
    planner = PlatformPlanner(PlatformControl())
    poses = hop(planner, Ground(0.0, 0.0, 0.0), Ground(rise, a, b), places=(MIDDLE, (x, y)))
    # discrete braking overshoots by less than a step; the machine itself has 18 mm and 2 degrees more
    assert np.abs(poses[:, 2]).max() <= planner.travel + 1e-3
    assert np.abs(poses[:, 3:5]).max() <= planner.tilt + 2e-3
    assert (np.abs(poses) <= LIMITS.range).all()


def test_what_exceeds_the_travel_turns_back_and_is_booked() -> None:
    cfg = PlatformControl()
    planner = PlatformPlanner(cfg)
    poses = hop(planner, Ground(0.0, 0.0, 0.0), Ground(-0.4, 0.0, 0.0), seconds=2.0)
    assert poses[-1, 2] == pytest.approx(-planner.travel + cfg.recentre, abs=1e-4)
    assert planner.last is not None and not planner.last.within
    assert planner.last.error == pytest.approx(poses[-1, 2] + 0.4, abs=1e-3)
    assert planner.terrain_error == pytest.approx(planner.last.error)


def test_a_little_beyond_the_travel_is_cut_off_only() -> None:
    planner = PlatformPlanner(KEEPS)
    edge = planner.travel
    assert hop(planner, Ground(0.0, 0.0, 0.0), Ground(edge + 0.009, 0.0, 0.0))[-1, 2] == pytest.approx(edge)
    assert planner.last is not None and not planner.last.within
    assert planner.last.error == pytest.approx(-0.009, abs=1e-4)


def test_a_landing_place_that_comes_back_into_reach_is_met() -> None:
    """Early in the flight the ground ahead seems out of reach, later it is not: the hop owes nothing."""
    planner = PlatformPlanner(KEEPS)
    for _ in range(40):
        planner.step(False, MIDDLE, Ground(0.0, 0.0, 0.0), DT)
    for i in range(220):
        planner.step(True, MIDDLE, Ground(-0.18 if i < 40 else -0.14, 0.0, 0.0), DT)
    planner.step(False, MIDDLE, Ground(-0.14, 0.0, 0.0), DT)
    assert planner.last is not None and planner.last.within
    assert planner.last.error == pytest.approx(0.0, abs=1e-3)


def test_a_long_descent_is_followed_hop_by_hop() -> None:
    """60 mm per hop for 20 hops, four times the travel: most fit, and those that do are right to the washout."""
    cfg = PlatformControl()
    planner, heights = PlatformPlanner(cfg), []
    for i in range(20):
        hop(planner, Ground(-0.06 * i, -0.2, 0.0), Ground(-0.06 * (i + 1), -0.2, 0.0))
        assert planner.last is not None
        heights.append(planner.last)
    within = [h for h in heights if h.within]
    assert len(within) >= 13
    assert max(abs(h.error) for h in within) <= cfg.washout + 1e-3


def test_what_a_short_flight_does_not_allow_is_booked_too() -> None:
    planner = PlatformPlanner(KEEPS)
    poses = hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.15, 0.0, 0.0), seconds=0.35)
    assert planner.last is not None
    assert planner.last.error == pytest.approx(poses[-40, 2] - 0.15, abs=0.01)
    assert planner.last.error < -0.05


def test_heave_is_washed_out_on_level_ground() -> None:
    cfg = PlatformControl()
    planner = PlatformPlanner(cfg)
    hop(planner, Ground(0.0, 0.0, 0.0), Ground(0.1, 0.0, 0.0))
    heaves = [hop(planner, Ground(0.1, 0.0, 0.0), Ground(0.1, 0.0, 0.0))[-1, 2] for _ in range(20)]
    assert np.abs(np.diff(heaves)).max() <= cfg.washout + 1e-6
    assert abs(heaves[-1]) < 0.01


def test_unknown_ground_keeps_the_platform_still() -> None:
    planner = PlatformPlanner(PlatformControl())
    planner.step(False, MIDDLE, Ground(0.0, 0.0, 0.0), DT)
    assert all((planner.step(True, MIDDLE, None, DT) == 0.0).all() for _ in range(50))
