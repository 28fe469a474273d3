"""The page of ``lunar log keep``: small multiples of the kept hops, each a way into its log's report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import mujoco
import numpy as np

from matrix_hil.log.hops import FEATURES
from matrix_hil.log.keep import Choice, DayLog
from matrix_hil.replay.hop_drawing import curves_svg, scales_of, stills_svg
from sim import html_page

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
    scales = scales_of(curves[rows])
    cells = []
    for hop, kept in zip(results["kept"], choice.kept, strict=True):
        day = days[int(np.searchsorted(first, kept.row, side="right")) - 1]
        row = kept.row - int(first[days.index(day)])
        lift = float(day.hops.liftoff[row] - day.hops.start[row])
        drawn = stills_svg(model, poses[kept.row]) + curves_svg(curves[kept.row], spans[kept.row], lift, scales)
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
