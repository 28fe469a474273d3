"""An array's header is believed as far as the bytes behind it go."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest

from matrix_hil.twin import TwinClient
from matrix_hil.twin.npy import read_array
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.errors import LunarError
from sim.terrain.height_field import HeightField
from tests.matrix_hil.hostile import mutations
from tests.matrix_hil.twin.test_client import QUICK


def saved(array: np.ndarray, claimed: tuple[int, ...] | None = None) -> bytes:
    """A file whose header claims another shape."""
    stream = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, header | {"shape": claimed or array.shape})
    return stream.getvalue() + array.tobytes()


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", "|u1"])
def test_a_whole_array_is_read(kind: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(kind)
    assert np.array_equal(read_array(saved(array)), array)


@pytest.mark.parametrize("claimed", [(100_000, 100_000), (2**40,), (3, 5), (3, 3), (-3, -4), (0,), (2**62, 2**62)])
def test_a_header_that_promises_other_bytes_is_refused(claimed: tuple[int, ...]) -> None:
    """The first would be 80 GB."""
    with pytest.raises(ValueError, match=r"promised|shape"):
        read_array(saved(np.zeros((3, 4)), claimed))


def test_damaged_bytes_raise_nothing_else() -> None:
    for data in mutations(saved(np.ones((16, 16))), seed=3, count=200):
        try:
            read_array(data)
        except ValueError:
            pass


def test_pickles_are_refused() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError):
        read_array(stream.getvalue())


ANSWERS = [saved(np.zeros((3, 4)), (100_000, 100_000)), b"\x93NUMPY\x07\x00", b"", saved(np.zeros((2, 2)))]


@pytest.mark.parametrize("answer", [*ANSWERS, MemoryError("80 GB")], ids=range(5))
def test_no_image_ends_the_thread_that_reads_the_ground(
    grounds: dict[str, HeightField], monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """Every one is an error of this patch, and the next one is right."""
    with (
        TwinServer(grounds["flat"], ServerConfig(port=0)) as server,
        TwinClient(dataclasses.replace(QUICK, port=server.port, deadline=30.0, timeout=30.0)) as twin,
    ):
        sound = TwinClient._ask

        def ask(self: TwinClient, command: str, until: float) -> str | bytes:
            if "depth" not in command:
                return sound(self, command, until)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(TwinClient, "_ask", ask)
        with pytest.raises(LunarError, match="twin"):
            twin.fetch(0.0, 0.0, 1.0)
        assert twin.stats.errors == 1
        monkeypatch.setattr(TwinClient, "_ask", sound)
        assert np.isfinite(twin.fetch(0.0, 0.0, 2.0).heights).all()
