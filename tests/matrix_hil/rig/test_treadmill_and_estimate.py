"""The belt keeps a walker in the middle without shaking it; the estimate knows how fast the robot moves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matrix_hil.rig.state_estimate import TrackerFilter, VelocityEstimate, tilt_of, yaw_of
from matrix_hil.rig.treadmill import BeltControl, BeltFollower
from sim.spec.gravity import MOON

DT = 0.005


def walk(belt: BeltFollower, speed: float, seconds: float, start: float = 0.0, expected: float = 0.0) -> np.ndarray:
    """Columns offset (m), belt speed (m/s), airborne of a robot that hops at 1 Hz, in flight 80% of the time.

    Its speed and the expectation of it ramp up over 2 s.
    """
    offset, rows = start, []
    for i in range(round(seconds / DT)):
        airborne = (i * DT) % 1.0 > 0.2
        ramp = min(i * DT / 2.0, 1.0)
        command = belt.step(offset, ramp * speed, ramp * expected, airborne, DT)
        offset += (ramp * speed - command) * DT
        rows.append((offset, command, airborne))
    return np.array(rows)


@pytest.mark.parametrize(("speed", "expected"), [(-0.3, -0.3), (0.0, 0.2), (0.3, 0.0), (0.6, 0.5)])
def test_belt_holds_the_walker_on_the_belt_and_matches_its_speed(speed: float, expected: float) -> None:
    rows = walk(BeltFollower(BeltControl()), speed, 25.0, expected=expected)
    assert np.abs(rows[:, 0]).max() < 0.45
    assert rows[-200:, 1].mean() == pytest.approx(speed, abs=0.02)
    assert np.abs(rows[-200:, 0]).max() < 0.12


def test_robot_off_the_middle_is_brought_back() -> None:
    assert abs(walk(BeltFollower(BeltControl()), 0.0, 25.0, start=0.5)[-1, 0]) < 0.12


def test_belt_is_quiet_in_flight_and_bounded_in_stance() -> None:
    cfg = BeltControl()
    rows = walk(BeltFollower(cfg), 1.0, 10.0, start=0.6)
    acceleration = np.abs(np.diff(rows[:, 1])) / DT
    flying = rows[1:, 2] > 0
    assert acceleration[flying].max() <= cfg.flight_acceleration + 1e-9 < 0.1
    assert acceleration[~flying].max() <= cfg.stance_acceleration + 1e-9
    assert np.abs(rows[:, 1]).max() <= cfg.max_speed


def test_velocity_from_a_noisy_late_tracker() -> None:
    """A hop of 0.8 m/s at 0.3 m/s forward; 120 Hz, 2 mm noise, 10 ms late."""
    noise = np.random.default_rng(0)
    estimate = VelocityEstimate(TrackerFilter())
    errors = []
    sample, sample_time, shown = np.zeros(3), -1.0, -1

    def truth(t: float) -> np.ndarray:
        t = t % 0.98
        return np.array([0.3 * t, 0.0, 0.3 + 0.8 * t - 0.5 * MOON * t * t])

    for i in range(180):
        now = i * DT
        if int(now * 120) != shown:
            shown = int(now * 120)
            sample, sample_time = truth(max(now - 0.01, 0.0)) + noise.normal(0, 0.002, 3), now
        estimate.step(sample_time, sample, True, now)
        if now > 0.4:
            errors.append(estimate.velocity - [0.3, 0.0, 0.8 - MOON * now])
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() < 0.05
    assert np.abs(np.mean(errors, axis=0)).max() < 0.03


def test_time_to_land_of_a_ballistic_base() -> None:
    estimate = VelocityEstimate(TrackerFilter())
    estimate.position = np.array([0.0, 0.0, 0.5])
    estimate.velocity = np.array([0.0, 0.0, 0.4])
    t = estimate.time_to_land(0.3)
    assert 0.5 + 0.4 * t - 0.5 * MOON * t * t == pytest.approx(0.3)
    estimate.velocity[2] = -0.1
    assert estimate.time_to_land(0.6) == 0.0


def test_angles() -> None:
    assert yaw_of(np.array([math.cos(0.4), 0.0, 0.0, math.sin(0.4)])) == pytest.approx(0.8)
    assert tilt_of(np.array([math.sin(0.3), 0.0, -math.cos(0.3)])) == pytest.approx(0.3)
    assert tilt_of(np.array([0.0, 0.0, -1.0000001])) == 0.0
