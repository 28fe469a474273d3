"""The bridge's loop under an operator's orders instead of a plan: arm, run, hold, reset, e-stop, stop at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matrix_hil.control.sync import Sync
from matrix_hil.run.loop import Cycle, Loop, RunPlan
from matrix_hil.safety.supervisor import Supervisor
from sim.spec.command import HopCommand


class OperatedLoop(Loop):
    """``cycle`` as in ``Loop``; what else happens is for the operator to say. Orders return (done, sentence).

    Call everything from one thread at a time.

    Args:
        sync: decides.
        supervisor: permits; every command to a machine passes it.
        devices: by name; each has ``state``, ``send(command)`` and ``reset()``, as ``SerialDevice``.
        command: what the robot is asked to do; ``command`` may be set at any time.
        stand: s that the robot must have stood since it was armed or held before it may run.
        sink: takes the record of every cycle.
    """

    def __init__(
        self,
        sync: Sync,
        supervisor: Supervisor,
        devices: Mapping[str, Any],
        command: HopCommand,
        stand: float,
        sink: Callable[[Cycle], None],
    ) -> None:
        super().__init__(sync, supervisor, devices, command, RunPlan(stand=stand), sink)
        self._estop_input = False

    def arm(self, now: float) -> tuple[bool, str]:
        """From ``idle``: the robot stands, the rope carries it."""
        armed = self.supervisor.state != "armed" and self._order("arm", now)
        if armed:
            self._enter("stand", now)
        why = self.objection() or self.supervisor.blocked if self.supervisor.state == "idle" else ""
        return self._answer("armed", why)

    def run(self, now: float) -> tuple[bool, str]:
        """From ``armed`` or ``hold``: the policy drives."""
        if self.supervisor.state in ("armed", "hold") and (left := self.plan.stand - self.elapsed(now)) > 0.0:
            return False, f"the robot must stand for {left:.1f} s more"
        if self.supervisor.state in ("armed", "hold") and self._order("run", now):
            self._order("start", now)
            self._enter("run", now)
        return self._answer("run", "")

    def hold(self, now: float) -> tuple[bool, str]:
        """From ``armed`` or ``run``: the robot stands, belt and platform stop."""
        if self._order("hold", now):
            self._order("stop", now)
            self._enter("stand", now)
        return self._answer("hold", "")

    def reset(self, now: float) -> tuple[bool, str]:
        """Back to ``idle``, latches cleared here and in the devices. Refused while the e-stop is held."""
        if self._estop_input:
            return False, "the e-stop is still held"
        self._order("stop", now)
        self._order("reset", now)
        for device in self.devices.values():
            device.reset()
        self._enter("wait", now)
        return self._answer("idle", "")

    def estop_input(self, held: bool, now: float) -> None:
        """State of an e-stop that can be held, such as a panel's button. Let go, it stays latched until ``reset``."""
        self._estop_input = held
        if held:
            self.estop(now)

    def _advance(self, now: float) -> None:
        if self._since is None:
            self._since = now
        if self.supervisor.state in ("safe", "estop") and self.sync.running:
            self._order("stop", now)
        if self.phase == "down" and self.elapsed(now) >= self.plan.down:
            self._enter("done", now)

    def _answer(self, wanted: str, why: str) -> tuple[bool, str]:
        state, reason = self.supervisor.state, self.supervisor.reason
        if state == wanted:
            return True, state
        text = why or reason
        return False, f"the rig is in '{state}'" + (f": {text}" if text else "")
