"""Real ground: an elevation model as a scale model, its pixels 5 cm apart, slopes as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.maps import ground, rows, tasks
from benchmarks.maps.calibrate import recommended
from benchmarks.maps.summary import grades_agree
from sim.errors import LunarError
from sim.terrain.cards import FilterCard
from sim.terrain.craters import Craters
from sim.terrain.generators import Terrain
from sim.terrain.height_field import HeightField
from sim.terrain.map_file import read_map
from sim.terrain.rocks import Rocks

NOISES = ("white-2cm", "stripes-3cm", "holes-15", "coarse-2x", "coarse-4x")
LARGEST = 1024
"""Pixels along an edge of what is looked at, in the middle of the file."""


def slopes_and_footholds(path: str, band: int, cards: Mapping[str, FilterCard], seed: int) -> dict[str, Any]:
    """For each of ``NOISES`` the recommended filter's slopes and footholds on a real elevation model, with the
    limits of its card. Rocks and craters are left out: nobody has counted them there.

    Raises:
        LunarError: the file cannot be read, has holes, or is too small.
    """
    given = read_map(path, 0.0, 0.0, band)
    z = given.heights
    rows_, cols = (slice(max(0, (n - LARGEST) // 2), max(0, (n - LARGEST) // 2) + LARGEST) for n in z.shape)
    z = z[rows_, cols] * (ground.RESOLUTION / given.resolution)
    if min(z.shape) < 64 or not np.isfinite(z).all():
        raise LunarError(f"'{path}' must have 64 by 64 pixels without holes in its middle to be judged on")
    none = np.zeros(0)
    field = HeightField(z, ground.RESOLUTION, (0.0, 0.0))
    truth = tasks.Truth(Terrain(field, Craters(*[none] * 4), Rocks(*[none] * 7)), seed)
    found: dict[str, Any] = {
        "file": Path(path).name, "metres_per_pixel": given.resolution, "samples": z.size,
        "unsafe": int(np.sum(truth.unsafe)), "noise": {},
    }  # fmt: skip
    for noise, method in recommended(cards).items():
        if noise not in NOISES:
            continue
        restored = rows.restored_by(method, rows.measured(truth, noise, seed), truth.resolution, seed)
        hold = tasks.footholds(truth, restored, cards[method].limit(noise).limits)
        near, far = (grades_agree(np.array(t)) for t in tasks.slopes(truth, restored)["grades"])
        safe, bad = hold["safe"], max(hold["unsafe"], 1)
        found["noise"][noise] = {
            "recommended": method, "unsafe_called_safe_nominal": hold["nominal"][0] / bad,
            "unsafe_called_safe_calibrated": hold["calibrated"][0] / bad, "false_alarms": hold["calibrated"][1] / safe,
            "kappa_7_pixels": near, "kappa_40_pixels": far,
        }  # fmt: skip
    return found
