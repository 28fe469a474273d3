"""Machines that disobey while their sensors tell the truth: what each does instead of what it is told.

A box in the cable gives the machine other commands than the host sent, also the safe ones, so that nothing the host
says can stop it; its brake (H2), its watchdog (H7) and its ``damp`` are other paths, and obey. Faults without effect,
such as a half gain of an axis that is not moved, are rows like the others: the robot must then simply go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.faults import alterations as alter
from benchmarks.faults.catalogue import Fault
from benchmarks.faults.trial import Trial
from benchmarks.faults.verdict import REACTION
from matrix_hil.config import HilConfig
from sim.spec.joints import JOINT_NAMES, LOWER, NOMINAL_POSE, UPPER

Change = Callable[[float, float], float]
"""(what is commanded, s since the fault) -> what the machine does."""

WINDOW = 4.0
"""s in which a fault has to show, or do no harm: two hops."""
_RIG = HilConfig()
_SLOWER = 5.0


@dataclass(frozen=True)
class Axis:
    """One thing that a machine can be told, and how far it goes."""

    name: str
    device: str
    field: str
    index: int | None
    least: float
    most: float
    middle: float
    """About which signs and gains are reversed, halved and doubled."""
    lag: float
    """s, of a sound machine."""
    rules: tuple[str, ...]
    """That may notice."""
    brief: tuple[str, ...] = ()
    """Kinds that the short list takes."""


_FALLS = ("S10", "S11", "S12", "S13", "S14", "S16", "S26", "S27", "S30")


def axes() -> Iterator[Axis]:
    """Belt, rope, six axes of the platform and twelve joints."""
    belt, plate = _RIG.treadmill, _RIG.platform
    yield Axis(
        "belt", "treadmill", "speed", None, -belt.max_speed, belt.max_speed, 0.0, belt.dead_time, ("S14", "S19"),
        ("stuck at maximum", "reversed"),
    )  # fmt: skip
    yield Axis(
        "rope", "counterweight", "tension", None, 0.0, 1000.0, 0.0, _RIG.counterweight.lag, ("S30",),
        ("stuck at maximum", "stuck at minimum"),
    )  # fmt: skip
    for i, name in enumerate(("x", "y", "heave", "roll", "pitch", "yaw")):
        reach = float(plate.range[i])
        lag = plate.dead_time + 2.0 / plate.bandwidth
        brief = ("stuck at maximum",) if name in ("heave", "roll") else ()
        yield Axis(f"platform {name}", "platform", "pose", i, -reach, reach, 0.0, lag, ("S08", "S19", *_FALLS), brief)
    for i, name in enumerate(JOINT_NAMES):
        low, high = float(LOWER[i]), float(UPPER[i])
        brief = ("stuck at maximum",) if name == "FR_calf_joint" else ()
        yield Axis(f"joint {name}", "robot", "targets", i, low, high, float(NOMINAL_POSE[i]), 0.02, _FALLS, brief)


def kinds(axis: Axis) -> dict[str, Callable[[], Change]]:
    """What an axis may do instead, by name; each call makes a new one."""
    reach = axis.most - axis.least

    def held() -> Change:
        seen: list[float] = []

        def last(v: float, t: float) -> float:
            seen.append(v) if not seen else None
            return seen[0]

        return last

    def slow() -> Change:
        past: list[tuple[float, float]] = []

        def follow(v: float, t: float) -> float:
            value, before = past[0] if past else (v, t)
            value += (v - value) * (1.0 - math.exp(-(t - before) / (_SLOWER * axis.lag)))
            past[:] = [(value, t)]
            return value

        return follow

    def free() -> Change:
        seen: list[float] = []

        def coast(v: float, t: float) -> float:
            """What it did when its drive let go dies away."""
            seen.append(v) if not seen else None
            return axis.middle + (seen[0] - axis.middle) * math.exp(-t)

        return coast

    return {
        "stuck at maximum": lambda: lambda v, t: axis.most,
        "stuck at minimum": lambda: lambda v, t: axis.least,
        "stuck at the last value": held,
        "reversed": lambda: lambda v, t: min(max(2.0 * axis.middle - v, axis.least), axis.most),
        "half gain": lambda: lambda v, t: axis.middle + 0.5 * (v - axis.middle),
        "double gain": lambda: lambda v, t: min(max(axis.middle + 2.0 * (v - axis.middle), axis.least), axis.most),
        "five times slower": slow,
        "runs free": free,
        "moves without a command": lambda: lambda v, t: v + 0.15 * reach * math.sin(2.0 * math.pi * t),
    }


def disobedience() -> list[Fault]:
    """All rows."""
    return [_fault(axis, kind, make) for axis in axes() for kind, make in kinds(axis).items()]


def _fault(axis: Axis, kind: str, make: Callable[[], Change]) -> Fault:
    def inject(trial: Trial) -> None:
        trial.to_device(axis.device, alter.obeyed(axis.field, axis.index, make()))

    return Fault(
        f"disobeys: {axis.name} {kind}", inject, axis.rules, WINDOW, "rising", after=2.5, disobeys=axis.device,
        quick=kind in axis.brief,
    )  # fmt: skip


def stopped_by(device: str, silenced: bool) -> float:
    """s after the trip from which a machine that disobeys is on its way to rest: by its brake or mode at once, else by
    its own watchdog once it is no longer spoken to."""
    if device in ("counterweight", "robot") or not silenced:
        return 0.0
    return REACTION.given_up + REACTION.watchdog
