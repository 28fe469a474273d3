"""Run an exported policy on one robot: sensors and a command in, joint targets out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class PolicyOutput(NamedTuple):
    """What the graph says of one observation."""

    action: np.ndarray
    """(12,) mean action."""
    std: np.ndarray
    """(12,) standard deviation that it was trained to explore with."""
    estimate: np.ndarray
    """(E,) what ``card.estimates`` names, SI units; empty for a policy without an internal model."""
    latent: np.ndarray
    """(L,) latents of the internal model; empty for a policy without one."""


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
        sizes = {
            value.name: list(value.shape)[-1] for value in (*self._session.get_inputs(), *self._session.get_outputs())
        }
        expect = {"observation": self.card.observation.size, "action": self.card.action_size}
        if estimates := len(self.card.estimates):
            expect["estimate"] = estimates
        for name, size in expect.items():
            if sizes.get(name) != size:
                raise LunarError(f"{path} has '{name}' of {sizes.get(name)} values, its card says {size}")
        self._outputs = [name for name in PolicyOutput._fields if name in sizes]
        self.output: PolicyOutput | None = None
        self._stack = FrameStack(self.card.observation)
        self.last_action = np.zeros(self.card.action_size)

    def reset(self) -> None:
        """Start a new trial: empty history, zero last action."""
        self._stack.reset()
        self.last_action = np.zeros(self.card.action_size)
        self.output = None

    def infer(self, observation: np.ndarray) -> PolicyOutput:
        """Outputs (N, ...) for observations (N, size), without history; what the graph lacks is empty."""
        values = self._session.run(self._outputs, {"observation": observation.astype(np.float32)})
        found = dict(zip(self._outputs, values, strict=True))
        nothing = np.zeros((len(observation), 0), np.float32)
        return PolicyOutput(*(found.get(name, nothing) for name in PolicyOutput._fields))

    def act(self, sensors: Proprioception, command: np.ndarray) -> np.ndarray:
        """Joint targets in rad, shape (12,). Call once per control period. ``command`` (5,) in SI units is clipped to
        the range of training; ``output`` then holds all that the policy said. A non-finite observation or action yields
        NaN targets, which the safety layer refuses.
        """
        frame = make_frame({**vars(sensors), "last_action": self.last_action})
        observation = self._stack.push(frame, self.card.clip_command(command))
        self.output = PolicyOutput(*(value[0] for value in self.infer(observation[None])))
        self.last_action = action = self.output.action.astype(float)
        return self.card.targets(action)
