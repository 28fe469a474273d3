"""What the rig's lifecycle nodes have in common beside ``lunar_policy.node``: the graph's topics, and real time.

Messages travel as the bytes that the log's codec makes, so that there is one conversion between the dataclasses of
``matrix_hil`` and ROS types, and what is recorded is what was sent.
"""

from __future__ import annotations

import gc
import importlib
import re
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from lunar_policy import node
from lunar_policy.node import ERROR, OK, WARN, Health, ManagedNode, Parameter
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer

from matrix_bridge.graph import GRAPH
from matrix_bridge.qos import PROFILES
from matrix_hil.link import HostClock
from matrix_hil.link.threads import ordinary_time, real_time
from matrix_hil.log.topics import Codec

try:  # a third less computing for the same messages
    from rclpy.experimental.events_executor import EventsExecutor as Executor
except ImportError:  # before ROS 2 Kilted
    from rclpy.executors import SingleThreadedExecutor as Executor  # type: ignore[assignment]

__all__ = ["ERROR", "OK", "RIG", "WARN", "BridgeNode", "Health", "Parameter", "message_type", "run"]

RIG = Parameter("rig", "virtual", "virtual, or serial: the ports that the configuration names.")
"""Of every node that lives by the rig's clock."""


class BridgeNode(ManagedNode):
    """A node of the rig. Its time is the host's monotonic clock at the configuration's pace; stamps are Unix time.

    A rig is real: ``use_sim_time`` is refused.
    """

    hardware = "matrix"
    real = True
    """Whether the node deals with machines, whose time nothing can slow down."""
    prompt = False
    """Whether its threads run in the kernel's real-time class where that is allowed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.role = name
        """Name of the node in ``graph``, whatever it is renamed to."""
        self.clock = HostClock()
        """The rig's; ``configure`` sets its pace."""
        self.epoch = _epoch()
        """Unix time in ns of zero of the monotonic clock."""

    @property
    def part(self) -> str:
        """Whether the node is at work."""
        return "active" if self.active else "inactive"

    def now(self) -> float:
        """s of the rig's clock."""
        return self.clock()

    def timer(self, period: float, work: Callable[[], None]) -> Timer:
        """Do ``work`` every ``period`` s of ``now``."""
        return super().timer(period / self.clock.pace, work)

    def codec(self, topic: str, frame: str | None = None) -> Codec:
        """What turns the dataclasses of a topic of the graph into bytes and back; times on the monotonic clock."""
        return Codec(GRAPH[topic].log, self.epoch, frame)

    def sender(self, topic: str, frame: str | None = None) -> Callable[[Any, float], None]:
        """A function (message, time) that publishes a dataclass on a logged topic of the graph.

        ``frame`` is its ``header.frame_id``, by default the table's.
        """
        publisher, codec = self.publisher(topic), self.codec(topic, frame)
        return lambda message, now: publisher.publish(codec.encode(message, now))

    def publisher(self, topic: str) -> Any:
        """A publisher on a topic of the graph, kept until cleanup."""
        row = GRAPH[topic]
        assert self.role in row.publishers, f"{topic} is not published by {self.role}"
        publisher = self.create_publisher(message_type(row.ros_type), topic, PROFILES[row.qos])
        return self.keep(self.destroy_publisher, publisher)

    def receive(self, topic: str, take: Callable[[dict[str, Any], float], None]) -> None:
        """Call ``take(fields, stamp)`` for each message on a logged topic of the graph until cleanup.

        ``stamp`` is the sender's, in s of this host's monotonic clock. A sender whose clock is ahead sends from the
        future, one whose clock is behind sends what is old; drivers and supervisor refuse both. Machines of one rig
        therefore need one clock: one computer, or PTP.
        """
        codec = self.codec(topic)

        def on_bytes(data: bytes) -> None:
            fields = self.decoded(codec, data)
            if fields is not None:
                take(fields, fields.pop("time"))

        self.subscribe(topic, on_bytes, raw=True)

    def decoded(self, codec: Codec, data: bytes) -> dict[str, Any] | None:
        """The fields of a message that anybody may have sent; None for bytes that are none, which say so in the log."""
        try:
            return codec.decode(data)
        except (ValueError, OverflowError, MemoryError) as error:
            text = f"{codec.topic.ros_type}: a message was refused ({error})"
            self.get_logger().warning(text, throttle_duration_sec=1.0)
            return None

    def subscribe(self, topic: str, callback: Callable[[Any], None], raw: bool = False, **more: Any) -> None:
        """A subscription to a topic of the graph, kept until cleanup."""
        row = GRAPH[topic]
        assert self.role in row.subscribers, f"{topic} is not read by {self.role}"
        qos = more.pop("qos", PROFILES[row.qos])
        subscription = self.create_subscription(message_type(row.ros_type), topic, callback, qos, raw=raw, **more)
        self.keep(self.destroy_subscription, subscription)

    def guarded(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work`` for a thread of the node's own: what it raises is logged and ends the node.

        A loop that died must not leave a node behind that looks alive.
        """

        def do(*arguments: Any) -> Any:
            try:
                return work(*arguments)
            except Exception:
                self.get_logger().fatal(traceback.format_exc())
                self.failed = True
                raise

        return do

    def why_not(self, name: str, value: Any) -> str:
        """Beside what every node refuses: a simulation's time, for a rig runs in real time."""
        if self.real and name == "use_sim_time" and value:
            return "a rig runs in real time"
        return super().why_not(name, value)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As every node, in ordinary time, and not with a simulation's."""
        if self.real and self.value("use_sim_time"):
            self.get_logger().error("use_sim_time is true; a rig runs in real time, set it to false")
            return TransitionCallbackReturn.FAILURE
        if not self.prompt:
            return super().on_configure(state)
        with ordinary_time():
            result = super().on_configure(state)
            gc.unfreeze()  # what was configured before
            gc.collect()
            gc.freeze()  # a collection over all that was imported would stop the node's threads for 40 ms
        return result


def _epoch() -> int:
    """Unix time in ns of zero of the monotonic clock, by the fastest of some readings: a thread may be held up."""
    readings = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(9)]
    before, unix, after = min(readings, key=lambda r: r[2] - r[0])
    return unix - (before + after) // 2


def message_type(name: str) -> Any:
    """The class of ``package/msg/Name``. Raises ValueError for another form, ImportError for an absent package."""
    match = re.fullmatch(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)", name)
    if match is None:
        raise ValueError("not the name of a message type")
    return getattr(importlib.import_module(f"{match[1]}.msg"), match[2])


def run(make: type[BridgeNode], args: list[str] | None = None) -> int:
    """Run a node until it is asked to end. Returns 0 then, 1 when it could not start or a thread of it died."""
    # DDS's own threads are made inside and inherit the real-time class.
    with real_time() if make.prompt else nullcontext():
        return node.run(make, args, Executor)
