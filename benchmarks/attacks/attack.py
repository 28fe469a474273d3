"""An attack: its channel, what it does, how it ended, and the row of docs/safety.md for what still moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["blocked", "clamped", "tripped", "moved"]


@dataclass(frozen=True)
class Ending:
    """How an attack ended."""

    outcome: Outcome
    by: str
    """The layer that met it, or what moved."""


@dataclass(frozen=True)
class Attack:
    """One row."""

    id: str
    channel: str
    what: str
    run: Callable[[Any], Ending]
    """Takes the ``Stage``."""
    residual: str = ""
    """Id of the row in docs/safety.md that says what it may move, and which hardware is there for it."""
    quick: bool = False
    """Part of the short list."""
