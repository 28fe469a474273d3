"""One robot that follows a plan: the policy and the command for where it is. Needs neither torch nor mujoco itself."""

from __future__ import annotations

import numpy as np

from policy.runtime.follow import Follower
from policy.runtime.switch import Gate, SwitchPolicy
from policy.traverse.plan import Plan, PlannedOption


class Pilot:
    """Turns a pose into a command, and has ``policy`` change where the plan does, at touch-down. It begins anew when
    ``policy`` is reset.

    Args:
        plan: what to follow.
        monitor: as in ``OnnxPolicy``.

    Raises:
        LunarError: a policy does not load, or one robot cannot change between two of them.
    """

    def __init__(self, plan: Plan, monitor: str = "off") -> None:
        names = list(dict.fromkeys(option.policy for option in plan.options))
        first = plan.options[plan.segments[0].option].policy
        names.sort(key=lambda name: name != first)
        self.plan, self.policy = plan, SwitchPolicy(names, monitor=monitor)
        self._policies = [names.index(option.policy) for option in plan.options]
        self._begin()

    @property
    def segment(self) -> int:
        """Where it is, from 0."""
        return int(self._follower.segment[0])

    @property
    def option(self) -> PlannedOption:
        """In use."""
        return self.plan.options[int(self._gate.active[0])]

    @property
    def arrived(self) -> bool:
        """Whether it is at the goal, where it hops on the spot."""
        return bool(self._follower.arrived[0])

    @property
    def progress(self) -> float:
        """m along the way."""
        return float(self._follower.progress[0])

    @property
    def text(self) -> str:
        """For people: where it is and what it does."""
        place = "at the goal" if self.arrived else f"segment {self.segment + 1} of {len(self.plan.segments)}"
        return f"{place} · {self.option.title}"

    def command(self, position: np.ndarray, yaw: float | None, loaded: bool) -> np.ndarray:
        """(5,) as ``HopCommand``. Call once per control period or more often, before ``policy.act``.

        Args:
            position: (2,) m on the plan's map.
            yaw: rad; None where something else keeps the robot on the way, which is then told to go straight ahead.
            loaded: whether a foot bears load.
        """
        if self.policy.output is None:
            self._begin()
        wanted = self.plan.segments[self.segment].option
        active = int(self._gate.step(np.array([wanted]), np.array([loaded]))[0])
        self.policy.choose(self._policies[active], loaded)
        command = self.plan.options[active].gait.command
        speed = 0.0 if self.arrived else command[0]
        steered = self._follower.step(np.asarray(position)[None], np.array([yaw or 0.0]), np.array([speed]))[0]
        command[:3] = steered if yaw is not None else (speed, 0.0, 0.0)
        return command

    def _begin(self) -> None:
        self._follower, self._gate = Follower(self.plan.points[None]), Gate(self.plan.choice[:1])
