"""Remembered ground: what fills holes, what is too old, what lies too far away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.messages import TwinPatch
from matrix_hil.twin.ground_cache import GroundCache

RESOLUTION = 0.05


def ground(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth world without two equal places nearby."""
    return np.sin(x) + 0.5 * np.cos(1.3 * y) + 0.1 * x * y


def patch_at(x: float, y: float, time: float, extent: float = 1.0) -> TwinPatch:
    first = np.floor((np.array([x, y]) - extent) / RESOLUTION + 1e-9) * RESOLUTION
    n = round(2 * extent / RESOLUTION) + 2
    return TwinPatch(time, first, RESOLUTION, truth(first, n))


def truth(first: np.ndarray, n: int) -> np.ndarray:
    return ground(*np.meshgrid(first[0] + np.arange(n) * RESOLUTION, first[1] + np.arange(n) * RESOLUTION))


def assert_true(patch: TwinPatch | None) -> np.ndarray:
    """Every known sample is right; returns which are known."""
    assert patch is not None
    seen = np.isfinite(patch.heights)
    np.testing.assert_allclose(patch.heights[seen], truth(patch.origin, len(seen))[seen], atol=1e-9)
    return seen


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=6), st.floats(-9, 9))
def test_whatever_is_remembered_is_where_it_belongs(places: list[tuple[float, float]], x: float) -> None:
    """Also when the ring has been overwritten many times, on either side of the origin."""
    cache = GroundCache(RESOLUTION, 6.0, 100.0)
    for k, place in enumerate(places):
        cache.add(patch_at(*place, time=float(k)))
    assert assert_true(cache.patch(*places[-1], 1.0, 10.0)).all()
    if (patch := cache.patch(x, places[0][1], 1.0, 10.0)) is not None:
        assert_true(patch)


def test_a_hole_in_an_image_is_filled_from_memory() -> None:
    cache = GroundCache(RESOLUTION, 6.0, 30.0)
    cache.add(patch_at(0.0, 0.0, 1.0))
    new = patch_at(0.1, 0.0, 2.0)
    holes = new.heights.copy()
    holes[10:20, 10:20] = np.nan
    filled = cache.fill(replace(new, heights=holes))
    assert filled.time == 2.0
    assert assert_true(filled).all()
    later = cache.fill(replace(new, heights=holes, time=32.0))
    assert np.isnan(later.heights[12, 12]), "seen 31 s ago, remembered for 30"


def test_a_new_image_replaces_what_was_remembered() -> None:
    cache = GroundCache(RESOLUTION, 6.0, 30.0)
    cache.add(patch_at(0.0, 0.0, 1.0))
    raised = replace(patch_at(0.0, 0.0, 2.0), heights=patch_at(0.0, 0.0, 2.0).heights + 0.3)
    cache.add(raised)
    patch = cache.patch(0.0, 0.0, 1.0, 3.0)
    assert patch is not None
    np.testing.assert_array_equal(patch.heights, raised.heights)


def test_a_patch_is_as_old_as_the_oldest_ground_near_its_middle() -> None:
    cache = GroundCache(RESOLUTION, 8.0, 30.0)
    cache.add(patch_at(0.0, 0.0, 1.0))
    cache.add(patch_at(0.6, 0.0, 2.0))
    for x, time in ((0.0, 1.0), (0.3, 2.0), (1.0, 2.0)):  # at 0.3 all within 0.5 m was seen again
        patch = cache.patch(x, 0.0, 1.0, 3.0)
        assert patch is not None and time - 1e-3 <= patch.time < time


def test_two_patches_never_bear_the_same_time() -> None:
    cache = GroundCache(RESOLUTION, 8.0, 30.0)
    cache.add(patch_at(0.0, 0.0, 1.0))
    patches = [cache.patch(0.0, 0.0, 1.0, 3.0) for _ in range(200)]
    assert len({p.time for p in patches if p}) == 200


@pytest.mark.parametrize(("x", "known"), [(0.4, True), (0.9, True), (1.1, False), (3.0, False)])
def test_what_lies_beyond_what_was_seen_is_unknown(x: float, known: bool) -> None:
    cache = GroundCache(RESOLUTION, 8.0, 30.0)
    assert cache.patch(0.0, 0.0, 1.0, 1.0) is None
    cache.add(patch_at(0.0, 0.0, 1.0))
    assert (cache.patch(x, 0.0, 1.0, 1.0) is not None) == known
    assert cache.knows(x, 0.0, 0.3, 1.0) == (x == 0.4)
