"""What an operator wants to see of a running rig: gathered from a cycle as plain data, and drawn as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from matrix_hil.link import LinkStats
from matrix_hil.link.protocol import FAULT_ESTOP, FAULT_LIMIT, FAULT_WATCHDOG
from matrix_hil.run.loop import Cycle
from matrix_hil.safety.rules import tilt_of_gravity
from matrix_hil.safety.supervisor import Supervisor

FAULTS = {FAULT_ESTOP: "e-stop", FAULT_WATCHDOG: "watchdog", FAULT_LIMIT: "range"}
"""Name of each fault bit that a device's frames carry."""
COLORS = {
    "idle": "#5c6773",
    "armed": "#b58900",
    "run": "#2e8b57",
    "hold": "#b58900",
    "safe": "#c62828",
    "estop": "#c62828",
}
"""Of each state of the supervisor."""


def readings(
    cycle: Cycle, stats: Mapping[str, LinkStats], lateness: Sequence[float], supervisor: Supervisor, message: str
) -> dict[str, Any]:
    """All gauges as data that JSON holds; None where nothing has been measured.

    Args:
        cycle: the newest.
        stats: of each device's line, by name.
        lateness: s, of the latest cycles.
        supervisor: its limits are the ends of the scales.
        message: answer to the operator's latest order.
    """
    s = cycle.states
    late = np.percentile(lateness, [50, 99, 100]) * 1e6 if len(lateness) else np.full(3, np.nan)
    tilt = None if s.robot is None else math.degrees(tilt_of_gravity(s.robot.projected_gravity))
    place = [None] * 3 if s.tracker is None else [float(v) for v in s.tracker.position]
    pose = np.zeros(6) if s.platform is None else s.platform.pose
    limits = supervisor.cfg
    travel, turn = 1e3 * supervisor.platform.travel, math.degrees(supervisor.platform.tilt)
    scales = [
        ("rope", None if s.counterweight is None else s.counterweight.tension, 0.0, limits.tension_max, "N"),
        ("belt", None if s.treadmill is None else s.treadmill.speed, -limits.belt_speed, limits.belt_speed, "m/s"),
        *((f"platform {axis}", 1e3 * float(v), -travel, travel, "mm") for axis, v in zip("xyz", pose[:3], strict=True)),
        *(
            (name, math.degrees(float(v)), -turn, turn, "deg")
            for name, v in zip(("roll", "pitch", "yaw"), pose[3:], strict=True)
        ),
        ("robot tilt", tilt, 0.0, math.degrees(limits.tilt), "deg"),
        ("off centre x", place[0], -limits.drift, limits.drift, "m"),
        ("off centre y", place[1], -limits.drift, limits.drift, "m"),
        ("base height", place[2], 0.0, limits.height_max, "m"),
    ]
    return {
        "time": cycle.time,
        "state": cycle.supervisor.state,
        "reason": cycle.supervisor.reason,
        "trips": cycle.supervisor.trips,
        "hops": cycle.info.hops,
        "message": message,
        "devices": {name: _device(getattr(s, name), line, cycle.time) for name, line in stats.items()},
        "ground_age_s": None if cycle.patch is None else _finite(cycle.time - cycle.patch.time),
        "late_us": dict(zip(("p50", "p99", "max"), (_finite(v) for v in late), strict=True)),
        "scales": [
            {"name": name, "value": _finite(value), "low": low, "high": high, "unit": unit}
            for name, value, low, high, unit in scales
        ],
    }


def _device(state: Any, line: LinkStats, now: float) -> dict[str, Any]:
    known = {bit: name for bit, name in FAULTS.items() if state is not None and state.fault & bit}
    unknown = 0 if state is None else state.fault & ~sum(FAULTS)
    return {
        "connected": line.connected,
        "age_ms": None if state is None else _finite(1e3 * (now - state.time)),
        "estop": None if state is None else bool(state.fault & FAULT_ESTOP),
        "faults": [*known.values(), *([f"unknown {unknown:#x}"] if unknown else [])],
        "crc": line.crc_errors,
        "gaps": line.sequence_gaps,
        "error": line.error,
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def to_html(reading: Mapping[str, Any]) -> str:
    """The gauges as one piece of HTML. Whatever came from a line or a file is escaped."""
    state = reading["state"]
    late = reading["late_us"]
    rows = "".join(_device_row(name, d) for name, d in reading["devices"].items())
    bars = "".join(_bar(s) for s in reading["scales"])
    head = (
        f'<div style="background:{COLORS.get(state, "#c62828")};color:#fff;padding:8px 10px;border-radius:6px">'
        f'<b style="font-size:22px;text-transform:uppercase">{html.escape(state)}</b>'
        f'<div style="min-height:2.6em;line-height:1.3">{html.escape(reading["reason"]) or "no trip"}</div></div>'
    )
    facts = (
        f"t {reading['time']:.1f} s · hops {reading['hops']} · trips {reading['trips']}<br>"
        f"late {_number(late['p50'], '.0f')} / {_number(late['p99'], '.0f')} / {_number(late['max'], '.0f')} &micro;s"
        f" (p50/p99/max) · ground {_number(reading['ground_age_s'], '.2f')} s old"
    )
    cells = "".join(f'<th style="text-align:{a};font-weight:400">{c}</th>' for c, a in _COLUMNS)
    return (
        f'<div style="font:13px system-ui,sans-serif;padding:0 10px 6px">{head}'
        f'<div style="min-height:1.4em;margin:6px 0"><i>{html.escape(reading["message"])}</i></div>'
        f'<div style="margin-bottom:6px">{facts}</div>'
        f'<table style="width:100%;border-collapse:collapse"><tr style="color:#888">{cells}</tr>{rows}</table>'
        f'<table style="width:100%;margin-top:6px">{bars}</table></div>'
    )


_COLUMNS = (("device", "left"), ("link", "left"), ("age", "right"), ("crc / gaps", "right"), ("e-stop", "right"))


def _device_row(name: str, d: Mapping[str, Any]) -> str:
    well = d["connected"] and d["age_ms"] is not None
    link = "ok" if well else (d["error"] or ("silent" if d["connected"] else "off"))
    if d["faults"]:
        link = ", ".join(d["faults"])
    color = "#2e8b57" if well and not d["faults"] else "#c62828"
    estop = {None: ("?", "#c62828"), True: ("PRESSED", "#c62828"), False: ("free", "#2e8b57")}[d["estop"]]
    return (
        f'<tr><td>{html.escape(name)}</td><td style="color:{color}">{html.escape(link)}</td>'
        f'<td style="text-align:right">{_number(d["age_ms"], ".0f")} ms</td>'
        f'<td style="text-align:right">{d["crc"]} / {d["gaps"]}</td>'
        f'<td style="text-align:right;color:{estop[1]}"><b>{estop[0]}</b></td></tr>'
    )


def _bar(scale: Mapping[str, Any]) -> str:
    low, high, value = scale["low"], scale["high"], scale["value"]
    share = 0.0 if value is None else min(max((value - low) / (high - low), 0.0), 1.0)
    zero = min(max(-low / (high - low), 0.0), 1.0)
    left, width = 100 * min(share, zero), 100 * abs(share - zero)
    near = value is not None and max(abs(value) / max(abs(low), abs(high)), 0.0) > 0.8
    color = "#c62828" if near else "#3b7dd8"
    digits = ".2f" if scale["unit"] in ("m", "m/s") else ".0f"
    return (
        f'<tr><td style="white-space:nowrap;width:30%">{html.escape(scale["name"])}</td>'
        f'<td><div style="position:relative;height:10px;background:#8884;border-radius:3px">'
        f'<div style="position:absolute;left:{left:.1f}%;width:{width:.1f}%;height:100%;background:{color}"></div>'
        f"</div></td>"
        f'<td style="text-align:right;white-space:nowrap;width:24%">{_number(value, digits)} {scale["unit"]}</td></tr>'
    )


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, "z" + form)  # z: no minus zero
