"""The twin client against the stand-in, over a real socket, with and without faults."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from matrix_hil.messages import TwinPatch
from matrix_hil.twin import TwinClient, TwinConfig
from matrix_hil.virtual.unreal import Misbehaviour, ServerConfig, TwinServer
from matrix_hil.virtual.unreal import commands as scene_commands
from sim.errors import LunarError
from sim.terrain.height_field import HeightField

pytestmark = pytest.mark.wall_clock

QUICK = TwinConfig(deadline=0.4, timeout=0.6, retry=0.02, period=0.0)


@pytest.fixture
def server(grounds: dict[str, HeightField]) -> Iterator[TwinServer]:
    with TwinServer(grounds["smooth"], ServerConfig(port=0)) as running:
        yield running


def rms(patch: TwinPatch, ground: HeightField) -> float:
    """m, root mean square error of a patch."""
    rows, cols = patch.heights.shape
    x = patch.origin[0] + np.arange(cols) * patch.resolution
    y = patch.origin[1] + np.arange(rows) * patch.resolution
    return float(np.sqrt(np.mean((patch.heights - ground.height(*np.meshgrid(x, y))) ** 2)))


def patiently(action: Callable[[], TwinPatch | None], accept: Callable[[TwinPatch], bool]) -> TwinPatch:
    """Repeat ``action`` until its patch is accepted; errors in between are allowed."""
    for _ in range(400):
        try:
            patch = action()
        except LunarError:
            patch = None
        if patch is not None and accept(patch):
            return patch
        time.sleep(0.01)
    raise AssertionError("no acceptable patch came")


@pytest.mark.parametrize("name", ["flat", "slope", "side slope", "smooth", "rough"])
def test_heights_agree_with_the_ground_over_the_wire(grounds: dict[str, HeightField], name: str) -> None:
    ground = grounds[name]
    with (
        TwinServer(ground, ServerConfig(port=0)) as server,
        TwinClient(TwinConfig(port=server.port, deadline=5.0)) as twin,
    ):
        for x, y in ((0.0, 0.0), (0.4, -0.3), (-4.0, 5.2), (3.0, 3.0)):
            patch = twin.fetch(x, y, now=12.5)
            assert rms(patch, ground) < 0.003
            assert patch.time == 12.5
        assert twin.stats.requests == 4 and twin.stats.errors == 0 and twin.stats.reconnects == 0


@pytest.mark.parametrize("unit", ["cm", "m"])
@pytest.mark.parametrize("kind", ["plane", "ray"])
@pytest.mark.parametrize("name", ["flat", "slope", "rough"])
def test_calibration_finds_out_what_depth_means(
    grounds: dict[str, HeightField], unit: str, kind: str, name: str
) -> None:
    origin = (1000.0, -500.0, 30.0)
    cfg = ServerConfig(port=0, depth_unit=unit, depth_kind=kind, origin=origin)  # type: ignore[arg-type]
    with (
        TwinServer(grounds[name], cfg) as server,
        TwinClient(TwinConfig(port=server.port, origin=origin, timeout=5.0)) as twin,
    ):
        found = twin.calibration
        assert found is not None and (found.unit, found.kind) == (unit, kind)
        assert found.ground == pytest.approx(float(grounds[name].height(np.array(0.0), np.array(0.0))), abs=0.01)
        assert found.disagreement < 0.005


@pytest.mark.parametrize(
    ("changes", "key"), [({"depth_unit": "m"}, "depth_unit"), ({"depth_kind": "ray"}, "depth_kind")]
)
def test_a_configured_meaning_that_measurement_contradicts_is_refused(
    server: TwinServer, changes: dict, key: str
) -> None:
    with pytest.raises(LunarError, match=f"twin.{key}"), TwinClient(TwinConfig(port=server.port, **changes)):
        pass


def test_images_that_lag_are_found_and_settled(grounds: dict[str, HeightField]) -> None:
    with TwinServer(grounds["smooth"], ServerConfig(port=0, image_lag=True)) as server:
        cfg = TwinConfig(port=server.port, timeout=5.0)
        with pytest.raises(LunarError, match="settle_images"), TwinClient(cfg):
            pass
        with TwinClient(dataclasses.replace(cfg, settle_images=1)) as twin:
            assert rms(twin.fetch(1.0, 1.0, 0.0), grounds["smooth"]) < 0.003


def test_ground_that_differs_from_pose_to_pose_is_refused(
    grounds: dict[str, HeightField], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = scene_commands._encode
    errors = iter([0.0] * 3 + [20.0, 0.0] * 100)  # cm, from the fourth image on, after the unit has been found
    monkeypatch.setattr(scene_commands, "_encode", lambda image, form: encode(image + next(errors), form))
    with (
        TwinServer(grounds["flat"], ServerConfig(port=0)) as server,
        pytest.raises(LunarError, match=r"differs by [\d.]+ cm RMS"),
        TwinClient(TwinConfig(port=server.port, timeout=5.0)),
    ):
        pass


def test_an_image_size_of_zero_is_left_to_unreal(grounds: dict[str, HeightField]) -> None:
    with (
        TwinServer(grounds["smooth"], ServerConfig(port=0, width=128, height=112)) as server,
        TwinClient(TwinConfig(port=server.port, pixels=0, relief=0.8, timeout=5.0, deadline=5.0)) as twin,
    ):
        assert rms(twin.fetch(1.0, 1.0, 0.0), grounds["smooth"]) < 0.003
        assert not any("size" in command for command in server.log)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda depth: depth.ravel(), r"its shape is \(9216,\), and rows and columns"),
        (lambda depth: depth.mean(), r"its shape is \(\), and rows and columns"),
        (lambda depth: np.stack([depth] * 3, axis=-1), r"its shape is \(96, 96, 3\)"),
        (
            lambda depth: depth[10:-10, 10:-10],
            r"images of 96 by 96 pixels and took one of 76 by 76; .*twin\.pixels to 0",
        ),
        (lambda depth: np.where(abs(np.arange(-48, 48)) < 4, 65504.0, depth), "no ground in sight"),
    ],
)
def test_an_image_of_another_shape_or_of_a_hole_is_refused(
    grounds: dict[str, HeightField],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    encode = scene_commands._encode
    monkeypatch.setattr(scene_commands, "_encode", lambda image, form: encode(np.asarray(change(image)), form))
    with (
        TwinServer(grounds["smooth"], ServerConfig(port=0)) as server,
        pytest.raises(LunarError, match=message),
        TwinClient(TwinConfig(port=server.port, timeout=5.0)),
    ):
        pass


@pytest.mark.parametrize("flip", [(-1, 1), (1, -1)])
def test_a_mirrored_image_is_refused_even_on_flat_ground(
    grounds: dict[str, HeightField], monkeypatch: pytest.MonkeyPatch, flip: tuple[int, int]
) -> None:
    encode = scene_commands._encode
    monkeypatch.setattr(scene_commands, "_encode", lambda image, form: encode(image[:: flip[0], :: flip[1]], form))
    with (
        TwinServer(grounds["flat"], ServerConfig(port=0)) as server,
        pytest.raises(LunarError, match="mirrored"),
        TwinClient(TwinConfig(port=server.port, timeout=5.0)),
    ):
        pass


def test_a_camera_that_stays_where_it_is_is_refused(server: TwinServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_commands, "_numbers", lambda words: (0.0, 0.0, 500.0) if len(words) == 3 else (90.0,))
    with pytest.raises(LunarError, match=r"camera 1 was sent to .* choose with twin.camera"):
        with TwinClient(TwinConfig(port=server.port, timeout=5.0)):
            pass


def test_a_camera_that_does_not_exist_is_named(server: TwinServer) -> None:
    with pytest.raises(LunarError, match="/camera/5/fov"), TwinClient(TwinConfig(port=server.port, camera=5)):
        pass


@pytest.mark.parametrize(("kind", "match"), [
    *((kind, "/depth") for kind in ("drop", "garbage", "wrong_id", "corrupt", "disconnect", "late", "delay")),
    *((kind, "location") for kind in ("late", "corrupt", "disconnect")),
])  # fmt: skip
def test_after_a_fault_the_next_patch_is_the_right_one(
    grounds: dict[str, HeightField], server: TwinServer, kind: str, match: str
) -> None:
    with TwinClient(dataclasses.replace(QUICK, port=server.port)) as twin:
        before = twin.fetch(0.0, 0.0, 1.0)
        server.misbehave(Misbehaviour(kind, match=match, seconds=0.6))  # type: ignore[arg-type]
        with pytest.raises(LunarError):
            twin.fetch(0.5, 0.5, 2.0)
        assert twin.stats.errors == 1
        broken = kind in ("garbage", "wrong_id", "corrupt", "disconnect")  # known at once, without waiting in vain
        assert ("timed out" in twin.stats.last_error) != broken
        after = patiently(lambda: twin.fetch(1.0, -0.5, 3.0), lambda patch: True)
        assert rms(after, grounds["smooth"]) < 0.003 and rms(before, grounds["smooth"]) < 0.003
        assert after.time == 3.0
        assert twin.stats.reconnects >= 1


def test_a_delay_within_the_deadline_is_no_fault(grounds: dict[str, HeightField], server: TwinServer) -> None:
    with TwinClient(TwinConfig(port=server.port, deadline=5.0, timeout=5.0)) as twin:
        server.misbehave(Misbehaviour("delay", seconds=0.05))
        assert rms(twin.fetch(0.5, 0.5, 2.0), grounds["smooth"]) < 0.003
        assert twin.stats.errors == 0 and twin.stats.last_latency >= 0.05


def test_no_server_is_one_clear_sentence() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(LunarError, match=rf"127\.0\.0\.1:{port}.*the rig stays still"):
        TwinClient(TwinConfig(port=port, timeout=0.5)).connect()


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_a_server_that_is_silent_or_something_else_is_refused(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def greet() -> None:
            peer, _ = other.accept()
            with peer, contextlib.suppress(ConnectionError):
                peer.sendall(greeting)
                peer.recv(1)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(LunarError, match="no UnrealCV server answers"):
            TwinClient(TwinConfig(port=port, timeout=0.3)).connect()
        thread.join(timeout=5.0)
        assert not thread.is_alive()


def test_it_comes_back_when_the_server_does(grounds: dict[str, HeightField]) -> None:
    with TwinServer(grounds["smooth"], ServerConfig(port=0)) as first:
        twin = TwinClient(dataclasses.replace(QUICK, port=first.port))
        twin.connect()
        twin.calibrate()
        twin.fetch(0.0, 0.0, 0.0)
    for _ in range(2):
        with pytest.raises(LunarError):
            twin.fetch(0.0, 0.0, 1.0)
    with TwinServer(grounds["smooth"], ServerConfig(port=twin.cfg.port)):
        patch = patiently(lambda: twin.fetch(0.2, 0.2, 2.0), lambda patch: True)
        assert rms(patch, grounds["smooth"]) < 0.003
        assert twin.stats.errors >= 2 and twin.stats.reconnects == 1
        twin.close()


def test_fetching_before_calibration_is_refused(server: TwinServer) -> None:
    twin = TwinClient(TwinConfig(port=server.port))
    twin.connect()
    with pytest.raises(LunarError, match="calibrate"):
        twin.fetch(0.0, 0.0, 0.0)
    twin.close()


def test_a_camera_under_the_ground_reports_no_ground_and_recovers() -> None:
    axis = np.arange(401) * 0.05 - 10.0
    cliff = HeightField(np.broadcast_to(np.clip(axis - 1.5, 0.0, 1.0) * 6.0, (401, 401)).copy(), 0.05, (-10.0, -10.0))
    with (
        TwinServer(cliff, ServerConfig(port=0)) as server,
        TwinClient(TwinConfig(port=server.port, deadline=5.0, timeout=5.0)) as twin,
    ):
        twin.fetch(1.4, 0.0, 0.0)
        with pytest.raises(LunarError, match="no ground in sight"):
            twin.fetch(2.8, 0.0, 0.0)
        patch = twin.fetch(2.8, 0.0, 0.0)
        assert patch.heights[31, 31] == pytest.approx(6.0, abs=0.01)


def test_the_background_thread_looks_ahead_and_stamps_with_the_given_clock(
    grounds: dict[str, HeightField], server: TwinServer
) -> None:
    ticks = iter(range(100, 100_000))
    cfg = dataclasses.replace(QUICK, port=server.port, lead=0.5)
    with TwinClient(cfg, clock=lambda: float(next(ticks))) as twin:
        assert twin.latest() is None
        twin.request(1.0, 2.0, vx=0.6, vy=-0.4)
        patch = patiently(twin.latest, lambda patch: True)
        assert patch.time >= 100.0
        np.testing.assert_allclose(patch.origin, np.array([1.0 + 0.3, 2.0 - 0.2]) - 1.5, atol=0.051)
        assert rms(patch, grounds["smooth"]) < 0.003
        twin.request(0.0, 0.0, vx=100.0)  # however fast, the ground underfoot stays in the patch
        newer = patiently(twin.latest, lambda patch: patch.origin[0] < -0.5)
        assert newer.origin[0] == pytest.approx(-0.75, abs=0.051) and newer.time > patch.time


def test_the_background_thread_keeps_the_stale_patch_and_recovers(
    grounds: dict[str, HeightField], server: TwinServer
) -> None:
    with TwinClient(dataclasses.replace(QUICK, port=server.port), clock=time.monotonic) as twin:
        twin.request(0.0, 0.0)
        first = patiently(twin.latest, lambda patch: True)
        server.misbehave(Misbehaviour("drop"))
        twin.request(1.0, 0.0)
        for _ in range(500):
            if twin.stats.errors:
                break
            time.sleep(0.01)
        assert twin.stats.errors == 1
        remembered = patiently(twin.latest, lambda patch: patch is not first)
        assert first.time - 1e-3 <= remembered.time < first.time, "it is as old as what it shows"
        seen = dataclasses.replace(remembered, heights=remembered.heights[:, :40])
        assert rms(seen, grounds["smooth"]) < 0.003 and np.isnan(remembered.heights[:, -1]).all()

        def ask_again() -> TwinPatch | None:
            twin.request(2.0, 0.0)
            return twin.latest()

        second = patiently(ask_again, lambda patch: patch.time > first.time)
        assert rms(second, grounds["smooth"]) < 0.003


def test_closing_ends_every_thread(server: TwinServer) -> None:
    with TwinClient(dataclasses.replace(QUICK, port=server.port)) as twin:
        twin.request(0.0, 0.0)
        patiently(twin.latest, lambda patch: True)
    for _ in range(200):
        names = {thread.name for thread in threading.enumerate()}
        if not names & {"twin-client", "unrealcv-receive"}:
            break
        time.sleep(0.01)
    assert not names & {"twin-client", "unrealcv-receive"}


def test_ground_ahead_is_read_before_the_robot_comes_and_bridges_silence(
    grounds: dict[str, HeightField], server: TwinServer
) -> None:
    with TwinClient(dataclasses.replace(QUICK, port=server.port, prefetch=8.0)) as twin:
        twin.fetch(0.0, 0.0, 1.0)
        assert twin.known(2.0, 0.0, 1.0) is None
        for k in range(4):
            more = twin.look_ahead(0.0, 0.0, 0.4, 0.0, 1.1 + 0.1 * k)
            assert more == (k < 2), "3.2 m ahead are two strides of 1.2 m"
        assert twin.stats.prefetched == 2
        server.misbehave(Misbehaviour("drop", times=100))
        with pytest.raises(LunarError):
            twin.fetch(2.0, 0.0, 5.0)
        patch = twin.known(2.0, 0.0, 5.0)
        assert patch is not None and 1.1 - 1e-2 < patch.time <= 1.2
        assert rms(patch, grounds["smooth"]) < 0.003
        assert twin.known(2.0, 0.0, 1.2 + twin.cfg.remember + 0.1) is None, "too long ago"


def test_nothing_is_read_ahead_of_a_robot_that_stands(server: TwinServer) -> None:
    with TwinClient(dataclasses.replace(QUICK, port=server.port)) as twin:
        twin.fetch(0.0, 0.0, 1.0)
        assert not twin.look_ahead(0.0, 0.0, 0.0, 0.0, 1.1)
        assert twin.stats.requests == 1


@pytest.mark.parametrize(("error", "accepted"), [(0.0, True), (0.01, True), (0.03, False), (-0.03, False)])
def test_the_ground_at_the_start_is_compared_with_what_the_author_says(
    server: TwinServer, error: float, accepted: bool
) -> None:
    cfg = dataclasses.replace(QUICK, port=server.port, known_ground=error)  # the smooth ground is zero there
    if accepted:
        with TwinClient(cfg) as twin:
            assert twin.calibration is not None
    else:
        with pytest.raises(LunarError, match="known_ground"), TwinClient(cfg):
            pass


def test_ground_that_jumps_is_shown_higher(grounds: dict[str, HeightField], server: TwinServer) -> None:
    with TwinClient(dataclasses.replace(QUICK, port=server.port)) as twin:
        before = twin.fetch(0.0, 0.0, 1.0)
        server.misbehave(Misbehaviour("jump", metres=0.4))
        during = twin.fetch(0.0, 0.0, 2.0)
        after = twin.fetch(0.0, 0.0, 3.0)
    np.testing.assert_allclose(during.heights, before.heights + 0.4, atol=0.02)
    np.testing.assert_allclose(after.heights, before.heights, atol=0.005)
