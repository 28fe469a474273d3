"""Formulas of the gravity offload, and what the winch's trim makes of them on the virtual rig."""

from __future__ import annotations

import numpy as np
import pytest

from matrix_hil.rig.counterweight import TrimConfig, WinchTrim, counterweight_mass, passive_flight, wanted_tension
from sim.rig import RigConfig, RigInputs, VirtualRig
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


def fly(cfg: RigConfig, trim: TrimConfig, speed: float = 1.0) -> tuple[float, float]:
    """Mean downward acceleration (rising, falling) of a free flight with a winch that lags 10 ms and a noisy cell."""
    rig = VirtualRig(cfg, seed=1)
    rope = rig.rope.parameters
    drive = WinchTrim(trim, rope.inertia, rope.passive_force)
    noise = np.random.default_rng(0)
    wanted, force, velocity = wanted_tension(rig.mass), 0.0, []
    rig.reset(height=0.4, velocity=np.array([0.0, 0.0, speed]))
    for _ in range(1200):
        order = drive.step(wanted, rig.rope.tension + noise.normal(0.0, 0.5), rig.rope.speed, 0.001)
        force += (order - force) * 0.001 / 0.011
        rig.step(RigInputs(winch_force=force, kp=60.0, kd=2.0), 0.001)
        velocity.append(rig.center_of_mass()[1][2])
    v = np.array(velocity)
    t = np.arange(len(v)) * 0.001
    rising, falling = (v > 0.05) & (t > 0.1), v < -0.05
    return -np.polyfit(t[rising], v[rising], 1)[0], -np.polyfit(t[falling], v[falling], 1)[0]


@pytest.mark.parametrize("friction", [0.0, 0.05, 0.08])
@pytest.mark.parametrize("stiffness", [5e3, 1e4, 3e4])
def test_trimmed_flight_is_lunar_rising_and_falling(friction: float, stiffness: float) -> None:
    """Holds for a rope softer and stiffer than assumed, and for more or less friction than the drive believes."""
    cfg = RigConfig(rope_friction=friction, rope_stiffness=stiffness)
    assert fly(cfg, TrimConfig()) == pytest.approx((MOON, MOON), rel=0.05)


def test_without_trim_flight_is_not_lunar() -> None:
    rising, falling = fly(RigConfig(), TrimConfig(enabled=False))
    assert rising == pytest.approx(passive_flight(0.5, 0.05, rising=True), rel=0.05)
    assert falling == pytest.approx(passive_flight(0.5, 0.05, rising=False), rel=0.05)


def test_winch_never_exceeds_its_force() -> None:
    drive = WinchTrim(TrimConfig(max_force=50.0), inertia=6.0, passive_force=124.0)
    forces = [drive.step(400.0, tension, speed, 0.001) for tension in (0.0, 900.0) for speed in (-3.0, 3.0)]
    assert np.abs(forces).max() == 50.0
