"""Nobody reaches a page but by the address that was printed, and nobody does more there than the page offers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import viser
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sim.config import ROOT
from sim.errors import LunarError
from sim.view import server as view
from sim.view.guard import BEAT_PERIOD, permitted, refusal
from sim.view.server import PrivateServer, close_server, open_server
from tests.browser import needs_chromium, open_tab, until

TOKEN = "t0ken"


@pytest.fixture
def server() -> Iterator[PrivateServer]:
    opened = open_server()
    yield opened
    close_server(opened)


def socket(server: PrivateServer, url: str | None = None, **headers: Any) -> ClientConnection:
    """A connection as a browser on the page opens it, with ``headers`` in place of its own."""
    url = (url or server.url).replace("http://", "ws://").rstrip("/")
    place = f"127.0.0.1:{server.get_port()}"
    named = {"Origin": f"http://{place}"} | headers
    return connect(
        url, origin=named.pop("Origin"), additional_headers={k: v for k, v in named.items() if v is not None},
        subprotocols=[Subprotocol(f"viser-v{viser.__version__}")], proxy=None,
    )  # fmt: skip


def say(client: ClientConnection, kind: str, **fields: Any) -> None:
    client.send(msgspec.msgpack.encode({"type": kind, **fields}))


def asked(path: str = f"/{TOKEN}", upgrade: str | None = "websocket", **headers: str) -> str:
    """Why such a request is refused; from the page itself by default."""
    named = Headers({"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080"} | headers)
    if upgrade:
        named["Upgrade"] = upgrade
    for name, value in headers.items():
        if not value:
            del named[name]
    return refusal(path, named, TOKEN)


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", None])
def test_the_page_itself_comes_in(upgrade: str | None) -> None:
    assert asked(upgrade=upgrade) == ""
    for place in ("localhost:8080", "[::1]:8080", "127.0.0.1:9000"):  # the last through a tunnel
        assert asked(upgrade=upgrade, Host=place, Origin=f"http://{place}") == ""
    assert asked(upgrade=upgrade, Host="localhost:8080", Origin="http://127.0.0.1:8080") == ""
    assert asked(path=f"/{TOKEN}/?x=1", upgrade=upgrade) == ""


@pytest.mark.parametrize("path", ["/", "", f"/{TOKEN}x", f"/{TOKEN[:-1]}", f"/x/{TOKEN}", f"/?{TOKEN}", "/tökén"])
def test_without_the_token_nobody_does(path: str) -> None:
    assert "token" in asked(path=path) and "token" in asked(path=path, upgrade=None, Origin="")


@pytest.mark.parametrize("upgrade", ["websocket", None])
@pytest.mark.parametrize(
    "host", ["evil.example:8080", "evil.example", "127.0.0.1.evil.example:8080", "192.168.0.2:8080", "", "a@127.0.0.1"]
)
def test_a_name_that_only_leads_here_is_refused(host: str, upgrade: str | None) -> None:
    """DNS rebinding: the browser of a page of evil.example asks 127.0.0.1 and believes that it is the same place."""
    assert asked(upgrade=upgrade, Host=host, Origin=f"http://{host or 'x'}")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "null", "https://127.0.0.1:8080", "http://127.0.0.1:8081", "http://127.0.0.1", "file://",
        "http://localhost:8080.evil.example",
    ],
)  # fmt: skip
def test_another_page_is_refused(origin: str) -> None:
    assert "another page" in asked(Origin=origin) and "another page" in asked(Origin=origin, upgrade=None)


def test_a_socket_says_where_it_comes_from_and_a_link_need_not() -> None:
    assert asked(Origin="") and not asked(Origin="", upgrade=None)


def test_the_rule_needs_nothing_that_somebody_else_has_imported() -> None:
    """A name without a port is judged, in a program of nothing else, too."""
    words = "from websockets.datastructures import Headers\nfrom sim.view.guard import refusal\n"
    words += "print(refusal('/token/', Headers(Host='localhost'), 'token'))"
    told = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (told.returncode, told.stdout) == (0, "\n"), told.stderr


def test_the_server_refuses_what_the_rule_does(server: PrivateServer) -> None:
    port = server.get_port()
    with urllib.request.urlopen(server.url) as answer:
        assert b"<html" in answer.read() and answer.headers["Referrer-Policy"] == "no-referrer"
    for url, headers in (
        (f"http://127.0.0.1:{port}/", {}),
        (server.url, {"Host": f"evil.example:{port}"}),
        (server.url, {"Origin": "http://evil.example"}),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(url, headers=headers))
    with pytest.raises(InvalidStatus):
        socket(server, f"http://127.0.0.1:{port}/")
    for origin in ("http://evil.example", None):
        with pytest.raises(InvalidStatus):
            socket(server, Origin=origin)
    with socket(server) as client:
        assert client.recv()
    other = open_server()
    try:
        assert urlsplit(other.url).path != urlsplit(server.url).path, "a token is of one program"
    finally:
        close_server(other)


def test_a_viser_that_cannot_be_guarded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_guarded", lambda guard: contextlib.nullcontext([]))
    with pytest.raises(LunarError, match="unguarded"):
        open_server()


@pytest.mark.parametrize(
    "updates", [{"update_cb": []}, {"is_button": True}, {"value": 1, "removed": True}, {}, "value", None]
)
def test_only_values_are_set(updates: Any) -> None:
    assert not permitted(msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": "x", "updates": updates}))
    assert permitted(msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": "x", "updates": {"value": 1}}))


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\xc1", b"\x01", "text", msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode({"type": ["x"]}),
        msgspec.msgpack.encode({"type": "ShareUrlRequest"}),
        msgspec.msgpack.encode({"type": "FileTransferStartUpload"}),
    ],
)  # fmt: skip
def test_what_a_page_does_not_offer_is_not_heard(message: bytes | str) -> None:
    assert not permitted(message)


def test_a_browser_sets_inputs_and_nothing_else(server: PrivateServer) -> None:
    slider = server.gui.add_slider("s", 0.0, 1.0, 0.1, 0.5)
    shares: list[object] = []
    server.request_share_url = lambda *_: shares.append(1)  # type: ignore[assignment,return-value]
    uuid = slider._impl.uuid
    with socket(server) as client:
        say(client, "GuiUpdateMessage", uuid=uuid, updates={"update_cb": ["x"]})
        say(client, "GuiUpdateMessage", uuid=uuid, updates={"value": 0.7, "removed": True})
        say(client, "ShareUrlRequest")
        client.send("text")
        say(client, "GuiUpdateMessage", uuid=uuid, updates={"value": 0.3})
        until(lambda: slider.value == 0.3)
    assert slider._impl.update_cb == [] and not slider._impl.removed and not shares


def test_signs_of_life_are_the_browsers(server: PrivateServer) -> None:
    beat = f"{server.url}beat"
    urllib.request.urlopen(beat).close()
    assert server.guard.beats == 0, "no page is shown: its buttons could not be pressed"
    with socket(server) as client:
        say(
            client, "ViewerCameraMessage", wxyz=[1, 0, 0, 0], position=[0, 0, 1], fov=1.0, near=0.1, far=9.0,
            image_height=9, image_width=9, look_at=[0, 0, 0], up_direction=[0, 0, 1],
        )  # fmt: skip
        until(server.get_clients)
        urllib.request.urlopen(beat).close()
        assert server.guard.beats == 1
    until(lambda: not server.get_clients())
    urllib.request.urlopen(beat).close()
    assert server.guard.beats == 1


@pytest.mark.wall_clock
@needs_chromium
def test_a_tab_lives_until_it_is_frozen_or_closed(server: PrivateServer, tmp_path: Path) -> None:
    def beats_in(seconds: float) -> int:
        before = server.guard.beats
        time.sleep(seconds)
        return server.guard.beats - before

    assert beats_in(1.0) == 0
    with open_tab(server.url, tmp_path) as tab:
        until(lambda: server.guard.beats >= 3)
        tab.call("Page.setWebLifecycleState", state="frozen")
        until(lambda: beats_in(4 * BEAT_PERIOD) == 0)
        tab.call("Page.setWebLifecycleState", state="active")
        until(lambda: beats_in(2 * BEAT_PERIOD) > 0)
        assert not tab.errors
    until(lambda: not server.get_clients())
    assert beats_in(4 * BEAT_PERIOD) == 0
