"""What a foreign policy sees and means, as data: files in configs/import/. Free of torch, as every config is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES

TERMS = {
    "angular_velocity": 3,
    "projected_gravity": 3,
    "command": 3,
    "joint_position": 12,
    "joint_velocity": 12,
    "last_action": 12,
}
"""Sizes of what a layout may list. A command is vx, vy (m/s) and yaw rate (rad/s)."""
MOST_FRAMES = 100


@dataclass(frozen=True)
class Layout:
    """How a foreign policy's numbers are meant."""

    about: str = ""
    """Where such policies come from."""
    terms: tuple[str, ...] = ("angular_velocity", "projected_gravity", "command", "joint_position", "joint_velocity",
                              "last_action")  # fmt: skip
    """Of one frame, in its order: keys of ``TERMS``. Joint positions are relative to ``default_pose``."""
    scales: dict[str, list[float]] = field(default_factory=dict)
    """1. By term, one factor or one per value; 1 for a term that is not named."""
    frames: int = 1
    """Frames that it sees, a control step apart."""
    newest_first: bool = True
    """Which frame stands first."""
    by_term: bool = False
    """All frames of the first term, then of the second, instead of frame by frame."""
    joints: tuple[str, ...] = JOINT_NAMES
    """Its joint order, by this project's names."""
    default_pose: tuple[float, ...] = ()
    """rad, in its joint order. Its joint target is default_pose + action_scale * action."""
    action_scale: tuple[float, ...] = (0.25,)
    """rad per unit of its action, one for all joints or one for each in its order."""
    clip_observation: float = 100.0
    """Scaled values are clipped to plus and minus this."""
    clip_action: float = 100.0
    """So are its actions."""
    kp: float = 20.0
    """N*m/rad, stiffness that its targets are meant for."""
    kd: float = 0.5
    """N*m*s/rad, damping."""
    rate: float = 50.0
    """Hz."""
    gravity: float = 9.81
    """m/s^2 that it was trained in."""
    command_low: tuple[float, float, float] = (-1.0, -0.5, -1.0)
    """m/s, m/s, rad/s, least that it was trained for."""
    command_high: tuple[float, float, float] = (1.0, 0.5, 1.0)
    """Likewise, most."""

    @property
    def size(self) -> int:
        """Length of its observation."""
        return self.frames * sum(TERMS[term] for term in self.terms)

    def check(self, source: str) -> None:
        """Raise LunarError, in one sentence that names the ``source`` and the field, where no policy can be so."""
        unknown = [t for t in self.terms if t not in TERMS] + [t for t in self.scales if t not in TERMS]
        if unknown:
            known = ", ".join(TERMS)
            raise LunarError(
                f"{source}: '{unknown[0]}' is nothing that a legged robot senses without help; terms are {known}. "
                "A policy that sees its linear velocity or the ground needs to be distilled by who trained it"
            )
        if len(set(self.terms)) != len(self.terms) or not self.terms:
            raise LunarError(f"{source}: terms are {list(self.terms)}; each is named once")
        if sorted(self.joints) != sorted(JOINT_NAMES):
            raise LunarError(f"{source}: joints must hold each of {', '.join(JOINT_NAMES)} once")
        for term, values in self.scales.items():
            if len(values) not in (1, TERMS[term]) or not all(math.isfinite(v) and v != 0.0 for v in values):
                raise LunarError(f"{source}: scales.{term} must hold one number or {TERMS[term]}, none of them 0")
        if len(self.default_pose) != 12 or not all(map(math.isfinite, self.default_pose)):
            raise LunarError(f"{source}: default_pose must hold 12 angles, rad, in its joint order")
        if len(self.action_scale) not in (1, 12) or not all(math.isfinite(v) and v != 0.0 for v in self.action_scale):
            raise LunarError(f"{source}: action_scale must hold one number or 12, none of them 0")
        if not 1 <= self.frames <= MOST_FRAMES:
            raise LunarError(f"{source}: frames is {self.frames}; it must lie between 1 and {MOST_FRAMES}")
        if not (self.clip_observation > 0.0 and self.clip_action > 0.0):
            raise LunarError(f"{source}: clip_observation and clip_action must be positive")

    def scale(self, term: str) -> np.ndarray:
        """(size,) factors of a term."""
        return np.broadcast_to(np.array(self.scales.get(term, [1.0])), TERMS[term])

    @property
    def order(self) -> np.ndarray:
        """(12,) of each of its joints, which of ours it is."""
        return np.array([JOINT_NAMES.index(name) for name in self.joints])
