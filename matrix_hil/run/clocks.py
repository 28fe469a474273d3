"""What drives the loop: simulated time in one thread, or wall time with a thread per device."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol, Self

import numpy as np

from matrix_hil.link import HostClock, PollThread, SerialDevice
from matrix_hil.messages import TwinPatch
from matrix_hil.run.loop import Loop

GroundSource = Callable[[np.ndarray, np.ndarray, float], TwinPatch | None]
"""(world position (3,) m, world velocity (2,) m/s, now) -> newest patch of the virtual ground."""


class Clock(Protocol):
    """The parts of a cycle that depend on whose time it is. A context manager around all cycles."""

    def wait(self) -> float:
        """Wait for the next cycle; returns when it is due, s."""

    def receive(self) -> None:
        """Read what has come from the machines."""

    def now(self) -> float:
        """s, read after the states were taken."""

    def send(self) -> None:
        """Write what was queued for the machines."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def drive(
    loop: Loop,
    clock: Clock,
    ground: GroundSource,
    before: Callable[[float], None],
    after: Callable[[float, float, float], None],
) -> None:
    """Cycle until the loop is done. ``clock`` has been entered.

    Args:
        loop: the bridge.
        clock: simulated or wall time.
        ground: the newest ground of the virtual world.
        before: the operator's turn before each cycle, at its time in s.
        after: takes a cycle's time, its computing time and its lateness, all in s. The computing time is that of the
            bridge: without physics and Unreal, which have processes of their own on a real rig.
    """
    while not loop.done:
        due = clock.wait()
        patch = ground(loop.world, loop.velocity, due)
        begin = time.perf_counter()
        clock.receive()
        states = loop.newest()
        now = clock.now()
        before(now)
        loop.cycle(now, states, patch)
        clock.send()
        after(now, time.perf_counter() - begin, now - due)


class SimulatedClock:
    """One thread: physics and emulators up to the cycle's time, then the bridge. Deterministic; nobody is ever late.

    Args:
        machines: emulated; ``poll(now)`` moves them, ``lockstep(devices)`` joins them to their drivers.
        devices: connected drivers by name.
        period: s from cycle to cycle.
        first: number of the first cycle, which is at ``first * period``.
    """

    def __init__(self, machines: Any, devices: Mapping[str, SerialDevice], period: float, first: int = 0) -> None:
        self.machines, self.devices, self.period = machines, devices, period
        self.links: Mapping[str, Any] = {}
        self._cycle = first
        self._now = 0.0

    def __enter__(self) -> Self:
        self.links = self.machines.lockstep(self.devices)
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing runs by itself."""

    def wait(self) -> float:
        """Move the machines."""
        self._now = self._cycle * self.period
        self._cycle += 1
        self.machines.poll(self._now)
        return self._now

    def receive(self) -> None:
        """Every driver reads all that its machine has written."""
        for link in self.links.values():
            link.poll_device(self.now())

    def now(self) -> float:
        """s, the time of the cycle."""
        return self._now

    def send(self) -> None:
        """Every driver writes."""
        for device in self.devices.values():
            device.poll(self.now())


class WallClock:
    """A thread per device, and a loop that keeps its own deadlines and wakes them to write.

    Args:
        devices: connected drivers by name; those that are polled here.
        period: s from cycle to cycle.
        clock: the rig's.
        machines: emulated ones that this thread moves; None where they move by themselves.
    """

    def __init__(
        self,
        devices: Mapping[str, SerialDevice],
        period: float,
        clock: HostClock,
        machines: Any = None,
    ) -> None:
        self.now = clock
        """s."""
        self._devices, self._period, self._machines = devices, period, machines
        self._threads: list[PollThread] = []
        self._stack = ExitStack()
        self._due = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        gc.freeze()  # no long collections over what lives as long as the run
        self._stack.callback(gc.unfreeze)
        for device in self._devices.values():
            device.clock = self.now
            thread = PollThread(device.spec.name, device.poll, device.poll_period, self.now)
            self._threads.append(self._stack.enter_context(thread))
        self._due = self.now() + self._period
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.clear()
        self._stack.close()

    def wait(self) -> float:
        """Sleep until the next cycle is due."""
        due = self._due
        self.now.sleep(due)
        if self._machines is not None:
            self._machines.poll(self.now())
        return due

    def receive(self) -> None:
        """The threads do."""

    def send(self) -> None:
        """Wake the threads. Raises what has ended one of them."""
        for thread in self._threads:
            thread.wake()
        self._due = max(self._due + self._period, self.now())  # after a hiccup carry on from now instead of hurrying
