"""A path over a map: its segments, what a robot meets on each, and the shortest safe path between two points."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import grey_opening, maximum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from sim.errors import LunarError
from sim.terrain.danger import Limits, danger, steepness
from sim.terrain.height_field import HeightField

FEATURES = ("climb", "along", "across", "along_2m", "across_2m", "roughness", "bumps_5cm", "bumps_10cm")
"""What ``features`` tells of a segment: mean slope from start to end, uphill positive; the 95th percentiles of the
steepness along and across it over a robot's length and over 2 m; the standard deviation of heights about a plane, m;
and the shares of its corridor that stand more than 5 and 10 cm out of the ground, as rocks of twice those diameters
do."""
ROBOT, LARGE = 0.35, 2.0
"""m, baselines of slopes."""
LONGEST = 2.5
"""m of a segment."""
MOST = 2000
"""Segments of a path."""
_HALF_WIDTH, _ACROSS, _ALONG = 0.3, 7, 26  # m of the corridor, and its samples
_WIDEST_BUMP = 0.8  # m: what is wider is ground, not a rock
_CELL = 0.25  # m of the grid that safe paths are sought on
_STEEP, _IMPASSABLE = 0.27, 0.58  # tan of 15 and 30 degrees
_TALL, _TALLEST = 0.10, 0.25  # m of a rock
_CLEAR, _WIDE = 0.4, 1.0  # m that a path keeps from one, and from whatever is dear, if it can: robots drift
_ROUND = 1.02  # of a path's cost, by which a straight line may exceed it


@dataclass(frozen=True)
class Surface:
    """One map and what stands out of it."""

    field: HeightField
    """The ground with its rocks."""
    bumps: HeightField
    """m above the ground around, of whatever is narrower than 0.8 m."""


def survey(field: HeightField) -> Surface:
    """Find what stands out of one map."""
    if field.is_flat:
        return Surface(field, HeightField(np.zeros((2, 2)), field.resolution, field.origin))
    across = max(3, round(_WIDEST_BUMP / field.resolution))
    bumps = field.heights - grey_opening(field.heights, (across, across))
    return Surface(field, HeightField(bumps, field.resolution, field.origin))


def split(points: Sequence[Sequence[float]] | np.ndarray, longest: float = LONGEST) -> np.ndarray:
    """Ends of the segments (S + 1, 2) m of a path through ``points`` (P, 2) m, of about ``longest`` m each.

    Raises:
        LunarError: fewer than two points, one that is no number, two of them in one place, or a path without end.
    """
    corners = np.asarray(points, float).reshape(-1, 2)
    if len(corners) < 2 or not np.isfinite(corners).all():
        raise LunarError("a path needs two points or more, each of two numbers in m")
    if float(np.hypot(*np.diff(corners, axis=0).T).sum()) > MOST * longest:
        raise LunarError(f"a path has at most {MOST} segments of {longest:g} m: take a shorter one")
    ends = [corners[:1]]
    for k, (a, b) in enumerate(itertools.pairwise(corners)):
        length = float(np.hypot(*(b - a)))
        if not length > 1e-6:
            raise LunarError(f"points {k + 1} and {k + 2} of the path are one place, ({a[0]:g}, {a[1]:g})")
        ends.append(a + np.linspace(0.0, 1.0, max(1, round(length / longest)) + 1)[1:, None] * (b - a))
    return np.concatenate(ends)


def features(surface: Surface, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """What a robot meets between ``start`` and ``end`` (n, 2) m: (n, F) in the order of ``FEATURES``.

    Raises:
        LunarError: a segment leaves the map, or crosses ground without data.
    """
    for points in (start, end):
        check_inside(surface.field, points)
    length = np.maximum(np.hypot(*(end - start).T), 1e-6)[:, None, None]
    ahead = ((end - start) / length[:, 0])[:, None, None]
    left = ahead[..., ::-1] * (-1.0, 1.0)
    along = np.linspace(0.0, 1.0, _ALONG)[:, None] * length
    across = np.linspace(-_HALF_WIDTH, _HALF_WIDTH, _ACROSS)[None, None]
    points = start[:, None, None] + along[..., None] * ahead + across[..., None] * left
    heights = _height(surface.field, points)

    def steep(direction: np.ndarray, baseline: float) -> np.ndarray:
        half = 0.5 * baseline * direction
        rise = np.abs(_height(surface.field, points + half) - _height(surface.field, points - half))
        return np.percentile(rise / baseline, 95, axis=(1, 2))

    bumps = _height(surface.bumps, points)
    found = np.stack([
        (heights[:, -1].mean(1) - heights[:, 0].mean(1)) / length[:, 0, 0],
        *(steep(direction, baseline) for baseline in (ROBOT, LARGE) for direction in (ahead, left)),
        _about_plane(heights, along, across),
        *((bumps > limit).mean((1, 2)) for limit in (0.05, 0.10)),
    ], axis=1)  # fmt: skip
    if not np.isfinite(found).all():
        k = int(np.argmin(np.isfinite(found).all(1)))
        raise LunarError(
            f"the segment from ({start[k, 0]:g}, {start[k, 1]:g}) to ({end[k, 0]:g}, {end[k, 1]:g}) m crosses ground "
            "without data: lead the path around it"
        )
    return found


def check_inside(field: HeightField, points: np.ndarray) -> None:
    """Raise LunarError where one of ``points`` (n, 2) m lies outside the map; flat ground has no end."""
    x0, x1, y0, y1 = field.extent
    if field.is_flat:
        return
    for x, y in points:
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            raise LunarError(
                f"({x:g}, {y:g}) m lies outside the map, which spans x {x0:g} to {x1:g} and y {y0:g} to {y1:g} m"
            )


def safe_path(surface: Surface, start: Sequence[float], end: Sequence[float]) -> np.ndarray:
    """The cheapest path (P, 2) m from ``start`` to ``end`` where a metre costs the more the steeper and the rockier it
    is, and slopes over 30 degrees and rocks over 25 cm are closed.

    Raises:
        LunarError: a point outside the map or on closed ground, or no path between them.
    """
    ends = np.array([start, end], float)
    check_inside(surface.field, ends)
    if surface.field.is_flat:
        return ends
    x, y, cost = cost_map(surface)
    cells = np.stack([np.abs(x - ends[:, :1]).argmin(1), np.abs(y - ends[:, 1:]).argmin(1)], axis=1)
    for (i, j), (px, py) in zip(cells, ends, strict=True):
        if not np.isfinite(cost[j, i]):
            raise LunarError(f"({px:g}, {py:g}) m lies on a slope over 30 degrees or a rock over 25 cm: move it")
    first, last = (int(j * len(x) + i) for i, j in cells)
    far, before = dijkstra(_grid(cost), indices=first, return_predecessors=True)
    if not np.isfinite(far[last]):
        raise LunarError("no safe path leads there: slopes over 30 degrees or rocks over 25 cm lie all across the way")
    nodes = [last]
    while nodes[-1] != first:
        nodes.append(int(before[nodes[-1]]))
    nodes = nodes[::-1]
    path = np.stack([x[np.array(nodes) % len(x)], y[np.array(nodes) // len(x)]], axis=1)
    path[0], path[-1] = ends
    return _straightened(path, far[nodes], HeightField(cost, _CELL, (float(x[0]), float(y[0]))))


def unsafe_along(field: HeightField, ends: np.ndarray, limits: Limits) -> float:
    """Share of the corridor of a way through ``ends`` (S + 1, 2) m that is unsafe by ``limits``."""
    if field.is_flat:
        return 0.0
    called = danger(*steepness(field.heights, field.resolution), limits) > 1.0
    start, end = ends[:-1, None, None], ends[1:, None, None]
    length = np.hypot(*(ends[1:] - ends[:-1]).T)
    left = ((end - start)[..., ::-1] * (-1.0, 1.0)) / np.maximum(length, 1e-6)[:, None, None, None]
    along = np.linspace(0.0, 1.0, _ALONG)[:, None, None]
    across = np.linspace(-_HALF_WIDTH, _HALF_WIDTH, _ACROSS)[:, None]
    points = start + along * (end - start) + across * left
    shares = _height(HeightField(called.astype(float), field.resolution, field.origin), points)
    return float(np.average(shares.mean((1, 2)), weights=length))


def cost_map(surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates x (C,) and y (R,) m of a grid, and what a metre there costs (R, C), infinite where it is closed."""
    x0, x1, y0, y1 = surface.field.extent
    x, y = np.arange(x0, x1 + 1e-9, _CELL), np.arange(y0, y1 + 1e-9, _CELL)
    points = np.stack(np.meshgrid(x, y), axis=-1)
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])

    def steep(baseline: float) -> np.ndarray:
        halves = (0.5 * baseline * axis for axis in (east, north))
        rises = [_height(surface.field, points + half) - _height(surface.field, points - half) for half in halves]
        return np.hypot(*rises) / baseline

    around = 2 * round(_CLEAR / surface.field.resolution) + 1
    bumps = surface.bumps
    if not bumps.is_flat:
        bumps = HeightField(maximum_filter(bumps.heights, around), bumps.resolution, bumps.origin)
    large, rock = steep(LARGE), _height(bumps, points)
    cost = 1.0 + (large / _STEEP) ** 2 + 0.5 * (steep(ROBOT) / _STEEP) ** 2 + 2.0 * (rock / _TALL) ** 2
    closed = ~((large < _IMPASSABLE) & (rock < _TALLEST))  # what is no number is closed too
    near = maximum_filter(np.where(closed, 0.0, cost), 2 * round(_WIDE / _CELL) + 1)
    return x, y, np.where(closed, np.inf, near)


def _height(field: HeightField, points: np.ndarray) -> np.ndarray:
    return field.height(points[..., 0], points[..., 1])


def _about_plane(heights: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(n,) m, standard deviation of ``heights`` (n, A, B) about their best plane."""
    rest = heights - heights.mean((1, 2), keepdims=True)
    for axis in (along, across):
        u = np.broadcast_to(axis - axis.mean((1, 2), keepdims=True), rest.shape)
        rest = rest - u * (rest * u).sum((1, 2), keepdims=True) / np.maximum((u * u).sum((1, 2), keepdims=True), 1e-12)
    return rest.std((1, 2))


def _grid(cost: np.ndarray) -> coo_array:
    """Neighbours of an (R, C) map, each of eight at the mean cost of the two times their distance."""
    rows, cols = cost.shape
    number = np.arange(cost.size).reshape(cost.shape)
    starts, ends, weights = [], [], []
    for dj, di in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = (slice(0, rows - dj), slice(max(0, -di), cols - max(0, di)))
        b = (slice(dj, rows), slice(max(0, di), cols + min(0, di)))
        weight = 0.5 * (cost[a] + cost[b]) * _CELL * np.hypot(di, dj)
        open_ = np.isfinite(weight)
        starts.append(number[a][open_])
        ends.append(number[b][open_])
        weights.append(weight[open_])
    s, e, w = (np.concatenate(parts) for parts in (starts, ends, weights))
    return coo_array((np.tile(w, 2), (np.concatenate([s, e]), np.concatenate([e, s]))), (cost.size, cost.size)).tocsr()


def _straightened(path: np.ndarray, far: np.ndarray, cost: HeightField) -> np.ndarray:
    """The corners of a path (P, 2) whose costs from its start are ``far`` (P,): straight lines in place of steps where
    they cost hardly more."""
    corners, here = [0], 0
    while here < len(path) - 1:
        for there in range(len(path) - 1, here, -1):
            way = path[there] - path[here]
            length = float(np.hypot(*way))
            line = path[here] + np.linspace(0.0, 1.0, max(2, round(2 * length / _CELL)))[:, None] * way
            with np.errstate(invalid="ignore"):
                mean = float(_height(cost, line).mean())
            if there == here + 1 or mean * length <= _ROUND * (far[there] - far[here]):
                break
        corners.append(there)
        here = there
    return path[corners]
