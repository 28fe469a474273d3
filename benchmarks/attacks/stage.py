"""Where attacks on a running rig are played: the virtual rig on the simulated clock, whose machines tell the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attacks.attack import Ending
from benchmarks.faults.trial import COMMAND, Phase, Trial, rig_of
from benchmarks.faults.verdict import AWAY, OVER_APEX, judge_machines, judge_robot
from matrix_hil.control.stewart import PlatformLimits
from matrix_hil.link import DEVICES
from matrix_hil.messages import TwinPatch
from matrix_hil.rig import Rig, open_rig
from matrix_hil.safety.limits import SafetyConfig
from matrix_hil.virtual.unreal import TwinServer
from sim.errors import LunarError

PLATE, BELT, ROPE = 0.005, 0.02, 5.0
"""m, m/s and N beyond what a run without the attack shows, from which on a machine was moved."""
MARGIN = 1.15
"""Of what the rig's own limits allow, beyond which a row's residual no longer covers what moved."""

Ground = Callable[[TwinPatch, float], TwinPatch]
"""(a patch, s since the attack began) -> what the attacker shows instead."""


@dataclass(frozen=True)
class Seen:
    """The most that machines did while an attack went on."""

    plate: float
    """m of heave."""
    belt: float
    """m/s."""
    rope: float
    """N."""
    over: float
    """m that the robot's base came over its apex."""
    away: float
    """m/s at which it moved on from there, or outwards."""


@dataclass
class Stage:
    """What all attacks share.

    Args:
        policy: folder of the policy that drives.
        server: stand-in for Unreal.
        scratch: an empty folder.
        seed: of sensor noise and of what is random in an attack.
    """

    policy: str
    server: TwinServer
    scratch: Path
    seed: int
    _healthy: dict[float, tuple[Seen, Counter[str]]] = field(default_factory=dict)

    def drive(
        self,
        inject: Callable[[Trial, Rig], None] | None = None,
        ground: Ground | None = None,
        when: Phase | None = "rising",
        wait: float = 2.5,
    ) -> Ending:
        """Attack a robot that hops, for ``wait`` s or until something trips, and judge the machines."""
        trial, reason, clamped, mass = self._run(inject, ground, when, wait)
        if trial.injected is None:
            raise LunarError(f"the robot never came to '{when}'")
        if reason:
            assert trial.tripped is not None
            since = {name: trial.tripped for name in DEVICES if name != "tracker"}
            problems = [*judge_machines(trial.recording, since, mass)[0], *judge_robot(trial.recording, trial.apex)[0]]
            return Ending("moved", f"{reason[:3]}; {'; '.join(problems)}") if problems else Ending("tripped", reason)
        seen = _seen(trial)
        if why := beyond(seen):
            return Ending("moved", f"beyond the rig's limits: {why}")
        usual, usually = self._usual(wait)
        gains = {"plate": seen.plate - usual.plate, "belt": seen.belt - usual.belt, "rope": seen.rope - usual.rope}
        limits = {"plate": PLATE, "belt": BELT, "rope": ROPE}
        moved = [f"{name} by {gains[name]:.3g}" for name, limit in limits.items() if gains[name] > limit]
        if moved:
            return Ending("moved", "within the rig's limits: " + ", ".join(moved))
        more = sorted(clamped - usually)
        return Ending("clamped", ", ".join(more)) if more else Ending("blocked", "no effect on machines")

    def _usual(self, wait: float) -> tuple[Seen, Counter[str]]:
        if wait not in self._healthy:
            trial, reason, clamped, _ = self._run(None, None, "rising", wait)
            if reason:
                raise LunarError(f"the rig does not run without an attack: {reason}")
            self._healthy[wait] = _seen(trial), clamped
        return self._healthy[wait]

    def _run(
        self, inject: Callable[[Trial, Rig], None] | None, ground: Ground | None, when: Phase | None, wait: float
    ) -> tuple[Trial, str, Counter[str], float]:
        cfg = rig_of(self.server, policy=self.policy, command=COMMAND, seed=self.seed)
        with open_rig(cfg) as rig:

            def strike(trial: Trial) -> None:
                if inject is not None:
                    inject(trial, rig)

            trial = Trial(strike, when, self.server, wait=wait)
            if ground is not None:
                rig.ground = _shown(rig.ground, ground, trial)
            trial.run(rig)
        assert rig.loop.last is not None
        return trial, rig.loop.last.supervisor.reason, rig.loop.supervisor.clamped, cfg.sync.mass


def _shown(source: Any, change: Ground, trial: Trial) -> Any:
    def shown(world: np.ndarray, velocity: np.ndarray, now: float) -> TwinPatch | None:
        patch = source(world, velocity, now)
        return patch if patch is None or trial.injected is None else change(patch, now - trial.injected)

    return shown


def _seen(trial: Trial) -> Seen:
    r = trial.recording
    _, over, away = judge_robot(r, trial.apex)
    heave = float(np.abs(np.array(r.platform_pose)[:, 2]).max())
    return Seen(heave, float(np.abs(r.belt_speed).max()), float(np.max(r.tension)), over, away)


def beyond(seen: Seen) -> str:
    """What left the rig's own limits; empty when nothing did."""
    platform, safety = PlatformLimits(), SafetyConfig()
    for name, value, limit in (
        ("heave", seen.plate, platform.travel), ("belt", seen.belt, safety.belt_speed),
        ("rope", seen.rope, safety.tension_max), ("base over its apex", seen.over, OVER_APEX / MARGIN),
        ("base away", seen.away, AWAY / MARGIN),
    ):  # fmt: skip
        if not value <= limit * MARGIN:
            return f"{name} {value:.3g}, limit {limit:.3g}"
    return ""


def risen(patch: TwinPatch, by: float | np.ndarray) -> TwinPatch:
    """The same ground, ``by`` m higher."""
    return replace(patch, heights=np.asarray(patch.heights) + by)
