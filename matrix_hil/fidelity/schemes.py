"""The ways to take weight off a robot that are compared, and what theory says of free flight with each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from matrix_hil.control.counterweight import passive_flight
from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.spec.gravity import MOON


@dataclass(frozen=True)
class Scheme:
    """One way."""

    name: str
    what: str
    """For people, a phrase."""
    rig: dict[str, Any] = field(default_factory=dict)
    """Fields of ``RigConfig`` that differ from the rig as configured."""
    trim: bool = False
    """Whether the winch's force loop is on."""

    @property
    def ropeless(self) -> bool:
        """Whether the robot hangs on nothing."""
        return self.rig.get("suspension") == "none"

    def rig_config(self, base: RigConfig) -> RigConfig:
        """The rig of this scheme."""
        return replace(base, **self.rig)

    def theory(self, base: RigConfig, mass: float) -> tuple[float, float]:
        """m/s^2, downward acceleration of free flight, rising and falling; see ``passive_flight``."""
        if self.trim or "suspension" in self.rig:
            return MOON, MOON
        cfg = self.rig_config(base)
        rising, falling = (
            passive_flight(cfg.rope_ratio, cfg.rope_friction, up, cfg.offload, cfg.pulley_mass / mass)
            for up in (True, False)
        )
        return rising, falling


_PASSIVE = 5.0 / 6.0  # share of the weight that a passive counterweight usually carries
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("moon", "no rope, everything weighs what it does on the Moon, on a belt without an end", {
            "suspension": "none", "gravity": MOON, "belt_length": 20.0, "belt_width": 20.0,
        }),
        *(
            Scheme(f"passive_{k:g}", f"a weight that moves {k:g} m per metre of the robot and balances 5/6 of it", {
                "rope_ratio": k, "offload": _PASSIVE,
            })
            for k in (1.0, 0.5, 0.25)
        ),
        Scheme("passive_0.717", "a weight of 0.717 M at ratio 1: about right in flight, wrong standing", {
            "rope_ratio": 1.0, "offload": 0.717,
        }),
        Scheme("active", "the rig as configured, its winch's force loop on", trim=True),
        Scheme("ideal", "a rope that pulls with exactly the force wanted", {"suspension": "constant"}),
    )
}  # fmt: skip


def chosen(names: str) -> list[Scheme]:
    """Schemes by name, separated by commas; ``moon``, to which all others are compared, always comes first.

    Raises:
        LunarError: unknown name.
    """
    wanted = [n.strip() for n in names.split(",") if n.strip()]
    for name in wanted:
        if name not in SCHEMES:
            raise LunarError(f"schemes: '{name}' is unknown; choose from {', '.join(SCHEMES)}")
    return [s for s in SCHEMES.values() if s.name == "moon" or s.name in wanted]
