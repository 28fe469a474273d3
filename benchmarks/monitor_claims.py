"""What was asked of a monitor, and what papers claim of such, with what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.monitor_scores import SCORES
from policy.monitor.families import HIJACK

CAUGHT = {
    "encoder off by 0.2 rad": 0.95, "noise x 5": 0.95, "front legs swapped": 0.95, "hip off by 0.15 rad": 0.95,
    "actions 40 ms late": 0.95, "knee dead": 0.8, "encoder stuck": 0.5, "joint holds still": 0.5,
}  # fmt: skip
"""Share of trials of these faults that were to trip within a second."""
_MANY = 0.2  # share of robots that fall of a fault, from which on a reaction must help
ROBOT = ("sensor", "actuator", "time", "drift")
"""Families of what is wrong with the robot itself."""
Rows = dict[str, dict[str, Any]]


def claims(rows: Rows) -> list[dict[str, Any]]:
    """The papers' claims, of what was measured of faults and controls."""
    faults = _faults(rows)
    hidden, raw = (_mean(row["auroc"][m] for row in faults.values()) for m in ("hidden", "raw frames"))
    seen, new = (
        _mean(row["caught"]["monitor"]["2s"] for row in faults.values() if row["held_out"] == out)
        for out in (False, True)
    )
    shares = {m: _mean(row["caught"][m]["2s"] for row in faults.values()) for m in SCORES}
    entropy, falls = rows[HIJACK]["auroc"]["entropy"], [r for r in faults.values() if r["fell"] >= _MANY]
    caught = [r["caught"]["monitor"]["1s"] for r in falls]
    return [
        {"claim": "the hidden layer tells more than raw frames (AUROC)", "measured": f"{hidden:.2f} / {raw:.2f}",
         "holds": hidden > raw},
        {"claim": "doubt (entropy) rises before a hijacked action (AUROC)", "measured": f"{entropy:.2f}",
         "holds": entropy > 0.6},
        {"claim": "faults that make robots fall are caught before they do (1 s)",
         "measured": ", ".join(f"{v:.2f}" for v in caught) or "no fault does",
         "holds": bool(caught) and min(caught) >= 0.8},
        {"claim": "families not looked at are caught as well (2 s, drop <= 5 points)",
         "measured": f"{seen:.2f} / {new:.2f}", "holds": new >= seen - 0.05},
        {"claim": "it beats every other score at the same trips per hour (caught in 2 s)",
         "measured": ", ".join(f"{m} {v:.2f}" for m, v in shares.items()),
         "holds": all(shares["monitor"] > v for m, v in shares.items() if m != "monitor")},
    ]  # fmt: skip


def bars(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked, of the results of a whole run."""
    rows: Rows = found["rows"]
    faults, made = _faults(rows), []

    def bar(asked: str, measured: str, met: bool) -> None:
        made.append({"bar": asked, "measured": measured, "met": bool(met)})

    rate, upper, hours = (found[k] for k in ("trips_per_hour", "trips_per_hour_upper95", "hours"))
    bar("false trips <= 1 per robot-hour, 95%: <= 2", f"{rate:.2f}, {upper:.2f}", rate <= 1.0 and upper <= 2.0)
    bar("of 5 robot-hours or more", f"{hours:.2f}", hours >= 5.0)
    for name, share in CAUGHT.items():
        if name in faults:
            caught = faults[name]["caught"]["monitor"]["1s"]
            bar(f"{name}: >= {share:.0%} in 1 s", f"{caught:.0%}", caught >= share)
    new = {name: row["auroc"]["monitor"] for name, row in faults.items() if row["held_out"] and row["family"] in ROBOT}
    few = {name: value for name, value in new.items() if not value >= 0.95}
    all_told = bool(new) and not few
    bar("AUROC >= 0.95, faults of the robot not looked at",
        ", ".join(f"{n} {v:.2f}" for n, v in few.items()) or f"{len(new)} of {len(new)}", all_told)  # fmt: skip
    named = found["worst_channel_right"] or 0.0
    bar("the channel named first is right in >= 80%", f"{named:.0%}", named >= 0.8)
    points: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    for name, upright in found["upright"].items():
        if {"go on", found["reaction"]} <= set(upright):
            gain = round(100.0 * (upright[found["reaction"]] - upright["go on"]), 6)
            points[rows[name]["fell"] >= _MANY].setdefault(rows[name]["family"], []).append(gain)
    helped, harmed = ({family: _mean(v) for family, v in points[many].items()} for many in (True, False))
    bar("upright after 3 s, >= 20% fall: >= +20 points", _listed(helped), min(helped.values(), default=0.0) >= 20.0)
    bar("upright after 3 s, < 20% fall: >= -1 point", _listed(harmed), min(harmed.values(), default=-np.inf) >= -1.0)
    most = max(found["control_trips"].values())
    bar("of no control more than 2% trip", f"{most:.0%}", most <= 0.02)
    shares = {m: _mean(row["caught"][m]["2s"] for row in faults.values()) for m in SCORES}
    others = ("tilt", "turn rate", "raw frames")
    bar("faults tripped in 2 s, more than by other limits",
        ", ".join(f"{m} {shares[m]:.0%}" for m in ("monitor", *others)),
        all(shares["monitor"] > shares[m] for m in others))  # fmt: skip
    bar("a step <= 100 us, 99th percentile", f"{found['step_us_p99']:.0f} us", found["step_us_p99"] <= 100.0)
    return made


def _faults(rows: Rows) -> Rows:
    return {name: row for name, row in rows.items() if row["family"] != "control"}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.nanmean(found)) if found else float("nan")


def _listed(points: dict[str, float]) -> str:
    return ", ".join(f"{family} {value:+.0f}" for family, value in points.items()) or "–"
