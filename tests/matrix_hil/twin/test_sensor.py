"""A detector's counts against the statistics that it is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matrix_hil.virtual.unreal.commands import SceneCommands, ServerConfig
from matrix_hil.virtual.unreal.sensor import Sensor, expose, linear
from sim.errors import LunarError
from sim.terrain.height_field import HeightField

FINE = Sensor(exposure=20.0, dark=3.0, columns=0.0, read=2.0, full_well=4095.0, bits=12)


def counts(light: float, sensor: Sensor, shape: tuple[int, int] = (200, 300), seed: int = 0) -> np.ndarray:
    return expose(np.full(shape, light), sensor, np.random.default_rng(seed))


@pytest.mark.parametrize("light", [20.0, 40.0])
def test_counts_have_the_mean_of_the_light_and_the_variance_of_photons_and_reading(light: float) -> None:
    seen = counts(light, FINE).astype(float)
    electrons = light * 20.0 + 3.0
    assert seen.mean() == pytest.approx(electrons, rel=0.002)
    assert seen.var() == pytest.approx(electrons + 2.0**2 + 1 / 12, rel=0.03)
    assert linear(seen, FINE).mean() == pytest.approx(light, rel=0.002)


def test_columns_are_off_by_one_bias_each() -> None:
    seen = counts(20.0, Sensor(exposure=20.0, columns=30.0, read=0.0, full_well=4095.0, bits=12)).astype(float)
    assert seen.mean(0).std() == pytest.approx(30.0, rel=0.15)
    assert seen.mean(1).std() < 3.0


def test_a_pedestal_keeps_noise_below_none() -> None:
    dim = Sensor(exposure=20.0, read=3.0, full_well=4095.0, bits=12)
    cut, kept = (linear(counts(0.0, s), s) for s in (dim, replace(dim, pedestal=50.0)))
    assert cut.mean() * 20.0 > 0.9 and kept.mean() * 20.0 == pytest.approx(0.0, abs=0.1)


def test_counts_are_whole_and_end_at_the_full_well() -> None:
    seen = counts(1e4, Sensor(bits=8))
    assert seen.dtype == np.uint16 and (seen == 255).all()
    assert (counts(0.0, Sensor(read=0.0)) == 0).all()
    assert len(np.unique(counts(1.0, Sensor(full_well=8000.0, bits=4)))) <= 16
    assert (counts(1.0, FINE) != counts(1.0, FINE, seed=1)).any() and (counts(1.0, FINE) == counts(1.0, FINE)).all()


@pytest.mark.parametrize(("value", "message"), [
    (Sensor(exposure=0.0), "exposure"), (Sensor(read=-1.0), "read"), (Sensor(bits=0), "1 to 16"),
])  # fmt: skip
def test_what_is_no_detector_is_refused(value: Sensor, message: str) -> None:
    with pytest.raises(LunarError, match=message):
        SceneCommands(HeightField(np.zeros((2, 2)), 1.0, (0.0, 0.0)), ServerConfig(sensor=value))
