"""Run an exported policy on one robot: sensors and a command in, joint targets out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from policy.runtime.card import Card
from sim.errors import LunarError
from sim.spec.observation import PRONK_OBSERVATION, FrameStack, ObservationSpec, make_frame

_LARGEST = 256 * 2**20  # bytes of policy.onnx


@dataclass(frozen=True)
class Proprioception:
    """One robot's sensors at one moment."""

    angular_velocity: np.ndarray
    """(3,) rad/s, base frame."""
    projected_gravity: np.ndarray
    """(3,) unit vector along gravity in the base frame; (0, 0, -1) when upright."""
    joint_position: np.ndarray
    """(12,) rad, project joint order."""
    joint_velocity: np.ndarray
    """(12,) rad/s."""


class OnnxPolicy:
    """An exported policy with its observation history.

    Args:
        folder: holds ``policy.onnx`` and ``card.json``.
        expected: the observation specification that the robot provides.

    Raises:
        LunarError: a file is missing, or the card does not fit the robot.
    """

    def __init__(self, folder: str | Path, expected: ObservationSpec = PRONK_OBSERVATION) -> None:
        folder = Path(folder)
        self.card = Card.load(folder / "card.json")
        if difference := self.card.observation.difference(expected):
            raise LunarError(f"policy {folder} does not fit this robot's observation: {difference}")
        path = folder / "policy.onnx"
        if not path.is_file():
            raise LunarError(f"{path} does not exist; make it with 'lunar export --policy {folder}'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        if path.stat().st_size > _LARGEST:
            raise LunarError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, which no policy for a robot needs")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own private types
            raise LunarError(f"{path} is not a valid ONNX file: {error}") from None
        shapes = [list(i.shape)[-1] for i in (*self._session.get_inputs(), *self._session.get_outputs())]
        if shapes != [self.card.observation.size, self.card.action_size]:
            raise LunarError(
                f"{path} maps {shapes[0]} to {shapes[-1]} values, its card says "
                f"{self.card.observation.size} to {self.card.action_size}"
            )
        self._stack = FrameStack(self.card.observation)
        self.last_action = np.zeros(self.card.action_size)

    def reset(self) -> None:
        """Start a new trial: empty history, zero last action."""
        self._stack.reset()
        self.last_action = np.zeros(self.card.action_size)

    def infer(self, observation: np.ndarray) -> np.ndarray:
        """Actions (N, 12) for observations (N, size), without history."""
        return self._session.run(None, {"observation": observation.astype(np.float32)})[0]

    def act(self, sensors: Proprioception, command: np.ndarray) -> np.ndarray:
        """Joint targets in rad, shape (12,). Call once per control period. ``command`` (5,) in SI units is clipped to
        the range of training. A non-finite observation or action yields NaN targets, which the safety layer refuses.
        """
        frame = make_frame(
            self.card.observation,
            sensors.angular_velocity,
            sensors.projected_gravity,
            sensors.joint_position,
            sensors.joint_velocity,
            self.last_action,
        )
        observation = self._stack.push(frame, self.card.clip_command(command))
        action = self.infer(observation[None])[0].astype(float)
        self.last_action = action
        return self.card.targets(action)
