"""One cycle of the bridge: newest states, sync, safety, commands out, a record of it; and the order of a run.

Nothing here reads a clock or waits: ``matrix_hil.operate.cli`` calls ``cycle`` in simulated or in wall time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from matrix_hil.control.sync import Sync, SyncInfo
from matrix_hil.link import SerialDevice
from matrix_hil.messages import MachineCommands, MachineStates, TwinPatch
from matrix_hil.safety.supervisor import Supervisor, SupervisorState
from sim.errors import LunarError
from sim.spec.command import HopCommand

ORDERS = ("arm", "run", "hold", "reset", "estop", "start", "stop")
"""What can be asked of supervisor (the first five) and sync between two cycles."""


def give_order(order: str, sync: Sync, supervisor: Supervisor, now: float) -> bool:
    """Carry out one of ``ORDERS``; returns whether it was agreed to."""
    if order in ("start", "stop"):
        getattr(sync, order)()
        return True
    assert order in ORDERS
    return getattr(supervisor, order)(now) is not False


@dataclass(frozen=True)
class Cycle:
    """Everything that one cycle saw, decided and sent."""

    number: int
    time: float
    """s, the loop's clock."""
    states: MachineStates
    wanted: MachineCommands
    """What sync asked for."""
    sent: MachineCommands
    """What safety let through."""
    supervisor: SupervisorState
    info: SyncInfo
    world: np.ndarray
    """(3,) m, the robot's base in the virtual world."""
    patch: TwinPatch | None
    command: HopCommand
    """What the operator asked of the robot."""
    orders: tuple[str, ...]
    """What was asked of sync and supervisor since the cycle before; see ``ORDERS``."""


@dataclass(frozen=True)
class RunPlan:
    """How long each part of a run takes."""

    duration: float = 20.0
    """s with the policy driving."""
    stand: float = 1.5
    """s of standing between arming and the start."""
    arm_timeout: float = 5.0
    """s within which the rig must agree to be armed."""
    down: float = 0.5
    """s of safe commands at the end, also after Ctrl-C or a trip."""


class Loop:
    """Runs a plan: wait until every machine reports and no rule objects, arm, stand, run, and go down safely.

    Args:
        sync: decides.
        supervisor: permits.
        devices: connected drivers by name, in the names of ``MachineStates``.
        command: what the robot is asked to do.
        plan: times.
        sink: takes the record of every cycle.
    """

    def __init__(
        self,
        sync: Sync,
        supervisor: Supervisor,
        devices: Mapping[str, SerialDevice],
        command: HopCommand,
        plan: RunPlan,
        sink: Callable[[Cycle], None],
    ) -> None:
        self.sync = sync
        self.supervisor = supervisor
        self.devices = devices
        self.command = command
        self.plan = plan
        self.sink = sink
        self.objection: Callable[[], str] = str
        """Why the rig must not be armed, besides what the supervisor says; an empty sentence permits it."""
        self.phase = "wait"
        """``wait``, ``stand``, ``run``, ``down`` or ``done``."""
        self.last: Cycle | None = None
        self._since: float | None = None
        self.world = np.array([sync.cfg.start_x, sync.cfg.start_y, 0.0])
        """(3,) m, the robot's base in the virtual world."""
        self.velocity = np.zeros(2)
        """(2,) m/s, of the robot over the virtual ground."""
        self._number = 0
        self._orders: list[str] = []

    @property
    def done(self) -> bool:
        """Whether the run is over and the rig is safe."""
        return self.phase == "done"

    def elapsed(self, now: float) -> float:
        """s since the present phase began."""
        return 0.0 if self._since is None else now - self._since

    def stop(self, now: float) -> None:
        """Go down now: the policy stops, the rig gets its safe commands for ``plan.down`` seconds."""
        if self.phase not in ("down", "done"):
            self._order("stop", now)
            if self.supervisor.state not in ("safe", "estop"):
                self._order("reset", now)
            self._enter("down", now)

    def estop(self, now: float) -> tuple[bool, str]:
        """From anywhere: safe commands from the next cycle on, latched. Returns (done, the supervisor's state)."""
        self._order("estop", now)
        self._order("stop", now)
        return self.supervisor.state == "estop", self.supervisor.state

    def newest(self) -> MachineStates:
        """The newest state of every machine. Take it before reading the clock, or a state may be newer than now."""
        return MachineStates(**{name: device.state for name, device in self.devices.items()})

    def cycle(self, now: float, states: MachineStates, patch: TwinPatch | None) -> None:
        """One cycle at ``now`` with the machines' ``states`` over the newest ``patch`` of the virtual ground.

        What it tells the machines is queued with their drivers, whose next ``poll`` sends it.

        Raises:
            LunarError: the rig did not agree to be armed in time; nothing has moved.
        """
        wanted, self.world, info = self.sync.step(states, patch, self.command, now)
        self.velocity = _turned(info.speed_over_belt, float(info.velocity[1]), self.sync.cfg.heading)
        sent, judged = self.supervisor.step(states, wanted, now, patch)
        for name, device in self.devices.items():
            command: Any = getattr(sent, name, None)
            if command is not None and getattr(states, name) is not None:
                device.send(command, self.supervisor.expires)
        orders = tuple(self._orders)
        self._orders.clear()
        self.last = Cycle(
            self._number, now, states, wanted, sent, judged, info, self.world, patch, self.command, orders
        )
        self._number += 1
        self.sink(self.last)
        self._advance(now)

    def _advance(self, now: float) -> None:
        if self._since is None:
            self._since = now
        if self.phase == "wait":
            if self._order("arm", now):
                self._enter("stand", now)
            elif self.elapsed(now) > self.plan.arm_timeout:
                why = self.objection() or self.supervisor.blocked
                raise LunarError(f"the rig cannot be armed: {why}; it has been left still")
        elif self.supervisor.state in ("safe", "estop"):
            if self.phase in ("stand", "run"):
                self.stop(now)
        if self.phase == "stand" and self.elapsed(now) >= self.plan.stand and self._order("run", now):
            self._order("start", now)
            self._enter("run", now)
        elif self.phase == "run" and self.elapsed(now) >= self.plan.duration:
            self.stop(now)
        if self.phase == "down" and self.elapsed(now) >= self.plan.down:
            self._enter("done", now)

    def _order(self, order: str, now: float) -> bool:
        """Carry out one of ``ORDERS`` and keep it for the record of the next cycle."""
        if order == "arm" and self.objection():
            return False
        self._orders.append(order)
        return give_order(order, self.sync, self.supervisor, now)

    def _enter(self, phase: str, now: float) -> None:
        self.phase = phase
        self._since = now


def _turned(x: float, y: float, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * x - s * y, s * x + c * y])
