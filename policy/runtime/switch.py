"""Several policies on one robot: they share one history, and change places at touch-down only. NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from policy.runtime.card import Card
from policy.runtime.monitor import NOTHING, Verdict
from policy.runtime.onnx_policy import OnnxPolicy, PolicyOutput, Proprioception
from sim.errors import LunarError
from sim.spec.observation import PRONK_OBSERVATION, FrameStack, ObservationSpec, make_frame


class Gate:
    """Lets N robots change what they do when they touch down after a flight, and at no other time.

    Args:
        first: (N,) whole numbers, what they do at first.
    """

    def __init__(self, first: np.ndarray) -> None:
        self.active = np.array(first)
        """(N,) what they do."""
        self._flew = np.zeros(len(first), dtype=bool)

    def step(self, wanted: np.ndarray, loaded: np.ndarray) -> np.ndarray:
        """Who wants another (N,) and has just landed gets it: ``loaded`` (N,) bool says whether a foot bears load.
        Returns ``active``."""
        self.active = np.where(self._flew & loaded, wanted, self.active)
        self._flew = ~loaded
        return self.active


class SwitchPolicy:
    """Policies of one robot, used like one ``OnnxPolicy``; ``choose`` names the next.

    Args:
        folders: of the policies, or names in the zoo; the first is active at first.
        expected: the observation specification that the robot provides.
        monitor: as in ``OnnxPolicy``; the active policy's own.

    Raises:
        LunarError: one does not load, or does not mean the same robot, gains and joint targets as the first.
    """

    def __init__(
        self, folders: Sequence[str | Path], expected: ObservationSpec = PRONK_OBSERVATION, monitor: str = "off"
    ) -> None:
        self.policies = [OnnxPolicy(folder, expected, monitor) for folder in folders]
        check_alike([(str(p.folder), p.card) for p in self.policies])
        self._spec = replace(
            self.policies[0].card.observation,
            ages=tuple(sorted({age for p in self.policies for age in p.card.observation.ages})),
        )
        self._columns = [columns_of(self._spec, p.card.observation) for p in self.policies]
        self._stack = FrameStack(self._spec)
        self.reset()

    @property
    def active(self) -> OnnxPolicy:
        """The one that acts."""
        return self.policies[int(self._gate.active[0])]

    @property
    def folder(self) -> Path:
        """The active one's."""
        return self.active.folder

    @property
    def card(self) -> Card:
        """The active one's."""
        return self.active.card

    @property
    def verdict(self) -> Verdict:
        """Of the active one's monitor."""
        return self.active.verdict

    @property
    def monitor(self) -> object | None:
        """The active one's."""
        return self.active.monitor

    def reset(self) -> None:
        """Start a new trial with the first policy: empty history, zero last action."""
        for policy in self.policies:
            policy.reset()
        self._stack.reset()
        self._gate = Gate(np.zeros(1, dtype=int))
        self.last_action = np.zeros(self.policies[0].card.action_size)
        self.output: PolicyOutput | None = None
        """What was said last, by whoever acted."""

    def choose(self, index: int, loaded: bool) -> None:
        """Let ``policies[index]`` act from the next touch-down on. Call once per control period, before ``act``;
        ``loaded``: whether a foot bears load."""
        before = self.active
        self._gate.step(np.array([range(len(self.policies))[index]]), np.array([loaded]))
        if self.active is not before and self.active.monitor is not None:
            self.active.monitor.reset()  # what it expected last is long past
            self.active.verdict = NOTHING

    def act(self, sensors: Proprioception, command: np.ndarray) -> np.ndarray:
        """As ``OnnxPolicy.act``, by the active policy."""
        policy = self.active
        frame = make_frame({**vars(sensors), "last_action": self.last_action}, policy.card.sensors)
        everything = self._stack.push(frame, policy.card.clip_command(command))
        targets = policy.answer(frame, everything[self._columns[int(self._gate.active[0])]])
        self.last_action, self.output = policy.last_action, policy.output
        return targets


def columns_of(everything: ObservationSpec, spec: ObservationSpec) -> np.ndarray:
    """(size,) where in observations of ``everything`` those of ``spec`` are, whose frames are among them."""
    size, frames = spec.frame_size, len(everything.ages)
    starts = [everything.ages.index(age) * size for age in spec.ages]
    columns = [np.arange(start, start + size) for start in starts]
    return np.concatenate([*columns, frames * size + np.arange(sum(c.size for c in spec.command))])


def check_alike(cards: Sequence[tuple[str, Card]]) -> None:
    """Refuse policies, by name with their cards, that one robot cannot change between.

    Raises:
        LunarError: a policy is for another robot, other gains or other joint targets than the first, or needs a map.
    """
    first, reference = cards[0]
    for name, card in cards:
        if card.observation.scan:
            raise LunarError(f"policy {name} sees the ground ahead: a plan takes blind policies only")
        for what in ("robot", "robot_digest", "kp", "kd", "action_scale", "default_pose"):
            if getattr(card, what) != getattr(reference, what):
                raise LunarError(
                    f"policies {first} and {name} differ in '{what}' ({getattr(reference, what)}, "
                    f"{getattr(card, what)}): one robot cannot change between them"
                )
