"""Text on terminals: what a log, a policy or a line says is shown as it is, and never obeyed."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# control characters but tab and newline, which move the cursor or start a command; marks that turn the reading order
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """``text`` with its control characters written out, as ``\\x1b``."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def complain(text: str) -> None:
    """A line on standard error, where somebody is there to read it."""
    try:
        print(plain(text), file=sys.stderr)
    except OSError:
        _lead_nowhere(sys.stderr)


class Terminal(Console):
    """A console for texts that others have written: no markup and no emoji codes in them, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"markup": False, "emoji": False} | options))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich's; only its own control sequences stay what they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


class LastingTerminal(Terminal):
    """For who must go on whatever becomes of the terminal: once it or the pipe is gone, nothing is shown any more."""

    def _write_buffer(self) -> None:
        try:
            super()._write_buffer()
        except OSError:
            self.quiet = True
            del self._buffer[:]
            _lead_nowhere(self.file)


def _lead_nowhere(stream: IO[str]) -> None:
    """What waits in a stream that nobody reads must go somewhere: Python would fail on it when it ends."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
