"""What a run was made with, from its log alone: the policy, what it was commanded, how it was evaluated; and one hop.

A log may be a stranger's: texts are cut and escaped, and only plain numbers count as figures.
"""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import Any

import mujoco
import numpy as np

from matrix_hil.log.hops import FEATURES, hops_of
from matrix_hil.log.signals import signals_of
from matrix_hil.replay.hop_drawing import curves_svg, scales_of, stills_svg
from matrix_hil.replay.look.measure import Run
from policy.evaluation.report import CHIEF, metric_rows
from sim import html_page

_COMMAND = {"vx": "m/s", "vy": "m/s", "yaw_rate": "rad/s", "apex_gain": "m", "economy": ""}
_LONGEST = 200  # letters of a text, and entries of a list
_LARGEST = 1e12  # of a figure


def made_with(run: Run) -> str:
    """HTML of the policy with its command and its evaluation; empty when the log has neither card nor settings."""
    config, card = (_attached(run, name) for name in ("config.json", "card.json"))
    rows = _policy(config, card) + _command(config)
    body = f'<div class="facts">{html_page.table(["", ""], rows)}</div>' if rows else ""
    if measured := _measured(card):
        suites = list(measured)
        body += html_page.table(["evaluation in its card", *suites], metric_rows(measured, CHIEF))
    return html_page.section("Policy and command", body) if body else ""


def one_hop(run: Run, model: mujoco.MjModel) -> str:
    """HTML of the hop whose apex gain is the run's median; empty when there is none."""
    signals = signals_of(run.log) if run.hops is not None and len(run.hops) else None
    hops = None if signals is None else hops_of(signals, float(model.body_mass.sum()))
    if hops is None or not len(hops):
        return ""
    gains = hops.values[:, list(FEATURES).index("apex_gain")]
    k = int(np.argsort(gains)[len(gains) // 2])
    scales = scales_of(hops.curves[k : k + 1])
    span, lift = float(hops.end[k] - hops.start[k]), float(hops.liftoff[k] - hops.start[k])
    drawn = stills_svg(model, hops.poses[k]) + curves_svg(hops.curves[k], span, lift, scales)
    height, tilt, force = scales
    caption = (
        f"The hop of median apex gain, {gains[k]:.2f} m, at {hops.liftoff[k] - run.start:.1f} s: lift-off, "
        f"mid-flight, touch-down. Black: height, up to {height:.2f} m; red: tilt, up to {math.degrees(tilt):.0f}°; "
        f"below: forces of front (blue) and rear feet, up to {force:.1f} lunar weights."
    )
    return html_page.section("A hop", f'<div class="drawn">{drawn}</div>', caption)


def _attached(run: Run, name: str) -> dict[str, Any]:
    try:
        value = json.loads(run.log.attachments.get(name, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _policy(config: dict[str, Any], card: dict[str, Any]) -> list[list[str]]:
    found = card.get("training")
    training: dict[str, Any] = found if isinstance(found, dict) else {}
    folder = PurePath(str(config.get("policy", ""))).name  # where it lay is nobody's business
    known = (
        ("policy", folder), ("weights", str(card.get("weights", ""))[:12]), ("robot", card.get("robot")),
        ("trained by", training.get("command")), ("at revision", training.get("revision")),
    )  # fmt: skip
    rows = [[name, _text(value)] for name, value in known if isinstance(value, str) and value]
    if _is_number(steps := training.get("steps")):
        rows.append(["steps", f"{steps:,}".replace(",", " ")])
    return rows


def _command(config: dict[str, Any]) -> list[list[str]]:
    command = config.get("command")
    if not isinstance(command, dict):
        return []
    known = {name: unit for name, unit in _COMMAND.items() if _is_number(command.get(name))}
    parts = [f"{name} {command[name]:g} {unit}".strip() for name, unit in known.items()]
    return [["commanded", ", ".join(parts)]] if parts else []


def _measured(card: dict[str, Any]) -> dict[str, dict[str, float]]:
    metrics = card.get("metrics")
    found = {}
    for suite, values in list(metrics.items())[:_LONGEST] if isinstance(metrics, dict) else ():
        if isinstance(values, dict) and (plain := {k: v for k, v in values.items() if k in CHIEF and _is_number(v)}):
            found[_text(suite)] = plain
    return found


def _text(value: str) -> str:
    """Short, and such that it can be written: JSON may hold halves of letters."""
    return value[:_LONGEST].encode(errors="replace").decode()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST
