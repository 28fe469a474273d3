"""The file of a plan: which option on which segment, and what that should take."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml

from policy.traverse.options import Gait, weights_of
from sim.config import load
from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.generators import load_terrain, make_terrain
from sim.terrain.height_field import HeightField


@dataclass(frozen=True)
class PlannedOption:
    """What a segment refers to."""

    policy: str = ""
    """Name in the zoo, or a folder."""
    digest: str = ""
    """Of its weights."""
    computer: str = ""
    watts: float = 0.0
    """W of that computer."""
    vx: float = 0.0
    """m/s."""
    apex: float = 0.0
    """m."""
    economy: float = 0.0
    """1."""

    @property
    def gait(self) -> Gait:
        """What hops."""
        return Gait(self.policy, self.vx, self.apex, self.economy)

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.gait.title}, {self.computer}"


@dataclass(frozen=True)
class PlannedSegment:
    """A straight piece of the way, and what it should take."""

    start: tuple[float, float] = (0.0, 0.0)
    """m, x and y on the map."""
    end: tuple[float, float] = (0.0, 0.0)
    """m."""
    option: int = 0
    """Place in ``options``, from 0."""
    joules: float = 0.0
    """J from the battery."""
    seconds: float = 0.0
    """s."""
    falls: float = 0.0
    """Expected."""
    falls_high: float = 0.0
    """Expected by the 90th percentile of the estimate."""

    @property
    def length(self) -> float:
        """m."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))


@dataclass(frozen=True)
class PlannedLimits:
    """From where on the ground of a filtered map counted as unsafe."""

    method: str = ""
    """The filter."""
    noise: str = ""
    """What it took out; ``unknown`` has the lowest limits."""
    slope: float = 0.0
    """deg, over 10 cm."""
    step: float = 0.0
    """m."""
    unsafe: float = 0.0
    """Share of the way's corridor that is unsafe by them."""
    unsafe_nominal: float = 0.0
    """The same by the limits of true ground."""


@dataclass(frozen=True)
class Plan:
    """``plan.yaml``."""

    terrain: str = "flat"
    """A preset in configs/terrain/ or such a file."""
    level: int = 9
    """Its difficulty."""
    seed: int = 0
    """Of the ground."""
    size: float = 48.0
    """m, edge of the map."""
    battery: float | None = None
    """J; null: no limit."""
    time: float | None = None
    """s; null: no limit."""
    joint_efficiency: float = 1.0
    """1. Assumed when energies were reckoned."""
    gap: float = 0.0
    """1. How much better another plan could be at most; 0: none is."""
    limits: PlannedLimits | None = None
    """Of the elevation model, if a filter restored it."""
    options: list[PlannedOption] = field(default_factory=list)
    segments: list[PlannedSegment] = field(default_factory=list)

    @property
    def points(self) -> np.ndarray:
        """(S + 1, 2) m."""
        return np.array([s.start for s in self.segments] + [self.segments[-1].end])

    @property
    def choice(self) -> np.ndarray:
        """(S,) options."""
        return np.array([s.option for s in self.segments])

    def sum(self, what: str) -> float:
        """Of ``joules``, ``seconds``, ``falls``, ``falls_high`` or ``length`` over the segments."""
        return float(sum(getattr(s, what) for s in self.segments))

    @property
    def arrival(self) -> tuple[float, float]:
        """Probability of no fall, as expected and by the 90th percentile of falls."""
        return float(np.exp(-self.sum("falls"))), float(np.exp(-self.sum("falls_high")))

    def ground(self) -> HeightField:
        """The map."""
        return make_terrain(replace(load_terrain(self.terrain), level=self.level, size=self.size), self.seed)

    def save(self, path: Path) -> None:
        """Write it as YAML, whole or not at all."""
        write_whole({path: yaml.safe_dump(_plain(asdict(self)), sort_keys=False, default_flow_style=None, width=120)})


def load_plan(path: str | Path) -> Plan:
    """Read a plan and compare it with the policies that are there.

    Raises:
        LunarError: no such file, an unknown key, a segment without an option, a gap in the way, or other weights.
    """
    plan = load(Plan, path)
    if not plan.segments or not plan.options:
        raise LunarError(f"plan '{path}' has no segments or no options; 'lunar traverse plan' writes one")
    for k, segment in enumerate(plan.segments):
        if not 0 <= segment.option < len(plan.options):
            raise LunarError(f"plan '{path}': segment {k + 1} names option {segment.option} of {len(plan.options)}")
        if k and segment.start != plan.segments[k - 1].end:
            raise LunarError(f"plan '{path}': segment {k + 1} does not start where segment {k} ends")
    if not np.isfinite(plan.points).all():
        raise LunarError(f"plan '{path}': an end of a segment is no number")
    if not 0.0 < plan.joint_efficiency <= 1.0:
        raise LunarError(f"plan '{path}': joint_efficiency is {plan.joint_efficiency}; it must be above 0, at most 1")
    for k, segment in enumerate(plan.segments):
        for name in ("joules", "seconds", "falls", "falls_high"):
            if not 0.0 <= getattr(segment, name) < np.inf:
                raise LunarError(f"plan '{path}': {name} of segment {k + 1} is {getattr(segment, name)}")
    for option in plan.options:
        for name, value in asdict(option).items():
            if isinstance(value, float) and not np.isfinite(value):
                raise LunarError(f"plan '{path}': {name} of an option is {value}")
    for option in plan.options:
        if weights_of(option.policy).digest != option.digest:
            raise LunarError(f"plan '{path}' was made with other weights of {option.policy}: plan again")
    return plan


def _plain(value: object) -> object:
    """Tuples as lists."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
