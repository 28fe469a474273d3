"""A viser server that only this computer can reach."""

from __future__ import annotations

import contextlib
import io

import viser


def open_server(port: int = 0, label: str | None = None) -> viser.ViserServer:
    """A server on 127.0.0.1.

    Args:
        port: 0 takes a free one; when another is taken, the next free one is.
        label: title of the page's panel.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # viser prints a banner
        return viser.ViserServer(host="127.0.0.1", port=port, label=label, verbose=False)


def close_server(server: viser.ViserServer) -> None:
    """End it."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()
