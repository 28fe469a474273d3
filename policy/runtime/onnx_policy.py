"""Run an exported policy on one robot: sensors and a command in, joint targets out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from policy.runtime.card import Card
from policy.runtime.monitor import NOTHING, Monitor
from policy.runtime.monitor_file import FILES
from policy.runtime.weights import KEY, check_weights
from sim.errors import LunarError
from sim.files import find_policy
from sim.spec.observation import PRONK_OBSERVATION, FrameStack, ObservationSpec, make_frame

if TYPE_CHECKING:
    import onnxruntime

FILE = "policy.onnx"
_LARGEST = 256 * 2**20  # bytes of it


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
    hidden: np.ndarray
    """(H,) the last hidden layer; empty for a graph that was exported without it."""


class OnnxPolicy:
    """An exported policy with its observation history.

    Args:
        folder: holds ``policy.onnx`` and ``card.json``; or the name of a policy in the zoo.
        expected: the observation specification that the robot provides.
        monitor: of every state, by what lies beside the policy (``policy.runtime.monitor``): ``off``; ``warn``, where
            there is one; ``trip``, for which there must be one.

    Raises:
        LunarError: a file is missing or of other weights than another, or the card does not fit the robot, or the
            monitor not the policy.
    """

    def __init__(self, folder: str | Path, expected: ObservationSpec = PRONK_OBSERVATION, monitor: str = "off") -> None:
        self.folder = folder = Path(find_policy(folder))
        self.card = Card.load(folder / "card.json")
        if difference := self.card.observation.difference(expected):
            raise LunarError(f"policy {folder} does not fit this robot's observation: {difference}")
        path = folder / FILE
        if not path.is_file():
            raise LunarError(f"{path} does not exist; make it with 'lunar export --policy {folder}'")
        self._session = open_onnx(path, self.card)
        check_weights(folder, self.card.weights)
        names = {value.name for value in self._session.get_outputs()}
        self._outputs = [name for name in PolicyOutput._fields if name in names]
        self.output: PolicyOutput | None = None
        self._stack = FrameStack(self.card.observation)
        self.last_action = np.zeros(self.card.action_size)
        self.monitor: Monitor | None = None
        self.verdict = NOTHING
        """The monitor's, on the newest state and action."""
        if monitor == "trip" or (monitor == "warn" and any((folder / name).exists() for name in FILES)):
            size = next((v.shape[-1] for v in self._session.get_outputs() if v.name == "hidden"), 0)
            self.monitor = Monitor(folder, self.card, size)

    def reset(self) -> None:
        """Start a new trial: empty history, zero last action."""
        self._stack.reset()
        self.last_action = np.zeros(self.card.action_size)
        self.output = None
        self.verdict = NOTHING
        if self.monitor is not None:
            self.monitor.reset()

    def infer(self, observation: np.ndarray) -> PolicyOutput:
        """Outputs (N, ...) for observations (N, size), without history; what the graph lacks is empty."""
        values = self._session.run(self._outputs, {"observation": observation.astype(np.float32)})
        found = dict(zip(self._outputs, values, strict=True))
        nothing = np.zeros((len(observation), 0), np.float32)
        return PolicyOutput(*(found.get(name, nothing) for name in PolicyOutput._fields))

    def act(self, sensors: Proprioception, command: np.ndarray) -> np.ndarray:
        """Joint targets in rad, shape (12,). Call once per control period. ``command`` (5,) in SI units is clipped to
        the range of training; ``output`` then holds all that the policy said and ``verdict`` what its
        monitor says of it. A non-finite observation or action yields
        NaN targets, which the safety layer refuses.
        """
        frame = make_frame({**vars(sensors), "last_action": self.last_action}, self.card.sensors)
        return self.answer(frame, self._stack.push(frame, self.card.clip_command(command)))

    def answer(self, frame: np.ndarray, observation: np.ndarray) -> np.ndarray:
        """``act`` for who keeps the history: the newest ``frame`` (42,), and the observation (size,) it ends."""
        self.output = PolicyOutput(*(value[0] for value in self.infer(observation[None])))
        if self.monitor is not None:
            self.verdict = self.monitor.step(frame, self.output)
        self.last_action = action = self.output.action.astype(float)
        return self.card.targets(action)


def open_onnx(path: Path, card: Card) -> onnxruntime.InferenceSession:
    """A session of one thread over an ONNX file, checked against the card beside it.

    Raises:
        LunarError: no ONNX file, one with other inputs and outputs than a policy, or one of other weights.
    """
    import onnxruntime  # takes a tenth of a second of every process that never asks a policy

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if path.stat().st_size > _LARGEST:
        raise LunarError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, which no policy for a robot needs")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own private types
        raise LunarError(f"{path} is not a valid ONNX file: {' '.join(str(error).split())}") from None
    inputs, outputs = ({v.name: v for v in values} for values in (session.get_inputs(), session.get_outputs()))
    sizes = {"observation": card.observation.size, "action": card.action_size}
    for kind, name, there in (("input", "observation", inputs), ("output", "action", outputs)):
        if name not in there or (kind == "input" and len(there) > 1):
            raise LunarError(
                f"{path} calls its {kind} {', '.join(map(repr, there))}, not '{name}': a network from elsewhere needs "
                f"one input 'observation' (batch, {sizes['observation']}), an output 'action' "
                f"(batch, {sizes['action']}), and a card of its own with the text of its metadata entry '{KEY}' as "
                "'weights': 'lunar import' makes such a folder of a walking policy"
            )
    if estimates := len(card.estimates):
        sizes["estimate"] = estimates
    for name, size in sizes.items():
        value = (inputs | outputs).get(name)
        if value is None or not value.shape or value.shape[-1] != size:
            found = "no values" if value is None or not value.shape else f"{value.shape[-1]} values"
            raise LunarError(f"{path} has '{name}' of {found}, its card says {size}")
    digest = session.get_modelmeta().custom_metadata_map.get(KEY, "")
    if digest != card.weights or not digest:
        raise LunarError(
            f"{path} was not made from the weights that its card.json describes: "
            f"'lunar export --policy {path.parent}' makes it anew"
        )
    try:
        (action,) = session.run(["action"], {"observation": np.zeros((1, sizes["observation"]), np.float32)})
    except Exception as error:  # as above
        raise LunarError(f"{path} does not take one observation of float32: {' '.join(str(error).split())}") from None
    if action.shape != (1, card.action_size) or not np.isfinite(action).all():
        raise LunarError(
            f"{path} answers an observation of zeros with no action of {card.action_size} finite numbers: its weights "
            "are damaged; export it again, or go back to an earlier training"
        )
    return session
