"""A flight's end, known from its beginning: against the virtual rig's physics, and in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.control.landing import FreeFlight, predict_landing, speed_home
from sim.rig.config import RigConfig
from sim.rig.signals import RigInputs
from sim.rig.virtual_rig import VirtualRig
from sim.spec.gravity import EARTH, MOON

FLIGHT = FreeFlight()


def test_straight_up_and_down() -> None:
    landing = predict_landing(FLIGHT, np.array([0.0, 0.0, 0.3]), np.array([0.0, 0.0, 0.81]), 0.3)
    assert landing.left == pytest.approx(1.0)
    assert landing.position == pytest.approx([0.0, 0.0, 0.3])
    assert landing.velocity == pytest.approx([0.0, 0.0, -0.81])


def test_ground_below_lengthens_the_flight_and_below_the_floor_it_is_over() -> None:
    up = np.array([0.0, 0.0, 0.81])
    lower = predict_landing(FLIGHT, np.array([0.0, 0.0, 0.3]), up, 0.1)
    assert 0.3 + 0.81 * lower.left - 0.5 * MOON * lower.left**2 == pytest.approx(0.1)
    assert predict_landing(FLIGHT, np.array([0.0, 0.0, 0.2]), -up, 0.3).left == 0.0
    never = predict_landing(FLIGHT, np.array([0.0, 0.0, 0.2]), 0.1 * up, 0.9)  # a floor that it does not reach
    assert never.left == pytest.approx(0.081 / MOON)


def test_another_scheme_another_flight() -> None:
    """A passive counterweight at ratio 1/2 shows 1.15 m/s^2."""
    start = np.array([0.0, 0.0, 0.3]), np.array([0.0, 0.0, 0.8])
    assert predict_landing(FreeFlight(gravity=1.15), *start, 0.3).left == pytest.approx(1.6 / 1.15)


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.3, 0.3), st.floats(-0.5, 0.5), st.floats(0.0, 1.5))
def test_back_and_forth_is_the_same_place(x: float, v: float, time: float) -> None:
    position, velocity = np.array([x, -x, 0.4]), np.array([v, 0.2, 0.5])
    there, fast = FLIGHT.advance(position, velocity, time)
    swing = FLIGHT.swing(0.4)
    energy = lambda p, u: swing**2 * p[:2] ** 2 + u[:2] ** 2  # noqa: E731
    assert energy(there, fast) == pytest.approx(energy(position, velocity), abs=1e-12)
    assert there[2] == pytest.approx(0.4 + 0.5 * time - 0.5 * MOON * time**2)


def test_a_flight_of_the_virtual_rig_is_predicted() -> None:
    """Thrown up off the middle with the rope at the wanted tension: place after 0.9 s within 15 mm."""
    rig = VirtualRig(RigConfig(rope_friction=0.0, pulley_mass=0.0, rope_ratio=0.01, harness=(0.0, 0.0, 0.0)), seed=1)
    tension = rig.mass * (EARTH - MOON)
    start, velocity = np.array([0.08, -0.05, 0.5]), np.array([0.1, 0.05, 0.7])
    rig.reset(height=0.5, offset=(0.08, -0.05), velocity=velocity, tension=tension)
    spare = tension - rig.rope.parameters.passive_force
    for _ in range(900):
        rig.step(RigInputs(winch_force=spare, kp=80.0, kd=3.0), 0.001)
    there, _ = FLIGHT.advance(start, velocity, 0.9)
    assert rig.outputs().base_position == pytest.approx(there, abs=0.015)


@pytest.mark.parametrize("time", [0.5, 0.8, 1.0])
def test_a_lift_off_at_the_speed_home_ends_in_the_middle(time: float) -> None:
    swing = FLIGHT.swing(0.5)
    position = np.array([0.1, 0.0, 0.5])
    velocity = np.array([speed_home(0.1, swing, time), 0.0, 0.5 * MOON * time])
    there, _ = FLIGHT.advance(position, velocity, time)
    assert abs(there[0]) < 1e-9


def test_speed_home_stays_small_for_any_flight() -> None:
    swing = FLIGHT.swing(0.5)
    for time in np.linspace(0.1, 3.0, 60):
        assert -0.2 * swing - 1e-9 <= speed_home(0.1, swing, time) <= 0.0
    assert speed_home(0.0, swing, 1.0) == 0.0
    assert math.copysign(1.0, speed_home(0.1, swing, 0.5)) == -1.0
