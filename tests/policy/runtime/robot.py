"""A controller on a clock that the test moves, and a robot that does what it is told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policy.runtime.card import Card
from policy.runtime.controller import ControllerConfig, PolicyController
from policy.runtime.onnx_policy import Proprioception
from sim.spec.joints import JOINT_NAMES, NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION

TICK = 2.0**-10  # s; all times are multiples of it, so that bounds are met exactly
DT = 16 * TICK
CONFIG = ControllerConfig(stale_after=64 * TICK, damp_after=0.5, ramp_time=1.0, max_tilt=1.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
LYING = NOMINAL_POSE + np.tile([0.2, 0.5, -0.8], 4)


class Recorder:
    """A policy that notes what it is given and answers with what the test wants."""

    def __init__(self, robot: str) -> None:
        self.card = Card(
            observation=PRONK_OBSERVATION,
            robot=robot,
            action_scale=0.35,
            default_pose=NOMINAL_POSE.tolist(),
            kp=30.0,
            kd=0.75,
            gravity=1.62,
            command_low=[-1.0] * 5,
            command_high=[1.0] * 5,
            default_command=[0.3, 0.1, 0.2, 0.25, 0.5],
        )
        self.answer = NOMINAL_POSE + 0.1
        self.seen: list[tuple[Proprioception, np.ndarray]] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, sensors: Proprioception, command: np.ndarray) -> np.ndarray:
        self.seen.append((sensors, command))
        return self.answer


class Robot:
    """A controller with a clock and the messages that a driver would send; joints go where they are told."""

    def __init__(self, config: ControllerConfig = CONFIG, robot: str = "go2") -> None:
        self.policy = Recorder(robot)
        self.controller = PolicyController(self.policy, config)
        self.now = 100.0
        self.position, self.attitude, self.turn = LYING, UPRIGHT, (0.1, 0.2, 0.3)
        self.stuck = np.zeros(12, dtype=bool)

    def joints(self, stamp: float | None = None) -> None:
        stamp = self.now if stamp is None else stamp
        self.controller.on_joint_state(JOINT_NAMES, self.position, np.zeros(12), stamp, self.now)

    def imu(self, orientation: Sequence[float] | None = None, variance: float = 0.0) -> None:
        orientation = self.attitude if orientation is None else orientation
        self.controller.on_imu(orientation, variance, self.turn, self.now, self.now)

    def step(self, after: float = 0.0):
        return self.controller.step(self.now + after)

    def live(self, seconds: float):
        """Healthy state and a step every DT; the last order."""
        for _ in range(round(seconds / DT)):
            self.now += DT
            self.joints()
            self.imu()
            order = self.step()
            if order.kp > 0.0:
                self.position = np.where(self.stuck, self.position, order.targets)
        return order


def roll(angle: float) -> tuple[float, float, float, float]:
    return (np.sin(angle / 2), 0.0, 0.0, np.cos(angle / 2))
