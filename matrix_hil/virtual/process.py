"""What stands for the outside world in wall time, each in a process of its own: virtual rig and stand-in Unreal.

Real machines and a real Unreal do not wait for the bridge's interpreter either. Process and bridge meet in serial bytes
and in a TCP port alone; what the physics knows better than any sensor comes back through shared memory, for the log.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any, Self

import numpy as np

from matrix_hil.beside import end_with, leave_signals
from matrix_hil.config import RigSetup
from matrix_hil.link import HostClock
from matrix_hil.link.threads import before_others, real_time
from matrix_hil.messages import RigTruth
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.errors import LunarError
from sim.terrain.generators import TerrainConfig, make_terrain

_START = 120.0  # s that a process may take to import, build what it serves and say where
_TRUTH = 8  # position, quaternion, vertical speed


class Beside:
    """A process that serves from ``__enter__`` to ``__exit__``, or until this one is gone.

    Args:
        name: of the process.
        serve: runs there with a connection and ``arguments``: says once where it serves, then serves until the
            connection has something to read. A ``LunarError`` of it before that is raised here by ``__enter__``.
    """

    def __init__(self, name: str, serve: Callable[..., None], *arguments: Any) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._line, self._far = self._context.Pipe()
        self.process = self._context.Process(
            target=_run, args=(serve, self._far, arguments), name=name, daemon=True
        )  # fmt: skip
        self.address: Any = None
        """Where it serves."""

    def __enter__(self) -> Self:
        self.process.start()
        end_with(self, self.process)
        self._far.close()
        try:
            answer = self._line.recv() if self._line.poll(_START) else None
        except EOFError:
            answer = None
        if isinstance(answer, str) or answer is None:
            self._end()
            raise LunarError(answer or f"the process '{self.process.name}' ended before it could serve; see above")
        (self.address,) = answer
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._line.send(None)
        self._end()

    def _end(self) -> None:
        self.process.join(timeout=5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._line.close()


class RigProcess(Beside):
    """The virtual rig, in the kernel's real-time class where that is allowed.

    Args:
        setup: the rig.
        seed: of sensor noise and of the robot's first pose.
        clock: the run's; both processes read the same one.
    """

    def __init__(self, setup: RigSetup, seed: int, clock: HostClock) -> None:
        self._count = RawArray("q", 1)  # odd while the truth is being written
        self._truth = RawArray("d", _TRUTH)
        super().__init__("virtual-rig", _serve_rig, setup, seed, clock, self._count, self._truth)

    @property
    def ports(self) -> dict[str, str]:
        """Path of each device's pseudo-terminal."""
        return self.address

    def truth(self) -> RigTruth:
        """What the physics is doing, at most one tick old."""
        while True:
            before = self._count[0]
            values = np.array(self._truth)
            if before % 2 == 0 and self._count[0] == before:
                return RigTruth(values[:3], values[3:7], float(values[7]))


class TwinProcess(Beside):
    """The stand-in UnrealCV server over a terrain, before ordinary programs where that is allowed."""

    def __init__(self, terrain: TerrainConfig, seed: int) -> None:
        super().__init__("stand-in-unreal", _serve_twin, terrain, seed)

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1."""
        return self.address


def _run(serve: Callable[..., None], line: Connection, arguments: tuple[Any, ...]) -> None:
    leave_signals()  # they are for the bridge, whose safe commands must be obeyed
    try:
        serve(line, *arguments)
    except LunarError as error:
        line.send(str(error))


def _serve_rig(line: Connection, setup: RigSetup, seed: int, clock: HostClock, count: Any, truth: Any) -> None:
    """Tick by tick on wall time."""
    from matrix_hil.virtual.rig import VirtualMachines  # brings MuJoCo, which the stand-in for Unreal does without

    with VirtualMachines(setup, seed) as machines, real_time():
        values = np.frombuffer(truth)
        gc.collect()
        gc.freeze()
        machines.on_wall(clock)
        line.send((machines.ports,))
        due = clock()
        while not line.poll():
            machines.poll(clock())
            now = machines.truth()
            count[0] += 1
            values[:3], values[3:7], values[7] = now.base_position, now.base_quaternion, now.vertical_speed
            count[0] += 1
            due = max(due + machines.tick, clock())
            clock.sleep(due)


def _serve_twin(line: Connection, terrain: TerrainConfig, seed: int) -> None:
    """It renders for long stretches, so that it must not be of the real-time class."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    before_others()
    with TwinServer(make_terrain(terrain, seed), ServerConfig(port=0)) as server:
        line.send((server.port,))
        line.poll(None)
