"""A plan of ``lunar traverse`` on the rig: the same policies and gaits, changing at touch-down, along a straight way.

The belt carries along one line, so a way that turns is refused. Where the robot is on the way says its place in the
virtual world; sync's own outer loop keeps it on the line. What the plan asks for is a command like any other: sync and
the supervisor come after it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from matrix_hil.config import HilConfig
from matrix_hil.control.sync import Sync, SyncInfo
from matrix_hil.run.loop import Loop
from matrix_hil.run.robot import card_on_rig
from matrix_hil.run.start_check import check_policy
from matrix_hil.run.way import PLAN_FILE
from policy.runtime.onnx_policy import OnnxPolicy
from policy.runtime.switch import SwitchPolicy
from policy.traverse.pilot import Pilot
from policy.traverse.plan import Plan, load_plan
from sim.errors import LunarError
from sim.spec.command import HopCommand


def policies_of(cfg: HilConfig, plan: Plan | None = None) -> tuple[OnnxPolicy | SwitchPolicy, Guide | None]:
    """The policy of ``cfg`` on the robot that the rig holds; or those of ``plan``, by default the one that ``cfg``
    names, and who follows it.

    Raises:
        LunarError: one does not load, or does not fit the rig.
    """
    if plan is None and cfg.plan.traverse:
        plan = load_plan(cfg.plan.traverse)
    if plan is None:
        policy = OnnxPolicy(cfg.policy, monitor=cfg.monitor)
        policy.card = card_on_rig(cfg, policy.card)
        return policy, None
    guide = Guide(plan, cfg.monitor)
    first = guide.policy.policies[0]
    for each in guide.policy.policies:
        for what in ("command_low", "command_high"):  # the rig steers within one range
            if getattr(each.card, what) != getattr(first.card, what):
                raise LunarError(f"policies {first.folder} and {each.folder} differ in '{what}': no rig can steer both")
        each.card = card_on_rig(replace(cfg, policy=str(each.folder)), each.card)
    return guide.policy, guide


def check_policies(cfg: HilConfig, policy: OnnxPolicy | SwitchPolicy, guide: Guide | None) -> None:
    """``start_check.check_policy`` of every policy and command that may be used. Raises LunarError."""
    if guide is None:
        check_policy(cfg, policy.card)
        return
    cards = {each.card.weights: each.card for each in guide.policy.policies}
    for option in guide.plan.options:
        asked = replace(cfg, policy=option.policy, command=HopCommand(*option.gait.command))
        check_policy(asked, cards[option.digest])


def attached(text: bytes, log: str) -> Plan:
    """The plan that a log says was followed.

    Raises:
        LunarError: it is none, or its policies' weights are not here.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PLAN_FILE
        path.write_bytes(text)
        try:
            return load_plan(path)
        except LunarError as error:
            raise LunarError(str(error).replace(str(path), f"{PLAN_FILE} of {log}")) from None


class Guide:
    """Follows a plan on the rig.

    Args:
        plan: straight, as ``along`` sees to.
        monitor: as in ``OnnxPolicy``.

    Raises:
        LunarError: a policy does not load, or one robot cannot change between two of them.
    """

    def __init__(self, plan: Plan, monitor: str = "off") -> None:
        self.pilot = Pilot(plan, monitor)
        """Where the robot is on the way, and what it does."""
        self.plan = plan
        self.changes = 0
        """Of option, since the policy was reset."""

    @property
    def policy(self) -> SwitchPolicy:
        """The plan's policies, for ``Sync``."""
        return self.pilot.policy

    def command(self, loop: Loop) -> HopCommand:
        """For the cycle that a loop begins."""
        info = None if loop.last is None else loop.last.info
        return self.step(loop.sync, loop.world, info) or loop.command

    def step(self, sync: Sync, world: np.ndarray, info: SyncInfo | None) -> HopCommand | None:
        """What the plan asks of the robot in the coming cycle; None while it stands.

        Args:
            sync: of the loop.
            world: (3,) m, the robot's place as of the cycle before.
            info: of that cycle.
        """
        if not sync.running or info is None:
            return None
        if self.policy.output is None:
            self.changes = 0
        before = self.pilot.option
        command = self.pilot.command(world[:2], None, bool(info.loaded.any()))
        self.changes += self.pilot.option is not before
        return HopCommand(*command.tolist())

    def results(self, seconds: float) -> dict[str, Any]:
        """As data, of a run that took so many ``seconds`` with the policy driving."""
        plan, pilot = self.plan, self.pilot
        return {
            "arrived": pilot.arrived, "metres": pilot.progress, "metres_planned": plan.sum("length"),
            "segment": pilot.segment + 1, "segments": len(plan.segments), "changes": self.changes,
            "seconds": seconds, "seconds_expected": plan.sum("seconds"),
        }  # fmt: skip
