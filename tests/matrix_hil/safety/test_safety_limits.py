"""The clamps: what they give lies within range, rate, acceleration and jerk, whatever is asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.safety.limits import Motion, limit_motion, limit_speed
from sim.spec.clamps import limit_range, limit_rate
from tests.matrix_hil.safety.examples import DT

anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, st.floats(-10, 10), st.floats(0, 100), st.floats(-1, 1))
def test_limit_rate_never_exceeds_its_rate(command: float, previous: float, rate: float, dt: float) -> None:
    given = float(limit_rate(command, previous, rate, dt))
    assert abs(given - previous) <= rate * max(dt, 0.0) + 1e-9
    if not math.isfinite(command) or dt <= 0.0:
        assert given == previous
    elif abs(command - previous) <= rate * dt:
        assert given == pytest.approx(command, abs=1e-9)


@pytest.mark.parametrize(
    ("step", "given"), [(0.0099, 0.0099), (0.01, 0.01), (0.0101, 0.01), (-0.0101, -0.01), (math.nan, 0), (math.inf, 0)]
)
def test_limit_rate_at_its_bound(step: float, given: float) -> None:
    assert float(limit_rate(1.0 + step, 1.0, 2.0, DT)) == pytest.approx(1.0 + given, abs=1e-12)


def test_limit_rate_holds_when_the_clock_stands_or_jumps_back() -> None:
    assert [float(limit_rate(5.0, 1.0, 2.0, dt)) for dt in (0.0, -3.0, math.nan)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("command", "given"), [(2.0, 2.0), (2.1, 2.0), (1.9, 1.9), (-2.1, -2.0), (math.nan, 0.5), (math.inf, 0.5)]
)
def test_limit_range_at_its_bound(command: float, given: float) -> None:
    assert float(limit_range(command, 0.5, -2.0, 2.0)) == given


LIMITS = (np.array([0.3]), np.array([4.905]), np.array([1000.0]))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-0.18, 0.18), min_size=1, max_size=5))
def test_limit_motion_keeps_speed_acceleration_and_jerk_and_does_not_overshoot(targets: list[float]) -> None:
    rate, acceleration, jerk = LIMITS
    position, motion = np.zeros(1), Motion(np.zeros(1), np.zeros(1))
    for target in targets:
        side = np.sign(target - position[0])
        for _ in range(300):
            last, before = position, motion
            position, motion = limit_motion(np.array([target]), last, before, *LIMITS, DT)
            assert abs(motion.velocity[0]) <= rate[0] + 1e-12
            assert abs(motion.acceleration[0]) <= acceleration[0] + 1e-12
            assert abs(motion.acceleration[0] - before.acceleration[0]) <= jerk[0] * DT + 1e-12
            assert motion.velocity[0] == pytest.approx(before.velocity[0] + motion.acceleration[0] * DT, abs=1e-12)
            assert position[0] == last[0] + motion.velocity[0] * DT
            assert side * (target - position[0]) >= -1e-6
        assert position[0] == pytest.approx(target, abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=5))
def test_limit_speed_keeps_acceleration_and_jerk_and_arrives(targets: list[float]) -> None:
    speed, gain = np.zeros(()), np.zeros(())
    for target in targets:
        side = np.sign(target - float(speed))
        for _ in range(700):
            before = gain
            last, (speed, gain) = speed, limit_speed(target, speed, gain, 2.0, 200.0, DT)
            assert abs(gain) <= 2.0 + 1e-12 and abs(gain - before) <= 200.0 * DT + 1e-12
            assert speed == last + gain * DT
            assert side * (target - float(speed)) >= -0.006
        assert speed == pytest.approx(target, abs=1e-6)


def test_full_speed_is_used() -> None:
    """From rest 0.2 m away at 0.3 m/s: no slower than the limits ask for by more than a tenth."""
    position, motion = np.zeros(1), Motion(np.zeros(1), np.zeros(1))
    steps = 0
    while abs(position[0] - 0.2) > 1e-3:
        position, motion = limit_motion(np.array([0.2]), position, motion, *LIMITS, DT)
        steps += 1
    assert 0.2 / 0.3 + 0.3 / 4.905 <= steps * DT + 0.02 <= 1.1 * (0.2 / 0.3 + 0.3 / 4.905) + 0.02


@pytest.mark.parametrize("dt", [0.0, -1.0, math.nan])
def test_a_clock_that_stands_or_jumps_back_moves_nothing(dt: float) -> None:
    moving = Motion(np.ones(1), np.ones(1))
    position, motion = limit_motion(np.ones(1), np.zeros(1), moving, *LIMITS, dt)
    assert position == 0.0 and motion == moving
    speed, gain = limit_speed(1.0, 0.5, 0.25, 2.0, 200.0, dt)
    assert (float(speed), float(gain)) == (0.5, 0.25)


@pytest.mark.parametrize("command", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_comes_to_a_stop(command: float) -> None:
    position, motion = np.zeros(1), Motion(np.full(1, 0.2), np.zeros(1))
    speed, gain = np.full((), 0.2), np.zeros(())
    for _ in range(40):
        position, motion = limit_motion(np.array([command]), position, motion, *LIMITS, DT)
        speed, gain = limit_speed(command, speed, gain, 2.0, 200.0, DT)
    assert 0.0 < position[0] < 0.02 and motion.velocity[0] == pytest.approx(0.0, abs=1e-9)
    assert 0.2 <= float(speed) < 0.206 and float(gain) == pytest.approx(0.0, abs=1e-9)
