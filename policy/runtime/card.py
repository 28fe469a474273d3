"""The card beside every policy: what it observes, how its actions are meant, where it was trained, how it did."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import LunarError
from sim.spec.observation import ObservationSpec

FORMAT = 1


@dataclass(frozen=True)
class Card:
    """Everything needed to run a policy and to know where it came from. Saved as JSON."""

    observation: ObservationSpec
    robot: str
    """Name of the robot it was trained on, e.g. ``go2``."""
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
    hidden: list[int] = field(default_factory=list)
    """Widths of the actor's hidden layers."""
    activation: str = "elu"
    training: dict[str, Any] = field(default_factory=dict)
    """``command``, ``steps``, ``seed``, ``revision``, ``minutes``."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Evaluation results by suite, as ``lunar eval`` reports them."""
    format: int = FORMAT

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
        """Write the card as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @staticmethod
    def load(path: Path) -> Card:
        """Read a card.

        Raises:
            LunarError: the file is missing, is not JSON, or lacks a field.
        """
        if not path.is_file():
            raise LunarError(f"policy card {path} does not exist; a policy is a folder that 'lunar train' writes")
        try:
            data = json.loads(path.read_text())
            if data.get("format") != FORMAT:
                raise LunarError(f"policy card {path} has format {data.get('format')}, this version reads {FORMAT}")
            spec = ObservationSpec.from_json(data.pop("observation"))
            return Card(observation=spec, **data)
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise LunarError(f"policy card {path} cannot be read: {error}") from None
