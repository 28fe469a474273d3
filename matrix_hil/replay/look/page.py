"""Puts key figures, tables, a 3-D replay and plots into one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.io
import plotly.offline

from matrix_hil.replay.look.measure import Run
from matrix_hil.replay.look.plots import Plot, trips
from sim import html_page

_SCRIPT = Path(__file__).with_name("page.js")


def run_page(
    run: Run, results: dict[str, Any], plots: Sequence[Plot], replay: str | None, about: Sequence[str] = ()
) -> str:
    """The report of one run.

    Args:
        run: what the page is about.
        results: as ``Run.results`` gives them.
        plots: in the order of the page.
        replay: a self-contained HTML document with the 3-D replay; None leaves it out and says so.
        about: HTML of what the run was made with, two parts to a line below the replay; empty ones are left out.
    """
    frame = [] if replay is None else [_frame(replay)]
    sections = [
        _cards(results),
        "<main>",
        *frame,
        *filter(None, about),
        *map(_section, plots, range(len(plots))),
        "</main>",
    ]
    sections.append(_scripts(plots, run.log.duration))
    return html_page.page(f"HIL run · {run.log.path.stem}", _made(run), _notes(run, replay), sections)


def table_page(
    title: str,
    intro: str,
    notes: Sequence[str],
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    plots: Sequence[Plot],
) -> str:
    """A table and plots below it, whose time axes are not linked."""
    table = html_page.section("", html_page.table(headings, rows))
    sections = [table, *map(_section, plots, range(len(plots))), _scripts(plots, None)]
    return html_page.page(title, intro, [f"{note}." for note in notes], sections)


def _section(plot: Plot, number: int) -> str:
    section = html_page.section(plot.title, f'<div class="plot" id="plot{number}"></div>', plot.caption)
    return f'<div class="wide">{section}</div>' if plot.wide else section


def _scripts(plots: Sequence[Plot], duration: float | None) -> str:
    """Plotly, the figures and what draws them; without a ``duration`` in s their time axes are not linked."""
    figures = [
        {"figure": json.loads(plotly.io.to_json(p.figure)), "timed": p.timed and duration is not None} for p in plots
    ]
    data = json.dumps({"figures": figures, "duration": duration})
    script = _SCRIPT.read_text(encoding="utf-8")
    return f"{_packed('plotly', plotly.offline.get_plotlyjs())}\n{_packed('data', data)}\n<script>\n{script}\n</script>"


def _packed(name: str, text: str) -> str:
    """An element that page.js unpacks: plotly's code is five times smaller so."""
    packed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
    return f'<script type="application/gzip" id="{name}">{packed}</script>'


def _frame(document: str) -> str:
    frame = f'<iframe id="replay" title="3-D replay" srcdoc="{escape(document)}"></iframe>'
    caption = (
        "Front: the robot on the rig, its rope, belt and platform. Behind: the robot where MATRIX places it on the "
        "Moon, its ground sliding by. Drag to turn, scroll to zoom; a click in a plot goes to that moment."
    )
    return f'<div class="wide">{html_page.section("Replay", frame, caption)}</div>'


def _made(run: Run) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.log.start_wall_time))
    revision = run.log.attachments.get("revision.txt", b"").decode(errors="replace").strip()[:60]
    parts = [when, f"{run.log.messages:,} messages".replace(",", " "), f"revision {revision}" if revision else ""]
    return " · ".join(p for p in parts if p)


def _notes(run: Run, replay: str | None) -> list[str]:
    notes = [run.log.lost.text] if run.log.lost else []
    notes += [f"{topic} is left out: {reason}" for topic, reason in run.log.skipped.items()]
    notes += run.log.notes
    notes += [f"At {at:.2f} s the supervisor tripped: {reason}" for at, reason in trips(run)]
    if replay is None:
        notes.append("There is no 3-D replay: the log holds no joint states or no pose of the base")
    if run.hops is None:
        notes.append("Hops are not counted: the log holds no base height or no foot forces at 100 Hz or more")
    return [f"{note}." for note in notes]


def _cards(results: dict[str, Any]) -> str:
    late = results["lateness_us"]
    rows = [
        ("hops", _number(results["hops"]), ""),
        ("pronks", _number(results["pronks"]), ""),
        ("apex gain, median", _number(results["apex_gain"], 2), "m"),
        ("trips", _number(results["trips"]), ""),
        ("stale commands", _number(results["stale_commands"]), ""),
        ("late p50 / p99 / p99.9", " / ".join(_number(late[p], 0) for p in ("p50", "p99", "p999")), "µs"),
        ("duration", _number(results["duration_s"], 1), "s"),
        ("lost", _number(results["lost_bytes"]), "bytes"),
    ]
    cards = (f'<div class="card"><b>{value}<i>{unit}</i></b><span>{name}</span></div>' for name, value, unit in rows)
    return f'<div class="cards">{"".join(cards)}</div>'


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
