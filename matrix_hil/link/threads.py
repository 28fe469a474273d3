"""Threads that keep time: one that polls on the host's clock, and the kernel's real-time class."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Self

from matrix_hil.link.clock import HOST, HostClock

_PRIORITY = 20  # of 1 to 99; above everything of an ordinary desktop, below the kernel's own threads
_NICE = -10
_CLASS = os.SCHED_RR  # takes turns of 100 ms: one thread that is busy for long does not stop all others of the class


class PollThread:
    """Calls ``poll(now)`` every ``period`` s of ``clock`` in its own thread, until ``stop`` or the end of a ``with``.

    ``wake`` brings a call in between, so that a command need not wait for the period's end.
    An exception in ``poll`` ends the thread and is raised again by ``stop``.
    """

    def __init__(self, name: str, poll: Callable[[float], object], period: float, clock: HostClock = HOST) -> None:
        self.name = name
        self._poll = poll
        self._period = period
        self._clock = clock
        self._end = threading.Event()
        self._bell = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start polling."""
        self._end.clear()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Poll now, whatever the period; the regular polls stay where they are. Raises what has ended the thread."""
        if self._error is not None:
            raise self._error
        self._bell.set()

    def stop(self) -> None:
        """Stop, and wait until the last poll has ended."""
        self._end.set()
        self._bell.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self) -> None:
        due = self._clock()
        try:
            while True:
                woken = self._bell.wait(self._clock.until(due))
                if self._end.is_set():
                    return
                self._bell.clear()
                self._poll(self._clock())
                if not woken:
                    # After a hiccup carry on from now: catching up would only poll an empty port.
                    due = max(due + self._period, self._clock())
        except Exception as error:
            self._error = error


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


def before_others() -> None:
    """This thread, and what it starts, before ordinary programs where that is allowed.

    For what must keep up, but computes for stretches that are too long for the real-time class.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
