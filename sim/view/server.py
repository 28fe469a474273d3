"""A viser server that only this computer can reach, and only by the address that the program prints."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import viser
import websockets.asyncio.server

from sim.errors import LunarError
from sim.view.guard import Guard

_HOST = "127.0.0.1"
_opening = threading.Lock()


class PrivateServer(viser.ViserServer):
    """On 127.0.0.1, behind a ``Guard``.

    Args:
        port: 0 takes a free one; when another is taken, the next free one is.
        label: title of the page's panel.

    Raises:
        LunarError: the installed viser does not let its server be guarded.
    """

    def __init__(self, port: int = 0, label: str | None = None) -> None:
        self.guard = guard = Guard(lambda: bool(self.get_clients()))
        with contextlib.redirect_stdout(io.StringIO()), _guarded(guard) as guarded:  # viser prints a banner
            super().__init__(host=_HOST, port=port, label=label, verbose=False)
        if not guarded:
            close_server(self)
            raise LunarError(
                f"viser {viser.__version__} opens its page unguarded; install the version of constraints.txt"
            )

    @property
    def url(self) -> str:
        """The address to open. Whoever knows it may do what the page can."""
        return f"http://{_HOST}:{self.get_port()}/{self.guard.token}/"


def open_server(port: int = 0, label: str | None = None) -> PrivateServer:
    """A server of one page; see ``PrivateServer``."""
    return PrivateServer(port, label)


def close_server(server: viser.ViserServer) -> None:
    """End it."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


@contextlib.contextmanager
def _guarded(guard: Guard) -> Iterator[list[int]]:
    """Inside, a server that viser opens is behind ``guard``; yields the ports that were tried.

    viser hands its server's functions to ``websockets`` and offers no place to add to them.
    """
    tried: list[int] = []
    with _opening:
        serve = websockets.asyncio.server.serve

        def guarded(handler: Any, host: str, port: int, *, process_request: Any, **more: Any) -> Any:
            tried.append(port)
            return serve(guard.handle(handler), host, port, process_request=guard.serve(process_request), **more)

        websockets.asyncio.server.serve = guarded  # type: ignore[assignment,misc]
        try:
            yield tried
        finally:
            websockets.asyncio.server.serve = serve  # type: ignore[misc]
