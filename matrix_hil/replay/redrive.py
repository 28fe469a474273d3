"""``lunar replay drive LOG``: publish a log to ROS 2 again with /clock, at any rate, in loops and ranges.

Here is what needs no ROS: reading raw messages in order, and when each is due. ``replay_node`` publishes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mcap.records import Channel, Schema

from matrix_hil.bringup.cli import pairs, up
from matrix_hil.log.folder import open_bag
from matrix_hil.log.foreign import ros_type
from matrix_hil.log.names import mapped, parse_map, within
from matrix_hil.log.notes import end, sentences
from matrix_hil.log.reader import lost, oddities
from sim.errors import LunarError

_TYPE_TEXT = 200  # characters; a longer name of a type is not one


@dataclass(frozen=True)
class RawMessage:
    """One message as ROS 2 has serialized it."""

    topic: str
    type: str
    """E.g. ``matrix_msgs/msg/TwinPatch``."""
    time: int
    """ns since the Unix epoch, when it was logged."""
    data: bytes


class RawLog:
    """A log as its messages' bytes.

    Args:
        log: folder of a log, or an .mcap file.
        topic_map: ``FROM:=TO,…``, by which names topics are published.

    Raises:
        LunarError: there is no such log, or it is not MCAP.
    """

    def __init__(self, log: str | Path, topic_map: str = "") -> None:
        self._bag = open_bag(log)
        self._map = parse_map(topic_map)
        self.left_out: dict[str, str] = {}
        """By topic, why its messages are not given; known once they were read."""

    @property
    def notes(self) -> list[str]:
        """What of the log is lost and left out, as sentences; complete once its messages were read."""
        return sentences(lost(self._bag), self.left_out, oddities(self._bag))

    def __iter__(self) -> Iterator[RawMessage]:
        """Messages in the order in which they were written, of all chunks that are whole."""
        for scan in self._bag.scans:
            for chunk in scan.chunks():
                for number, _, time, _, data in chunk:
                    if channel := scan.channels.get(number):
                        schema = scan.schemas.get(channel.schema_id)
                        if why := _unfit(channel, schema, data):
                            self.left_out.setdefault(channel.topic, why)
                        else:
                            assert schema is not None
                            yield RawMessage(mapped(channel.topic, self._map), ros_type(schema), time, data)


def _unfit(channel: Channel, schema: Schema | None, data: bytes) -> str:
    """Why a message cannot be published."""
    if channel.message_encoding != "cdr":
        return f"its messages are {channel.message_encoding[:20]!r}, and ROS 2's 'cdr' is published"
    if schema is None or len(schema.name) >= _TYPE_TEXT:
        return "its type is missing"
    return "" if data[:1] == b"\0" else "its messages are not CDR as ROS 2 writes it"


@dataclass
class Schedule:
    """When each moment of a log is due. Pure: time is an argument.

    Args:
        rate: s of the log per s.
        start: s after the first message at which to begin.
        end: s after the first message at which to end; 0 is the log's end.
    """

    rate: float
    start: float
    end: float
    _first: int | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not 0.001 <= self.rate <= 1000.0:
            raise LunarError(f"rate is {self.rate}, it must lie between 0.001 and 1000")
        if not 0.0 <= self.start < float("inf") or not (self.end == 0.0 or self.start < self.end < float("inf")):
            raise LunarError(f"start is {self.start} s and end is {self.end} s; 0 <= start < end is needed")

    def begin(self, first: int, now: float) -> None:
        """A pass begins: ``first`` is the log time of the log's first message, ns."""
        self._first, self._began = first, now

    def place(self, time: int) -> str:
        """``before``, ``in`` or ``after`` the range, for a log time in ns."""
        assert self._first is not None
        since = (time - self._first) * 1e-9
        if since < self.start:
            return "before"
        return "after" if self.end and since > self.end else "in"

    def due(self, time: int) -> float:
        """s on the clock of ``begin``: when what was logged at ``time`` is to be published."""
        assert self._first is not None
        return self._began + ((time - self._first) * 1e-9 - self.start) / self.rate

    def log_time(self, now: float) -> int:
        """ns: the log's time at ``now``."""
        assert self._first is not None
        return self._first + round(((now - self._began) * self.rate + self.start) * 1e9)


_USAGE = """usage: lunar replay drive LOG [--rate R] [--loop] [--start S] [--end S] [--map FROM:=TO]

Publishes the messages of a log to ROS 2 again, with /clock: R times as fast, from S to S seconds after its beginning,
with --loop over and over; --map /rig2:=/ says by which names."""


def main(argv: Sequence[str]) -> None:
    """``lunar replay drive LOG …``: runs the node."""
    argv = list(argv)
    if {"-h", "--help"} & set(argv):
        print(_USAGE)
        return
    if argv and not argv[0].startswith("-"):
        argv = ["--bag", *argv]
    for i, word in enumerate(argv):
        if word == "--loop" and argv[i + 1 : i + 2] not in (["true"], ["false"]):
            argv[i] = "--loop=true"
    arguments = pairs(argv)
    if "bag" not in arguments:
        raise LunarError("no log is named; give the folder that 'lunar hil' wrote: lunar replay drive LOG")
    log = RawLog(arguments["bag"], arguments.get("map", ""))
    topics = {message.topic for message in log}
    if not topics:
        raise LunarError(f"log {arguments['bag']} holds nothing that can be published; {'; '.join(log.notes)}")
    for name in parse_map(arguments.get("map", "")).values():
        if not any(within(topic, name) for topic in topics):
            raise LunarError(f"map: no topic becomes {name} or lies in it; there are {', '.join(sorted(topics))}")
    try:
        Schedule(*(float(arguments.get(name, default)) for name, default in (("rate", 1), ("start", 0), ("end", 0))))
    except ValueError as error:
        raise LunarError(f"rate, start and end are numbers ({error})") from None
    failed = up("replay", arguments)
    end(log.notes)
    if failed:
        raise LunarError("the log was not published to its end")
