"""Terrain by name: ``flat`` and one ``rough`` field of self-affine ground with bowl craters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.errors import LunarError
from sim.terrain.height_field import HeightField


@dataclass(frozen=True)
class TerrainConfig:
    """Ground of a world."""

    kind: str = "flat"
    """``flat`` or ``rough``."""
    size: float = 48.0
    """m. Edge of the square map, centred on the origin."""
    resolution: float = 0.05
    """m between samples."""
    roughness: float = 0.015
    """m. RMS height of the ground between craters, after the mean slope is removed."""
    hurst: float = 0.8
    """1. Hurst exponent; 0.95 for lunar highlands, 0.76 for maria (Rosenburg et al. 2011)."""
    longest_wave: float = 6.0
    """m. Longest wave of the rough ground."""
    craters: int = 40
    """Number of bowls, diameters log-uniform in 0.8 to 4 m, depth a tenth of the diameter."""


def make_terrain(cfg: TerrainConfig, seed: int) -> HeightField:
    """The height field that ``cfg`` describes; the same seed gives the same ground.

    Raises:
        LunarError: unknown kind.
    """
    origin = (-cfg.size / 2, -cfg.size / 2)
    if cfg.kind == "flat":
        return HeightField(np.zeros((2, 2)), cfg.size, origin)
    if cfg.kind == "rough":
        n = round(cfg.size / cfg.resolution) + 1
        rng = np.random.default_rng(seed)
        heights = _self_affine(n, cfg, rng)
        _dig_craters(heights, cfg, rng)
        return HeightField(heights, cfg.resolution, origin)
    raise LunarError(f"terrain kind '{cfg.kind}' is unknown; choose flat or rough")


def _self_affine(n: int, cfg: TerrainConfig, rng: np.random.Generator) -> np.ndarray:
    """Gaussian field with power spectrum ~ k^-(2H+2) below ``longest_wave``, scaled to the RMS height."""
    k = np.hypot(np.fft.fftfreq(n, cfg.resolution)[:, None], np.fft.rfftfreq(n, cfg.resolution)[None, :])
    amplitude = np.where(k >= 1.0 / cfg.longest_wave, np.maximum(k, 1e-9) ** -(cfg.hurst + 1.0), 0.0)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * amplitude, s=(n, n))
    return field * (cfg.roughness / field.std())


def _dig_craters(heights: np.ndarray, cfg: TerrainConfig, rng: np.random.Generator) -> None:
    """Add fresh small craters by DESIGN's profile: bowl inside, raised rim outside, depth 0.10 D."""
    n = len(heights)
    axis = np.arange(n) * cfg.resolution - cfg.size / 2
    for _ in range(cfg.craters):
        diameter = 0.8 * 5.0 ** rng.random()
        cx, cy = rng.uniform(-cfg.size / 2, cfg.size / 2, 2)
        reach = 0.75 * diameter
        cols = slice(*np.searchsorted(axis, [cx - reach, cx + reach]))
        rows = slice(*np.searchsorted(axis, [cy - reach, cy + reach]))
        r = np.hypot(axis[cols][None, :] - cx, axis[rows][:, None] - cy) / (diameter / 2)
        heights[rows, cols] += crater_profile(r) * diameter


def crater_profile(r: np.ndarray) -> np.ndarray:
    """Height over diameter of a fresh small crater at ``r`` crater radii from its centre.

    Polynomials of the NASA VIPER site model (synthterrain); the floor is clipped so that rim-to-floor depth is 0.10 D.
    """
    inside = -0.2288 + 0.2275 * r + 0.0831 * r**2 - 0.0395 * r**3
    outside = 0.1883 - 0.1871 * r + 0.0184 * r**2 + 0.0151 * r**3
    rim = 0.1883 - 0.1871 * 0.98 + 0.0184 * 0.98**2 + 0.0151 * 0.98**3
    height = np.where(r <= 0.98, np.maximum(inside, rim - 0.10), outside)
    return np.where(r < 1.5, height, 0.0)
