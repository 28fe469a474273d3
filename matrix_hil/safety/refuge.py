"""Where the machines stay while the rig is safe: the platform's pose, the rope's tension, the robot's joints."""

from __future__ import annotations

import math

import numpy as np

from matrix_hil.link.devices import PLATFORM_LAG, ROPE_LAG, safe_counterweight, safe_platform
from matrix_hil.messages import MachineCommands, MachineStates
from policy.runtime.robot_rules import Joints
from sim.spec.clamps import limit_range

_AT_STOP = 0.1  # rad beyond its range that a joint pressed against its stop may be measured


class Refuge:
    """What to freeze at. Pure: time is an argument. None where nothing is known."""

    def __init__(self) -> None:
        self.pose: np.ndarray | None = None
        """(6,) m and rad of the platform."""
        self.tension: float | None = None
        """N of the braked rope."""
        self.joints: np.ndarray | None = None
        """(12,) rad that the robot holds."""
        self._sampled = math.nan  # s, of ``pose``, until a second sample has said the same
        self._confirmed = False

    def take(self, states: MachineStates, sent: MachineCommands, joints: Joints, now: float) -> None:
        """From commands in force: taken once, so that noise moves nothing."""
        if self.pose is None and (frozen := safe_platform(states.platform, sent.platform, now)) is not None:
            self.pose = frozen.pose
        if self.tension is None:
            self.tension = safe_counterweight(states.counterweight, sent.counterweight, now).tension
        if self.joints is None:
            measured = None if states.robot is None else states.robot.joint_position
            self.joints = _held(measured, sent.robot.targets, joints)

    def find(self, states: MachineStates, now: float) -> None:
        """Before anybody has commanded anything: samples are all that is known, and the first may be wrong.

        A pose counts once a second sample says the same; until then the newest does. A tension only goes down.
        """
        rope = states.counterweight
        if rope is not None and np.isfinite(rope.tension):
            if self.tension is None or rope.tension < self.tension - ROPE_LAG:
                self.tension = safe_counterweight(rope, None, now).tension
        frozen = safe_platform(states.platform, None, now)
        if self._confirmed or states.platform is None or frozen is None:
            return
        if self.pose is None or not (np.abs(frozen.pose - self.pose) <= PLATFORM_LAG).all():
            self.pose, self._sampled = frozen.pose, states.platform.time
        else:
            self._confirmed = states.platform.time != self._sampled


def _held(measured: np.ndarray | None, commanded: np.ndarray, joints: Joints) -> np.ndarray:
    """(12,) rad, where joints are to stay: as measured, as commanded where a joint cannot be where it was measured."""
    lower, upper = joints.stops
    commanded = limit_range(commanded, joints.stance, lower, upper)
    if measured is None or not np.isfinite(measured).all():
        return commanded
    possible = (measured >= lower - _AT_STOP) & (measured <= upper + _AT_STOP)
    return np.where(possible, np.clip(measured, lower, upper), commanded)
