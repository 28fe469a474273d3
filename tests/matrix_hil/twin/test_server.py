"""The stand-in server against the real ``unrealcv`` client, over a real socket."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import unrealcv
from PIL import Image

from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from matrix_hil.virtual.unreal.cli import main
from sim.errors import LunarError
from sim.terrain.height_field import HeightField


@pytest.fixture
def server(grounds: dict[str, HeightField]) -> Iterator[TwinServer]:
    with TwinServer(grounds["flat"], ServerConfig(port=0, width=32, height=24, half_float=False)) as running:
        yield running


@pytest.fixture
def client(server: TwinServer) -> Iterator[unrealcv.Client]:
    real = unrealcv.Client(("127.0.0.1", server.port))
    assert real.connect()
    yield real
    real.disconnect()


def test_the_real_client_accepts_it_and_knows_its_commands(client: unrealcv.Client) -> None:
    assert client.isconnected()
    assert client._command_capabilities_available
    assert client.request("vget /unrealcv/version").count(".") == 2
    assert client.request("vget /cameras").split() == ["PlayerCamera", "FusionCamera_1"]
    with pytest.warns(UserWarning, match="may not support"):
        assert client.request("vget /moon/phase").startswith("error")


def test_poses_are_kept_in_unreal_numbers(client: unrealcv.Client) -> None:
    assert client.request("vset /camera/1/location 100 -20.5 300") == "ok"
    assert client.request("vset /camera/1/rotation -90 15 0") == "ok"
    assert client.request("vset /camera/1/fov 75") == "ok"
    assert client.request("vset /camera/1/size 20 10") == "ok"
    assert client.request("vget /camera/1/location") == "100.000 -20.500 300.000"
    assert client.request("vget /camera/1/rotation") == "-90.000 15.000 0.000"
    assert client.request("vget /camera/1/fov") == "75.000"
    assert client.request("vget /camera/1/size") == "20 10"
    assert client.request("vget /camera/0/rotation") == "0.000 0.000 0.000"


def test_objects_and_the_game(client: unrealcv.Client) -> None:
    assert "robot" in client.request("vget /objects").split()
    assert client.request("vset /object/robot/location 1 2 3") == "ok"
    assert client.request("vset /object/robot/rotation 0 90 0") == "ok"
    assert client.request("vget /object/robot/location") == "1.000 2.000 3.000"
    assert client.request("vget /object/robot/rotation") == "0.000 90.000 0.000"
    assert client.request("vset /action/game/pause") == "ok"
    assert "Paused" in client.request("vget /unrealcv/status")
    assert client.request("vset /action/game/resume") == "ok"
    assert "Running" in client.request("vget /unrealcv/status")


def test_it_says_how_it_is_set_up(server: TwinServer, client: unrealcv.Client) -> None:
    status = client.request("vget /unrealcv/status")
    for line in (f"Port: {server.port}", "Width: 32", "Height: 24", "Config file: "):
        assert line in status
    assert {"vget /unrealcv/status", "vset /cameras/spawn"} <= set(client.request("vget /unrealcv/help").splitlines())
    assert client.request("vget /unrealcv/echo two words") == "two words"
    with pytest.warns(UserWarning, match="may not support"):
        assert client.request("vget /moon") == "error Can not find a handler for URI 'vget /moon'"


def test_view_modes_are_kept(client: unrealcv.Client) -> None:
    for mode in ("lit", "depth", "object_mask", "normal"):
        assert client.request(f"vset /viewmode {mode}") == "ok"
        assert client.request("vget /viewmode") == mode
    assert client.request("vset /viewmode x-ray").startswith("error")


def test_objects_have_the_colours_of_the_mask(client: unrealcv.Client) -> None:
    colors = [client.request(f"vget /object/{name}/color") for name in client.request("vget /objects").split()]
    assert len(set(colors)) == len(colors) > 1
    assert client.request("vset /object/ground/color 10 200 30") == "ok"
    assert client.request("vget /object/ground/color") == "(R=10,G=200,B=30,A=255)"
    client.request("vset /camera/1/rotation -90 0 0")
    mask = np.load(io.BytesIO(client.request("vget /camera/1/object_mask npy")))
    assert (mask == (10, 200, 30)).all()
    assert client.request("vset /object/ground/color 10 300 30").startswith("error")


def test_a_spawned_camera_is_one_more(client: unrealcv.Client) -> None:
    assert client.request("vset /cameras/spawn") == "FusionCamera_2"
    assert client.request("vget /cameras").split()[-1] == "FusionCamera_2"
    assert client.request("vset /camera/2/location 1 2 3") == "ok"
    assert client.request("vget /camera/2/size") == "32 24"


def test_images_are_written_as_files_of_a_name_that_stays_in_its_folder(
    server: TwinServer, client: unrealcv.Client
) -> None:
    client.request("vset /camera/1/rotation -90 0 0")
    picture = Path(client.request("vget /camera/1/lit own.png"))
    depth = Path(client.request("vget /camera/1/depth own.npy"))
    unnamed = [Path(client.request("vget /camera/1/lit")) for _ in range(2)]
    assert picture.name == "own.png" and len({*unnamed, picture, depth}) == 4
    np.testing.assert_array_equal(np.asarray(Image.open(picture)), np.asarray(Image.open(unnamed[1])))
    assert np.load(depth).shape == (24, 32)
    for name in ("../own.png", "/own.png", "a/own.png", "own.exr", "png/..", ".."):
        assert client.request(f"vget /camera/1/lit {name}").startswith("error")
    server.stop()
    assert not picture.exists()


def test_a_pair_of_eyes_keeps_its_distance(client: unrealcv.Client) -> None:
    assert client.request("vset /action/eyes_distance 40") == "ok"
    for rotation in ("0 0 0", "20 -70 10", "-90 15 0"):
        client.request(f"vset /camera/0/rotation {rotation}")
        left, right, actor = (
            np.array(client.request(f"vget /{what}/location").split(), float)
            for what in ("camera/0", "camera/1", "actor")
        )
        assert np.linalg.norm(right - left) == pytest.approx(40.0, abs=0.01)
        np.testing.assert_array_equal(actor, left)
    client.request("vset /camera/0/rotation 0 0 0")
    client.request("vset /camera/0/location 0 0 100")
    assert client.request("vget /camera/1/location") == "0.000 40.000 100.000", "to the right is Unreal's +y"


def test_a_landscape_is_in_the_picture_and_not_in_depth(grounds: dict[str, HeightField]) -> None:
    with TwinServer(grounds["rough"], ServerConfig(port=0, landscape=True)) as server:
        client = unrealcv.Client(("127.0.0.1", server.port))
        assert client.connect()
        client.request("vset /camera/1/rotation -90 0 0")
        depth, lit = (np.load(io.BytesIO(client.request(f"vget /camera/1/{v} npy"))) for v in ("depth", "lit"))
        client.disconnect()
    assert (depth == 65504.0).all() and lit.any()


@pytest.mark.parametrize("command", [
    "vset /camera/1/location 1 2", "vset /camera/1/location a b c", "vset /camera/1/location nan 0 0",
    "vget /camera/7/location", "vget /object/ghost/location", "vset /camera/1/fov 400", "vset /camera/1/size 0 9",
    "vget /camera/1/depth exr", "", "nonsense",
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:The connected UnrealCV server may not support")
def test_what_cannot_be_done_is_an_error(client: unrealcv.Client, command: str) -> None:
    assert client.request(command).startswith("error")
    assert client.request("vget /camera/1/fov") == "90.000"


@pytest.mark.parametrize("view", ["lit", "depth", "normal", "object_mask"])
def test_images_come_in_every_format(client: unrealcv.Client, view: str) -> None:
    client.request("vset /camera/1/rotation -90 0 0")
    array = np.load(io.BytesIO(client.request(f"vget /camera/1/{view} npy")), allow_pickle=False)
    assert array.shape[:2] == (24, 32) and array.any()
    for form in ("png", "bmp"):
        data = client.request(f"vget /camera/1/{view} {form}")
        picture = np.asarray(Image.open(io.BytesIO(data if isinstance(data, bytes) else data.encode())))
        assert picture.shape[:2] == (24, 32)
        if view != "depth":
            np.testing.assert_array_equal(picture, array)


def test_depth_in_metres_along_the_ray(grounds: dict[str, HeightField]) -> None:
    cfg = ServerConfig(port=0, width=32, height=32, depth_unit="m", depth_kind="ray", half_float=False)
    with TwinServer(grounds["flat"], cfg) as server:
        client = unrealcv.Client(("127.0.0.1", server.port))
        assert client.connect()
        client.request("vset /camera/1/location 0 0 400")
        client.request("vset /camera/1/rotation -90 0 0")
        depth = np.load(io.BytesIO(client.request("vget /camera/1/depth npy")))
        client.disconnect()
    assert depth[15:17, 15:17].mean() == pytest.approx(4.0, abs=0.01)
    assert depth[0, 0] == pytest.approx(4.0 * np.sqrt(1 + 2 * (31 / 32) ** 2), rel=1e-5)


def test_a_second_client_waits_until_the_first_has_gone(server: TwinServer, client: unrealcv.Client) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 2.0) as second:
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.recv(1)
        client.disconnect()
        second.settimeout(5.0)
        magic, length = struct.unpack("<II", second.recv(8))
        assert magic == 0x9E2B83C1 and second.recv(length).startswith(b"connected")


def test_it_drops_who_does_not_speak_the_protocol(server: TwinServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5.0) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while stranger.recv(100):
                continue
    client = unrealcv.Client(("127.0.0.1", server.port))
    assert client.connect()
    client.disconnect()


def test_a_taken_port_is_named(server: TwinServer, grounds: dict[str, HeightField]) -> None:
    with pytest.raises(LunarError, match=f"port {server.port}"):
        TwinServer(grounds["flat"], ServerConfig(port=server.port))


def test_the_command_serves_a_preset_until_interrupted() -> None:
    code = "import sys; from matrix_hil.virtual.unreal.cli import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--terrain", "crater-rim", "--server.port", "0",
         "--fault.kind", "corrupt"], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.split("127.0.0.1:")[1].split(";")[0])
        client = unrealcv.Client(("127.0.0.1", port))
        assert client.connect()
        client.request("vset /camera/1/rotation -90 0 0")
        assert client.request("vget /camera/1/depth npy") == b"\x93NUMPY but not really", "told to misbehave once"
        client.request("vset /camera/1/fov 5")
        depth = []
        for x in (0, 200, 400):  # up the outer wall of the crater, whose rim lies 2 m ahead, and down into it
            client.request(f"vset /camera/1/location {x} 0 2000")
            depth.append(float(np.median(np.load(io.BytesIO(client.request("vget /camera/1/depth npy"))))))
        assert depth[1] < depth[0] - 10.0 and depth[1] < depth[2] - 10.0
        client.disconnect()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 0 and "stopped" in out
    finally:
        process.kill()
        process.wait()


def test_the_command_refuses_unknown_options() -> None:
    with pytest.raises(LunarError, match="kind"):
        main(["serve", "--terrain.kinds", "flat"])
    with pytest.raises(LunarError, match="'lava' is unknown"):
        main(["--terrain.kind", "lava"])
