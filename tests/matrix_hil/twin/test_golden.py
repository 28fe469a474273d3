"""What a camera must see, written from the words of UnrealCV's and Unreal's documentation and read by the stock client.

Nothing here uses our axes, camera or client, so that a mistake which they share with the stand-in would show. UnrealCV:
"location x y z, in centimetres", "rotation pitch yaw roll, in degrees", images row by row from the upper left, lit and
depth of the same camera. Unreal: x forward, y right, z up; positive yaw turns to the right, positive pitch looks up.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import unrealcv
from PIL import Image

from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.terrain.height_field import HeightField

CAMERA = "/camera/1"


@pytest.fixture(scope="module")
def tower() -> Iterator[unrealcv.Client]:
    """Flat ground with one tower, 2 m high and 1 m wide, at Unreal's X = 500 cm, Y = 300 cm: in front, to the right."""
    axis = np.arange(401) * 0.05 - 10.0
    x, y = np.meshgrid(axis, axis)
    heights = np.where((np.abs(x - 5.0) < 0.5) & (np.abs(y + 3.0) < 0.5), 2.0, 0.0)  # ROS: y = -3 m is to the right
    with TwinServer(HeightField(heights, 0.05, (-10.0, -10.0)), ServerConfig(port=0, width=64, height=64)) as server:
        client = unrealcv.Client(("127.0.0.1", server.port))
        assert client.connect()
        yield client
        client.disconnect()


@pytest.fixture(scope="module")
def plain() -> Iterator[unrealcv.Client]:
    """Flat ground to the horizon."""
    with TwinServer(
        HeightField(np.zeros((2, 2)), 1.0, (0.0, 0.0)), ServerConfig(port=0, width=64, height=64)
    ) as server:
        client = unrealcv.Client(("127.0.0.1", server.port))
        assert client.connect()
        yield client
        client.disconnect()


def look(client: unrealcv.Client, location: str, rotation: str, view: str = "depth") -> np.ndarray:
    assert client.request(f"vset {CAMERA}/location {location}") == "ok"
    assert client.request(f"vset {CAMERA}/rotation {rotation}") == "ok"
    return np.load(io.BytesIO(client.request(f"vget {CAMERA}/{view} npy")), allow_pickle=False)


def nearest(depth: np.ndarray) -> tuple[float, float]:
    """Mean column and row of the nearest fifth of a metre, as shares of the image from its upper left."""
    row, col = np.nonzero(depth < depth.min() + 20.0)
    return float(col.mean()) / depth.shape[1], float(row.mean()) / depth.shape[0]


def test_depth_is_in_centimetres(tower: unrealcv.Client) -> None:
    """3 m above flat ground."""
    assert look(tower, "0 0 300", "-90 0 0")[28:36, 28:36].mean() == pytest.approx(300.0, abs=1.5)


# Camera 1.5 m above the ground: rotation, then where the tower stands in the image (column's share from the left).
@pytest.mark.parametrize(("location", "rotation", "low", "high"), [
    ("0 0 150", "0 0 0", 0.72, 0.95),  # to the right of straight ahead
    ("0 300 150", "0 0 0", 0.40, 0.60),  # moved 3 m to the right: straight ahead
    ("0 600 150", "0 0 0", 0.05, 0.28),  # 3 m further: to the left
    ("0 0 150", "0 31 0", 0.40, 0.60),  # turned to the right, towards it
    ("500 0 150", "0 90 0", 0.40, 0.60),  # beside it, turned by a right angle to the right
    ("1000 300 150", "0 180 0", 0.40, 0.60),  # from behind
])  # fmt: skip
def test_a_tower_stands_where_the_documentation_says(
    tower: unrealcv.Client, location: str, rotation: str, low: float, high: float
) -> None:
    depth = look(tower, location, rotation)
    upper = np.where(np.arange(64)[:, None] < 32, depth, 1e9)  # above the horizon there is nothing else
    column, _ = nearest(upper)
    assert low < column < high


@pytest.mark.parametrize(("pitch", "horizon"), [(0, 0.5), (20, 0.68), (-20, 0.32)])
def test_positive_pitch_looks_up(plain: unrealcv.Client, pitch: int, horizon: float) -> None:
    """The horizon sinks in the image. 90 degrees of view: tan(20 degrees) is 0.18 of its height."""
    mask = look(plain, "0 0 150", f"{pitch} 0 0", "object_mask").any(axis=-1)
    assert np.argmax(mask.any(axis=1)) / 64 == pytest.approx(horizon, abs=0.05)


def test_straight_down_the_upper_edge_is_towards_x_and_the_right_edge_towards_y(tower: unrealcv.Client) -> None:
    column, row = nearest(look(tower, "400 200 600", "-90 0 0"))
    assert row < 0.5 < column


def test_positive_roll_leans_to_the_right(plain: unrealcv.Client) -> None:
    """Clockwise seen from behind: the camera's right side is lower, and the picture shows more ground there."""
    mask = look(plain, "0 0 150", "0 0 20", "object_mask").any(axis=-1)
    assert mask[:, -20:].sum() > 1.5 * mask[:, :20].sum()


def test_normals_are_in_unreals_axes(plain: unrealcv.Client) -> None:
    """(n + 1) / 2 in 8 bits: level ground is (0, 0, 1)."""
    look(plain, "0 0 300", "-90 0 0")
    data = plain.request(f"vget {CAMERA}/normal png")
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(data)))[32, 32], (128, 128, 255), atol=1)
