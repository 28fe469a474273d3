"""One cycle of the bridge: newest states, sync, safety, commands out, a record of it; and the order of a run.

Nothing here reads a clock or waits: ``run.clocks.drive`` calls ``cycle`` in simulated or in wall time.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from matrix_hil.config import RunPlan
from matrix_hil.control.sync import Sync, SyncInfo
from matrix_hil.link.protocol import FAULT_WATCHDOG
from matrix_hil.messages import MachineCommands, MachineStates, TwinPatch, malformed
from matrix_hil.safety.supervisor import Supervisor, SupervisorState
from sim.errors import LunarError
from sim.spec.command import HopCommand

ORDERS = ("arm", "run", "hold", "reset", "estop", "start", "stop")
"""What can be asked of supervisor (the first five) and sync between two cycles."""

_ENDING = "the rig is going down; start it again"
_CLEAR_PERIOD = 1.0  # s between two tries to clear watchdogs

P = ParamSpec("P")
R = TypeVar("R")


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


Wish = tuple[MachineCommands, np.ndarray, SyncInfo]
"""What sync returns: wanted commands, the robot's place in the virtual world, what it believed."""


def wish(
    sync: Sync, states: MachineStates, patch: TwinPatch | None, command: HopCommand, now: float, before: Wish | None
) -> tuple[Wish, str]:
    """What sync wants now; where it fails what it wanted ``before``, and why, for the supervisor to trip.

    Raises:
        Exception: it failed in the first cycle, before anything could have been armed.
    """
    try:
        return sync.step(states, patch, command, now), ""
    except Exception as error:
        if before is None:
            raise
        return before, f"{type(error).__name__}: {error}"


def _alone(method: Callable[Concatenate[Loop, P], R]) -> Callable[Concatenate[Loop, P], R]:
    """An operator's order and a cycle never overlap, whichever thread each comes from."""

    @functools.wraps(method)
    def locked(self: Loop, *arguments: P.args, **named: P.kwargs) -> R:
        with self._lock:
            return method(self, *arguments, **named)

    return locked


class Loop:
    """Runs a plan: wait until every machine reports and no rule objects, arm, stand, run, and go down safely.

    Operated, it waits for orders instead: ``arm``, ``run``, ``hold`` and ``reset``, which return (done, sentence).
    E-stop and end come from outside in either case.

    Args:
        sync: decides.
        supervisor: permits; knows what the machines' units mean.
        devices: connected drivers by name, in the names of ``MachineStates``; each has ``state``,
            ``send(command)``, ``fall_silent()`` and ``reset()``, as ``SerialDevice``.
        command: what the robot is asked to do; may be set at any time.
        plan: times. Operated, the robot must have stood for ``plan.stand`` since it was armed or held before it runs.
        sink: takes the record of every cycle.
        operated: whether orders come from outside.
    """

    def __init__(
        self,
        sync: Sync,
        supervisor: Supervisor,
        devices: Mapping[str, Any],
        command: HopCommand,
        plan: RunPlan,
        sink: Callable[[Cycle], None],
        operated: bool = False,
    ) -> None:
        self.sync = sync
        self.supervisor = supervisor
        self.devices = devices
        self.command = command
        self.plan = plan
        self.sink = sink
        self.operated = operated
        self.objection: Callable[[], str] = str
        """Why the rig must not be armed, besides what the supervisor says; an empty sentence permits it."""
        self.guide: Callable[[Loop], HopCommand] | None = None
        """Who says ``command`` anew for every cycle, where somebody does."""
        self.phase = "wait"
        """``wait``, ``stand``, ``run``, ``down`` or ``done``."""
        self.last: Cycle | None = None
        self._since: float | None = None
        self.world = np.array([sync.cfg.start_x, sync.cfg.start_y, 0.0])
        """(3,) m, the robot's base in the virtual world."""
        self.velocity = np.zeros(2)
        """(2,) m/s, of the robot over the virtual ground."""
        self._wish: Wish | None = None
        self._patch: TwinPatch | None = None  # the newest that is ground
        self._number = 0
        self._starting = True  # until it first leaves idle
        self._cleared = -math.inf
        self._orders: list[str] = []
        self.held_by: set[Hashable] = set()
        """Who holds an e-stop."""
        self._lock = threading.RLock()

    @property
    def ending(self) -> bool:
        """Whether the rig goes down, or has: nobody can arm it any more, nor call that off."""
        return self.phase in ("down", "done")

    @property
    def done(self) -> bool:
        """Whether the run is over and the rig is safe."""
        return self.phase == "done"

    def elapsed(self, now: float) -> float:
        """s since the present phase began."""
        return 0.0 if self._since is None else now - self._since

    def stand_left(self, now: float) -> float:
        """s that an operated robot must still stand before it may run; not above zero once it has."""
        return self.plan.stand - self.elapsed(now)

    # ---- orders -----------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Wait to be armed again, after an end."""
        self.phase, self._since, self._starting = "wait", None, True

    @_alone
    def stop(self, now: float) -> None:
        """Go down now: the policy stops, the rig gets its safe commands for ``plan.down`` seconds."""
        if not self.ending:
            self._order("stop", now)
            if self.supervisor.state not in ("safe", "estop"):
                self._order("reset", now)
            self._enter("down", now)

    @_alone
    def estop(self, now: float) -> tuple[bool, str]:
        """From anywhere: safe commands from the next cycle on, latched. Returns (done, the supervisor's state)."""
        self._order("estop", now)
        self._order("stop", now)
        return self.supervisor.state == "estop", self.supervisor.state

    def estop_input(self, held: bool, now: float, who: Hashable = "") -> None:
        """State of an e-stop that ``who`` can hold, such as a panel's button. Let go, it stays latched until ``reset``,
        which is refused while anybody holds one."""
        if held:
            self.held_by.add(who)
            self.estop(now)
        else:
            self.held_by.discard(who)

    @_alone
    def arm(self, now: float) -> tuple[bool, str]:
        """From ``idle``: the robot stands, the rope carries it."""
        if self.ending:
            return False, _ENDING
        if self.supervisor.state != "armed" and self._order("arm", now):
            self._enter("stand", now)
        why = self.objection() or self.supervisor.blocked if self.supervisor.state == "idle" else ""
        return self._answer("armed", why)

    @_alone
    def run(self, now: float) -> tuple[bool, str]:
        """From ``armed`` or ``hold``: the policy drives."""
        if self.supervisor.state in ("armed", "hold") and (left := self.stand_left(now)) > 0.0:
            return False, f"the robot must stand for {left:.1f} s more"
        if self.supervisor.state in ("armed", "hold") and self._order("run", now):
            self._order("start", now)
            self._enter("run", now)
        return self._answer("run")

    @_alone
    def hold(self, now: float) -> tuple[bool, str]:
        """From ``armed`` or ``run``: the robot stands, belt and platform stop."""
        if self._order("hold", now):
            self._order("stop", now)
            self._enter("stand", now)
        return self._answer("hold")

    @_alone
    def reset(self, now: float) -> tuple[bool, str]:
        """Back to ``idle``, latches cleared here and in the devices. Refused while the e-stop is held."""
        if self.ending:
            return False, _ENDING
        if self.held_by:
            return False, "the e-stop is still held"
        self._order("stop", now)
        self._order("reset", now)
        for device in self.devices.values():
            device.reset()
        self._enter("wait", now)
        return self._answer("idle")

    # ---- cycles -----------------------------------------------------------------------------------------------------

    def newest(self) -> MachineStates:
        """The newest state of every machine in true units. Take it before reading the clock, or one may be newer."""
        reported = MachineStates(**{name: device.state for name, device in self.devices.items()})
        return self.supervisor.calibration.true_states(reported)

    @_alone
    def cycle(self, now: float, states: MachineStates, patch: TwinPatch | None) -> None:
        """One cycle at ``now`` with the machines' ``states`` over the newest ``patch`` of the virtual ground.

        What it tells the machines is queued with their drivers, whose next ``poll`` sends it.

        Raises:
            LunarError: the rig did not agree to be armed in time; nothing has moved.
        """
        patch = self._ground(patch)
        lost = self._ask_guide()
        self._wish, failure = wish(self.sync, states, patch, self.command, now, self._wish)
        failure = failure or lost
        wanted, self.world, info = self._wish
        self.velocity = _turned(info.speed_over_belt, float(info.velocity[1]), self.sync.cfg.heading)
        sent, judged = self.supervisor.step(states, wanted, now, patch, failure, info.doubt)
        self._clear_watchdogs(states, now)
        send(self.devices, states, self.supervisor)
        orders = tuple(self._orders)
        self._orders.clear()
        self.last = Cycle(
            self._number, now, states, wanted, sent, judged, info, self.world, patch, self.command, orders
        )
        self._number += 1
        self.sink(self.last)
        self._advance(now)

    def _ask_guide(self) -> str:
        """Let the guide say ``command`` anew; why it failed, for the supervisor to trip."""
        if self.guide is not None:
            try:
                self.command = self.guide(self)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        return ""

    def _clear_watchdogs(self, states: MachineStates, now: float) -> None:
        """Until the rig is first armed its own start may hold it up. A device whose watchdog alone has tripped by then
        is asked to clear that, as it was when it was connected; one that trips again keeps the rig from being armed."""
        self._starting = self._starting and self.supervisor.state == "idle"
        if self._starting and now - self._cleared >= _CLEAR_PERIOD:
            for name, device in self.devices.items():
                state = getattr(states, name)
                if getattr(state, "fault", 0) == FAULT_WATCHDOG and now - state.time < _CLEAR_PERIOD:
                    device.reset()
                    self._cleared = now

    def _ground(self, patch: TwinPatch | None) -> TwinPatch | None:
        """``patch``, or the newest before that was well-formed: that one grows old, and S28 says so."""
        if patch is not self._patch and (patch is None or not malformed(patch)):
            self._patch = patch
        return self._patch

    def _advance(self, now: float) -> None:
        if self._since is None:
            self._since = now
        tripped = self.supervisor.state in ("safe", "estop")
        if self.operated:
            if tripped and self.sync.running:
                self._order("stop", now)
        else:
            self._follow_plan(now, tripped)
        if self.phase == "down" and self.elapsed(now) >= self.plan.down:
            self._enter("done", now)

    def _follow_plan(self, now: float, tripped: bool) -> None:
        if self.phase == "wait":
            if self._order("arm", now):
                self._enter("stand", now)
            elif self.elapsed(now) > self.plan.arm_timeout:
                why = self.objection() or self.supervisor.blocked
                raise LunarError(f"the rig cannot be armed: {why}; it has been left still")
        elif tripped and self.phase in ("stand", "run"):
            self.stop(now)
        if self.phase == "stand" and self.elapsed(now) >= self.plan.stand and self._order("run", now):
            self._order("start", now)
            self._enter("run", now)
        elif self.phase == "run" and self.elapsed(now) >= self.plan.duration:
            self.stop(now)

    def _order(self, order: str, now: float) -> bool:
        """Carry out one of ``ORDERS`` and keep it for the record of the next cycle."""
        if order == "arm" and self.objection():
            return False
        self._orders.append(order)
        return give_order(order, self.sync, self.supervisor, now)

    def _enter(self, phase: str, now: float) -> None:
        self.phase = phase
        self._since = now

    def _answer(self, wanted: str, why: str = "") -> tuple[bool, str]:
        state, text = self.supervisor.state, why or self.supervisor.reason
        if state == wanted:
            return True, state
        return False, f"the rig is in '{state}'" + (f": {text}" if text else "")


def send(devices: Mapping[str, Any], states: MachineStates, supervisor: Supervisor) -> None:
    """Queue what the supervisor has just let through with the driver of every machine that has been heard.

    One that does not come to rest is left to its own watchdog.
    """
    for name, device in devices.items():
        if name in supervisor.silenced:
            device.fall_silent()
            continue
        command: Any = getattr(supervisor.wire, name, None)
        if command is not None and getattr(states, name) is not None:
            device.send(command)


def _turned(x: float, y: float, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * x - s * y, s * x + c * y])
