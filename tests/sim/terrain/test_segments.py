"""Segments of a path: what a robot meets on them, and the shortest safe path."""

from __future__ import annotations

import numpy as np
import pytest

from sim.errors import LunarError
from sim.terrain.danger import NOMINAL, Limits
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField
from sim.terrain.segments import FEATURES, LONGEST, features, safe_path, split, survey, unsafe_along

AXIS = np.arange(-8.0, 8.01, 0.05)


def ground(height) -> HeightField:
    """A map of ``height(x, y)``."""
    x, y = np.meshgrid(AXIS, AXIS)
    return HeightField(np.broadcast_to(height(x, y), x.shape).astype(np.float32), 0.05, (-8.0, -8.0))


def of(field: HeightField, start, end) -> dict[str, float]:
    found = features(survey(field), np.array([start], float), np.array([end], float))
    return dict(zip(FEATURES, found[0], strict=True))


def test_a_path_is_split_into_equal_pieces_and_keeps_its_corners():
    ends = split([[0.0, 0.0], [6.0, 0.0], [6.0, 1.0]])
    lengths = np.hypot(*np.diff(ends, axis=0).T)
    assert ends[[0, -1]].tolist() == [[0.0, 0.0], [6.0, 1.0]] and [6.0, 0.0] in ends.tolist()
    assert lengths.sum() == pytest.approx(7.0) and lengths.max() <= 1.5 * LONGEST


@pytest.mark.parametrize(
    "points, message",
    [([[0.0, 0.0]], "two points"), ([[0.0, 0.0], [np.nan, 1.0]], "two numbers"),
     ([[1.0, 1.0], [1.0, 1.0]], "one place"), ([[0.0, 0.0], [1e9, 0.0]], "at most 2000 segments")],
)  # fmt: skip
def test_what_is_no_path_is_refused(points, message):
    with pytest.raises(LunarError, match=message):
        split(points)


def test_a_plane_is_as_steep_as_it_is_from_every_side():
    """On a plane that rises by 0.2 per metre along x: climbed, descended, crossed, and at 45 degrees."""
    field = ground(lambda x, y: 0.2 * x)
    up, down, across = of(field, (-2, 0), (0, 0)), of(field, (0, 0), (-2, 0)), of(field, (0, -2), (0, 1))
    assert up["climb"] == pytest.approx(0.2, abs=1e-4) and down["climb"] == pytest.approx(-0.2, abs=1e-4)
    assert up["along"] == pytest.approx(0.2, abs=1e-4) and up["across"] == pytest.approx(0.0, abs=1e-4)
    assert across["across_2m"] == pytest.approx(0.2, abs=1e-4) and across["along_2m"] == pytest.approx(0.0, abs=1e-4)
    slanted = of(field, (-1, -1), (1, 1))
    assert slanted["along"] == pytest.approx(slanted["across"]) == pytest.approx(0.2 / np.sqrt(2), abs=1e-4)
    assert all(f["roughness"] < 1e-4 and f["bumps_5cm"] == 0.0 for f in (up, across, slanted))


def test_features_do_not_depend_on_where_and_which_way_the_map_lies():
    field = make_terrain(TerrainConfig(kind="blocky", size=16.0), 3)
    turned = HeightField(np.rot90(field.heights), field.resolution, field.origin)
    here, there = of(field, (-3, 1), (-1, 2)), of(turned, (1, 3), (2, 1))
    assert list(here.values()) == pytest.approx(list(there.values()), abs=2e-3)


def test_rocks_stand_out_and_a_hill_does_not():
    def rock(x, y):
        return np.where(np.hypot(x, y) < 0.15, 0.15, 0.0)

    def hill(x, y):
        return 0.5 * np.exp(-(x**2 + y**2) / 18.0)

    on_rock, on_hill = (of(ground(h), (-1, 0), (1, 0)) for h in (rock, hill))
    assert on_rock["bumps_10cm"] == pytest.approx(np.pi * 0.15**2 / 1.2, rel=0.35)
    assert on_hill["bumps_5cm"] == 0.0 and on_hill["roughness"] > 0.0


def test_a_path_off_the_map_and_one_over_a_hole_are_refused():
    field = ground(lambda x, y: 0.0 * x)
    field.heights[160, 200:220] = np.nan
    with pytest.raises(LunarError, match=r"\(9, 0\) m lies outside the map, which spans x -8 to 8"):
        of(field, (0, 0), (9, 0))
    with pytest.raises(LunarError, match="without data"):
        of(field, (0, 0), (4, 0))


def wall(gap: float | None):
    """A ridge along y that no robot climbs, with a gap at ``gap``."""

    def height(x, y):
        ridge = np.where(np.abs(x) < 0.5, 2.0, 0.0)
        return ridge if gap is None else np.where(np.abs(y - gap) < 1.5, 0.0, ridge)

    return ground(height)


@pytest.mark.parametrize("gap", [-4.0, 3.0])
def test_a_safe_path_goes_through_the_gap_and_no_farther_than_it_must(gap):
    path = safe_path(survey(wall(gap)), (-5.0, 0.0), (5.0, 0.0))
    assert path[0].tolist() == [-5.0, 0.0] and path[-1].tolist() == [5.0, 0.0]
    dense = split(path, 0.1)
    at_wall = dense[np.abs(dense[:, 0]) < 0.5]
    assert len(at_wall) and np.all(np.abs(at_wall[:, 1] - gap) < 1.5)
    length = np.hypot(*np.diff(path, axis=0).T).sum()
    assert length < 1.2 * 2.0 * np.hypot(5.0, abs(gap))


def test_flat_ground_is_crossed_straight():
    assert safe_path(survey(ground(lambda x, y: 0.01 * x)), (-5.0, 1.0), (5.0, 3.0)).tolist() == [[-5, 1], [5, 3]]
    flat = make_terrain(TerrainConfig(), 0)
    assert len(safe_path(survey(flat), (0.0, 0.0), (60.0, 0.0))) == 2


def test_what_no_path_reaches_is_said():
    with pytest.raises(LunarError, match="no safe path"):
        safe_path(survey(wall(None)), (-5.0, 0.0), (5.0, 0.0))
    with pytest.raises(LunarError, match=r"\(1, 0\) m lies on a slope"):
        safe_path(survey(wall(None)), (-5.0, 0.0), (1.0, 0.0))


def test_paths_over_shipped_ground_avoid_rocks_that_a_straight_line_meets():
    surface = survey(make_terrain(TerrainConfig(kind="blocky", size=24.0), 5))
    straight = split([[-9.0, -9.0], [9.0, 9.0]])
    path = split(safe_path(surface, (-9.0, -9.0), (9.0, 9.0)))
    tall = FEATURES.index("bumps_10cm")
    assert (
        features(surface, path[:-1], path[1:])[:, tall].sum()
        < features(surface, straight[:-1], straight[1:])[:, tall].sum()
    )


def test_what_is_unsafe_along_a_way_is_its_share_of_the_corridor_by_the_limits_given():
    """A slope of 15 degrees across the middle two metres: none of a way by nominal limits, a quarter by lower ones."""
    field = ground(lambda x, y: np.tan(np.radians(15.0)) * np.clip(x, -1.0, 1.0))
    way = np.array([[-4.0, 0.0], [1.0, 0.5], [4.0, 0.0]])
    low = Limits(slope=12.0, step=0.05)
    assert unsafe_along(field, way, NOMINAL) == 0.0
    assert unsafe_along(field, way, low) == pytest.approx(2.0 / 8.0, abs=0.03)
    assert unsafe_along(field, way[::-1], low) == pytest.approx(unsafe_along(field, way, low), abs=0.005)
    assert unsafe_along(field, np.array([[-3.0, 2.0], [-1.5, 2.0]]), low) == 0.0
