"""What drives the loop: simulated time in one thread, or wall time with a thread per device."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from matrix_hil.link import PollThread, SerialDevice
from matrix_hil.messages import TwinPatch
from matrix_hil.run.loop import Loop
from matrix_hil.virtual.rig import VirtualMachines

GroundSource = Callable[[np.ndarray, np.ndarray, float], TwinPatch | None]
"""(world position (3,) m, world velocity (2,) m/s, now) -> newest patch of the virtual ground."""
_PRIORITY = 20  # of 1 to 99; above everything of an ordinary desktop, below the kernel's own threads
_CLASS = os.SCHED_RR  # takes turns of 100 ms: one thread that is busy for long does not stop all others of the class


@dataclass(frozen=True)
class Bench:
    """Everything that takes part in a run."""

    loop: Loop
    devices: Mapping[str, SerialDevice]
    """Connected drivers by name."""
    machines: VirtualMachines | None
    """The virtual rig, in simulated time; in wall time it has a process of its own."""
    ground: GroundSource
    timed: Callable[[float, float], None]
    """Takes a cycle's computing time and its lateness, s."""
    interrupted: Callable[[], bool]
    """Whether the operator asked for the end."""
    show: Callable[[Loop, float], None]
    """Tells the operator how far it is, once per cycle."""


def run_simulated(bench: Bench) -> None:
    """One thread: physics and emulators up to the cycle's time, then the bridge. Deterministic; nobody is ever late.

    The computing time is that of the bridge: reading, sync, safety, log and writing, without physics and Unreal, which
    have processes of their own on a real rig.
    """
    assert bench.machines is not None
    loop = bench.loop
    links = bench.machines.lockstep(bench.devices)
    period = 1.0 / loop.sync.cfg.rate
    cycle = 0
    while not loop.done:
        now = cycle * period
        bench.machines.poll(now)
        patch = bench.ground(loop.world, loop.velocity, now)
        begin = time.perf_counter()
        for link in links.values():
            link.poll_device(now)
        if bench.interrupted():
            loop.stop(now)
        loop.cycle(now, loop.newest(), patch)
        for device in bench.devices.values():
            device.poll(now)
        bench.timed(time.perf_counter() - begin, 0.0)
        bench.show(loop, now)
        cycle += 1


def run_wall(bench: Bench, clock: Callable[[], float]) -> None:
    """A thread per device and this loop, which keeps its own deadlines on ``clock``, s, and wakes them to write."""
    loop = bench.loop
    period = 1.0 / loop.sync.cfg.rate
    loop.sync.policy.infer(np.zeros((1, loop.sync.policy.card.observation.size)))  # the first call is slow
    with ExitStack() as stack:
        stack.callback(gc.unfreeze)
        gc.collect()
        gc.freeze()  # no long collections over what lives as long as the run
        threads = [
            stack.enter_context(PollThread(device.spec.name, _poll(device, clock), device.poll_period))
            for device in bench.devices.values()
        ]
        due = clock() + period
        while not loop.done:
            time.sleep(max(0.0, due - clock()))
            states = loop.newest()
            now = clock()
            if bench.interrupted():
                loop.stop(now)
            loop.cycle(now, states, bench.ground(loop.world, loop.velocity, now))
            for thread in threads:
                thread.wake()
            end = clock()
            bench.timed(end - now, now - due)
            bench.show(loop, now)
            due = max(due + period, end)  # after a hiccup carry on from now instead of hurrying


def _poll(device: SerialDevice, clock: Callable[[], float]) -> Callable[[float], int]:
    device.clock = clock
    return lambda _: device.poll(clock())


@contextlib.contextmanager
def real_time() -> Iterator[None]:
    """The kernel's real-time class where that is allowed, and threads that hand over the interpreter quickly.

    What computes without a pause does not belong here: the kernel stops the whole class on a core for 50 ms in each
    second that it fills. Threads started inside inherit it. Start all of a run's threads inside: others put an ordinary
    one to sleep while it holds the interpreter that the loop waits for.
    """
    interval = sys.getswitchinterval()
    scheduler, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, _CLASS, os.sched_param(_PRIORITY))
    sys.setswitchinterval(2e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, scheduler, parameters)


@contextlib.contextmanager
def ordinary_time() -> Iterator[None]:
    """For this thread the ordinary class again: inside ``real_time``, for what computes before anything moves."""
    scheduler, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, scheduler, parameters)
