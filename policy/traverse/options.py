"""What can be done on a segment: a policy on a computer under a command."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from policy.runtime.card import Card
from policy.runtime.weights import FILE, check_weights
from sim.config import CONFIGS, load
from sim.errors import LunarError
from sim.files import find_policy
from sim.spec.command import HopCommand

COMPUTERS = CONFIGS / "traverse" / "computers.yaml"
SPEEDS, APEXES = (0.3, 0.55), (0.18, 0.35)
"""m/s and m of the gaits that are tried; economy changes nothing that was measured."""


@dataclass(frozen=True)
class Gait:
    """A policy and how it is told to hop: what trials are made of."""

    policy: str
    """Name in the zoo, or a folder."""
    vx: float
    """m/s."""
    apex: float
    """m."""
    economy: float = 0.0
    """1."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{Path(self.policy).name} {self.vx:g} m/s, {self.apex:g} m"

    @property
    def command(self) -> np.ndarray:
        """(5,) straight ahead, as ``HopCommand``."""
        return HopCommand(vx=self.vx, apex_gain=self.apex, economy=self.economy).array()


@dataclass(frozen=True)
class Computer:
    """What a policy runs on. Figures are assumptions: ``source`` says whose."""

    watts: float = 0.0
    """W while a policy runs on it."""
    flash_kb: float = 0.0
    """kB for weights."""
    ram_kb: float = 0.0
    """kB for the history of frames."""
    mhz: float = 0.0
    """1e6 cycles per second."""
    cycles_per_weight: float = 1.0
    """1, of one weight in one control step."""
    serves: int = 0
    """Robots of a fleet that one at the lander runs a policy for at once; 0: every robot carries its own."""
    count: int = 1
    """How many are at the lander."""
    source: str = ""
    """Where the figures come from."""


@dataclass(frozen=True)
class Computers:
    """Every computer by its name, and the legs' share."""

    computers: dict[str, Computer] = field(default_factory=dict)
    joint_efficiency: float = 1.0
    """1. Positive work of the joints over what they take from the battery."""


@dataclass(frozen=True)
class Option:
    """One way to cross a segment."""

    gait: int
    """Its place in the table's gaits."""
    computer: str

    def title(self, gaits: Sequence[Gait]) -> str:
        """For people."""
        return f"{gaits[self.gait].title}, {self.computer}"


@dataclass(frozen=True)
class Weights:
    """What a policy asks of a computer."""

    digest: str
    kilobytes: float
    """Of its weights in 32 bits."""
    history_kb: float
    rate: float
    """Control steps per second."""
    card: Card


@cache
def weights_of(policy: str) -> Weights:
    """Of a policy by name or folder.

    Raises:
        LunarError: it is damaged, or sees the ground ahead.
    """
    folder = Path(find_policy(policy))
    card = Card.load(folder / "card.json")
    check_weights(folder, card.weights)
    spec = card.observation
    size = (folder / FILE).stat().st_size if (folder / FILE).is_file() else (folder / "policy.onnx").stat().st_size
    return Weights(card.weights, size / 1024, (max(spec.ages) + 1) * spec.frame_size * 4 / 1024, spec.rate, card)


def gaits_of(policies: Sequence[str]) -> list[Gait]:
    """Every gait of some policies."""
    return [Gait(*g) for g in itertools.product(policies, SPEEDS, APEXES)]


def load_computers(path: str | Path = COMPUTERS) -> Computers:
    """Read a file like configs/traverse/computers.yaml.

    Raises:
        LunarError: a figure that makes no sense.
    """
    found = load(Computers, path)
    if not 0.0 < found.joint_efficiency <= 1.0 or not found.computers:
        raise LunarError(f"{path}: joint_efficiency must lie in 0 to 1, and there must be a computer")
    for name, c in found.computers.items():
        if not (c.watts >= 0.0 and c.mhz > 0.0 and c.cycles_per_weight > 0.0):
            raise LunarError(f"{path}: computer '{name}' needs watts of 0 or more, mhz and cycles_per_weight above 0")
        if c.serves < 0 or c.count < 1:
            raise LunarError(f"{path}: computer '{name}' needs serves of 0 or more and a count of 1 or more")
    if len(shared := [name for name, c in found.computers.items() if c.serves]) > 1:
        raise LunarError(f"{path}: {', '.join(shared)} would all be at the lander; give one of them a 'serves'")
    return found


def options_of(gaits: Sequence[Gait], computers: Computers, only: Sequence[str] = ()) -> list[Option]:
    """Every gait on every computer, or on ``only`` those named, that holds its policy and is fast enough.

    Raises:
        LunarError: an unknown computer, or no policy fits any.
    """
    for name in only:
        if name not in computers.computers:
            raise LunarError(f"computer '{name}' is unknown; choose from {', '.join(computers.computers)}")
    names = only or list(computers.computers)
    found = [
        Option(k, name) for k, gait in enumerate(gaits) for name in names
        if fits(weights_of(gait.policy), computers.computers[name])
    ]  # fmt: skip
    if not found:
        raise LunarError(f"no policy of the table fits {', '.join(names)}: too little flash, memory or speed")
    return found


def fits(weights: Weights, computer: Computer) -> bool:
    """Whether a computer holds the weights and the history, and ends a step within half of its period."""
    cycles = weights.kilobytes * 1024 / 4 * computer.cycles_per_weight
    in_time = cycles / (computer.mhz * 1e6) <= 0.5 / weights.rate
    return weights.kilobytes <= computer.flash_kb and weights.history_kb <= computer.ram_kb and in_time
