"""The virtual rig in a process of its own, for runs in wall time: it shares no interpreter with the bridge.

Machines on a real rig do not wait for the bridge's computer either. The two meet in the pseudo-terminals' bytes alone;
what the physics knows better than any sensor comes back through shared memory, for log and metrics.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any

import numpy as np

from matrix_hil.clocks import real_time
from matrix_hil.virtual import RigTruth, VirtualMachines
from sim.errors import LunarError

_START = 60.0  # s that a process may take to import, build the model and open its lines
_TRUTH = 8  # position, quaternion, vertical speed


class RigProcess:
    """Starts the virtual rig beside this process; a context manager. ``ports`` are there once it has been entered.

    Args:
        parts: keyword arguments of ``VirtualMachines``.
        began: s of ``time.monotonic`` at which the run's clock is zero; both processes read the same clock.
    """

    def __init__(self, parts: Mapping[str, Any], began: float) -> None:
        self._parts = dict(parts)
        self._began = began
        self._count = RawArray("q", 1)  # odd while the truth is being written
        self._truth = RawArray("d", _TRUTH)
        self.ports: dict[str, str] = {}
        """Path of each device's pseudo-terminal."""

    def truth(self) -> RigTruth:
        """What the physics is doing, at most one tick old."""
        while True:
            before = self._count[0]
            values = np.array(self._truth)
            if before % 2 == 0 and self._count[0] == before:
                return RigTruth(values[:3], values[3:7], float(values[7]))

    def __enter__(self) -> RigProcess:
        context = multiprocessing.get_context("spawn")
        self._line, far = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(self._parts, self._began, far, self._count, self._truth),
            name="virtual-rig",
            daemon=True,
        )
        self._process.start()
        far.close()
        try:
            if not self._line.poll(_START):
                raise EOFError
            said = self._line.recv()
        except EOFError:
            self._end()
            raise LunarError("the virtual rig's process ended before it could serve; see its message above") from None
        if isinstance(said, str):
            self._end()
            raise LunarError(said)
        self.ports = said
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._line.send(None)
        self._end()

    def _end(self) -> None:
        self._process.join(timeout=5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._line.close()


def _serve(parts: dict[str, Any], began: float, line: Connection, count: Any, truth: Any) -> None:
    """Tick by tick on wall time until the other side says so or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the bridge, whose safe commands must be obeyed
    try:
        machines = VirtualMachines(**parts)
    except LunarError as error:
        line.send(str(error))
        return
    with machines, real_time():
        line.send(machines.ports)
        values = np.frombuffer(truth)
        gc.collect()
        gc.freeze()
        due = time.monotonic()
        while not line.poll():
            machines.poll(time.monotonic() - began)
            now = machines.truth()
            count[0] += 1
            values[:3], values[3:7], values[7] = now.base_position, now.base_quaternion, now.vertical_speed
            count[0] += 1
            due = max(due + machines.tick, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
