"""The observation specification: what a policy sees, in which order, units and scales.

A policy's card carries it as JSON; a robot refuses a policy whose specification differs from its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sim.errors import LunarError
from sim.spec.command import COMMAND_NAMES, COMMAND_UNITS
from sim.spec.joints import JOINT_NAMES, NOMINAL_POSE
from sim.spec.reflection import AXIAL, JOINTS, POLAR, Reflection


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


@dataclass(frozen=True, eq=False)
class Sensor:
    """A channel of proprioception: everything that spec, simulation, mirror and runtime know of it."""

    name: str
    """As in ``State`` of the simulation and in what a robot hands to ``make_frame``."""
    size: int
    unit: str
    scale: float
    mirror: Reflection
    noise: float | None = None
    """Half width of its error that is new in every frame, as in training by default; None: it has none."""
    bias: float | None = None
    """Half width of its error that lasts for a trial; None: it has none."""
    offset: np.ndarray | float = 0.0

    @property
    def channel(self) -> Channel:
        """What a policy's card says of it."""
        return Channel(self.name, self.size, self.unit, self.scale)


# The frame in its order. Scales bring a channel's usual range in hopping to about one. A bias of ``projected_gravity``
# is the tilt of the inertial sensor on the trunk, one of ``joint_position`` the zero of each joint's encoder.
SENSORS = (
    Sensor("angular_velocity", 3, "rad/s, base frame", 0.5, AXIAL, noise=0.1, bias=0.0),
    Sensor("projected_gravity", 3, "unit vector, base frame", 1.0, POLAR, noise=0.02, bias=0.0),
    Sensor("joint_position", 12, "rad, minus the nominal pose", 1.0, JOINTS, 0.01, 0.0, offset=NOMINAL_POSE),
    Sensor("joint_velocity", 12, "rad/s", 0.05, JOINTS, noise=0.5),
    Sensor("last_action", 12, "1", 1.0, JOINTS),
)
_COMMAND_SCALES = (2.0, 2.0, 1.0, 4.0, 1.0)

PRONK_OBSERVATION = ObservationSpec(
    frame=tuple(sensor.channel for sensor in SENSORS),
    ages=(0, 1, 2),
    command=tuple(
        Channel(name, 1, unit, scale)
        for name, unit, scale in zip(COMMAND_NAMES, COMMAND_UNITS, _COMMAND_SCALES, strict=True)
    ),
    rate=50.0,
)


def make_frame(values: Mapping[str, np.ndarray], sensors: Sequence[Sensor] = SENSORS) -> np.ndarray:
    """One scaled frame, shape (..., 42), of what the sensors read, by their names; joint_position in absolute radians.

    Raises:
        KeyError: a sensor's value is missing.
    """
    parts = [(values[s.name] - s.offset) * s.scale for s in sensors]
    return np.concatenate(parts, axis=-1).astype(np.float32)


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
