"""One conversation with an UnrealCV server through the real ``unrealcv.Client``, with deadlines that hold.

What the client (1.3.2) does that a control system cannot live with, and what is done about it here:

- ``connect(timeout)`` ignores its timeout and a dead server blocks it: the socket has a timeout from its first byte.
- After a timeout the late answer is handed to the *next* request: a connection that failed once is never used again.
- A closed or broken stream makes its receiving thread sleep for a minute, or end without a word: it reports at once.
- ``isconnected()`` stays true after the peer has gone: nobody asks it.
"""

from __future__ import annotations

import functools
import logging
import socket
import threading
import time
from typing import Any

from sim.errors import LunarError


class Connection:
    """A connected client that is used by one thread at a time and dropped after the first error.

    Args:
        host: name or address.
        port: TCP port.
        timeout: s, for the connection and for silence in the middle of an answer.

    Raises:
        LunarError: nothing answers as an UnrealCV server within ``timeout``.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._where = f"{host}:{port}"
        self._client = client_class()((host, port))
        if not self._client.connect(timeout):
            reason = self._client.reason
            self.close()
            raise LunarError(
                f"no UnrealCV server answers at {self._where} within {timeout:g} s ({reason}); start Unreal or "
                "'lunar twin', close other clients, or set twin.host and twin.port; the rig stays still"
            )

    def request(self, command: str, deadline: float) -> str | bytes:
        """Send ``command`` and return the answer's body.

        Args:
            command: UnrealCV command.
            deadline: ``time.monotonic()`` by which the answer must be there.

        Raises:
            LunarError: no answer, a broken answer, or an answer that begins with ``error``. Close the connection then.
        """
        left = deadline - time.monotonic()
        try:
            if left <= 0.0:
                raise TimeoutError("the deadline has passed")
            answer = self._client.request(command, timeout=left)
        except (OSError, TimeoutError, AssertionError, ValueError) as error:
            raise LunarError(f"UnrealCV at {self._where} failed on '{command}': {error}") from None
        if answer is None:
            raise LunarError(f"UnrealCV at {self._where} sent an answer without a number to '{command}'")
        if isinstance(answer, str) and answer.lstrip().lower().startswith("error"):
            raise LunarError(f"UnrealCV at {self._where} refused '{command}': {answer.strip()}")
        return answer

    def close(self) -> None:
        """Close the socket and end the client's receiving thread."""
        self._client.disconnect()


@functools.cache
def client_class() -> Any:
    """The subclass of ``unrealcv.Client`` in use. The import is made here, as it takes 0.3 s and loads OpenCV."""
    import unrealcv

    logging.getLogger("unrealcv").setLevel(logging.CRITICAL)  # failures reach the user as LunarError instead

    class BoundedClient(unrealcv.Client):
        """``unrealcv.Client`` whose waits are bounded and whose failures reach the caller."""

        reason = ""

        def connect(self, timeout: float = 1.0, start_receive_thread: bool = True) -> bool:
            try:
                self.sock = socket.create_connection(self.endpoint, timeout)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                hello = unrealcv.SocketMessage.ReceivePayload(self.sock)
            except OSError as error:
                self.reason = str(error)
                return False
            if hello is None or not hello.startswith(b"connected"):
                self.reason = "it is silent" if hello is None else "it speaks something else"
                return False
            self.t = threading.Thread(target=self.receive_loop_queue, name="unrealcv-receive", daemon=True)
            self.t.start()
            return True

        def receive(self) -> bytes:
            message = unrealcv.SocketMessage.ReceivePayload(self.sock)
            if not message:
                raise ConnectionError("the connection broke or fell silent")
            return message

        def receive_loop_queue(self) -> None:
            try:
                super().receive_loop_queue()
            except (OSError, AssertionError, AttributeError, ValueError) as error:
                self.recv_data_q.put(ConnectionError(str(error)))

    return BoundedClient
