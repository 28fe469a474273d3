"""Whose commands a driver obeys: those of one publisher, which belongs to the supervisor's node and names its session.

A session's key begins with the rig that its supervisor believes to have: one of a virtual rig needs no calibration, and
no driver of a real machine obeys it.

Pure; time and who is in the graph are arguments. It keeps out what is on the network by mistake: a second supervisor,
an old one, a replayed or a hand-written command. Whoever means harm can read the session's key and take the node's
name: docs/safety.md.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Callable

_MOST = 16  # publishers of sessions that are remembered


def new_key(rig: str) -> str:
    """Of a session of the ``virtual`` or ``serial`` rig."""
    return f"{rig}:{secrets.token_hex(8)}"


class Gate:
    """Lets the commands of one session through.

    Args:
        rig: ``virtual`` or ``serial``, of this driver.
        is_supervisor: whether a publisher, by DDS's name, belongs to the supervisor's node.
        lease: s without an accepted command after which another session may begin.
    """

    def __init__(self, rig: str, is_supervisor: Callable[[bytes], bool], lease: float) -> None:
        self.refused: Counter[str] = Counter()
        """How often commands were refused, by reason."""
        self.sender = b""
        """Publisher that is obeyed; empty before the first command."""
        self._rig = rig
        self._is_supervisor = is_supervisor
        self._lease = lease
        self._announced: dict[bytes, str] = {}  # newest last; whose node that is, the graph may say later
        self._key = ""
        self._number = -1
        self._heard = -math.inf

    def announce(self, key: str, sender: bytes) -> None:
        """A publisher says which session is its own."""
        self._announced.pop(sender, None)
        self._announced[sender] = key
        if len(self._announced) > _MOST:
            self._announced = {s: k for s, k in self._announced.items() if self._is_supervisor(s)}

    def admits(self, key: str, sender: bytes, number: int, now: float) -> bool:
        """Whether a command is obeyed. Another session begins with it once the present one has been silent.

        Args:
            key: of the session that it names.
            sender: its publisher.
            number: rises with every command of a publisher.
            now: s.
        """
        if key != self._key and now - self._heard > self._lease and self._is_announced(key):
            self._key, self.sender, self._number = key, b"", -1
        why = self._objection(key, sender, number)
        if why:
            self.refused[why] += 1
            return False
        self.sender, self._number, self._heard = sender, number, now
        return True

    def _is_announced(self, key: str) -> bool:
        known = any(own == key and self._is_supervisor(sender) for sender, own in self._announced.items())
        return known and _rig_of(key) == self._rig

    def _objection(self, key: str, sender: bytes, number: int) -> str:
        if not self._key or key != self._key:
            return "other session" if _rig_of(key) in ("", self._rig) else f"a {_rig_of(key)} rig's session"
        if self.sender and sender != self.sender:
            return "second publisher"
        if not self.sender and not self._is_supervisor(sender):
            return "not the supervisor"
        return "" if number > self._number else "repeated"


def _rig_of(key: str) -> str:
    rig, colon, _ = key.partition(":")
    return rig if colon else ""
