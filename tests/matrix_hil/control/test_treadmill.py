"""The belt changes its speed in stances, gently, and is quiet in flight."""

from __future__ import annotations

import numpy as np
import pytest

from matrix_hil.control.treadmill import BeltControl, BeltFollower

DT = 0.005
STANCE, HOP = 0.15, 1.2  # s


def run(belt: BeltFollower, expected: float, homing: float, seconds: float) -> np.ndarray:
    """Columns belt speed (m/s) and airborne, of a robot that comes down at the start and goes on hopping."""
    belt.step(expected, homing, STANCE, True, DT)
    rows = []
    for i in range(round(seconds / DT)):
        airborne = i * DT % HOP > STANCE
        rows.append((belt.step(expected, homing, STANCE, airborne, DT), airborne))
    return np.array(rows)


def test_the_belt_takes_the_robots_speed_less_what_brings_it_home() -> None:
    assert run(BeltFollower(BeltControl()), 0.4, 0.0, 6 * HOP)[-1, 0] == pytest.approx(0.4, abs=1e-6)
    assert run(BeltFollower(BeltControl()), 0.4, 0.05, 6 * HOP)[-1, 0] == pytest.approx(0.35, abs=1e-6)
    # no more than the limit of homing, and of the belt
    assert run(BeltFollower(BeltControl()), 0.4, -3.0, 6 * HOP)[-1, 0] == pytest.approx(0.5, abs=1e-6)
    assert run(BeltFollower(BeltControl()), 5.0, 0.0, 20 * HOP)[-1, 0] == pytest.approx(1.5, abs=1e-6)


def test_the_belt_is_still_in_flight_and_bounded_in_stance() -> None:
    cfg = BeltControl()
    rows = run(BeltFollower(cfg), 1.2, 0.0, 12 * HOP)
    acceleration = np.diff(rows[:, 0]) / DT
    flying = rows[1:, 1] > 0
    assert np.abs(acceleration[flying]).max() == 0.0
    assert np.abs(acceleration).max() <= cfg.acceleration + 1e-9
    assert np.abs(np.diff(acceleration)).max() <= cfg.jerk * DT + 1e-9


def test_the_change_ends_well_before_the_lift_off() -> None:
    cfg = BeltControl()
    speeds = run(BeltFollower(cfg), 0.05, 0.0, STANCE)[:, 0]
    end = round(cfg.share * STANCE / DT)
    assert speeds[0] > 0.0
    assert speeds[end] == pytest.approx(0.05)
    assert np.ptp(speeds[end:]) == 0.0


def test_a_change_below_the_drives_step_is_not_made() -> None:
    belt = BeltFollower(BeltControl())
    assert (run(belt, 0.004, 0.0, 3 * HOP)[:, 0] == 0.0).all()


def test_a_robot_that_stands_or_walks_is_followed_too() -> None:
    belt = BeltFollower(BeltControl())
    speeds = [belt.step(0.3, 0.0, STANCE, False, DT) for _ in range(400)]
    assert speeds[-1] == pytest.approx(0.3, abs=1e-6)
    assert np.abs(np.diff(speeds)).max() <= BeltControl().acceleration * DT + 1e-9
