"""What a camera's detector makes of light: photons, dark current, columns, read noise, a full well, whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.errors import LunarError


@dataclass(frozen=True)
class Sensor:
    """A detector, by EMVA 1288's linear model with a bias of its columns."""

    exposure: float = 4000.0
    """Electrons per pixel from light of 1: of flat ground under the sun overhead."""
    dark: float = 0.0
    """Electrons per pixel of dark current while it is exposed."""
    columns: float = 0.0
    """Electrons, RMS of the bias that each column has in an image."""
    read: float = 5.0
    """Electrons, RMS of the noise of reading a pixel."""
    pedestal: float = 0.0
    """Electrons that are added before counting, so that noise below none is not cut off."""
    full_well: float = 8000.0
    """Electrons that the highest count stands for."""
    bits: int = 8
    """Of a count."""

    @property
    def highest(self) -> int:
        """Count."""
        return int(2**self.bits - 1)

    @property
    def gain(self) -> float:
        """Electrons per count."""
        return self.full_well / self.highest

    def check(self) -> None:
        """Raise LunarError for a value that no detector has."""
        if not (
            self.exposure > 0.0
            and self.full_well > 0.0
            and min(self.dark, self.columns, self.read, self.pedestal) >= 0.0
        ):
            raise LunarError(
                "a sensor's exposure and full_well are above 0, its dark, columns, read and pedestal 0 or more"
            )
        if not 1 <= self.bits <= 16:
            raise LunarError(f"a sensor of {self.bits} bits is none: 1 to 16")


def expose(light: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """Counts (R, C), whole numbers from 0 to ``sensor.highest``, of light (R, C) as of ``render.radiance``."""
    electrons = rng.poisson(light * sensor.exposure + sensor.dark) + sensor.pedestal
    electrons += rng.normal(0.0, sensor.columns, light.shape[1]) + rng.normal(0.0, sensor.read, light.shape)
    counts: np.ndarray = np.clip(np.round(electrons / sensor.gain), 0, sensor.highest)
    return counts.astype(np.uint16)


def linear(counts: np.ndarray, sensor: Sensor) -> np.ndarray:
    """Light (R, C) that counts stand for, the pedestal and the mean of the dark current taken off."""
    light: np.ndarray = (counts * sensor.gain - sensor.pedestal - sensor.dark) / sensor.exposure
    return light
