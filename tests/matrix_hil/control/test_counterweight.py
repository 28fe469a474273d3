"""Formulas of the gravity offload, and what the winch's trim makes of them on the virtual rig."""

from __future__ import annotations

import numpy as np
import pytest

from matrix_hil.control.counterweight import (
    TrimConfig,
    WinchTrim,
    counterweight_mass,
    passive_flight,
    slack_acceleration,
    wanted_tension,
)
from sim.rig.config import RigConfig
from sim.rig.rope import Rope, RopeParameters
from sim.rig.signals import RigInputs
from sim.rig.virtual_rig import VirtualRig
from sim.spec.gravity import EARTH, MOON


def test_wanted_tension_leaves_lunar_weight() -> None:
    assert 15.0 * EARTH - wanted_tension(15.0) == pytest.approx(15.0 * MOON)


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 0.89), (0.5, 1.15), (0.25, 1.35), (0.1, 1.51)])
def test_passive_flight_by_rope_ratio(ratio: float, expected: float) -> None:
    assert passive_flight(ratio) == pytest.approx(expected, abs=0.006)


def test_friction_splits_rising_and_falling() -> None:
    """At constant force (no inertia) and 5%: 2.04 and 1.23 m/s^2."""
    assert passive_flight(1e-9, 0.05, rising=True) == pytest.approx(2.04, abs=0.01)
    assert passive_flight(1e-9, 0.05, rising=False) == pytest.approx(1.23, abs=0.01)


def test_counterweight_of_the_usual_rig() -> None:
    assert counterweight_mass(15.0, 0.5) == pytest.approx(25.0)


def fly(cfg: RigConfig, trim: TrimConfig, speed: float = 1.0, lag: float = 0.01) -> tuple[float, float]:
    """Mean downward acceleration (rising, falling) of a free flight with a winch that lags and a noisy load cell."""
    rig = VirtualRig(cfg, seed=1)
    rope = rig.rope.parameters
    drive = WinchTrim(trim, rope.inertia, rope.passive_force)
    noise = np.random.default_rng(0)
    wanted, force, velocity = wanted_tension(rig.mass), 0.0, []
    rig.reset(height=0.4, velocity=np.array([0.0, 0.0, speed]))
    for _ in range(1200):
        order = drive.step(wanted, rig.rope.tension + noise.normal(0.0, 0.5), rig.rope.speed, 0.001)
        force += (order - force) * 0.001 / (lag + 0.001)
        rig.step(RigInputs(winch_force=force, kp=60.0, kd=2.0), 0.001)
        velocity.append(rig.center_of_mass()[1][2])
    v = np.array(velocity)
    t = np.arange(len(v)) * 0.001
    rising, falling = (v > 0.05) & (t > 0.1), v < -0.05
    return -np.polyfit(t[rising], v[rising], 1)[0], -np.polyfit(t[falling], v[falling], 1)[0]


def test_pulleys_slow_flight_further() -> None:
    assert passive_flight(0.5, pulley=0.2) == pytest.approx((EARTH / 6) / (1 + 5 / 12 + 0.2))


def test_a_light_counterweight_suits_flight_and_not_standing() -> None:
    assert passive_flight(1.0, offload=0.717) == pytest.approx(MOON, rel=0.01)


def test_slack_acceleration() -> None:
    assert slack_acceleration(0.5, 15.0) == pytest.approx(2.0 * EARTH)
    assert slack_acceleration(0.5, 15.0, pulley_mass=1.0) < 2.0 * EARTH


@pytest.mark.parametrize("friction", [0.0, 0.05, 0.08])
@pytest.mark.parametrize("stiffness", [1.5e3, 3e3, 1e4])
def test_trimmed_flight_is_lunar_rising_and_falling(friction: float, stiffness: float) -> None:
    """Holds for a rope softer and stiffer than assumed, and for more or less friction than the drive believes."""
    cfg = RigConfig(rope_friction=friction, rope_stiffness=stiffness)
    assert fly(cfg, TrimConfig()) == pytest.approx((MOON, MOON), rel=0.03)


@pytest.mark.parametrize(("ratio", "lag"), [(1.0, 0.01), (0.25, 0.01), (0.5, 0.008), (0.5, 0.013)])
def test_trim_holds_for_other_ropes_and_winches(ratio: float, lag: float) -> None:
    assert fly(RigConfig(rope_ratio=ratio), TrimConfig(), lag=lag) == pytest.approx((MOON, MOON), rel=0.03)


def blow(trim: TrimConfig) -> tuple[float, float]:
    """Largest and smallest tension (N) while the harness is stopped and thrown up again at 13 m/s^2, as in a stance."""
    mass, ratio = 15.206, 0.5
    rope = Rope(RopeParameters(5 / 6 * mass * EARTH, 5 / 6 * mass * ratio, 0.05, 3000.0, 100.0))
    drive = WinchTrim(trim, rope.parameters.inertia, rope.parameters.passive_force)
    distance, rate, force, tensions = 3.5, 1.0, 0.0, []
    rope.reset(distance, wanted_tension(mass), rate)
    for k in range(600):
        acceleration = -13.0 if 300 <= k < 454 else MOON
        rate += acceleration * 0.001
        distance += rate * 0.001
        order = drive.step(wanted_tension(mass), rope.tension, rope.speed, 0.001)
        force += (order - force) * 0.001 / 0.011
        tensions.append(rope.step(distance, rate, force, False, 0.001))
    return max(tensions[250:]), min(tensions[250:])


def test_a_landing_neither_slackens_nor_jerks_the_trimmed_rope() -> None:
    wanted = wanted_tension(15.206)
    assert blow(TrimConfig()) == pytest.approx((wanted, wanted), abs=12.0)
    assert blow(TrimConfig(enabled=False))[1] < wanted - 60.0


def test_without_trim_flight_is_not_lunar() -> None:
    rising, falling = fly(RigConfig(), TrimConfig(enabled=False))
    assert rising == pytest.approx(passive_flight(0.5, 0.05, rising=True), rel=0.05)
    assert falling == pytest.approx(passive_flight(0.5, 0.05, rising=False), rel=0.05)


def test_winch_never_exceeds_its_force() -> None:
    drive = WinchTrim(TrimConfig(max_force=50.0), inertia=6.0, passive_force=124.0)
    forces = [drive.step(400.0, tension, speed, 0.001) for tension in (0.0, 900.0) for speed in (-3.0, 3.0)]
    assert np.abs(forces).max() == 50.0
