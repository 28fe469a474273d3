"""A stand-in for Unreal Engine with the UnrealCV plugin: the same bytes on the wire, over any height field.

Wire protocol (UnrealCV's ``TcpServer``): every message is a frame of two little-endian uint32, the magic number and the
payload's length, then the payload. The server speaks first, ``connected to NAME``; then every request
``<id>:<command>`` is answered by ``<id>:<body>`` in order. One client at a time; a second one waits unanswered
until the first has gone, as with the real plugin.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

from matrix_hil.virtual.unreal.commands import SceneCommands, ServerConfig
from sim.errors import LunarError
from sim.terrain.height_field import HeightField

MAGIC = 0x9E2B83C1
HEADER = struct.Struct("<II")
MAX_REQUEST = 1 << 16  # bytes; a longer request is no request


@dataclass(frozen=True)
class Misbehaviour:
    """A fault to show a client. It strikes the requests that contain ``match``."""

    kind: Literal["delay", "drop", "garbage", "wrong_id", "corrupt", "disconnect", "late", "jump"]
    """``delay`` answers after ``seconds``; ``drop`` never; ``garbage`` sends bytes that are no frame; ``wrong_id``
    answers under another request's number; ``corrupt`` sends a whole frame with a broken body; ``disconnect`` closes;
    ``late`` holds the answer back and sends it just before the next request's answer; ``jump`` shows the ground
    ``metres`` too high."""
    match: str = "/depth"
    """Part of the commands that are struck; empty strikes all."""
    seconds: float = 0.0
    """s, for ``delay``."""
    metres: float = 0.0
    """m, for ``jump``."""
    times: int = 1
    """How many requests are struck before it behaves again."""


class TwinServer:
    """Serves ``field`` to one UnrealCV client at a time on 127.0.0.1, from its own thread. A context manager.

    Raises:
        LunarError: the port is taken.
    """

    def __init__(self, field: HeightField, cfg: ServerConfig | None = None) -> None:
        self.cfg = cfg or ServerConfig()
        self.log: deque[str] = deque(maxlen=1000)
        """The latest commands, oldest first."""
        self._fault: Misbehaviour | None = None
        self._strikes = 0
        self._stop = threading.Event()
        self._client: socket.socket | None = None
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind(("127.0.0.1", self.cfg.port))
        except OSError as error:
            self._listener.close()
            raise LunarError(
                f"twin server: port {self.cfg.port} of 127.0.0.1 cannot be used ({error.strerror}); "
                "stop the other server or choose another --server.port"
            ) from None
        self._listener.listen(1)
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        """TCP port that clients connect to."""
        self.scene = SceneCommands(field, replace(self.cfg, port=self.port))
        self._thread = threading.Thread(target=self._serve, name="twin-server", daemon=True)

    def __enter__(self) -> TwinServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the connection and the port, and end the thread."""
        self._stop.set()
        if (client := self._client) is not None:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        self._listener.close()
        self.scene.close()

    def misbehave(self, fault: Misbehaviour) -> None:
        """Strike the next ``fault.times`` requests that match."""
        self._strikes = fault.times
        self._fault = fault

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._client = client
            with client, contextlib.suppress(OSError):
                client.settimeout(None)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self._stop.is_set():
                    self._converse(client)
            self._client = None

    def _converse(self, client: socket.socket) -> None:
        _send(client, b"connected to lunar stand-in")
        held = b""
        while (request := _receive(client)) is not None:
            number, _, command = request.decode("utf-8", errors="replace").partition(":")
            self.log.append(command)
            fault = self._strike(command)
            kind = fault.kind if fault else ""
            self.scene.lift = fault.metres if fault and kind == "jump" else 0.0
            answer = number.encode() + b":" + self.scene.answer(command)
            if fault and kind == "delay":
                self._stop.wait(fault.seconds)
            if kind == "disconnect":
                return
            if kind == "drop":
                continue
            if kind == "late":
                held = answer
                continue
            if kind == "garbage":
                client.sendall(b"\x00garbage that is not a frame" * 8)
                continue
            if kind == "wrong_id":
                answer = f"{int(number) + 1000}:".encode() + answer.partition(b":")[2]
            if kind == "corrupt":
                answer = number.encode() + b":\x93NUMPY but not really"
            if held:
                _send(client, held)
                held = b""
            _send(client, answer)

    def _strike(self, command: str) -> Misbehaviour | None:
        fault = self._fault
        if fault is None or self._strikes <= 0 or fault.match not in command:
            return None
        self._strikes -= 1
        return fault


def _send(client: socket.socket, payload: bytes) -> None:
    client.sendall(HEADER.pack(MAGIC, len(payload)) + payload)


def _receive(client: socket.socket) -> bytes | None:
    """One payload; None when the client has gone or does not speak the protocol."""
    header = _exactly(client, HEADER.size)
    if header is None:
        return None
    magic, length = HEADER.unpack(header)
    if magic != MAGIC or length > MAX_REQUEST:
        return None
    return _exactly(client, length)


def _exactly(client: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        chunk = client.recv(count - len(data))
        if not chunk:
            return None
        data += chunk
    return data
