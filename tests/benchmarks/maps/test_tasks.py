"""Made cases: what is taken away is lost, what is drawn in is invented; shift, scale and blur cost what they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.maps import find, rows, tasks
from benchmarks.maps.ground import patch
from sim.terrain.craters import CraterConfig, PlacedCrater
from sim.terrain.danger import NOMINAL, Limits
from sim.terrain.generators import TerrainConfig, build_terrain


@pytest.fixture(scope="module")
def truth() -> tasks.Truth:
    return tasks.Truth(patch("blocky", 31), 31)


def _bump(z: np.ndarray, row: int, col: int, diameter: float, resolution: float) -> np.ndarray:
    y, x = np.mgrid[: z.shape[0], : z.shape[1]]
    inside = 1.0 - ((y - row) ** 2 + (x - col) ** 2) * (2.0 * resolution / diameter) ** 2
    return z + diameter / 2 * np.sqrt(np.maximum(inside, 0.0))


def test_the_true_map_scores_full_marks(truth):
    z = truth.heights
    assert tasks.appearance(truth, z)["ssim"] == pytest.approx(1.0)
    hold = tasks.footholds(truth, z, NOMINAL)
    assert hold["nominal"] == hold["calibrated"] == [0, 0]
    assert np.sum(tasks.slopes(truth, z)["grades"][0]) == np.trace(tasks.slopes(truth, z)["grades"][0])
    plate = tasks.plate(truth, z)
    assert plate["heave"] == plate["tilt"] == 0.0
    plan = tasks.plan(truth, z, NOMINAL)
    assert plan["path"] == plan["path_true"]
    lost, invented = rows.lost_and_invented(truth, z)
    big = truth.terrain.rocks.diameter >= 0.12
    assert len(lost) <= 0.06 * big.sum()
    assert len(invented) < 0.15 * big.sum()


def test_a_rock_that_is_taken_away_is_lost_and_one_that_is_drawn_is_invented(truth):
    rocks, (x0, y0) = truth.terrain.rocks, truth.terrain.field.origin
    alone = [
        k for k in range(len(rocks.x)) if 0.2 < rocks.diameter[k] < 0.4 and max(abs(rocks.x[k]), abs(rocks.y[k])) < 5.0
        and np.sort(np.hypot(rocks.x - rocks.x[k], rocks.y - rocks.y[k]))[1] > 1.0
    ]  # fmt: skip
    k = alone[0]
    row, col = (round((v - o) / truth.resolution) for v, o in ((rocks.y[k], y0), (rocks.x[k], x0)))
    z = truth.heights.copy()
    z[row - 7 : row + 8, col - 7 : col + 8] = np.median(z[row - 9 : row + 10, col - 9 : col + 10])
    before, after = (rows.lost_and_invented(truth, m)[0] for m in (truth.heights, z))
    gone = after[np.abs(after - [rocks.x[k], rocks.y[k]]).max(1) < 1e-9]
    assert len(gone) == 1
    assert len(after) >= len(before) + 1

    places = np.arange(-5.0, 5.0, 0.5)
    apart = np.array([[np.hypot(rocks.x - x, rocks.y - y).min() for x in places] for y in places])
    y, x = places[np.argwhere(apart > 0.8)[0]]
    drawn = _bump(truth.heights, round((y - y0) / truth.resolution), round((x - x0) / truth.resolution), 0.3, 0.05)
    made = rows.lost_and_invented(truth, drawn)[1]
    assert np.hypot(*(made - [x, y]).T).min() < 0.1
    assert len(made) == len(rows.lost_and_invented(truth, truth.heights)[1]) + 1


def test_a_shift_is_told_and_costs_no_foothold(truth):
    moved = truth.heights + 0.03
    assert tasks.appearance(truth, moved)["shift"] == pytest.approx(0.03)
    assert tasks.footholds(truth, moved, NOMINAL)["nominal"] == [0, 0]
    assert tasks.plate(truth, moved)["heave"] == pytest.approx(0.0, abs=1e-9)


def test_half_the_relief_hides_unsafe_ground_until_the_limits_are_halved(truth):
    flat = 0.5 * truth.heights
    half = Limits(float(np.degrees(np.arctan(0.5 * np.tan(np.radians(NOMINAL.slope))))), 0.5 * NOMINAL.step)
    hold = tasks.footholds(truth, flat, half)
    assert hold["nominal"][0] > 0.3 * hold["unsafe"]
    assert sum(hold["calibrated"]) <= 2
    assert tasks.plate(truth, flat)["tilt"] > 0.5


def test_blur_loses_rocks_and_raises_nothing(truth):
    blurred = ndimage.gaussian_filter(truth.heights, 4)
    lost, invented = rows.lost_and_invented(truth, blurred)
    assert len(lost) > 0.7 * (truth.terrain.rocks.diameter >= 0.12).sum()
    assert len(invented) == 0
    assert tasks.footholds(truth, blurred, NOMINAL)["nominal"][0] > 0


def test_a_path_keeps_off_what_its_map_calls_unsafe():
    cfg = TerrainConfig(size=6.0, craters=CraterConfig(density=0.0, placed=(PlacedCrater(0.0, 0.0, 2.0),)))
    around = tasks.Truth(build_terrain(cfg, 0), 0)
    z = around.heights.copy()
    z[:90, 60:64] = 0.5  # a wall with a gap at one end
    walled = tasks.Truth(replace(around.terrain, field=replace(around.terrain.field, heights=z)), 0)
    seen, unseen = (tasks.plan(walled, m, NOMINAL) for m in (z, around.heights))
    assert seen["path_unsafe"] < unseen["path_unsafe"]
    assert seen["path"] > unseen["path"] + 0.3


def test_a_crater_is_found_where_it_is_and_as_wide_as_it_is():
    placed = PlacedCrater(1.0, -2.0, 4.0, 0.005)
    terrain = build_terrain(TerrainConfig(size=12.8, craters=CraterConfig(density=0.0, placed=(placed,))), 0)
    found = find.craters(terrain.field.heights, 0.05)
    x, y, diameter, score = found[found[:, 3].argmax()]
    assert np.hypot(x - 6.4 - placed.x, y - 6.4 - placed.y) < 0.3
    assert diameter == pytest.approx(4.0, rel=0.25)
    assert score > 0.9
    asked, hits, false = find.match_craters(found, terrain.craters, terrain.field.origin, 6.0)
    assert (asked, len(hits), len(false[false > 0.8])) == (1, 1, 0)


@pytest.mark.parametrize(
    ("b", "share"), [((0, 0, 2), 1.0), ((0, 0, 1), 0.25), ((3, 0, 2), 0.0), ((0.8079455, 0, 2), 1 / 3)]
)
def test_overlap_of_circles(b, share):
    assert find.overlap((0.0, 0.0, 2.0), b) == pytest.approx(share, abs=2e-3)
    assert find.overlap(b, (0.0, 0.0, 2.0)) == pytest.approx(share, abs=2e-3)
