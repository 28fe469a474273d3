"""A supervisor in a loop with obedient machines, for its tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from matrix_hil.messages import MachineCommands, MachineStates, TwinPatch
from matrix_hil.safety.supervisor import SafetyConfig, Supervisor, SupervisorState
from tests.matrix_hil.safety.examples import CFG, DT, NOW, good_commands, good_states


class Loop:
    """A supervisor that is stepped at 200 Hz with machines that do what they are told."""

    def __init__(self, cfg: SafetyConfig = CFG) -> None:
        self.supervisor = Supervisor(cfg)
        self.now = NOW
        self.states: dict[str, Any] = {}
        """What is measured instead of what was told."""
        self.frozen = False
        """Whether the sensors repeat themselves."""
        self.travel = 0.0
        self.patch: TwinPatch | None = None
        self.log: list[tuple[MachineCommands, SupervisorState]] = []

    def step(self, dt: float = DT, age: float = 0.0, **wanted: Any) -> MachineCommands:
        self.now += dt
        told: dict[str, Any] = {}
        if self.log:
            sent = self.log[-1][0]
            self.travel += sent.treadmill.speed * max(dt, 0.0)
            told = {"platform__pose": sent.platform.pose, "treadmill__speed": sent.treadmill.speed}
            if not sent.counterweight.brake:
                told["counterweight__tension"] = sent.counterweight.tension
        states = good_states(self.now, **{"treadmill__position": self.travel, **told, **self.states})
        states = states if self.frozen else noisy(states, 1e-6 * (len(self.log) % 2))
        result = self.supervisor.step(states, good_commands(self.now - age, **wanted), self.now, self.patch)
        self.log.append(result)
        return result[0]

    @property
    def state(self) -> str:
        return self.supervisor.state

    def start(self) -> Loop:
        self.step()
        assert self.supervisor.arm(self.now)
        self.step()
        assert self.supervisor.run(self.now)
        return self


def noisy(states: MachineStates, noise: float) -> MachineStates:
    """No sensor repeats itself."""
    rope, tracker, robot = states.counterweight, states.tracker, states.robot
    assert rope is not None and tracker is not None and robot is not None
    return replace(
        states,
        counterweight=replace(rope, tension=rope.tension + noise),
        tracker=replace(tracker, position=tracker.position + noise, quaternion=tracker.quaternion + noise),
        robot=replace(robot, angular_velocity=robot.angular_velocity + noise),
    )


def assert_safe(commands: MachineCommands, pose: np.ndarray, tension: float) -> None:
    assert np.array_equal(commands.platform.pose, pose)
    assert commands.treadmill.speed == 0.0
    assert commands.counterweight.brake and commands.counterweight.tension == pytest.approx(tension, abs=1e-5)
    assert commands.robot.mode == "damp" and commands.robot.kp == 0.0
