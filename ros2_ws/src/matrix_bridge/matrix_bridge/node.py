"""What the rig's lifecycle nodes have in common: parameters, topics of the graph, diagnostics, start and end.

Messages travel as the bytes that the log's codec makes, so that there is one conversion between the dataclasses of
``matrix_hil`` and ROS types, and what is recorded is what was sent.
"""

from __future__ import annotations

import importlib
import re
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from matrix_bridge.graph import GRAPH
from matrix_bridge.qos import EVENT, PROFILES
from matrix_hil.log.topics import Codec
from matrix_hil.run.clocks import ordinary_time, real_time
from policy.runtime.notify import notify
from sim.errors import LunarError

try:  # a third less computing for the same messages
    from rclpy.experimental.events_executor import EventsExecutor as Executor
except ImportError:  # before ROS 2 Kilted
    from rclpy.executors import SingleThreadedExecutor as Executor  # type: ignore[assignment]

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Parameter:
    """A ROS parameter; read by configure."""

    name: str
    default: Any
    help: str
    """With the unit first where there is one."""
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Health:
    """What a node says about itself in /diagnostics."""

    level: bytes
    message: str
    values: Mapping[str, object]


class BridgeNode(LifecycleNode):
    """Subclasses fill in ``configure``, ``activate``, ``deactivate``, ``release`` and ``health``.

    Time is the host's monotonic clock; stamps are Unix time. A rig is real: ``use_sim_time`` is refused.
    """

    parameters: Sequence[Parameter] = ()
    real = True
    """Whether the node deals with machines, whose time nothing can slow down."""
    prompt = False
    """Whether its threads run in the kernel's real-time class where that is allowed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.role = name
        """Name of the node in ``graph``, whatever it is renamed to."""
        self.epoch = time.time_ns() - time.monotonic_ns()
        """Unix time in ns of zero of the monotonic clock."""
        read_only = ParameterDescriptor(description="Configure and activate at start.", read_only=True)
        self.declare_parameter("autostart", False, read_only)
        for p in self.parameters:
            descriptor = ParameterDescriptor(description=f"{p.help} Read by configure.")
            if p.range is not None:
                descriptor.floating_point_range = [FloatingPointRange(from_value=p.range[0], to_value=p.range[1])]
            self.declare_parameter(p.name, p.default, descriptor)
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.active = False
        self.finished = False
        """Set by a node whose work is done."""
        self.failed = False
        """Set when a thread of the node's own has died: the node ends."""
        self._owned: list[tuple[Callable[[Any], object], Any]] = []
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", EVENT)
        self.create_timer(1.0, self.diagnose, clock=self.steady)

    # ---- for subclasses -----------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Open and check everything. Raises LunarError with the reason when that cannot be."""

    def activate(self) -> None:
        """Start to work. Raises LunarError when that cannot be."""

    def deactivate(self) -> None:
        """Leave what is commanded safe; called once for each ``activate``."""

    def release(self) -> None:
        """Close what ``configure`` opened; may be called when ``configure`` failed half-way."""

    def health(self) -> Health:
        """How the node is, while configured."""
        raise NotImplementedError

    def now(self) -> float:
        """s, the host's monotonic clock."""
        return time.monotonic()

    def value(self, name: str) -> Any:
        """A parameter's value."""
        return self.get_parameter(name).value

    def codec(self, topic: str) -> Codec:
        """What turns the dataclasses of a topic of the graph into bytes and back; times on the monotonic clock."""
        return Codec(GRAPH[topic].log, self.epoch)

    def sender(self, topic: str) -> Callable[[Any, float], None]:
        """A function (message, time) that publishes a dataclass on a logged topic of the graph."""
        publisher, codec = self.publisher(topic), self.codec(topic)
        return lambda message, now: publisher.publish(codec.encode(message, now))

    def publisher(self, topic: str) -> Any:
        """A publisher on a topic of the graph, kept until cleanup."""
        row = GRAPH[topic]
        assert self.role in row.publishers, f"{topic} is not published by {self.role}"
        publisher = self.create_publisher(message_type(row.ros_type), topic, PROFILES[row.qos])
        self._owned.append((self.destroy_publisher, publisher))
        return publisher

    def receive(self, topic: str, take: Callable[[dict[str, Any], float], None]) -> None:
        """Call ``take(fields, stamp)`` for each message on a logged topic of the graph until cleanup.

        ``stamp`` is the sender's, in s of this host's monotonic clock; see ``measured``.
        """
        codec = self.codec(topic)

        def on_bytes(data: bytes) -> None:
            fields = codec.decode(data)
            take(fields, fields.pop("time"))

        self.subscribe(topic, on_bytes, raw=True)

    def measured(self, stamp: float) -> float:
        """When a value that has just come was measured: by its stamp, but never later than now.

        A sender whose clock is ahead does not make its values young; one whose clock is behind makes them stale, and
        the supervisor says so. Machines of one rig therefore need one clock: one computer, or PTP.
        """
        return min(stamp, self.now())

    def subscribe(self, topic: str, callback: Callable[[Any], None], raw: bool = False, **more: Any) -> None:
        """A subscription to a topic of the graph, kept until cleanup."""
        row = GRAPH[topic]
        assert self.role in row.subscribers, f"{topic} is not read by {self.role}"
        qos = more.pop("qos", PROFILES[row.qos])
        subscription = self.create_subscription(message_type(row.ros_type), topic, callback, qos, raw=raw, **more)
        self._owned.append((self.destroy_subscription, subscription))

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

    def keep(self, destroy: Callable[[Any], object], thing: Any) -> None:
        """Destroy a service, client or timer at cleanup."""
        self._owned.append((destroy, thing))

    # ---- lifecycle ----------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``configure``; fails, and says why in the log."""
        try:
            if self.real and self.value("use_sim_time"):
                raise LunarError("use_sim_time is true; a rig runs in real time, set it to false")
            with ordinary_time() if self.prompt else nullcontext():
                self.configure()
        except LunarError as error:
            self.get_logger().error(str(error))
            self._release()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``activate``."""
        result = super().on_activate(state)
        try:
            self.activate()
        except LunarError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self.active = True
        notify("READY=1\nSTATUS=active")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``deactivate``."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``release``."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``deactivate`` if active, then ``release``."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A callback raised: stop, and go back to unconfigured."""
        return self.on_shutdown(state)

    def start(self) -> bool:
        """Configure and activate; False when either fails."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def close(self) -> None:
        """Stop, release and destroy the node, whatever state it is in."""
        self._stop()
        self._release()
        self.destroy_node()

    def diagnose(self) -> None:
        """Publish ``health`` now; also called once per second."""
        health = self.health() if self._owned else Health(OK, "unconfigured", {})
        status = DiagnosticStatus(
            level=health.level,
            name=f"{self.get_fully_qualified_name()}: {'active' if self.active else 'inactive'}",
            message=health.message,
            hardware_id="matrix",
            values=[KeyValue(key=k, value=str(v)) for k, v in health.values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _stop(self) -> None:
        if self.active:
            self.active = False
            self.deactivate()

    def _release(self) -> None:
        self.release()
        while self._owned:
            destroy, thing = self._owned.pop()
            destroy(thing)


def message_type(name: str) -> Any:
    """The class of ``package/msg/Name``. Raises ValueError for another form, ImportError for an absent package."""
    match = re.fullmatch(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)", name)
    if match is None:
        raise ValueError("not the name of a message type")
    return getattr(importlib.import_module(f"{match[1]}.msg"), match[2])


def run(make: type[BridgeNode], args: list[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM. Returns 0 then, 1 when autostart failed or a thread of the node died."""
    stop = False

    def on_signal(signum: int, frame: Any) -> None:
        nonlocal stop
        stop = True

    # DDS's own threads are made by init and inherit the real-time class.
    with real_time() if make.prompt else nullcontext():
        # rclpy's own handlers would shut the context down before the machines could be told to be safe.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        node = make()
        executor = Executor()
        executor.add_node(node)
        try:
            if node.value("autostart") and not node.start():
                return 1
            while not (stop or node.finished or node.failed):
                executor.spin_once(timeout_sec=0.1)
            return 1 if node.failed else 0
        finally:
            node.close()
            executor.shutdown()
            rclpy.shutdown()
