"""Single keys from the terminal that a program was started in, without waiting for them."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import tty
from types import TracebackType

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^[O eEhHqQ\x1b])", re.DOTALL)
"""What keys with names send: arrows (ESC [ A), F3 (ESC O R), Alt-r (ESC r). None of them means its last letter. What
follows the key Escape by itself is left where it stops or holds the rig."""
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?$")


class Keyboard:
    """Keys as they are pressed; a context manager that leaves the terminal as it was. Ctrl-C stays Ctrl-C.

    Keys without a character, such as arrows, are none.

    A terminal that has gone away has no more keys, and is no error.

    Args:
        fd: a terminal; standard input by default. Anything else never has a key.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
        self._before: list | None = None
        self._begun = ""  # a sequence whose end has not come

    def __enter__(self) -> Keyboard:
        with contextlib.suppress(termios.error, ValueError, OSError):
            self._fd = sys.stdin.fileno() if self._fd is None else self._fd
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None and self._before is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None

    @property
    def present(self) -> bool:
        """Whether there is a terminal."""
        return self._before is not None

    def pressed(self) -> str:
        """What was typed since the last call; returns at once."""
        if self._fd is None or self._before is None or not select.select([self._fd], [], [], 0.0)[0]:
            return ""
        with contextlib.suppress(OSError):
            if typed := os.read(self._fd, 64):
                return self._keys(self._begun + typed.decode(errors="replace"))
        self._before = None
        return ""

    def _keys(self, typed: str) -> str:
        """``typed`` without sequences; one that has only begun is kept for the next call."""
        rest = _SEQUENCE.sub("", typed)
        begun = _BEGUN.search(rest)
        self._begun = begun[0] if begun else ""
        return rest.removesuffix(self._begun)
