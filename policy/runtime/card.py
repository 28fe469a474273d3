"""The card beside every policy: what it observes, how its actions are meant, where it was trained, how it did."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from policy.runtime.robot_rules import Joints
from policy.runtime.weights import is_digest
from sim.errors import LunarError
from sim.output import write_whole
from sim.robots.facts import FARTHEST_ACTION, FROM_STOPS, MOST_DAMPED, STIFFEST, STOUTEST
from sim.robots.go2.facts import GO2
from sim.robots.identity import identify
from sim.spec.joints import ACTION_BOUND, JOINT_NAMES
from sim.spec.observation import ObservationSpec, Sensor, sensors_of

FORMAT = 2
MOVING = {"vx": "m/s", "vy": "m/s", "vz": "m/s", "height": "m"}
"""The base's velocity in the heading frame, and the height of the centre of mass above the ground below the base."""
STEADY = {"gravity": "m/s^2", "joint_friction": "N*m", "joint_damping": "N*m*s/rad"}
"""What does not change within a trial; how the joints rub as of a robot of the Go2's size."""
ESTIMATES = {**MOVING, **STEADY}
"""What a policy may estimate, and its unit, in this order everywhere."""
ROBOT = "robot"
"""Folder of a policy in which it keeps a robot that is not the project's."""
_LONGEST = 4 * 2**20  # bytes of a card
_WIDEST = 2**14  # values of an observation
_OLDEST = 1000  # control steps back
_MOST = 8  # layers, encoders or estimates


@dataclass(frozen=True)
class Card:
    """Everything needed to run a policy and to know where it came from. Saved as JSON."""

    observation: ObservationSpec
    robot: str
    """Name of the robot it was trained on, e.g. ``go2``; never a path."""
    action_scale: float
    """rad. Joint target = default_pose + action_scale * action."""
    default_pose: list[float]
    """rad, shape (12,)."""
    kp: float
    """N*m/rad. Joint stiffness that the targets are meant for."""
    kd: float
    """N*m*s/rad. Joint damping."""
    gravity: float
    """m/s^2 that it was trained in."""
    command_low: list[float]
    """Lowest command of training, shape (5,), units as in the observation."""
    command_high: list[float]
    """Highest command of training, shape (5,)."""
    default_command: list[float]
    """Command used when nobody gives one, shape (5,)."""
    model: dict[str, Any] = field(default_factory=dict)
    """How the networks are built: ``hidden``, ``newest``, ``encoders`` by name (policy/internal_model); or
    ``student`` (policy/networks/student.py)."""
    training: dict[str, Any] = field(default_factory=dict)
    """``command``, ``steps``, ``seed``, ``revision``, ``minutes``."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Evaluation results by suite, as ``lunar eval`` reports them."""
    weights: str = ""
    """Digest of the weights it is of (``policy.runtime.weights``); empty only before they are saved."""
    action_bound: float = ACTION_BOUND
    """1. The action spaces of Gymnasium and Stable-Baselines3 reach to plus and minus this, in units of
    ``action_scale``: all interfaces take actions as the policy gives them."""
    robot_digest: str = ""
    """Digest of the robot's MJCF (``sim.robots.identity``)."""
    joint_range: list[list[float]] = field(default_factory=list)
    """rad, shape (2, 12): lowest and highest joint angles of a robot that is not the project's; else empty."""
    torque_ratio: float = 1.0
    """1. The robot's mass times its legs' length over the Go2's: what its servos bear scales with it."""
    format: int = FORMAT
    mjcf: str = field(default="", compare=False)
    """Path of the robot's MJCF where it is not the project's; known to the program alone and not saved."""

    @property
    def estimates(self) -> tuple[str, ...]:
        """Names of the policy's estimates, out of ``ESTIMATES``, in order of its output."""
        named = [name for encoder in self.model.get("encoders", {}).values() for name in encoder["estimates"]]
        return tuple(name for name in ESTIMATES if name in named)

    @property
    def physics_robot(self) -> str:
        """The robot as physics asks for it: the project's by name, another by the path of its file."""
        return self.mjcf or self.robot

    @property
    def stops(self) -> tuple[np.ndarray, np.ndarray]:
        """(12,) rad each, lowest and highest joint angles; +-pi of a robot that is unknown."""
        if self.robot == "go2":
            return GO2.lower, GO2.upper
        low, high = self.joint_range or [[-np.pi] * self.action_size, [np.pi] * self.action_size]
        return np.array(low), np.array(high)

    @property
    def joints(self) -> Joints:
        """Stance and stops."""
        return Joints(np.array(self.default_pose), self.stops)

    @cached_property
    def sensors(self) -> tuple[Sensor, ...]:
        """``sim.spec.observation.SENSORS`` of this robot."""
        return sensors_of(np.array(self.default_pose))

    @property
    def action_size(self) -> int:
        """Number of joints driven."""
        return len(self.default_pose)

    def targets(self, action: np.ndarray) -> np.ndarray:
        """Joint targets in rad for actions of shape (..., 12)."""
        return np.asarray(self.default_pose) + self.action_scale * action

    def clip_command(self, command: np.ndarray) -> np.ndarray:
        """The nearest command that the policy was trained for."""
        return np.clip(command, self.command_low, self.command_high)

    def save(self, path: Path) -> None:
        """Write the card as JSON, whole or not at all."""
        write_whole({path: self.text()})

    def text(self) -> str:
        """What ``save`` writes."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {name: value for name, value in asdict(self).items() if name != "mjcf"}

    @staticmethod
    def load(path: Path) -> Card:
        """Read a card. Where the policy keeps its robot's file beside it, ``mjcf`` is that.

        Raises:
            LunarError: the file is missing, is not JSON, or lacks a field; or the robot beside it is another.
        """
        if not path.is_file():
            raise LunarError(f"policy card {path} does not exist; a policy is a folder that 'lunar train' writes")
        try:
            if path.stat().st_size > _LONGEST:
                raise LunarError(f"policy card {path} has {path.stat().st_size} bytes, which no card needs")
            data = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, OSError) as error:
            raise LunarError(f"policy card {path} cannot be read: {error}") from None
        card = Card.from_json(data, str(path))
        own = path.parent / ROBOT / f"{card.robot}.xml"
        if not own.is_file():
            return card
        if identify(str(own)).digest != card.robot_digest:
            raise LunarError(f"{own} is not the robot that {path} was written for: copy the whole folder again")
        return replace(card, mjcf=str(own))

    @staticmethod
    def from_json(data: Any, source: str) -> Card:
        """Inverse of ``to_json``; ``source`` names the file in messages.

        Raises:
            LunarError: a field is missing, of the wrong type, or makes no sense.
        """
        try:
            if data.get("format") != FORMAT:
                raise LunarError(f"policy card {source} has format {data.get('format')}, this version reads {FORMAT}")
            fields = dict(data)
            if "mjcf" in fields:
                raise ValueError("'mjcf' is no field of a file")
            card = Card(observation=ObservationSpec.from_json(fields.pop("observation")), **fields)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise LunarError(f"policy card {source} cannot be read: {error}") from None
        if problem := card.problem():
            raise LunarError(f"policy card {source} makes no sense: {problem}")
        return card

    def problem(self) -> str:
        """What no policy can have, so that neither size nor type of a stranger's card surprises anyone; else empty."""
        spec = self.observation
        counts = [len(spec.ages), *[c.size for c in spec.frame + spec.command]]
        if not all(type(n) is int and 0 < n <= _WIDEST for n in counts) or spec.size > _WIDEST:
            return f"an observation of {len(spec.ages)} frames of {[c.size for c in spec.frame]} values"
        if not all(_finite(c.scale) for c in spec.frame + spec.command) or not (_finite(spec.rate) and spec.rate > 0):
            return "a scale or rate of the observation is no number"
        if not isinstance(self.robot, str) or not self.robot or "/" in self.robot or self.robot.endswith(".xml"):
            return f"robot is {str(self.robot)[:80]!r}; it must be a name, so that it means the same in every folder"
        for name in ("weights", "robot_digest"):
            if getattr(self, name) != "" and not is_digest(getattr(self, name)):
                return f"{name} is {str(getattr(self, name))[:80]!r}, not 64 hexadecimal digits"
        for name in ("action_scale", "action_bound", "kp", "kd", "gravity", "torque_ratio"):
            if not _finite(getattr(self, name)):
                return f"{name} is {getattr(self, name)!r}"
        if not isinstance(self.training, dict) or not isinstance(self.training.get("earlier", []), list):
            return f"training is {str(self.training)[:80]}"
        commands = sum(c.size for c in spec.command)
        sizes = {"command_low": commands, "command_high": commands, "default_command": commands}
        for name, size in (sizes | {"default_pose": len(spec.joints)}).items():
            values = getattr(self, name)
            if not isinstance(values, list) or len(values) != size or not all(map(_finite, values)):
                return f"{name} must hold {size} numbers"
        for low, usual, high in zip(self.command_low, self.default_command, self.command_high, strict=True):
            if not low <= usual <= high:
                return f"default_command has {usual:g}, outside of command_low {low:g} to command_high {high:g}"
        ranges = self.joint_range if isinstance(self.joint_range, list) else [None]
        shape = [len(row) for row in ranges if isinstance(row, list) and all(map(_finite, row))]
        if ranges and shape != [len(spec.joints)] * 2:
            return f"joint_range must hold {len(spec.joints)} lowest and as many highest angles, or nothing"
        return _ages_problem(spec.ages) or _model_problem(self.model) or self._servo_problem()

    def _servo_problem(self) -> str:
        """What would drive the robot's joints beyond what it bears, whatever the policy's weights are; else empty."""
        stout = 1.0 if self.robot == "go2" else self.torque_ratio
        if not 0.0 < stout <= STOUTEST:
            return f"torque_ratio is {stout:g}; it must lie between 0 and {STOUTEST:g}"
        for name, most in (("kp", stout * STIFFEST), ("kd", stout * MOST_DAMPED), ("action_scale", FARTHEST_ACTION)):
            if not 0.0 <= getattr(self, name) <= most:
                return f"{name} is {getattr(self, name):g}; it must lie between 0 and {most:g}"
        for joint, angle, low, high in zip(JOINT_NAMES, self.default_pose, *self.stops, strict=False):
            if not low + FROM_STOPS <= angle <= high - FROM_STOPS:
                return f"default_pose has {joint} at {angle:g} rad, at or beyond its stops at {low:g} and {high:g}"
        return ""


def _ages_problem(ages: tuple[int, ...]) -> str:
    if ages[0] != 0 or list(ages) != sorted(set(ages)) or ages[-1] > _OLDEST:
        return f"ages are {str(ages)[:80]}; they must rise from 0 to at most {_OLDEST}"
    return ""


def _model_problem(model: object) -> str:
    if not isinstance(model, dict) or not isinstance(model.get("encoders", {}), dict):
        return f"model is {str(model)[:80]}"
    encoders = model.get("encoders", {})
    if len(encoders) > _MOST or not all(isinstance(e, dict) and _names(e.get("estimates")) for e in encoders.values()):
        return f"model.encoders is {str(encoders)[:80]}"
    student = model.get("student", {})
    if not isinstance(student, dict) or not _width(student.get("bins", 1)):
        return f"model.student is {str(student)[:80]}"
    layers = (model.get("hidden", []), *(student.get(n, []) for n in ("frame", "hidden")))
    for widths in (*layers, *(e.get(n, []) for e in encoders.values() for n in ("frame", "hidden"))):
        if not isinstance(widths, list) or len(widths) > _MOST or not all(_width(n) for n in widths):
            return f"the width of a layer is {str(widths)[:80]}"
    if not all(_width(e.get("latent", 1)) for e in encoders.values()):
        return "the size of a latent is no width"
    return ""


def _width(value: object) -> bool:
    return type(value) is int and 0 < value <= 4096


def _names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MOST and all(isinstance(name, str) for name in value)


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30


def lineage(training: dict[str, Any]) -> dict[str, Any]:
    """Where a policy came from, as ``earlier`` in the card of what is trained on from it; ``training`` of its card."""
    told = ("command", "steps", "seed", "revision", "minutes", "weights")
    last = {name: training[name] for name in told if name in training}
    return {"earlier": [*training.get("earlier", []), last]}
