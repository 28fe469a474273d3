"""What every command ends with: what of a log is lost, and what of it was left out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from matrix_hil.log.reader import Log, Lost
from sim.errors import LunarError

_MOST = 6  # topics named in one sentence


def sentences(lost: Lost | None, left_out: Mapping[str, str], notes: Sequence[str] = ()) -> list[str]:
    """What is missing, one sentence each: bytes and files, topics by the reason why they were left out, oddities."""
    by_reason: dict[str, list[str]] = {}
    for topic, reason in left_out.items():
        by_reason.setdefault(reason, []).append(topic)
    found = [f"lost: {lost.text}"] if lost else []
    for reason, topics in by_reason.items():
        more = f" and {len(topics) - _MOST} more" if len(topics) > _MOST else ""
        found.append(f"left out: {', '.join(topics[:_MOST])}{more} ({reason})")
    return found + [f"note: {note}" for note in notes]


def end(lines: Sequence[str]) -> None:
    """Print a command's last words, each on a line of its own, after all that it printed before."""
    sys.stdout.flush()
    for line in lines:
        print(line, flush=True)


def refuse_unknown(log: Log) -> None:
    """
    Raises:
        LunarError: nothing in ``log`` is of a rig or robot.
    """
    if not log.series:
        why = "; ".join(sentences(log.lost, log.skipped, log.notes))
        raise LunarError(
            f"log {log.path} has no topic of a rig or robot ({why}); --map FROM:=TO reads a topic by another name, and "
            "'lunar log export' writes any"
        )


def end_of(log: Log) -> None:
    """``end`` of a command that read ``log``."""
    end(sentences(log.lost, log.skipped, log.notes))
