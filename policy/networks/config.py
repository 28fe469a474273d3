"""What networks are made of: the configs of an encoder, an actor and a student. Free of torch, as every config is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sim.spec.observation import ScanGrid


@dataclass(frozen=True)
class EncoderConfig:
    """One horizon."""

    ages: tuple[int, ...]
    """Control steps back of the frames that it sees; all are among the observation's."""
    estimates: tuple[str, ...] = ()
    """Of vx, vy, vz, height, gravity, joint_friction and joint_damping, those that it is trained to estimate."""
    latent: int = 16
    """Size of the latent, a unit vector."""
    given: str = ""
    """An earlier horizon whose estimates and latent it sees besides: what a window shorter than a flight lacks."""
    frame: tuple[int, ...] = (32,)
    """Widths of the layers that each frame passes alone, with the same weights for all frames."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the layers over all frames."""


@dataclass(frozen=True)
class ModelConfig:
    """What a policy sees and how it is built; all of it stands in the policy's card."""

    hidden: tuple[int, ...] = (256, 128)
    """Widths of the actor's hidden layers."""
    newest: int = 3
    """Newest frames that the actor sees as they are, besides what the encoders make of them."""
    encoders: dict[str, EncoderConfig] = field(default_factory=dict)
    """Horizons of the internal model by name; none for a plain policy."""
    scan: ScanGrid | None = None
    """Where it sees the ground; None: it is blind, as a robot without a map is."""

    @property
    def ages(self) -> tuple[int, ...]:
        """Control steps back of all frames that the actor or an encoder sees: what the observation must hold."""
        seen = {age for encoder in self.encoders.values() for age in encoder.ages}
        return tuple(sorted(seen | set(range(self.newest))))


@dataclass(frozen=True)
class StudentConfig:
    """A student's network."""

    head: Literal["gaussian", "tokens"] = "gaussian"
    """``gaussian`` with a spread that depends on the state, or ``tokens``."""
    hidden: tuple[int, ...] = (64, 32)
    """Widths of the hidden layers."""
    ages: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 40, 80)
    """Control steps back of the frames that it sees, besides the command: some of those that its teacher sees. 1.6 s,
    a whole hop, tell how high it is and how fast it falls."""
    frame: tuple[int, ...] = (16,)
    """Widths of the layers that each frame passes alone, with the same weights for all frames."""
    bins: int = 64
    """Of ``tokens``: bins per joint."""
    std_low: float = 0.05
    """Of ``gaussian``: smallest standard deviation, in units of the action."""
    std_high: float = 1.0
    """Of ``gaussian``: largest standard deviation, in units of the action."""
