"""When the Go2's motors obey: the rules between a policy's commands and the wire. Pure logic; time is an argument.

The motors are *engaged* or limp (kp = 0, damped). Only a ``stand`` command engages them, while the robot's state is
fresh and its targets are near the joints, so that nothing jumps; ``run`` and ``hold`` go on from there. They go limp
when the policy says ``damp``, when its commands or the robot's states stop coming, when another node commands the
motors too, and at a command that is not a number or has no known mode, and stay so until the next ``stand``: a policy
that stalled does not carry on in the middle of a hop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from policy.runtime.controller import JointCommand, bounded, check_bounds

SECOND_MASTER = "another node publishes LowCmd: release the robot's sport mode or stop that node"


@dataclass(frozen=True)
class GuardConfig:
    """Limits of the Go2 adapter. ``metadata`` of each field holds its range and a sentence with its unit."""

    command_timeout: float = bounded(0.1, 0.02, 2.0, "s. Without a command for this long the motors go limp.")
    state_timeout: float = bounded(0.1, 0.01, 2.0, "s. Without a state of the robot for this long they go limp.")
    engage_tolerance: float = bounded(0.3, 0.05, 1.0, "rad. Largest jump with which limp motors take a target up.")
    damp_kd: float = bounded(2.0, 0.5, 10.0, "N*m*s/rad. Joint damping of limp motors.")

    def __post_init__(self) -> None:
        check_bounds(self)


class Go2Guard:
    """One robot's motors."""

    def __init__(self, config: GuardConfig | None = None) -> None:
        self.config = config or GuardConfig()
        self.engaged = False
        self.reason = "no command yet"
        self._command: JointCommand | None = None
        self._command_time = -math.inf
        self._position: np.ndarray | None = None
        self._tick = 0
        self._state_time = -math.inf

    @property
    def started(self) -> bool:
        """Whether a command has come: before it, the adapter must not put anything on the wire."""
        return self._command is not None

    def on_state(self, position: np.ndarray, tick: int, now: float) -> bool:
        """Joint angles (12,) rad and the robot's own time in ms. False if they are a repetition or not numbers."""
        if (tick and tick == self._tick) or not np.isfinite(position).all():
            return False
        self._position, self._tick, self._state_time = position, tick, now
        return True

    def on_command(self, command: JointCommand, now: float, alone: bool = True) -> None:
        """What the policy commands; ``alone`` is false while another node commands the motors too."""
        if not alone:
            self._limp(SECOND_MASTER)
            return
        self._command, self._command_time = command, now
        if command.mode == "damp":
            self._limp(command.reason or "the policy says damp")
        elif command.mode not in ("stand", "run", "hold"):
            self._limp(f"a command has the unknown mode '{command.mode}'")
        elif not all(np.isfinite(v).all() for v in (command.targets, command.kp, command.kd)):
            self._limp("a command holds a value that is not a number")
        elif not self.engaged:
            self._engage(command, now)

    def motors(self, now: float) -> JointCommand:
        """What the motors get now: the newest command while engaged, else damping."""
        if self.engaged:
            for what, since, limit in (  # without states there are soon no commands either: the cause is named
                ("state of the robot", self._state_time, self.config.state_timeout),
                ("command", self._command_time, self.config.command_timeout),
            ):
                if not 0.0 <= now - since <= limit:
                    self._limp(f"no {what} for {now - since:.2f} s")
        if self.engaged and self._command is not None:
            return self._command
        return self.limp()

    def limp(self) -> JointCommand:
        """Damping without stiffness, towards where the joints are."""
        targets = np.zeros(12) if self._position is None else self._position
        return JointCommand(targets, 0.0, self.config.damp_kd, "damp", self.reason)

    def _engage(self, command: JointCommand, now: float) -> None:
        if command.mode != "stand":
            return  # why it is limp still holds
        if self._position is None or not 0.0 <= now - self._state_time <= self.config.state_timeout:
            self.reason = "the robot's state is too old to stand"
        elif (jump := float(np.abs(command.targets - self._position).max())) > self.config.engage_tolerance:
            self.reason = f"a target is {jump:.2f} rad away from its joint; activate the policy anew"
        else:
            self.engaged, self.reason = True, ""

    def _limp(self, why: str) -> None:
        self.engaged, self.reason = False, why
