"""``lunar terrain restore MAP``: a measured map through a filter, with the limits that the filtered map calls for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.terminal import Terminal
from sim.terrain.cards import MEASURED_AT, RESTORE, FilterCard, file_digest, limits_hold, load_card
from sim.terrain.danger import NOMINAL, danger, steepness
from sim.terrain.filters import apply, named_filter
from sim.terrain.map_file import read_map, write_map
from sim.terrain.restore import FILTERS

HOPELESS = 0.30
"""Share of unsafe ground still called safe from which on a map is not for choosing footholds."""


@dataclass(frozen=True)
class RestoreConfig:
    """Take noise, outliers and holes out of a measured height map, and say with which limits the result may be used."""

    map: str = ""
    """GeoTIFF or another raster, or .npy; also the first word after the command."""
    method: str = "wiener"
    """A filter, file.onnx with its card beside it, or file.py:function, which is run with heights (R, C) in m, NaN
    where unknown, and m per sample."""
    noise: str = ""
    """What the map suffers from, one of the card's classes; unknown takes the lowest limits. Empty lists all."""
    out: str = "restored.npy"
    """File to write: .npy, or .tif with the map's georeference; what is known of it goes beside it, to .json."""
    resolution: float = 0.0
    """m per pixel; 0 takes the file's own. A .npy or PNG needs it."""
    scale: float = 0.0
    """m per unit of the file's values; 0 takes the file's own. A PNG needs it."""
    band: int = 0
    """Which band of the file holds the heights, from 1; 0 takes the only one."""
    finer: int = 1
    """Samples along each axis in place of one, for a map that is coarser than the ground is to be looked at."""


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar terrain restore``.

    Raises:
        LunarError: a wrong option, a map or a filter that cannot be used, or no limits for the noise named.
    """
    cfg = parse(RestoreConfig, argv, "lunar terrain restore", first=("map",))
    if not cfg.map:
        raise LunarError("name a map: lunar terrain restore MAP --method wiener")
    if not 1 <= cfg.finer <= 64:
        raise LunarError(f"--finer is {cfg.finer}; it must be 1 to 64")
    filter_ = named_filter(cfg.method, code=True)
    ours = cfg.method in FILTERS or not cfg.method.rpartition(":")[0].endswith(".py")
    card = load_card(cfg.method) if ours else None
    if cfg.noise and card is None:
        raise LunarError(f"no limits are known for '{cfg.method}': 'lunar bench maps --method {cfg.method}' finds them")
    if card is not None and cfg.noise:
        card.limit(cfg.noise)
    given = read_map(cfg.map, cfg.resolution, cfg.scale, cfg.band)
    heights, resolution = _finer(given.heights, cfg.finer), given.resolution / cfg.finer
    restored = apply(filter_, heights, resolution, f"filter '{cfg.method}'")
    out = Path(cfg.out)
    write_map(out, restored, cfg.map, cfg.finer)
    known = np.isfinite(heights)
    about: dict[str, Any] = {
        "map": cfg.map, "method": cfg.method, "noise": cfg.noise, "resolution": resolution,
        "shape": list(restored.shape), "holes": float(np.mean(~np.isfinite(given.heights))),
        "mean_shift_m": float(np.mean((restored - heights)[known])),
        "rms_change_m": float(np.sqrt(np.mean((restored - heights)[known] ** 2))),
        "limits": _limits(card, cfg.noise), "card": "" if card is None else card.about, "digest": file_digest(out),
    }  # fmt: skip
    if cfg.noise and card is not None:
        steep = steepness(restored, resolution)
        limits = card.limit(cfg.noise).limits
        about["unsafe"] = float(np.mean(danger(*steep, limits) > 1.0))
        about["unsafe_nominal"] = float(np.mean(danger(*steep) > 1.0))
    write_results(out.with_suffix(".json"), RESTORE, 0, about)
    _show(cfg, about, given.notes, card)


def _finer(heights: np.ndarray, factor: int) -> np.ndarray:
    """The samples on a grid ``factor`` times as fine, NaN in between, from the first sample to the last."""
    if factor == 1:
        return heights
    out = np.full([(n - 1) * factor + 1 for n in heights.shape], np.nan)
    out[::factor, ::factor] = heights
    return out


def _limits(card: FilterCard | None, noise: str) -> dict[str, Any]:
    if card is None:
        return {}
    entries = card.noise if not noise else {noise: card.limit(noise)}
    return {
        name: {"slope_deg": e.limits.slope, "step_m": e.limits.step, "unsafe_called_safe": e.missed,
               "unsafe_called_safe_nominal": e.missed_nominal, "false_alarms": e.false_alarms}
        for name, e in entries.items()
    }  # fmt: skip


def _show(cfg: RestoreConfig, about: dict[str, Any], notes: Sequence[str], card: FilterCard | None) -> None:
    out = Path(cfg.out)
    print(
        f"wrote {out} and {out.with_suffix('.json').name}: {about['shape'][0]} by {about['shape'][1]} samples, "
        f"{about['resolution']:g} m apart; {100 * about['holes']:.1f}% were holes, which are guesses now; heights "
        f"moved by {1e3 * about['rms_change_m']:.1f} mm RMS, their mean by {1e3 * about['mean_shift_m']:+.2f} mm"
    )
    for note in notes:
        print(f"taken for holes{note}")
    if card is None:
        print(f"its limits are not known: 'lunar bench maps --method {cfg.method}' finds them")
        return
    table = Table(title=f"unsafe from (true ground: {NOMINAL.slope:g}° over 10 cm, step {100 * NOMINAL.step:g} cm)")
    for heading in ("noise", "slope", "step", "unsafe called safe", "with nominal limits", "safe called unsafe"):
        table.add_column(heading, justify="left" if heading == "noise" else "right")
    for name, e in about["limits"].items():
        star = " *" if name in card.recommended else ""
        table.add_row(
            name + star, f"{e['slope_deg']:.1f}°", f"{100 * e['step_m']:.1f} cm", f"{e['unsafe_called_safe']:.2f}",
            f"{e['unsafe_called_safe_nominal']:.2f}", f"{e['false_alarms']:.2f}",
        )  # fmt: skip
    Terminal().print(table)
    if any(name in card.recommended for name in about["limits"]):
        print("* of the shipped filters this one misses least there")
    if hopeless := [n for n, e in about["limits"].items() if e["unsafe_called_safe"] > HOPELESS]:
        print(f"not for choosing footholds, with any limits: {', '.join(hopeless)}")
    if not limits_hold(about["resolution"]):
        print(
            f"these limits were found at {MEASURED_AT:g} m per sample and do not hold at {about['resolution']:g}: use "
            "them for a map resampled to that, such as with --finer"
        )
    if "unsafe" in about:
        print(
            f"unsafe by these limits: {100 * about['unsafe']:.1f}% of the map; by those of true ground "
            f"{100 * about['unsafe_nominal']:.1f}%"
        )
