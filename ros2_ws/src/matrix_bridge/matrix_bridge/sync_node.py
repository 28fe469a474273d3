"""Sync and safety in one process: no command reaches a machine without the supervisor having passed it.

The loop has a thread of its own with its own deadlines; messages, services and diagnostics are the executor's.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from std_msgs.msg import String
from std_srvs.srv import Trigger

from matrix_bridge.buttons import Buttons
from matrix_bridge.inbox import Inbox
from matrix_bridge.node import ERROR, OK, RIG, WARN, BridgeNode, Health, Parameter, run
from matrix_bridge.places import check_same_pace, port_of, rig_setup
from matrix_bridge.publish import TopicLog
from matrix_bridge.qos import PROFILES
from matrix_bridge.remote import RemoteDevice
from matrix_bridge.session import new_key
from matrix_hil.config import EMULATED
from matrix_hil.link import DEVICES, HostClock
from matrix_hil.messages import TwinPatch, malformed
from matrix_hil.rig import Rig, open_rig
from matrix_hil.run.clocks import drive
from matrix_hil.run.drivers import leave_safe
from matrix_hil.run.loop import Loop
from sim.errors import LunarError
from sim.files import find_policy
from sim.spec.command import HopCommand

_BACKLOG = 100  # cycles and stamps that may wait to be published: on a busy computer old ones are no use to anybody


class SyncNode(BridgeNode):
    """Configure loads the policy and opens lines or topics; active, it runs the loop under the operator's orders."""

    prompt = True
    parameters = (
        Parameter("policy", "", "Folder with policy.onnx and card.json, or the name of one in the zoo."),
        Parameter("config", "", "YAML file of the rig; configs/hil/virtual.yaml when empty."),
        RIG,
        Parameter("drivers", "inline", "inline: this node drives the machines; nodes: a driver_node for each does."),
        Parameter("command_timeout", 0.5, "s. Speeds are zero when hop_command is older than this.", (0.05, 10.0)),
        Parameter("operator_timeout", 1.0, "s. An operator who is silent for longer holds the rig.", (0.2, 10.0)),
        Parameter("stand", 1.5, "s. The robot stands at least this long before it may run.", (0.0, 30.0)),
    )

    def __init__(self) -> None:
        super().__init__("sync")
        self._stack = ExitStack()
        self._rig: Rig | None = None
        self._loop: Loop | None = None
        self._patch: TwinPatch | None = None
        self._session = ""
        self._inbox: Inbox | None = None
        self._buttons = Buttons()
        self._operators: dict[bytes, float] = {}
        self._ordered = -math.inf
        self._lateness: list[float] = []
        self._duration: list[float] = []

    def configure(self) -> None:
        """Load the policy, then open every line."""
        cfg = rig_setup(self.value("config"), self.value("rig"))
        check_same_pace(cfg)
        self.clock = HostClock(cfg.pace)
        if not self.value("policy"):
            raise LunarError("parameter 'policy' is empty; give a policy's folder or the name of one in the zoo")
        if cfg.plan.traverse and _folder(cfg.policy) != _folder(self.value("policy")):
            raise LunarError(f"plan {cfg.plan.traverse} begins with policy {cfg.policy}; give it as parameter 'policy'")
        if self.value("drivers") not in ("inline", "nodes"):
            raise LunarError(f"drivers is '{self.value('drivers')}'; it must be inline or nodes")
        inline = self.value("drivers") == "inline"
        plan = replace(cfg.plan, stand=self.value("stand"))
        cfg = replace(cfg, policy=self.value("policy"), plan=plan, clock="wall")
        virtual = {name: port_of(name, cfg) for name, port in cfg.ports.items() if inline and port == EMULATED}
        session = new_key(self.value("rig"))
        self._session = "" if inline else session
        self._announce()
        self._rig = self._stack.enter_context(
            open_rig(
                cfg,
                record=lambda kept: nullcontext(TopicLog(self, inline)),
                backlog=_BACKLOG,
                ground=lambda *_: self._patch,
                operated=True,
                clock=self.clock,
                ports=virtual,
                remote=None if inline else {name: RemoteDevice(self, name, session) for name in DEVICES},
                refuse=False,
                show=self.get_logger().info,
            )
        )
        self._loop = self._rig.loop
        if why := self._loop.objection():
            self.get_logger().warning(f"the rig will not be armed: {why}")
        self._default, self._timeout = cfg.command, self.value("command_timeout")
        self.subscribe("hop_command", self._on_hop_command)
        self._inbox = self.keep(Inbox.close, Inbox(self))
        self._inbox.listen("estop", PROFILES["any"], PROFILES["state"])  # also what was pressed before this node came
        self._inbox.listen("operator", PROFILES["any"])
        self._buttons = Buttons()
        self._operators.clear()
        self.receive("twin/patch", self._on_patch)
        for name in ("arm", "run", "hold", "reset", "estop"):
            self.keep(self.destroy_service, self.create_service(Trigger, name, self._order(name)))
        if self._rig.guide is not None:
            from matrix_bridge.follow import PlanServer

            self.keep(PlanServer.destroy, PlanServer(self, self._loop, self._rig.guide))

    def activate(self) -> None:
        """Start the loop; the rig is idle and gets safe commands until it is armed."""
        rig = self._rig
        assert rig is not None
        for device in rig.drivers.values():
            device.connect()
        rig.loop.restart()
        self._thread = threading.Thread(target=self.guarded(self._run), args=(rig,), name="sync", daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Go down safely, which ends the loop; the drivers say the safe commands."""
        rig = self._rig
        if rig is not None:
            rig.loop.stop(self.now())
            self._thread.join()
            leave_safe(rig.drivers.values())

    def release(self) -> None:
        """Close lines and topics."""
        self._loop = self._rig = self._inbox = None
        self._stack.close()

    def _announce(self) -> None:
        """Say to drivers in nodes which session is this one's."""
        if self._session:
            self.publisher("sync/session").publish(String(data=self._session))

    def health(self) -> Health:
        """State, reason and timing."""
        loop = self._loop
        assert loop is not None
        self._announce()  # again: a driver may have heard it while it could not tell whose it was
        s = loop.supervisor
        values: dict[str, object] = {"cycles per second": len(self._duration), "blocked by": s.blocked}
        late = max(self._lateness, default=0.0)
        for name, samples in (("cycle", self._duration), ("lateness", self._lateness)):
            if samples:
                p50, p99 = np.percentile(samples, (50, 99)) * 1e6
                values |= {f"{name} p50 (us)": f"{p50:.0f}", f"{name} p99 (us)": f"{p99:.0f}"}
        if loop.last is not None:
            values |= {"hops": loop.last.info.hops, "pronks": loop.last.info.pronks}
        values |= {f"clamped {name}": count for name, count in sorted(s.clamped.items())}
        self._duration, self._lateness = [], []
        text = f"{s.state}: {s.reason}" if s.reason else s.state
        if s.state in ("safe", "estop"):
            return Health(ERROR, text, values)
        return Health(WARN if late > 1.0 / loop.sync.cfg.rate else OK, text, values)

    def _run(self, rig: Rig) -> None:
        loop, log = rig.loop, rig.log
        assert log is not None

        def before(now: float) -> None:
            self._read_estop(loop, now)
            self._watch_operators(loop, now)
            if now - self._ordered > self._timeout:
                loop.command = HopCommand(0.0, 0.0, 0.0, self._default.apex_gain, self._default.economy)

        def after(now: float, duration: float, lateness: float) -> None:
            assert loop.last is not None
            self._lateness.append(lateness)
            self._duration.append(duration)
            log.timed(loop.last, duration, lateness)

        with rig.clock() as clock:
            drive(loop, clock, rig.ground, before, after)

    def _order(self, name: str) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            if self._loop is None or not self.active:
                response.success, response.message = False, "the node is not active"
                return response
            if name == "reset" and self._inbox is not None:  # who has left presses no longer; it stays latched
                self._loop.held_by.intersection_update(self._inbox.publishers("estop"))
            response.success, response.message = getattr(self._loop, name)(self.now())
            self.get_logger().info(f"{name}: {response.message}")
            return response

        return serve

    def _on_hop_command(self, m: Any) -> None:
        command = HopCommand(m.vx, m.vy, m.yaw_rate, m.apex_gain, m.economy)
        if self._loop is not None and np.isfinite(command.array()).all():
            self._ordered = self.now()
            self._loop.command = command

    def _read_estop(self, loop: Loop, now: float) -> None:
        """A stop is pressed while anybody's last word is that it is. Of one whom the middleware does not name only the
        pressing counts: it latches, and nobody's letting go is taken for his."""
        assert self._inbox is not None
        for letter in self._inbox.take("estop"):
            if not letter.sender:
                if letter.content.data:
                    loop.estop(now)
            elif self._buttons.counts(letter.content.data, letter.sender, letter.number):
                loop.estop_input(letter.content.data, now, letter.sender)

    def _watch_operators(self, loop: Loop, now: float) -> None:
        """Hold the rig once one who has said that he is there falls silent; by the wall, where he lives."""
        assert self._inbox is not None
        wall, timeout = time.monotonic(), self.value("operator_timeout")
        for letter in self._inbox.take("operator"):
            if letter.sender:
                self._operators.pop(b"", None)
            # one who is not named may be any of those who are known
            self._operators |= dict.fromkeys([letter.sender] if letter.sender else [*self._operators] or [b""], wall)
        lost = [who for who, heard in self._operators.items() if wall - heard > timeout]
        for who in lost:
            del self._operators[who]
        if lost and loop.supervisor.state in ("armed", "run"):
            loop.hold(now)
            self.get_logger().warning(f"hold: an operator has been silent for {timeout:g} s")

    def _on_patch(self, fields: dict[str, Any], stamp: float) -> None:
        patch = TwinPatch(time=stamp, **fields)
        if why := malformed(patch):
            self.get_logger().warning(f"twin/patch is no ground: {why}", throttle_duration_sec=1.0)
        else:
            self._patch = patch


def _folder(policy: str) -> Path:
    return Path(find_policy(policy)).resolve()


def main(args: list[str] | None = None) -> int:
    """Entry of ``sync_node``."""
    return run(SyncNode, args)


if __name__ == "__main__":
    sys.exit(main())
