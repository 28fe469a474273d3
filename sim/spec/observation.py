"""The observation specification: what a policy sees, in which order, units and scales.

A policy's card carries it as JSON; a robot refuses a policy whose specification differs from its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
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
class ScanGrid:
    """Points of the heading frame, below the base and ahead of it, at which the ground is looked up in a map."""

    x: tuple[float, float] = (-0.4, 1.4)
    """m, first and last row; forward is positive."""
    side: float = 0.4
    """m, how far to both sides. Columns lie half a spacing from the middle, one and a half, and so on."""
    spacing: float = 0.1
    """m between neighbours."""

    @cached_property
    def points(self) -> tuple[tuple[float, float], ...]:
        """x and y, m, row by row in pairs, left before right."""
        rows = round((self.x[1] - self.x[0]) / self.spacing) + 1
        columns = round(self.side / self.spacing)
        places = [(self.x[0] + self.spacing * i, self.spacing * (j + 0.5)) for i in range(rows) for j in range(columns)]
        return tuple((x, sign * y) for x, y in places for sign in (1.0, -1.0))

    @cached_property
    def channel(self) -> Channel:
        """What of it is seen: height of the base above the ground at each point."""
        return Channel("ground_ahead", len(self.points), "m, base above ground", 2.0)


@dataclass(frozen=True)
class ObservationSpec:
    """Frames of proprioception, newest first, the command after them, and at the end a scan of the ground if any."""

    frame: tuple[Channel, ...]
    ages: tuple[int, ...]
    """Control steps back of the stacked frames; begins with 0, the newest, and rises."""
    command: tuple[Channel, ...]
    rate: float
    joints: tuple[str, ...] = JOINT_NAMES
    scan: ScanGrid | None = None
    """None for a blind policy; robots need a map, and their place on it, to provide one."""

    @property
    def frame_size(self) -> int:
        """Length of one frame."""
        return sum(c.size for c in self.frame)

    @property
    def size(self) -> int:
        """Length of the whole observation: ``len(ages) * frame_size + 5``, and the points of a scan."""
        scan = self.scan.channel.size if self.scan else 0
        return len(self.ages) * self.frame_size + sum(c.size for c in self.command) + scan

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
                scan=scan_grid(data.get("scan")),
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
        if self.scan and self.scan != other.scan:
            return "it sees the ground ahead, for which a robot needs a map; distil it into a blind one"
        return ""


def scan_grid(data: Mapping[str, Any] | None) -> ScanGrid | None:
    """Of plain data. Raises TypeError and ValueError for what no grid has."""
    if data is None:
        return None
    first, last = map(float, data["x"])
    grid = ScanGrid((first, last), float(data["side"]), float(data["spacing"]))
    if not (0.01 <= grid.spacing <= grid.side <= 5.0 and -5.0 <= first <= last <= 5.0):
        raise ValueError(f"no scan has x {data['x']}, side {grid.side} and spacing {grid.spacing}")
    return grid


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


def sensors_of(nominal_pose: np.ndarray) -> tuple[Sensor, ...]:
    """``SENSORS`` of a robot whose stance is ``nominal_pose`` (12,) rad."""
    if np.array_equal(nominal_pose, NOMINAL_POSE):
        return SENSORS
    pose = np.array(nominal_pose, dtype=float)
    return tuple(replace(s, offset=pose) if s.name == "joint_position" else s for s in SENSORS)


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
