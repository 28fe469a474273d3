"""``twin.filter``: what the rig sees of the ground goes through the same filters as a map on the command line."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from matrix_hil.messages import TwinPatch
from matrix_hil.twin import TwinClient, TwinConfig
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.errors import LunarError
from sim.terrain.height_field import HeightField
from sim.terrain.restore import FILTERS


@pytest.mark.wall_clock
def test_patches_come_filtered_and_memory_keeps_what_was_seen(grounds: dict[str, HeightField]) -> None:
    with TwinServer(grounds["rough"], ServerConfig(port=0)) as server:
        for name in ("none", "gauss2"):
            with TwinClient(TwinConfig(port=server.port, deadline=5.0, timeout=5.0, filter=name)) as twin:
                fetched, known = twin.fetch(0.5, 0.2, 0.0), twin.known(0.5, 0.2, 0.1)
            assert known is not None
            if name == "none":
                seen = fetched.heights
            np.testing.assert_array_equal(fetched.heights, known.heights)
        np.testing.assert_array_equal(fetched.heights, FILTERS["gauss2"](seen, 0.05).astype(np.float32))
        assert not np.array_equal(fetched.heights, seen)


def test_unknown_ground_stays_unknown_and_flat_ground_flat() -> None:
    heights = np.random.default_rng(0).normal(0.0, 0.02, (62, 62))
    heights[20:30, 20:30] = np.nan
    for name in FILTERS:
        twin = TwinClient(TwinConfig(filter=name))
        out = twin._filtered(TwinPatch(0.0, np.zeros(2), 0.05, heights)).heights
        np.testing.assert_array_equal(np.isnan(out), np.isnan(heights))
        np.testing.assert_array_equal(out, out.astype(np.float32))
        flat = twin._filtered(TwinPatch(0.0, np.zeros(2), 0.05, np.full((62, 62), 1.25))).heights
        np.testing.assert_allclose(flat, 1.25, atol=1e-5)


def test_a_filter_that_fails_on_what_is_remembered_does_not_end_the_thread_that_reads() -> None:
    twin, asked = TwinClient(TwinConfig(retry=0.001)), threading.Semaphore(0)

    def fails(x: float, y: float, now: float) -> TwinPatch:
        asked.release()
        raise LunarError("twin.filter 'mine' failed")

    twin.fetch = twin.known = fails  # type: ignore[method-assign]
    try:
        for _ in range(3):
            twin.request(0.0, 0.0)
            assert asked.acquire(timeout=10.0) and asked.acquire(timeout=10.0)
    finally:
        twin.close()


@pytest.mark.parametrize("place", [(np.nan, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, np.inf), (0.0, 0.0, np.nan, 0.0)])
def test_a_place_that_is_none_is_not_asked_for(place: tuple[float, float, float, float]) -> None:
    twin = TwinClient(TwinConfig())
    twin.request(*place)
    assert twin._thread is None and twin._wanted is None


@pytest.mark.parametrize("name", ["best", "mine.py:mine", "none.onnx"])
def test_a_filter_that_does_not_exist_is_refused_before_anything_is_asked(name: str) -> None:
    with pytest.raises(LunarError, match=name.replace(".", r"\.")):
        TwinClient(TwinConfig(filter=name))
