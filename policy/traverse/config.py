"""What ``lunar traverse table``, ``plan`` and ``run`` are told."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TableConfig:
    """Try gaits of policies on many grounds. An interrupted run goes on where it ended."""

    policies: str = "dual,student_medium,student_small"
    """Names in the zoo or folders, separated by commas; each at 0.3 and 0.55 m/s, and apex gains of 0.18 and 0.35 m."""
    grounds: str = "mare,crater-field,blocky,highland,polar-rough"
    """Presets in configs/terrain/, separated by commas."""
    levels: tuple[int, ...] = (9, 6, 3)
    """Difficulties of each."""
    seeds: int = 6
    """Maps of each difficulty."""
    robots: int = 8
    """Trials of each gait on each map."""
    seconds: float = 12.0
    """s of a trial."""
    out: str = "runs/traverse/table"
    """Folder for the trials map by map, and for table.npz."""


@dataclass(frozen=True)
class PlanConfig:
    """Choose policy, computer and gait for every segment of a way, within a battery and a time."""

    path: list[tuple[float, float]] = field(default_factory=lambda: [(-18.0, -18.0), (18.0, 18.0)])
    """m. Points of the way on the map: two or more."""
    paths: list[list[tuple[float, float]]] = field(default_factory=list)
    """m. Ways of a fleet's robots, in place of ``path``: a list of points each. They set out together."""
    safe: bool = True
    """Lead around steep slopes and rocks from point to point; false goes straight."""
    terrain: str = "crater-field"
    """A preset in configs/terrain/ or such a file, which may name an elevation model; one of 'lunar terrain restore'
    is judged by the limits beside it."""
    level: int = 9
    """0 to 9, its difficulty."""
    seed: int = 0
    """Of the ground, and of the estimates' bootstrap."""
    size: float = 48.0
    """m. Edge of the map, centred on (0, 0)."""
    battery: float | None = None
    """J that a robot may take; null: no limit."""
    time: float | None = None
    """s that it may take; null: no limit."""
    store: float | None = None
    """J that all robots of a fleet may take together, such as what a lander has to give; null: no limit."""
    worst: bool = False
    """Make the robot of a fleet that is worst off as safe as can be, instead of most of all robots together."""
    reserve: float = 0.1
    """1. Share of battery and time that is kept for what the estimates are off by."""
    robust: bool = True
    """Leave the best option for all only where nine of ten estimates find another one better; false plans by what is
    expected."""
    change: float = 0.002
    """Expected falls that a change of option counts as."""
    energy: float = 1e-5
    """Expected falls that a joule counts as, so that of equals the thriftiest is taken."""
    only: str = ""
    """Computers that may be used, separated by commas; all by default."""
    computers: str = ""
    """File of what computers take: assumptions; configs/traverse/computers.yaml when empty."""
    table: str = ""
    """A table.npz of 'lunar traverse table'; the zoo's by default."""
    out: str = "runs/traverse/plan.yaml"
    """File of the plan; its picture lies beside it. Plans of a fleet are numbered: plan-1.yaml, plan-2.yaml, …"""
    json: str = ""
    """File for the results as data."""


@dataclass(frozen=True)
class RunConfig:
    """See a plan through in simulation, many robots on the same way."""

    plan: str = "runs/traverse/plan.yaml"
    """File of the plan."""
    terrain: str = ""
    """Another ground than the plan's, such as the true one where the plan was made on a measured map."""
    robots: int = 32
    """All start at its beginning; sensors and starts differ."""
    seed: int = 0
    """Of those."""
    patience: float = 2.0
    """1. Times the expected time after which a robot has not arrived."""
    out: str = ""
    """PNG of map and curves with what was seen; beside the plan by default."""
    json: str = ""
    """File for the results as data."""
