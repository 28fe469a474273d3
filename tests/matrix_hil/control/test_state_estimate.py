"""Position and velocity from a tracker that is noisy, late and sometimes silent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matrix_hil.control.landing import FreeFlight
from matrix_hil.control.state_estimate import BaseEstimate, TrackerFilter, tilt_of, yaw_of

DT = 0.005
FLIGHT = FreeFlight()
START, SPEED = np.array([0.05, -0.03, 0.3]), np.array([0.1, 0.05, 0.8])


def follow(seed: int, lost: float = 0.0, silence: tuple[float, float] = (9.0, 9.0)) -> tuple[np.ndarray, np.ndarray]:
    """Errors of position and velocity (cycles, 3) over a stance and a flight of 0.9 s; 120 Hz, 2 mm, 10 ms late.

    Args:
        seed: of the noise.
        lost: share of the samples that never come.
        silence: s, from and to: a dropout.
    """
    noise = np.random.default_rng(seed)
    estimate = BaseEstimate(TrackerFilter(), FLIGHT)

    def truth(t: float) -> tuple[np.ndarray, np.ndarray]:
        return FLIGHT.advance(START, SPEED, t) if t > 0.0 else (START + 0.3 * SPEED * t, 0.3 * SPEED)

    errors: list[tuple[np.ndarray, np.ndarray]] = []
    sample, stamp, shown = truth(-0.3)[0], -0.3, -1
    for i in range(240):
        now = -0.3 + i * DT
        if math.floor(now * 120) != shown:
            shown = math.floor(now * 120)
            if noise.random() >= lost and not silence[0] < now < silence[1]:
                sample, stamp = truth(now - 0.01)[0] + noise.normal(0.0, 0.002, 3), now
        estimate.step(stamp, sample, now > 0.0, now)
        there, fast = truth(now)
        errors.append((estimate.position - there, estimate.velocity - fast))
    return np.array([e[0] for e in errors]), np.array([e[1] for e in errors])


@pytest.mark.parametrize("lost", [0.0, 0.4])
def test_the_flight_sharpens_the_velocity(lost: float) -> None:
    where, fast = (np.concatenate(parts) for parts in zip(*(
        tuple(e[-60:] for e in follow(seed, lost)) for seed in range(8)), strict=True))  # fmt: skip
    assert np.sqrt(np.mean(np.square(where), axis=0)).max() < 0.002
    assert np.sqrt(np.mean(np.square(fast), axis=0)).max() < 0.012
    assert np.abs(fast.mean(axis=0)).max() < 0.006


def test_a_dropout_in_flight_is_bridged() -> None:
    where, fast = follow(3, silence=(0.5, 0.9))
    assert np.abs(where).max() < 0.02
    assert np.abs(fast[-10:]).max() < 0.05


def test_after_a_landing_it_forgets_the_flight() -> None:
    """In stance the legs do what they want: 2 m/s^2 for 0.1 s is followed within the noise."""
    estimate = BaseEstimate(TrackerFilter(), FLIGHT)
    position, velocity = np.zeros(3), np.zeros(3)
    for i in range(120):
        now = i * DT
        if i > 80:
            velocity = velocity + np.array([2.0, 0.0, 2.0]) * DT if i < 100 else velocity
            position = position + velocity * DT
        estimate.step(now, position - 0.01 * velocity, i < 40, now)
    assert estimate.velocity == pytest.approx(velocity, abs=0.03)


def test_the_first_sample_is_believed_and_an_old_one_changes_nothing() -> None:
    estimate = BaseEstimate(TrackerFilter(), FLIGHT)
    estimate.step(1.0, np.array([0.3, 0.2, 0.4]), False, 1.0)
    assert estimate.position == pytest.approx([0.3, 0.2, 0.4])
    estimate.step(1.0, np.array([9.0, 9.0, 9.0]), False, 1.005)
    assert estimate.position == pytest.approx([0.3, 0.2, 0.4])


def test_angles() -> None:
    assert yaw_of(np.array([math.cos(0.4), 0.0, 0.0, math.sin(0.4)])) == pytest.approx(0.8)
    assert tilt_of(np.array([math.sin(0.3), 0.0, -math.cos(0.3)])) == pytest.approx(0.3)
    assert tilt_of(np.array([0.0, 0.0, -1.0000001])) == 0.0
