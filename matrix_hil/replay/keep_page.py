"""The page of ``lunar log keep``: small multiples of the kept hops, each a way into its log's report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import mujoco
import numpy as np

from matrix_hil.log.hops import AFTER, FEATURES, POINTS
from matrix_hil.log.keep import Choice, DayLog
from sim import html_page
from sim.spec.joints import JOINT_NAMES, LEGS

_WIDTH, _STILLS, _CURVE = 210.0, 62.0, 46.0  # px of a cell, and of its parts' heights
_FORCES = ("#2f6fb3", "#5ec8f2", "#d97a1f", "#f0b35b")
_HEIGHT, _TILT = "#30343b", "#c0392b"
_STYLE = """<style>
.hops { display: grid; grid-template-columns: repeat(auto-fill, minmax(218px, 1fr)); gap: 10px; margin-top: 8px; }
.hops a { display: block; border: 1px solid #e3e5e8; border-radius: 8px; padding: 6px 8px; color: inherit;
  text-decoration: none; font-size: 12px; line-height: 1.35; }
.hops a:hover { border-color: #2f6fb3; }
.hops b { float: right; font-weight: 600; }
.hops span { display: block; color: #6a707a; }
</style>"""


def keep_page(days: Sequence[DayLog], results: dict[str, Any], choice: Choice, model: mujoco.MjModel) -> str:
    """The HTML.

    Args:
        days: the logs.
        results: as ``keep.json`` has them.
        choice: of their hops, in the same order.
        model: the robot alone.
    """
    first = np.concatenate([[0], np.cumsum([len(day.hops) for day in days])])
    curves = np.concatenate([day.hops.curves for day in days])
    poses = np.concatenate([day.hops.poses for day in days])
    spans = np.concatenate([day.hops.end - day.hops.start for day in days])
    rows = [kept.row for kept in choice.kept]
    scales = [max(float(curves[rows][:, :, part].max()), 1e-3) for part in (slice(1), slice(1, 2), slice(2, 6))]
    cells = []
    for hop, kept in zip(results["kept"], choice.kept, strict=True):
        day = days[int(np.searchsorted(first, kept.row, side="right")) - 1]
        row = kept.row - int(first[days.index(day)])
        lift = float(day.hops.liftoff[row] - day.hops.start[row])
        drawn = _stills(model, poses[kept.row]) + _curves(curves[kept.row], spans[kept.row], lift, scales)
        cells.append(_cell(hop, drawn))
    odd = sum(kept.differs for kept in choice.kept)
    sections = [_STYLE]
    if odd:
        caption = (
            "Hops that the others do not show: of each log the most different first, then of each the second, and so "
            "on. Different is not faulty."
        )
        shown = [cells[k] for k in by_turns([hop["log"] for hop in results["kept"][:odd]])]
        sections.append(html_page.section("What differs", _grid(shown), f"{caption} {_legend(scales)}"))
    caption = "Hops that stand for all, by the share of hops that are nearest to each."
    sections.append(html_page.section("What is usual", _grid(cells[odd:]), f"{caption} {_legend(scales)}"))
    if results["trips"]:
        sections.append(html_page.section("Trips", _trips(results["trips"])))
    looked = "; ".join(FEATURES[name][1] for name in choice.used)
    passed = "; ".join(f"{FEATURES[name][1]} ({why})" for name, why in choice.dropped.items())
    text = f"Compared by: {looked or 'nothing, as all hops are alike'}." + (f" Not by: {passed}." if passed else "")
    sections.append(html_page.section("What was looked at", "", text))
    title = f"{len(cells)} of {results['hops']} hops"
    intro = f"{len(days)} logs, {sum(day.duration for day in days):.0f} s. A click opens the report at that second."
    return html_page.page(title, intro, results["notes"], sections)


def by_turns(logs: Sequence[str]) -> list[int]:
    """Places in ``logs``, so that no log comes a second time before every log has come once; else in their order."""
    ranks = [logs[:k].count(log) for k, log in enumerate(logs)]
    return sorted(range(len(logs)), key=ranks.__getitem__)


def _grid(cells: Sequence[str]) -> str:
    return f'<div class="hops">{"".join(cells)}</div>'


def _link(row: dict[str, Any]) -> str:
    return f"{quote(row['kept_log'])}/report.html#t={max(row['kept_time_s'], 0.0):.2f}"


def _cell(hop: dict[str, Any], drawn: str) -> str:
    why = "".join(
        f"<span>{escape(w['text'])} {_number(w, 'value')}{'' if w['unit'] == '1' else ' ' + escape(w['unit'])}, "
        f"others {_number(w, 'others')}</span>"
        for w in hop["why"]
    )
    name = escape(hop["kept_log"])
    head = f"<b>{100.0 * hop['share']:.1f}% of hops</b>{name} {hop['time_s']:.1f} s"
    return f'<a href="{escape(_link(hop))}">{head}{drawn}{why}</a>'


def _trips(trips: Sequence[dict[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td><a href="{escape(_link(trip))}">{escape(trip["kept_log"])}</a></td><td>{trip["time_s"]:.2f} s</td>'
        f"<td>{escape(trip['reason'])}</td></tr>"
        for trip in trips
    )
    return f"<table>{rows}</table>"


def _legend(scales: Sequence[float]) -> str:
    height, tilt, force = scales
    return (
        f"Stills: lift-off, mid-flight, touch-down. Black: height, up to {height:.2f} m; red: tilt, up to "
        f"{np.degrees(tilt):.0f}°; below: forces of front (blue) and rear feet, up to {force:.1f} lunar weights."
    )


def _number(why: dict[str, Any], name: str) -> str:
    """As exact as means anything of that feature."""
    value, digits = why[name], max(0, -math.floor(math.log10(FEATURES[why["feature"]][2])))
    return f"{round(value, digits) + 0.0:.{digits}f}" if np.isfinite(value) else "–"


def _curves(curves: np.ndarray, span: float, lift: float, scales: Sequence[float]) -> str:
    """Height and tilt, and the forces below them, with lines at lift-off and touch-down."""
    x = np.linspace(0.0, _WIDTH, POINTS)
    parts = []
    for at in (lift, span - AFTER):
        parts.append(f'<path d="M{at / span * _WIDTH:.1f} 0V{2 * _CURVE + 4:.0f}" stroke="#d5d8dc"/>')
    for column, color in enumerate((_HEIGHT, _TILT, *_FORCES)):
        below = column >= 2
        top = _CURVE + 4.0 if below else 0.0
        y = top + _CURVE * (1.0 - np.clip(curves[:, column] / scales[min(column, 2)], 0.0, 1.0))
        points = "L".join(f"{a:.0f} {b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<path d="M{points}" stroke="{color}"/>')
    size = f'width="{_WIDTH:.0f}" height="{2 * _CURVE + 4:.0f}"'
    return f'<svg {size} fill="none" stroke-width="1.2">{"".join(parts)}</svg>'


def _stills(model: mujoco.MjModel, poses: np.ndarray) -> str:
    """The robot from its right side at three moments, on level ground below the lowest foot; nothing without joints."""
    if not np.isfinite(poses).all():
        return ""
    scale, parts = _WIDTH / 3.0 / 0.62, []
    for k, pose in enumerate(poses):
        chains = _chains(model, pose[:12])
        down = pose[12:] / max(float(np.linalg.norm(pose[[12, 14]])), 1e-9)
        turned = np.stack([
            -down[2] * chains[..., 0] + down[0] * chains[..., 2], -down[0] * chains[..., 0] - down[2] * chains[..., 2]
        ], axis=-1)  # fmt: skip
        turned = turned * [scale, -scale]
        turned[..., 0] += (k + 0.5) * _WIDTH / 3.0 - 0.5 * (turned[..., 0].min() + turned[..., 0].max())
        turned[..., 1] += _STILLS - 4.0 - turned[..., 1].max()
        trunk = "L".join(f"{x:.0f} {y:.0f}" for x, y in (turned[0, 0], turned[2, 0]))
        parts.append(f'<path d="M{trunk}" stroke="#30343b" stroke-width="5" stroke-linecap="round"/>')
        for leg, color in zip(turned, _FORCES, strict=True):
            points = "L".join(f"{x:.0f} {y:.0f}" for x, y in leg)
            parts.append(f'<path d="M{points}" stroke="{color}" stroke-width="2"/>')
    return f'<svg width="{_WIDTH:.0f}" height="{_STILLS:.0f}" fill="none">{"".join(parts)}</svg>'


def _chains(model: mujoco.MjModel, joints: np.ndarray) -> np.ndarray:
    """(4, 4, 3) m in the base frame: abduction, hip, knee and foot of each leg, for joints (12,) in rad."""
    data = mujoco.MjData(model)
    data.qpos[:7] = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    data.qpos[[model.jnt_qposadr[model.joint(name).id] for name in JOINT_NAMES]] = joints
    mujoco.mj_kinematics(model, data)
    anchors = np.array([data.xanchor[model.joint(name).id] for name in JOINT_NAMES]).reshape(4, 3, 3)
    feet = np.array([data.geom_xpos[model.geom(leg).id] for leg in LEGS])
    return np.concatenate([anchors, feet[:, None]], axis=1)
