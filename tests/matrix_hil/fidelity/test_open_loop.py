"""Free flight of every scheme on the virtual rig: friction 5%, pulley inertia, 10 ms of lag, a noisy load cell."""

from __future__ import annotations

import numpy as np
import pytest

from matrix_hil.config import Counterweight
from matrix_hil.control.counterweight import TrimConfig
from matrix_hil.fidelity.open_loop import Flight, throw
from matrix_hil.fidelity.schemes import SCHEMES, chosen
from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.spec.gravity import MOON

RIG, WINCH = RigConfig(pulley_mass=0.5), Counterweight()


@pytest.fixture(scope="module")
def flights() -> dict[str, Flight]:
    return {name: throw(scheme, RIG, TrimConfig(), WINCH, 0.3, seed=0) for name, scheme in SCHEMES.items()}


@pytest.mark.parametrize("name", [name for name in SCHEMES if name.startswith("passive")])
def test_passive_schemes_fly_as_theory_says(flights: dict[str, Flight], name: str) -> None:
    flight = flights[name]
    assert (flight.rising, flight.falling) == pytest.approx(SCHEMES[name].theory(RIG, 15.206), rel=0.05)
    assert flight.rising > 1.2 * flight.falling  # friction


def test_active_is_lunar_rising_and_falling(flights: dict[str, Flight]) -> None:
    flight = flights["active"]
    assert flight.rising == pytest.approx(MOON, rel=0.03)
    assert flight.falling == pytest.approx(MOON, rel=0.03)


@pytest.mark.parametrize("name", ["moon", "ideal"])
def test_references_are_lunar(flights: dict[str, Flight], name: str) -> None:
    assert (flights[name].rising, flights[name].falling) == pytest.approx((MOON, MOON), rel=5e-3)


def test_every_scheme_starts_alike_and_comes_back(flights: dict[str, Flight]) -> None:
    moon = flights["moon"]
    assert moon.height.max() == pytest.approx(0.3, rel=0.01)
    for flight in flights.values():
        assert flight.speed[0] == pytest.approx(moon.speed[0])
        assert flight.height[-1] == pytest.approx(0.0, abs=0.003)


def test_theory_of_the_design() -> None:
    """Without friction and pulleys 0.89, 1.15, 1.35 and 1.62 m/s^2; with 5% and k = 1/2, 1.46 rising, 0.85 falling."""
    bare = RigConfig(rope_friction=0.0, pulley_mass=0.0)
    expected = {"passive_1": 0.89, "passive_0.5": 1.15, "passive_0.25": 1.35, "passive_0.717": 1.62}
    for name, gravity in expected.items():
        assert SCHEMES[name].theory(bare, 15.0) == pytest.approx((gravity, gravity), abs=0.01)
    rough = RigConfig(rope_friction=0.05, pulley_mass=0.0)
    assert SCHEMES["passive_0.5"].theory(rough, 15.0) == pytest.approx((1.46, 0.85), abs=0.01)


def test_schemes_by_name() -> None:
    assert [s.name for s in chosen("active, ideal")] == ["moon", "active", "ideal"]
    with pytest.raises(LunarError, match="'pasive_1' is unknown"):
        chosen("pasive_1")


def test_same_seed_same_flight() -> None:
    def speeds(seed: int) -> np.ndarray:
        return throw(SCHEMES["active"], RIG, TrimConfig(), WINCH, 0.1, seed).speed

    first = speeds(1)
    assert (first == speeds(1)).all()
    assert not np.array_equal(first, speeds(2))
