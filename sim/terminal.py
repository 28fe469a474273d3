"""Text on terminals: what a log, a policy or a line says is shown as it is, and never obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# control characters but tab and newline, which move the cursor or start a command; marks that turn the reading order
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """``text`` with its control characters written out, as ``\\x1b``."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


class Terminal(Console):
    """A console for texts that others have written: no markup and no emoji codes in them, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"markup": False, "emoji": False} | options))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich's; only its own control sequences stay what they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))
