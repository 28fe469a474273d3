"""The observation specification: what a policy sees, in which order, units and scales.

A policy's card carries it as JSON; a robot refuses a policy whose specification differs from its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sim.errors import LunarError
from sim.spec.command import COMMAND_NAMES
from sim.spec.joints import JOINT_NAMES, NOMINAL_POSE


@dataclass(frozen=True)
class Channel:
    """One named quantity. The policy sees ``(value - offset) * scale``."""

    name: str
    size: int
    unit: str
    scale: float


@dataclass(frozen=True)
class ObservationSpec:
    """Frames of proprioception, newest first, and the command after them."""

    frame: tuple[Channel, ...]
    ages: tuple[int, ...]
    """Control steps back of the stacked frames; begins with 0, the newest, and rises."""
    command: tuple[Channel, ...]
    rate: float
    joints: tuple[str, ...] = JOINT_NAMES

    @property
    def frame_size(self) -> int:
        """Length of one frame."""
        return sum(c.size for c in self.frame)

    @property
    def size(self) -> int:
        """Length of the whole observation: ``len(ages) * frame_size + 5``."""
        return len(self.ages) * self.frame_size + sum(c.size for c in self.command)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the card."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> ObservationSpec:
        """Inverse of ``to_json``. Raises LunarError when a field is missing or of the wrong type."""
        try:
            return ObservationSpec(
                frame=tuple(Channel(**c) for c in data["frame"]),
                ages=tuple(int(age) for age in data["ages"]),
                command=tuple(Channel(**c) for c in data["command"]),
                rate=float(data["rate"]),
                joints=tuple(data["joints"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LunarError(f"policy card: the observation specification cannot be read ({error})") from None

    def difference(self, other: ObservationSpec) -> str:
        """Empty when a robot that provides ``other``'s frames can feed a policy that sees these, else one sentence that
        names the first field that differs. How far back a policy looks is its own business."""
        for ours, theirs in zip(self.frame + self.command, other.frame + other.command, strict=False):
            if ours != theirs:
                return f"channel '{ours.name}' is {ours}, the other side has {theirs}"
        for name in ("frame", "command", "rate", "joints"):
            if getattr(self, name) != getattr(other, name):
                return f"'{name}' is {getattr(self, name)}, the other side has {getattr(other, name)}"
        return ""


# Scales bring a channel's usual range in hopping to about one.
PRONK_OBSERVATION = ObservationSpec(
    frame=(
        Channel("angular_velocity", 3, "rad/s, base frame", 0.5),
        Channel("projected_gravity", 3, "unit vector, base frame", 1.0),
        Channel("joint_position", 12, "rad, minus the nominal pose", 1.0),
        Channel("joint_velocity", 12, "rad/s", 0.05),
        Channel("last_action", 12, "1", 1.0),
    ),
    ages=(0, 1, 2),
    command=tuple(
        Channel(name, 1, unit, scale)
        for (name, unit, scale) in zip(
            COMMAND_NAMES, ("m/s", "m/s", "rad/s", "m", "1"), (2.0, 2.0, 1.0, 4.0, 1.0), strict=True
        )
    ),
    rate=50.0,
)


def make_frame(
    spec: ObservationSpec,
    angular_velocity: np.ndarray,
    projected_gravity: np.ndarray,
    joint_position: np.ndarray,
    joint_velocity: np.ndarray,
    last_action: np.ndarray,
) -> np.ndarray:
    """One scaled frame, shape (..., 42). Inputs as in ``spec.frame``, joint_position in absolute radians."""
    parts = (angular_velocity, projected_gravity, joint_position - NOMINAL_POSE, joint_velocity, last_action)
    return np.concatenate([p * c.scale for p, c in zip(parts, spec.frame, strict=True)], axis=-1).astype(np.float32)


def scale_command(spec: ObservationSpec, command: np.ndarray) -> np.ndarray:
    """Command (..., 5) in SI units to what the policy sees."""
    return (command * np.array([c.scale for c in spec.command])).astype(np.float32)


class FrameStack:
    """The frames at ``spec.ages`` of one robot; the first frame fills the whole history."""

    def __init__(self, spec: ObservationSpec) -> None:
        self.spec = spec
        self._frames: deque[np.ndarray] = deque(maxlen=max(spec.ages) + 1)

    def reset(self) -> None:
        """Forget the history."""
        self._frames.clear()

    def push(self, frame: np.ndarray, command: np.ndarray) -> np.ndarray:
        """Add a frame; return the observation, shape (spec.size,). ``command`` in SI units, shape (5,)."""
        if not self._frames:
            self._frames.extend([frame] * max(self.spec.ages))
        self._frames.appendleft(frame)
        return np.concatenate([*(self._frames[age] for age in self.spec.ages), scale_command(self.spec, command)])
