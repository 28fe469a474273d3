"""Who may speak to a page, and what: one rule for every page of the project that can move something.

A web server on this computer is within reach of every page that is open in a browser here, and of every account. What
comes in must therefore have the page's own address, with a token in it that only the program's terminal showed; a
browser must say that it comes from that page and asked for this computer by name. Once inside, it may press and set
what the page put there, and nothing else of the library's.
"""

from __future__ import annotations

import dataclasses
import http.client
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this computer that a browser may have asked for. Another name that leads here is a stranger's."""
MESSAGES = frozenset(
    {
        "ViewerCameraMessage",
        "GuiUpdateMessage",
        "GuiButtonHoldMessage",
        "CommandTriggerMessage",
        "GetRenderResponseMessage",
    }
)
"""What a browser may send. Left out are uploads, and the wish to be reachable from the Internet."""
BEAT_PERIOD = 0.5
"""s between two signs of life of a tab that is open."""
_BEAT = "beat"  # the page of a sign of life
_HEADERS = {"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cache-Control": "no-store"}
_SCRIPT = (
    "<script>{const at=location.pathname.replace(/\\/$/,'')+'/%s';"
    "setInterval(()=>fetch(at,{cache:'no-store'}).catch(()=>{}),%d)}</script>"
)

Answer = Callable[[ServerConnection, Request], Response | None]


class Guard:
    """Judges what reaches a page's server. ``token`` is made anew by every program.

    Args:
        peopled: whether a browser is connected to the page.
    """

    def __init__(self, peopled: Callable[[], bool]) -> None:
        self.token = secrets.token_urlsafe(24)
        self.beats = 0
        """Signs of life of browsers that show the page so far: none without a browser."""
        self._peopled = peopled

    def serve(self, answer: Answer) -> Answer:
        """``answer`` of an unguarded server, for those requests only that are let in."""

        def guarded(connection: ServerConnection, request: Request) -> Response | None:
            if why := refusal(request.path, request.headers, self.token):
                return connection.respond(http.HTTPStatus.FORBIDDEN, f"{why}\n")
            path = "/" + request.path.partition("?")[0].strip("/").partition("/")[2]
            if path == f"/{_BEAT}":
                self.beats += self._peopled()
                return connection.respond(http.HTTPStatus.OK, "")
            headers = request.headers.copy()
            if "Accept-Encoding" in headers:
                del headers["Accept-Encoding"]  # the page is changed on its way
            response = answer(connection, dataclasses.replace(request, path=path, headers=headers))
            if response is not None:
                _add_script(response)
            return response

        return guarded

    def handle(
        self, handler: Callable[[ServerConnection], Awaitable[None]]
    ) -> Callable[[ServerConnection], Awaitable[None]]:
        """``handler`` of an unguarded server, which hears permitted messages only."""

        async def guarded(connection: ServerConnection) -> None:
            receive = connection.recv

            async def permitted_only(*arguments: Any, **named: Any) -> Any:
                while not permitted(message := await receive(*arguments, **named)):
                    pass
                return message

            setattr(connection, "recv", permitted_only)  # noqa: B010  (a method, to mypy)
            await handler(connection)

        return guarded


def refusal(path: str, headers: Headers, token: str) -> str:
    """Why a request is refused; empty when it may come in.

    Args:
        path: of the request; its first part must be the token.
        headers: of the request.
        token: the page's.
    """
    hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
    if len(hosts) != 1 or (asked := _place(f"http://{hosts[0]}")) is None or asked[0] not in LOOPBACK:
        return "this page is for this computer, by the address that the program printed"
    socket = "websocket" in ",".join(headers.get_all("Upgrade")).lower()
    if socket or origins:  # a browser that follows a link or reads the address says no origin
        came = _place(origins[0]) if len(origins) == 1 else None
        if came is None or came[0] not in LOOPBACK or came[1] != asked[1]:
            return "another page asks for this one"
    given = path.partition("?")[0].strip("/").partition("/")[0]
    if not secrets.compare_digest(given.encode(), token.encode()):
        return "the address lacks the token of this program, or has that of an earlier one; open the one it printed"
    return ""


def permitted(message: bytes | str) -> bool:
    """Whether a browser may send this: one of ``MESSAGES`` that sets at most an input's value."""
    if isinstance(message, str):
        return False
    try:
        content = msgspec.msgpack.decode(message, type=dict[str, Any])
    except msgspec.MsgspecError:
        return False
    kind = content.get("type")
    if kind == "GuiUpdateMessage":
        updates = content.get("updates")
        return isinstance(updates, dict) and updates.keys() == {"value"}
    return isinstance(kind, str) and kind in MESSAGES


def _place(address: str) -> tuple[str, int] | None:
    """Name and port of an http address; None for anything else."""
    try:
        parts = urlsplit(address)
        if parts.scheme != "http" or parts.username is not None or parts.path or parts.query or parts.fragment:
            return None
        return (parts.hostname or "", parts.port or http.client.HTTP_PORT)
    except ValueError:
        return None


def _add_script(response: Response) -> None:
    """Let a page give signs of life from the browser, and keep its address to itself."""
    for name, value in _HEADERS.items():
        response.headers[name] = value
    if response.headers.get("Content-Type", "").startswith("text/html"):
        script = (_SCRIPT % (_BEAT, round(1e3 * BEAT_PERIOD))).encode()
        response.body = response.body.replace(b"</head>", script + b"</head>", 1)
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(response.body))
