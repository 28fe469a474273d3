"""Publishes a log's topics as they were recorded, byte by byte, with the log's time on /clock."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from lunar_policy.node import RELIABLE
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from matrix_bridge.graph import GRAPH
from matrix_bridge.node import OK, WARN, BridgeNode, Health, Parameter, message_type, run
from matrix_bridge.qos import STATE
from matrix_hil.replay.redrive import RawLog, RawMessage, Schedule
from sim.errors import LunarError

_LISTENERS = 3.0  # s at most until the first listener is found, and at the end until the last one has it all
_SETTLE = 0.5  # s from then to the first message, so that the others are found too
# Deep: a listener that is held up for a second at twice the rate misses nothing. Without the deadline and liveliness
# that drivers ask for: a replayed command is never heard by a machine.
_REPLAYED = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
_STATES = {row.log for row in GRAPH.values() if row.qos == "state"}


class ReplayNode(BridgeNode):
    """Configure reads the log's topics, activate plays it, deactivate stops."""

    real = False
    parameters = (
        Parameter("bag", "", "Folder of a log, or an .mcap file."),
        Parameter("clock_rate", 100.0, "Hz, by the wall. Messages on /clock.", (1.0, 1000.0)),
        Parameter("rate", 1.0, "Seconds of the log per second.", any_type=True),
        Parameter("loop", False, "Start again at the end; /clock jumps back then.", any_type=True),
        Parameter("start", 0.0, "s after the log's first message to begin at.", any_type=True),
        Parameter("end", 0.0, "s after the log's first message to end at; 0 is its end.", any_type=True),
        Parameter("map", "", "Names by which topics are published: FROM:=TO,…"),
    )

    def __init__(self) -> None:
        super().__init__("replay")
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._schedule: Schedule | None = None
        self._skipped: dict[str, str] = {}
        self._count = 0
        self._rounds = 0

    def configure(self) -> None:
        """Look through the log once and make a publisher for each topic."""
        if not self.value("bag"):
            raise LunarError("parameter 'bag' is empty; give the folder that 'lunar hil' wrote")
        self._schedule = Schedule(*(self._number(name) for name in ("rate", "start", "end")))
        self._topics: dict[str, Any] = {}
        self._skipped = {}
        first: int | None = None
        inside = False
        self._log = RawLog(self.value("bag"), self.value("map"))
        for message in self._log:
            if first is None:
                first = message.time
                self._schedule.begin(first, 0.0)
            inside = inside or self._schedule.place(message.time) == "in"
            if message.topic not in self._topics and message.topic not in self._skipped:
                self._add(message)
        for line in self._log.notes:
            self.get_logger().warning(line)
        if first is None or not inside:
            raise LunarError(f"log {self.value('bag')} holds no message in the range from start to end")
        self._clock_topic = self.keep(self.destroy_publisher, self.create_publisher(Clock, "/clock", RELIABLE))
        for topic, why in self._skipped.items():
            self.get_logger().warning(f"{topic} is left out: {why}")

    def activate(self) -> None:
        """Start to play."""
        self._end.clear()
        self._thread = threading.Thread(target=self.guarded(self._play), name="replay", daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Stop."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def health(self) -> Health:
        """How much has been published."""
        values = {"messages": self._count, "rounds": self._rounds, "topics left out": len(self._skipped)}
        return Health(WARN if self._skipped else OK, "playing" if self.active else "stopped", values)

    def _number(self, name: str) -> float:
        try:
            return float(self.value(name))
        except (TypeError, ValueError):
            raise LunarError(f"parameter '{name}' is '{self.value(name)}'; it must be a number") from None

    def _add(self, message: RawMessage) -> None:
        try:
            type = message_type(message.type)
            qos = STATE if message.topic in _STATES else _REPLAYED
            # relative: the log's absolute names would leave the node's namespace
            publisher = self.create_publisher(type, message.topic.lstrip("/"), qos)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            self._skipped[message.topic] = f"{message.type} cannot be published here ({error})"
            return
        self._topics[message.topic] = self.keep(self.destroy_publisher, publisher)

    def _play(self) -> None:
        deadline = time.monotonic() + _LISTENERS
        while not any(p.get_subscription_count() for p in self._topics.values()) and time.monotonic() < deadline:
            if self._end.wait(0.05):
                return
        while not self._end.is_set():
            self._round(self._log)
            self._rounds += 1
            if self.value("loop") not in (True, "true"):
                break
        for publisher in self._topics.values():
            publisher.wait_for_all_acked(Duration(seconds=_LISTENERS))
        self.finished = True

    def _round(self, messages: Iterable[RawMessage]) -> None:
        schedule = self._schedule
        assert schedule is not None
        tick = 1.0 / self.value("clock_rate")
        next_tick, began = 0.0, False
        for message in messages:
            if not began:
                schedule.begin(message.time, time.monotonic() + (_SETTLE if not self._rounds else 0.0))
                began = True
            where = schedule.place(message.time)
            if where == "after":
                return
            if where == "before" or message.topic not in self._topics:
                continue
            due = schedule.due(message.time)
            while True:
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = max(next_tick + tick, now)
                    self._tick(schedule.log_time(min(now, due)))
                if now >= due or self._end.wait(min(due, next_tick) - now):
                    break
            if self._end.is_set():
                return
            self._topics[message.topic].publish(message.data)
            self._count += 1

    def _tick(self, nanoseconds: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(nanoseconds, 1_000_000_000)
        self._clock_topic.publish(message)


def main(args: list[str] | None = None) -> int:
    """Entry of ``replay_node``."""
    return run(ReplayNode, args)


if __name__ == "__main__":
    sys.exit(main())
