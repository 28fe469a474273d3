"""What the twin client says at the start when Unreal shows no ground, or answers with something that is no image."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import pytest

from matrix_hil.twin import TwinClient, TwinConfig
from matrix_hil.virtual.unreal import ServerConfig, TwinServer, commands
from sim.errors import LunarError
from sim.terrain.height_field import HeightField

pytestmark = pytest.mark.wall_clock


@pytest.fixture
def server(grounds: dict[str, HeightField]) -> Iterator[TwinServer]:
    with TwinServer(grounds["smooth"], ServerConfig(port=0)) as running:
        yield running


@pytest.mark.parametrize(("unit", "kind"), [("cm", "plane"), ("m", "ray"), ("m", "plane")])
def test_a_landscape_that_depth_does_not_show_is_refused_with_what_to_do(
    grounds: dict[str, HeightField], unit: str, kind: str
) -> None:
    cfg = ServerConfig(port=0, landscape=True, depth_unit=unit, depth_kind=kind)  # type: ignore[arg-type]
    with (
        TwinServer(grounds["rough"], cfg) as server,
        pytest.raises(
            LunarError, match=r"sky and no ground.* no Landscape.* static mesh .*lunar terrain export --unreal"
        ),
        TwinClient(TwinConfig(port=server.port, timeout=5.0)),
    ):
        pass


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 65504.0, 1e10])
def test_depth_of_nothing_is_refused_whatever_its_number(
    server: TwinServer, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    encode = commands._encode
    monkeypatch.setattr(commands, "_encode", lambda image, form: encode(np.full_like(image, value), form))
    with (
        pytest.raises(LunarError, match="sky and no ground"),
        TwinClient(TwinConfig(port=server.port, timeout=5.0)),
    ):
        pass


def _noise() -> bytes:
    out = io.BytesIO()
    np.save(out, np.random.default_rng(0).uniform(0, 65504, (96, 96)).astype(np.float32))
    return out.getvalue()


def _objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{}] * 9, object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(("broken", "message"), [
    (_noise(), "changed the depth by .*"),
    (b"", "answered '' in place of a depth image.*"),
    (b"ok", "answered 'ok' in place of a depth image.*"),
    (b"/shots/00000001.npy", "answered '/shots/00000001.npy' in place of a depth image.*"),
    (b"\x93NUMPY\x01", "unreadable.*"),
    (b"\x93NUMPY\x01\x00\x10\x00nonsense that is not a header", "unreadable.*"),
    (_objects(), "unreadable.*plain numbers.*"),
], ids=["noise", "nothing", "ok", "a file", "cut", "header", "objects"])  # fmt: skip
def test_a_first_image_that_is_none_is_named_and_its_remedy_helps(
    server: TwinServer, monkeypatch: pytest.MonkeyPatch, broken: bytes, message: str
) -> None:
    answer, images = server.scene.answer, [0]

    def first_is_broken(command: str) -> bytes:
        images[0] += "/depth" in command
        return broken if images[0] == 1 and "/depth" in command else answer(command)

    monkeypatch.setattr(server.scene, "answer", first_is_broken)
    cfg = TwinConfig(port=server.port, timeout=5.0)
    with pytest.raises(LunarError, match=message + r"twin\.settle_images to 1") as refusal, TwinClient(cfg):
        pass
    assert "pickle" not in str(refusal.value)
    images[0] = 0
    with TwinClient(dataclasses.replace(cfg, settle_images=1)) as twin:
        assert twin.calibration is not None
