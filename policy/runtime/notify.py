"""Tell whoever started this process how it is, by the datagram of systemd's ``Type=notify`` services (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def notify(text: str) -> None:
    """Send e.g. ``READY=1`` to ``lunar up`` or systemd; does nothing when nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":  # systemd's notation for the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        try:
            link.sendto(text.encode(), address)
        except OSError:
            return  # the starter has gone; a node on a robot goes on without it
