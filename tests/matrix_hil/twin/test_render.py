"""The stand-in's images against closed formulas, and the way back from an image to heights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.messages import TwinPatch
from matrix_hil.twin.camera import DOWN, Camera
from matrix_hil.twin.height_map import height_at, patch_from_depth, to_height_field
from matrix_hil.virtual.unreal.render import (
    FAR,
    SUN,
    SURGE,
    Scene,
    encode_normals,
    mask,
    radiance,
    towards,
)
from sim.terrain.height_field import HeightField

FOV = 65.0


def camera(
    x: float, y: float, z: float, rotation: tuple[float, float, float] = DOWN, size: int = 96, fov: float = FOV
) -> Camera:
    """A camera at a ROS position in m."""
    return Camera.from_unreal((100 * x, -100 * y, 100 * z), rotation, fov, (size, size))


def surface_error(patch: TwinPatch, ground: HeightField) -> np.ndarray:
    rows, cols = patch.heights.shape
    x, y = (patch.origin[axis] + np.arange(n) * patch.resolution for axis, n in ((0, cols), (1, rows)))
    return patch.heights - ground.height(*np.meshgrid(x, y))


def test_flat_ground_has_the_cameras_height_as_plane_depth(grounds: dict[str, HeightField]) -> None:
    view = camera(0.3, -2.0, 3.0, fov=90.0)
    hits = Scene(grounds["flat"]).trace(view)
    np.testing.assert_allclose(hits.depth, 3.0, atol=1e-9)
    corner = (hits.depth * view.stretch())[0, 0]
    edge = 95 / 96  # the corner pixel's centre, in half image widths
    assert corner == pytest.approx(3.0 * np.sqrt(1 + 2 * edge**2))


@pytest.mark.parametrize(("x", "y", "rows", "cols"), [
    (0.8, 0.0, slice(0, 40), slice(40, 56)),  # ahead is up in the image
    (-0.8, 0.0, slice(56, 96), slice(40, 56)),
    (0.0, 0.8, slice(40, 56), slice(0, 40)),  # left is left
    (0.0, -0.8, slice(40, 56), slice(56, 96)),
])  # fmt: skip
def test_a_bump_shows_where_it_lies(x: float, y: float, rows: slice, cols: slice) -> None:
    axis = np.arange(201) * 0.05 - 5.0
    bump = 0.2 * np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / 0.02)
    depth = Scene(HeightField(bump, 0.05, (-5.0, -5.0))).trace(camera(0, 0, 3.0)).depth
    row, col = np.unravel_index(np.argmin(depth), depth.shape)
    assert row in range(96)[rows] and col in range(96)[cols]


def test_a_level_camera_sees_ground_below_the_horizon_only(grounds: dict[str, HeightField]) -> None:
    hits = Scene(grounds["flat"]).trace(camera(0, 0, 1.0, (0.0, 0.0, 0.0)))
    assert not hits.hit[:48].any() and (hits.depth[:48] == FAR).all()
    assert hits.hit[49:].all()
    down = (np.arange(96) + 0.5 - 48) / (48 / np.tan(np.radians(FOV / 2)))
    np.testing.assert_allclose(hits.depth[49:, 10], 1.0 / down[49:], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    slope=st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
    rotation=st.tuples(st.floats(-90, -20), st.floats(-180, 180), st.floats(-30, 30)),
    height=st.floats(0.2, 8.0),
)
def test_rays_meet_a_plane_where_geometry_says(slope: tuple, rotation: tuple, height: float) -> None:
    corners = np.array([[-slope[0] - slope[1], slope[0] - slope[1]], [-slope[0] + slope[1], slope[0] + slope[1]]])
    scene = Scene(HeightField(500 * corners, 1000.0, (-500.0, -500.0)))
    view = camera(0.0, 0.0, height, rotation, size=12)
    rays = view.rays()
    closing = slope[0] * rays[..., 0] + slope[1] * rays[..., 1] - rays[..., 2]
    expected = np.where(closing > 0, height / np.where(closing > 0, closing, 1.0), np.inf)
    near = (expected < 100.0) & (closing > 0.1)
    hits = scene.trace(view)
    np.testing.assert_allclose(hits.depth[near], expected[near], atol=1e-6)
    assert (hits.depth[expected > 400.0] > 300.0).all()


def test_a_ridge_hides_what_lies_behind_it() -> None:
    heights = np.zeros((201, 201))
    heights[:, 120:123] = 1.0  # a wall across, one metre high, its near foot at x = 0.95 m
    scene = Scene(HeightField(heights, 0.05, (-5.0, -5.0)))
    view = camera(-2.0, 0.0, 1.2, (-20.0, 0.0, 0.0), size=64)
    hits = scene.trace(view)
    points = view.position + view.rays() * hits.depth[..., None]
    low = points[..., 2] < 0.9
    end = -2.0 + 1.2 / (0.2 / 3.1)  # of the shadow: the ray over the wall's far edge comes down there
    assert not (hits.hit & low & (points[..., 0] > 1.11) & (points[..., 0] < end - 0.1)).any()
    assert (hits.hit & low & (points[..., 0] > end)).any()
    assert (hits.hit & (points[..., 2] > 0.99)).any()


@pytest.mark.parametrize("height", [0.3, 1.5])
def test_no_ray_is_lost_towards_the_horizon(grounds: dict[str, HeightField], height: float) -> None:
    """Below the first pixel of ground in a column there is ground in every pixel: no gaps, black in a picture."""
    ground = grounds["rough"]
    view = camera(0.0, 0.0, float(ground.height(0.0, 0.0)) + height, (-5.0, 30.0, 0.0), fov=90.0)
    hits = Scene(ground).trace(view)
    first = hits.hit.argmax(axis=0)
    assert hits.hit[-1].all() and (hits.hit.sum(axis=0) == len(hits.hit) - first).all()
    points = view.position + view.rays() * hits.depth[..., None]
    off = points[..., 2] - ground.height(points[..., 0], points[..., 1])
    assert np.abs(off[hits.hit]).max() < 0.01
    assert (hits.depth[hits.hit] > 5.0).any()


def test_pictures_follow_the_ground() -> None:
    tilt = np.tan(np.radians(20.0))
    sun = towards(*SUN)
    facing, away = (
        Scene(HeightField(np.array([[0.0, s * 100 * tilt]] * 2), 100.0, (-50.0, -50.0))).trace(camera(0, 0, 60.0))
        for s in (-1.0, 1.0)
    )
    assert radiance(facing, sun).mean() > radiance(away, sun).mean()  # the sun stands over +x
    np.testing.assert_allclose(facing.normal[5, 5], [np.sin(np.radians(20)), 0, np.cos(np.radians(20))], atol=1e-9)
    red, green, blue = encode_normals(facing)[5, 5]
    assert red > 160 and abs(int(green) - 127) <= 1 and blue > 240
    sky = Scene(HeightField(np.zeros((2, 2)), 1.0, (0.0, 0.0))).trace(camera(0, 0, 1.0, (60.0, 0.0, 0.0)))
    assert not radiance(sky, sun).any()
    for picture in (encode_normals(sky), mask(sky)):
        assert picture.shape == (96, 96, 3) and not picture.any()


@pytest.mark.parametrize("height", [8.0, 20.0, 45.0])
@pytest.mark.parametrize("azimuth", [0.0, 90.0, 200.0])
def test_a_ridge_casts_a_shadow_as_long_as_geometry_says(azimuth: float, height: float) -> None:
    """A wall of 0.5 m across the sun's way, seen from above: dark from its foot to 0.5 m / tan(height) behind it."""
    axis = np.arange(-6.0, 6.01, 0.02)
    x, y = np.meshgrid(axis, axis)
    sun = towards(azimuth, height)
    flat = sun[:2] / np.hypot(*sun[:2])
    ground = HeightField(np.where(np.abs(x * flat[0] + y * flat[1] - 1.0) < 0.1, 0.5, 0.0), 0.02, (-6.0, -6.0))
    view = camera(0.0, 0.0, 4.0, size=128, fov=60.0)
    hits = Scene(ground).trace(view, sun)
    points = view.position + view.rays() * hits.depth[..., None]
    behind = 0.9 - points[..., :2] @ flat
    low = points[..., 2] < 0.01
    length = 0.5 / np.tan(np.radians(height))
    assert not hits.sunlit[low & (behind > 0.03) & (behind < length - 0.06)].any()
    assert hits.sunlit[low & (behind > length + 0.06)].all() and hits.sunlit[low & (behind < -0.3)].all()
    light = radiance(hits, sun, ambient=0.02)
    np.testing.assert_allclose(light[~hits.sunlit], 0.02)
    below = Scene(ground).trace(view, towards(azimuth, -1.0))
    assert not below.sunlit.any()


def test_ground_that_faces_a_low_sun_lights_itself_and_a_hill_of_the_same_slope_too() -> None:
    """Nothing shades itself: flat ground, and a bowl whose walls are less steep than the sun is high."""
    axis = np.arange(-4.0, 4.01, 0.05)
    bowl = 0.02 * (axis[None, :] ** 2 + axis[:, None] ** 2)  # 0.226 at the corners: 12.7 degrees
    for heights, height in ((0.0 * bowl, 2.0), (bowl, 14.0), (-bowl, 14.0)):
        hits = Scene(HeightField(heights, 0.05, (-4.0, -4.0))).trace(camera(0, 0, 4.0), towards(33.0, height))
        assert hits.sunlit[hits.hit].all()


def test_ground_is_brightest_with_the_sun_behind_the_eye_and_no_darker_at_the_rim() -> None:
    flat = Scene(HeightField(np.zeros((2, 2)), 200.0, (-100.0, -100.0)))
    sun = towards(0.0, 90.0)
    light = radiance(flat.trace(camera(0, 0, 5.0, fov=90.0, size=97), sun), sun, ambient=0.0)
    assert light[48, 48] == pytest.approx(1.0 + SURGE, rel=1e-3)
    phase = np.degrees(np.arctan(np.hypot(48, 48) / 48.5))
    emission = np.cos(np.radians(phase))
    expected = 2.0 / (1.0 + emission) * (1.0 + SURGE / (1.0 + np.tan(np.radians(phase / 2)) / 0.06))
    assert light[0, 0] == pytest.approx(expected, rel=1e-6)
    assert light[48, 48] > light[48, 60] > light[48, 72]


@pytest.mark.parametrize(("name", "rms", "worst"), [
    ("flat", 1e-4, 1e-4), ("slope", 1e-4, 3e-4), ("side slope", 1e-4, 3e-4), ("smooth", 5e-4, 2e-3),
    ("rough", 2e-3, 0.02),
])  # fmt: skip
@pytest.mark.parametrize("rotation", [DOWN, (-90.0, 33.0, 0.0), (-75.0, 0.0, 0.0), (-90.0, 0.0, 12.0)])
def test_heights_from_depth_agree_with_the_field(
    grounds: dict[str, HeightField], name: str, rms: float, worst: float, rotation: tuple[float, float, float]
) -> None:
    ground = grounds[name]
    for x, y in ((0.0, 0.0), (1.03, 2.2), (-4.4, 5.1)):
        view = camera(x, y, float(ground.height(np.array(x), np.array(y))) + 3.0, rotation)
        patch = patch_from_depth(Scene(ground).trace(view).depth, view, x, y, 1.5, 0.05, time=7.0)
        error = surface_error(patch, ground)
        seen = np.isfinite(error)
        assert seen.all() if rotation == DOWN else seen.mean() > 0.7
        assert np.sqrt(np.mean(error[seen] ** 2)) < rms and np.abs(error[seen]).max() < worst
        assert patch.time == 7.0 and patch.resolution == 0.05


def test_patches_share_their_grid_and_cover_the_request(grounds: dict[str, HeightField]) -> None:
    for x, y in ((0.0, 0.0), (0.123, -7.71), (3.33, 4.999)):
        view = camera(x, y, 3.5)
        patch = patch_from_depth(Scene(grounds["flat"]).trace(view).depth, view, x, y, 1.5, 0.05, 0.0)
        steps = patch.origin / 0.05
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
        x_min, x_max, y_min, y_max = to_height_field(patch).extent
        assert x_min <= x - 1.5 + 1e-9 and x_max >= x + 1.5 and y_min <= y - 1.5 + 1e-9 and y_max >= y + 1.5


def test_what_the_image_does_not_show_is_unknown(grounds: dict[str, HeightField]) -> None:
    view = camera(0.0, 0.0, 1.0)  # too low to see 1.5 m to each side
    depth = Scene(grounds["flat"]).trace(view).depth
    patch = patch_from_depth(depth, view, 0.0, 0.0, 1.5, 0.05, 0.0)
    assert np.isnan(patch.heights[0, 0]) and np.isnan(height_at(patch, 1.4, 0.0))
    assert height_at(patch, 0.2, 0.1) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(height_at(patch, 40.0, 0.0))
    blind = patch_from_depth(np.full((96, 96), np.nan), view, 0.0, 0.0, 1.5, 0.05, 0.0)
    assert np.isnan(blind.heights).all()
