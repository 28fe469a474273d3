"""The faults: what is spoilt, at which phase of a hop, which rule must notice, and within which time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.faults import alterations as alter
from benchmarks.faults.trial import PATCH_PERIOD, PHASES, Phase, Trial
from benchmarks.faults.verdict import REACTION
from matrix_hil.link import DEVICES
from matrix_hil.safety.limits import SafetyConfig
from matrix_hil.virtual.unreal import Misbehaviour
from sim.spec.joints import NOMINAL_POSE

SAFETY = SafetyConfig()
_CYCLES = 0.015
"""s. A state's period, the cycle that judges it and the one in which the fault strikes."""
_HOP = 2.0
"""s. What shows only when the machines move shows within a hop."""
_ALWAYS = 1 << 30


@dataclass(frozen=True)
class Fault:
    """One row."""

    name: str
    inject: Callable[[Trial], None]
    rules: tuple[str, ...]
    """Ids that may be latched."""
    within: float
    """s from the fault to the trip, the documented time."""
    when: Phase | None = "falling"
    """None: as soon as the policy drives."""
    after: float = 0.6
    """s with the policy before the phase counts."""
    cut: tuple[str, ...] = ()
    """Devices that no longer hear the host: they count from their own watchdog."""
    policy: str = ""
    """``nan``: the policy is one that a fast yaw rate turns into NaN."""
    deadline: float = 10.0
    """s of wall time for a patch of ground: long, so that a busy computer makes no fault of its own."""
    disobeys: str = ""
    """The machine that does something else than it is told; it may also do no harm, and nobody has to notice."""
    quick: bool = False
    """Part of the short list."""


def catalogue(seed: int) -> list[Fault]:
    """All faults on the simulated clock."""
    return [*_devices(seed), *_commands(seed), *_robot(seed), *_tracker(), *_twin(), *_clock(), *_estop()]


def _devices(seed: int) -> list[Fault]:
    """What every device's line to the host may suffer."""
    faults = []
    for name in DEVICES:
        stale = getattr(SAFETY, f"{name}_stale") + _CYCLES

        def says(alteration: Callable[[Trial, str], alter.Alteration], device: str = name) -> Callable[[Trial], None]:
            return lambda trial: trial.to_host(device, alteration(trial, device))

        def row(
            kind: str, inject: Callable[[Trial], None], rules: tuple[str, ...], within: float, quick: str = "",
            cut: tuple[str, ...] = (), device: str = name,
        ) -> None:  # fmt: skip
            faults.append(Fault(f"{device}: {kind}", inject, rules, within, cut=cut, quick=quick == device))

        row("silence", says(lambda t, d: alter.silence()), ("S05",), stale, quick="tracker")
        row("garbage", says(lambda t, d: alter.garbage(seed)), ("S05",), stale, quick="treadmill")
        row("CRC errors", says(lambda t, d: alter.bit_errors(seed)), ("S05",), stale, quick="robot")
        row("wrong sequence", says(lambda t, d: alter.wrong_sequence(seed)), ("S05",), stale)
        row(
            "replayed frames",
            says(lambda t, d: alter.replayed(tuple(t.cables[d].recorded["to_host"]))),
            ("S05",), stale, quick="counterweight",
        )  # fmt: skip
        row("delayed by 0.2 s", says(lambda t, d: alter.delayed(0.2)), ("S05",), stale, quick="robot")
        row("clock jumps by an hour", says(lambda t, d: alter.clock_jump(3600.0)), ("S05",), stale)
        row("clock jumps back", says(lambda t, d: alter.clock_jump(-0.5)), ("S05",), stale)
        row("rebooted", says(lambda t, d: alter.rebooted()), ("S05",), stale)
        faults.append(_stuck(name))
        row("out of range", *_out_of_range(name), within=_CYCLES)
        row("not a number", says(lambda t, d: alter.field(_FIELD[d], lambda v: v * np.nan)), ("S06",), _CYCLES)
        row("unplugged", _unplug(name), ("S05",), stale, cut=_hears(name), quick="platform")
        row("e-stop input", says(lambda t, d: alter.estop_bit()), ("S01",), _CYCLES, quick="tracker")
    return faults


_FIELD = {
    "platform": "pose", "treadmill": "speed", "counterweight": "tension", "tracker": "position",
    "robot": "joint_position",
}  # fmt: skip


def _unplug(device: str) -> Callable[[Trial], None]:
    return lambda trial: trial.cables[device].unplug()


def _hears(device: str) -> tuple[str, ...]:
    return () if DEVICES[device].command_type is None else (device,)


def _stuck(device: str) -> Fault:
    def inject(trial: Trial) -> None:
        trial.to_host(device, alter.stuck())

    name = f"{device}: stuck value"
    if device == "platform":  # before the first flight, in which it leans to the slope
        return Fault(name, inject, ("S19",), _HOP + SAFETY.astray_time, None, after=0.0)
    if device == "treadmill":  # once it runs
        return Fault(name, inject, ("S19", "S27"), _HOP, after=3.0)
    # a policy that sees nothing move may want the impossible before the repetition is proved
    return Fault(name, inject, ("S18", "S16") if device == "robot" else ("S18",), SAFETY.frozen_time + _CYCLES)


def _out_of_range(device: str) -> tuple[Callable[[Trial], None], tuple[str, ...]]:
    field, change, rules = {
        "platform": ("pose", lambda v: v + 0.5, ("S07",)),
        "treadmill": ("speed", lambda v: 9.0, ("S09",)),
        "counterweight": ("tension", lambda v: 5000.0, ("S10",)),
        "tracker": ("position", lambda v: v + 10.0, ("S13", "S14")),
        "robot": ("joint_position", lambda v: v + 3.0, ("S26",)),
    }[device]
    return (lambda trial: trial.to_host(device, alter.field(field, change))), rules


def _commands(seed: int) -> list[Fault]:
    """What the line from the host may suffer: the device notices, tells, and the host makes the others safe."""
    faults = []
    within = REACTION.watchdog + _CYCLES
    for name, spec in DEVICES.items():
        if spec.command_type is None:
            continue

        def hears(alteration: Callable[[Trial, str], alter.Alteration], device: str = name) -> Callable[[Trial], None]:
            return lambda trial: trial.to_device(device, alteration(trial, device))

        for kind, inject in (
            ("hears silence", hears(lambda t, d: alter.silence())),
            ("hears garbage", hears(lambda t, d: alter.garbage(seed))),
            ("hears CRC errors", hears(lambda t, d: alter.bit_errors(seed))),
            ("hears replayed commands", hears(lambda t, d: alter.replayed(tuple(t.cables[d].recorded["to_device"])))),
            ("hears commands 0.2 s late", hears(lambda t, d: alter.delayed(0.2))),
        ):
            quick = (name, kind) == ("treadmill", "hears replayed commands")
            faults.append(Fault(f"{name}: {kind}", inject, ("S04",), within, cut=(name,), quick=quick))
    return faults


def _robot(seed: int) -> list[Fault]:
    fold = NOMINAL_POSE.copy()
    fold[[3, 9]], fold[[4, 10]], fold[[5, 11]] = -1.0, 2.5, -2.7  # the right legs

    def fall(trial: Trial) -> None:
        trial.to_device("robot", alter.field("targets", lambda v: fold))

    def spin(trial: Trial) -> None:
        trial.to_host("robot", alter.field("angular_velocity", lambda v: np.array([0.0, 0.0, 25.0])))

    def nan(trial: Trial) -> None:
        trial.to_device("robot", alter.field("targets", lambda v: v * np.nan))

    return [
        Fault("robot: falls", fall, ("S10", "S12", "S13", "S14", "S27"), 2 * _HOP, quick=True),
        Fault("robot: the policy's action is not a number", spin, ("S15",), 0.02 + _CYCLES, policy="nan", quick=True),
        Fault("robot: hears commands that are not numbers", nan, ("S04",), REACTION.watchdog + _CYCLES, cut=("robot",)),
    ]


def _tracker() -> list[Fault]:
    def shift(trial: Trial) -> None:
        trial.to_host("tracker", alter.field("position", lambda v: v + np.array([0.2, 0.0, 0.0])))

    def turn(trial: Trial) -> None:
        c, s = np.cos(0.3), np.sin(0.3)
        yawed = np.array([[c, 0, 0, -s], [0, c, -s, 0], [0, s, c, 0], [s, 0, 0, c]])
        trial.to_host("tracker", alter.field("quaternion", lambda v: yawed @ v))

    return [
        Fault("tracker: jumps by 0.2 m", shift, ("S27",), _CYCLES, quick=True),
        Fault("tracker: jumps by 0.6 rad", turn, ("S27",), _CYCLES),
    ]


def _twin() -> list[Fault]:
    stale = SAFETY.ground_stale + PATCH_PERIOD + _CYCLES

    def does(**what: object) -> Callable[[Trial], None]:
        return lambda trial: trial.twin(Misbehaviour(times=_ALWAYS, **what))  # type: ignore[arg-type]

    faults = [
        Fault("twin: answers too late", does(kind="delay", seconds=2.5), ("S28",), stale),
        Fault("twin: garbage", does(kind="garbage"), ("S28",), stale),
        Fault("twin: broken images", does(kind="corrupt"), ("S28",), stale),
        Fault("twin: answers nothing", does(kind="drop"), ("S28",), stale),
        Fault("twin: disconnects", does(kind="disconnect", match=""), ("S28",), stale, quick=True),
        Fault(
            "twin: ground jumps by 0.4 m", does(kind="jump", metres=0.4), ("S29",), PATCH_PERIOD + _CYCLES, quick=True
        ),
    ]
    return [replace(fault, deadline=2.0) for fault in faults]


def _clock() -> list[Fault]:
    """The devices, too, do not believe a host whose clock jumps: they come to rest by themselves."""
    everyone = tuple(name for name in DEVICES if name != "tracker")

    def by(seconds: float) -> Callable[[Trial], None]:
        def inject(trial: Trial) -> None:
            trial.jump += seconds

        return inject

    return [
        Fault("host: clock jumps back by 5 s", by(-5.0), ("S02",), _CYCLES, cut=everyone, quick=True),
        Fault("host: clock jumps on by 0.5 s", by(0.5), ("S03",), _CYCLES, cut=everyone),
        Fault("host: clock jumps on by an hour", by(3600.0), ("S03",), _CYCLES, cut=everyone),
    ]


def _estop() -> list[Fault]:
    """The operator's button, wired to the platform's input, at every phase of a hop."""
    return [
        Fault(
            f"operator: e-stop at {phase}",
            lambda trial: trial.to_host("platform", alter.estop_bit()),
            ("S01",), _CYCLES, phase, 2.5, quick=phase == "touch-down",
        )
        for phase in PHASES
    ]  # fmt: skip
