"""What nodes share: parameters with unit and range, diagnostics, the lifecycle, the start and the end of a process."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.timer import Timer

from policy.runtime.notify import notify
from policy.runtime.starter import ENDS, STARTER, follow_starter, starter_lives
from sim.errors import LunarError
from sim.terminal import complain, plain

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
# The sensor data profile with a queue of one: what waited in a queue is not the newest state.
STREAM = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)

_LOOK = 1.0  # s between two looks at whether the starter lives


@dataclass(frozen=True)
class Parameter:
    """A ROS parameter."""

    name: str
    default: Any
    help: str
    """With the unit first where there is one."""
    range: tuple[float, float] | None = None
    any_type: bool = False
    """Whether its type is left open: a whole number on a command line is an integer to ROS."""


def limits(config: type) -> tuple[Parameter, ...]:
    """Parameters for the fields of a config made of ``policy.runtime.controller.bounded``."""
    return tuple(Parameter(f.name, f.default, f.metadata["help"], f.metadata["range"]) for f in fields(config))


@dataclass(frozen=True)
class Health:
    """What a node says about itself in /diagnostics."""

    level: bytes
    message: str
    values: Mapping[str, object]


class Diagnosed:
    """Beside a node class of rclpy: parameters, a steady clock, and ``health`` in /diagnostics once per second."""

    parameters: Sequence[Parameter] = ()
    fixed = False
    """Whether parameters are read at the start and cannot be set later."""
    part = ""
    """What of the node the diagnostics are about."""
    hardware = ""
    """Which robot or rig the diagnostics are about."""
    finished = False
    """Set by a node whose work is done: its process ends."""
    failed = False
    """Set when a thread of the node's own has died or it could not end in order: its process ends with status 1."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        for p in self.parameters:
            text = p.help if self.fixed else f"{p.help} Read by configure."
            descriptor = ParameterDescriptor(description=text, read_only=self.fixed, dynamic_typing=p.any_type)
            if p.range is not None:
                descriptor.floating_point_range = [FloatingPointRange(from_value=p.range[0], to_value=p.range[1])]
            self.declare_parameter(p.name, p.default, descriptor)
        self.add_on_set_parameters_callback(self._may_set)
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.simulated: bool = self.value("use_sim_time")
        """Whether the node lives by /clock."""
        self._warned: set[tuple[str, ...]] = set()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self.create_timer(1.0, self.diagnose, clock=self.steady)

    def health(self) -> Health:
        """How the node is."""
        raise NotImplementedError

    def value(self, name: str) -> Any:
        """A parameter's value."""
        return self.get_parameter(name).value

    def now(self) -> float:
        """s, the host's monotonic clock or with ``use_sim_time`` /clock."""
        return self.get_clock().now().nanoseconds * 1e-9 if self.simulated else time.monotonic()

    def timer(self, period: float, work: Callable[[], None]) -> Timer:
        """Do ``work`` every ``period`` s of ``now``."""
        return self.create_timer(period, work, clock=self.get_clock() if self.simulated else self.steady)

    def configured(self, config: type) -> Any:
        """A config whose ``limits`` are among the parameters. Raises LunarError when their values do not fit."""
        return config(**{f.name: self.value(f.name) for f in fields(config)})

    def diagnose(self) -> None:
        """Publish ``health`` now; also called once per second."""
        self._publish_health(self.health())
        self._warn_of_other_types()

    def why_not(self, name: str, value: Any) -> str:
        """Why a parameter may not be set now; empty when it may be."""
        return "it is read once, at the start" if name == "use_sim_time" else ""

    def start(self) -> bool:
        """Called once before the node spins; False when it cannot work."""
        return True

    def close(self) -> None:
        """Leave safe what the node commands, and destroy it."""
        self.destroy_node()

    def _may_set(self, changes: Sequence[Any]) -> SetParametersResult:
        for change in changes:
            if why := self.why_not(change.name, change.value):
                return SetParametersResult(successful=False, reason=f"{change.name} cannot be set now: {why}")
        return SetParametersResult(successful=True)

    def _warn_of_other_types(self) -> None:
        """Once for each publisher on a topic that this node hears whose type is not the one that it listens for."""
        for subscription in self.subscriptions:
            wanted = type_name(subscription.msg_type)
            for p in self.get_publishers_info_by_topic(subscription.topic_name):
                key = (subscription.topic_name, p.node_namespace, p.node_name, p.topic_type)
                if p.topic_type != wanted and key not in self._warned:
                    self._warned.add(key)
                    who = f"{p.node_namespace.rstrip('/')}/{p.node_name}"
                    self.get_logger().warning(
                        f"{subscription.topic_name}: {who} publishes {p.topic_type}, which is not heard here: this node"
                        f" takes {wanted}"
                    )

    def _publish_health(self, health: Health) -> None:
        status = DiagnosticStatus(
            level=health.level,
            name=f"{self.get_fully_qualified_name()}: {self.part}",
            message=health.message,
            hardware_id=self.hardware,
            values=[KeyValue(key=k, value=str(v)) for k, v in health.values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


class ManagedNode(Diagnosed, LifecycleNode):
    """Subclasses fill in ``configure``, ``activate``, ``deactivate``, ``release`` and ``health``."""

    _configured = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        read_only = ParameterDescriptor(description="Configure and activate at start.", read_only=True)
        self.declare_parameter("autostart", False, read_only)
        self.active = False
        self._owned: list[tuple[Callable[[Any], object], Any]] = []
        self._owned_inactive = 0

    # ---- for subclasses -----------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Open and check everything. Raises LunarError with the reason when that cannot be."""

    def activate(self) -> None:
        """Start to work. Raises LunarError when that cannot be."""

    def deactivate(self) -> None:
        """Leave what is commanded safe; called once for each ``activate``."""

    def release(self) -> None:
        """Close what ``configure`` opened; may be called when ``configure`` failed half-way."""

    def keep(self, destroy: Callable[[Any], object], thing: Any) -> Any:
        """Destroy a publisher, service, timer ... at cleanup, or at deactivation when made by ``activate``."""
        self._owned.append((destroy, thing))
        return thing

    # ---- lifecycle ----------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``configure``; fails, and says why in the log."""
        if not self._succeeds(self.configure):
            self._succeeds(self._release)
            return TransitionCallbackReturn.FAILURE
        self._configured = True
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``activate``; fails, and says why in the log."""
        result = super().on_activate(state)
        self._owned_inactive = len(self._owned)
        if not self._succeeds(self.activate):
            self._destroy(self._owned_inactive)
            return TransitionCallbackReturn.FAILURE
        self.active = True
        notify("READY=1\nSTATUS=active")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``deactivate``."""
        if not self._succeeds(self._stop):
            return TransitionCallbackReturn.ERROR
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``release``."""
        return TransitionCallbackReturn.SUCCESS if self._succeeds(self._release) else TransitionCallbackReturn.ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``deactivate`` if active, then ``release``."""
        good = [self._succeeds(work) for work in (self._stop, self._release)]
        return TransitionCallbackReturn.SUCCESS if all(good) else TransitionCallbackReturn.ERROR

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A callback raised: stop, and go back to unconfigured."""
        return self.on_shutdown(state)

    def start(self) -> bool:
        """With ``autostart`` configure and activate; False when either fails."""
        if not self.value("autostart"):
            return True
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def close(self) -> None:
        """Stop, release and destroy the node, whatever state it is in and whatever fails of it."""
        good = [self._succeeds(work) for work in (self._stop, self._release)]
        self.failed = self.failed or not all(good)
        self.destroy_node()

    def why_not(self, name: str, value: Any) -> str:
        """What configure has read is not read again before the next configure."""
        late = self._configured and name in {"use_sim_time", *(p.name for p in self.parameters)}
        return "configure has read it; deactivate and clean up first" if late else ""

    def diagnose(self) -> None:
        """Publish ``health`` now; also called once per second."""
        self._publish_health(self.health() if self._owned else Health(OK, "unconfigured", {}))
        self._warn_of_other_types()

    def _succeeds(self, work: Callable[[], None]) -> bool:
        """Do ``work``; False when it raised, which rclpy would pass over in silence."""
        try:
            work()
        except LunarError as error:
            self.get_logger().error(plain(str(error)))
        except Exception:
            self.get_logger().error(traceback.format_exc())
        else:
            return True
        return False

    def _stop(self) -> None:
        if self.active:
            self.active = False
            self._destroy(self._owned_inactive)
            self.deactivate()

    def _release(self) -> None:
        self._configured = False
        try:
            self.release()
        finally:
            self._destroy(0)

    def _destroy(self, remaining: int) -> None:
        while len(self._owned) > remaining:
            destroy, thing = self._owned.pop()
            destroy(thing)


def type_name(message: type) -> str:
    """``package/msg/Name`` of a message's class."""
    return f"{message.__module__.partition('.')[0]}/msg/{message.__name__}"


def timing(**samples: Sequence[float]) -> dict[str, str]:
    """``NAME p50 (us)`` and ``NAME p99 (us)`` of samples in s, for diagnostics; nothing where there are none."""
    values = {}
    for name, times in samples.items():
        if times:
            p50, p99 = np.percentile(times, (50, 99)) * 1e6
            values |= {f"{name} p50 (us)": f"{p50:.0f}", f"{name} p99 (us)": f"{p99:.0f}"}
    return values


class Runnable(Protocol):
    """What ``run`` asks of a node of rclpy; see ``Diagnosed``."""

    finished: bool
    failed: bool

    def start(self) -> bool:
        """Called once before it spins; False when it cannot work."""

    def close(self) -> None:
        """Leave safe what it commands, and destroy it."""


def run(
    make: Callable[[], Runnable], args: list[str] | None = None, make_executor: type[Executor] = SingleThreadedExecutor
) -> int:
    """Run a node until one of ``ENDS`` or the death of the launch or runner that started it.

    Returns:
        0 then, 1 when it could not start or end in order, or a thread of it died.
    """
    stop = False

    def on_signal(signum: int, frame: Any) -> None:
        nonlocal stop
        stop = True

    with ExitStack() as stack:
        # rclpy's own handlers would shut the context down before what is commanded could be left safe.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.shutdown)
        for number in ENDS:
            signal.signal(number, on_signal)
        name = Path(sys.argv[0]).name
        if not follow_starter():
            who = f"{STARTER} names process {os.environ[STARTER]}, which did not start this node or has ended"
            complain(f"{name}: {who}; unset it to start a node by hand")
            return 1
        try:
            node = make()
        except (LunarError, ParameterException) as error:
            complain(f"{name}: {error}")
            return 1
        executor = make_executor()
        stack.callback(executor.shutdown)
        stack.callback(node.close)
        executor.add_node(node)
        if not node.start():
            return 1
        look = time.monotonic()
        while not (stop or node.finished or node.failed):
            executor.spin_once(timeout_sec=0.1)
            if time.monotonic() - look > _LOOK:
                look = time.monotonic()
                if not starter_lives():  # what stands between the two may live on
                    stop = True
    return int(node.failed)
