"""What is known of a map filter: its card, with the limits that its maps call for under each class of noise."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim.errors import LunarError
from sim.terrain.danger import Limits

FORMAT = 1
SHELF = Path(__file__).with_name("filter_cards")
"""The shipped filters' cards, and the networks that belong to some."""
MEASURED_AT = 0.05
"""m between samples of the maps that limits were found on."""
RESTORE = "terrain restore"
"""The command whose results lie beside a restored map."""


@dataclass(frozen=True)
class Limit:
    """One class of noise."""

    limits: Limits
    """From where on ground of the filtered map counts as unsafe."""
    rock: float
    """Score from which on a bump of the filtered map counts as a rock."""
    missed: float
    """Share of unsafe ground that is called safe with these limits, on the patches that they were found on."""
    false_alarms: float
    """Share of safe ground that is called unsafe with them."""
    missed_nominal: float
    """Share of unsafe ground that is called safe with the limits of the true ground."""
    psnr: float
    """dB."""


@dataclass(frozen=True)
class FilterCard:
    """One filter."""

    name: str
    about: str
    """What the limits were found on."""
    weights: str
    """SHA-256 of the network's file; empty where there is none."""
    noise: Mapping[str, Limit]
    """By class."""
    recommended: tuple[str, ...]
    """Classes under which it misses least of the shipped filters."""

    def limit(self, noise: str) -> Limit:
        """Of a class of noise; of the one with the lowest limits where the class is ``unknown``.

        Raises:
            LunarError: the card has no such class.
        """
        if noise == "unknown":
            return lowest(self.noise.values())
        if noise not in self.noise:
            raise LunarError(
                f"the card of filter '{self.name}' has no noise class '{noise}'; choose one of "
                f"{', '.join([*self.noise, 'unknown'])}"
            )
        return self.noise[noise]


def lowest(entries: Iterable[Limit]) -> Limit:
    """The entry with the lowest limit of slope, with the lowest of step among all."""
    known = list(entries)
    least = min(known, key=lambda entry: entry.limits.slope)
    return replace(least, limits=replace(least.limits, step=min(entry.limits.step for entry in known)))


@dataclass(frozen=True)
class Restored:
    """What ``lunar terrain restore`` wrote beside a map."""

    method: str
    noise: str
    """The class that was named; ``unknown`` where none was."""
    resolution: float
    """m between samples."""
    limits: Limits
    """Of that class; the lowest of all where none was named."""

    @property
    def holds(self) -> bool:
        """Whether the limits hold for maps as fine as this one."""
        return limits_hold(self.resolution)


def limits_hold(resolution: float) -> bool:
    """Whether limits hold for maps with ``resolution`` m between samples."""
    return 0.8 * MEASURED_AT <= resolution <= 1.25 * MEASURED_AT


def restored_map(path: str | Path) -> Restored | None:
    """What is known of a map that went through a filter; None of one that did not.

    Raises:
        LunarError: the record beside it cannot be read, belongs to another map, or knows no limits.
    """
    map_, record = Path(path), Path(path).with_suffix(".json")
    if not record.is_file() or not map_.is_file():
        return None
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # of somebody else
    if not isinstance(data, dict) or data.get("command") != RESTORE:
        return None
    try:
        found = data["results"]
        known = [Limits(float(e["slope_deg"]), float(e["step_m"])) for e in found["limits"].values()]
        method, noise, digest = (str(found[k]) for k in ("method", "noise", "digest"))
        resolution = float(found["resolution"])
        for limits in known:
            _check(limits)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LunarError(f"{record} does not say how {map_} was restored ({error!r}): restore it again") from None
    if digest != file_digest(map_):
        raise LunarError(f"{record} belongs to another map than {map_}: restore it again, or take that file away")
    if not known:
        raise LunarError(f"no limits are known for '{method}', which made {map_}; 'lunar bench maps' finds them")
    limits = Limits(min(e.slope for e in known), min(e.step for e in known))
    return Restored(method, noise or "unknown", resolution, limits)


def card_path(name: str) -> Path:
    """Of a shipped filter's card, or of that beside a network's file."""
    return Path(name).with_suffix(".json") if name.endswith(".onnx") else SHELF / f"{name}.json"


def load_card(name: str) -> FilterCard:
    """The card of a shipped filter, or of a network ``file.onnx``, which lies beside it as ``file.json``.

    Raises:
        LunarError: there is none, it cannot be read, or it belongs to another network.
    """
    path = card_path(name)
    remedy = "'lunar bench maps --calibrate' writes the cards of the shipped filters"
    if not path.is_file():
        raise LunarError(f"filter '{name}' has no card {path}: no limits are known for its maps; {remedy}")
    try:
        if path.stat().st_size > 2**20:
            raise ValueError("it is larger than any card")
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}, this version reads {FORMAT}")
        card = FilterCard(
            str(data["name"]), str(data["about"]), str(data["weights"]),
            {str(n): _limit(v) for n, v in data["noise"].items()}, tuple(data["recommended"]),
        )  # fmt: skip
        if not card.noise:
            raise ValueError("it has no class of noise")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LunarError(f"{path} is no filter's card ({error!r}); {remedy}") from None
    net = path.with_suffix(".onnx")
    if (card.weights or net.is_file()) and (not net.is_file() or card.weights != file_digest(net)):
        raise LunarError(f"{path} belongs to another network than {net}; {remedy}")
    return card


def card_json(card: FilterCard) -> str:
    """What a card's file holds."""
    noise = {name: _plain(entry) for name, entry in card.noise.items()}
    document = {"format": FORMAT, "name": card.name, "about": card.about, "weights": card.weights,
                "recommended": list(card.recommended), "noise": noise}  # fmt: skip
    return json.dumps(document, indent=1) + "\n"


def file_digest(path: Path) -> str:
    """SHA-256 of a network's or a map's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


_NUMBERS = ("rock", "missed", "false_alarms", "missed_nominal", "psnr")


def _plain(entry: Limit) -> dict[str, float]:
    limits = {"slope_deg": entry.limits.slope, "step_m": entry.limits.step}
    return {k: round(v, 4) for k, v in (limits | {n: getattr(entry, n) for n in _NUMBERS}).items()}


def _limit(data: Mapping[str, Any]) -> Limit:
    limits = Limits(float(data["slope_deg"]), float(data["step_m"]))
    _check(limits)
    numbers = {name: float(data[name]) for name in _NUMBERS}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError(f"a number is not finite: {numbers}")
    return Limit(limits, **numbers)


def _check(limits: Limits) -> None:
    if not (0.0 < limits.slope < 90.0 and 0.0 < limits.step < 10.0):
        raise ValueError(f"limits of {limits.slope:g} deg and {limits.step:g} m are none")
