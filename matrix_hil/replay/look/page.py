"""Puts figures, 3-D replay and plots into one HTML file that needs nothing else."""

from __future__ import annotations

import html
import json
import time
from pathlib import Path
from string import Template
from typing import Any

import plotly.io
import plotly.offline

from matrix_hil.replay.look.measure import Run
from matrix_hil.replay.look.plots import Plot, trips

_TEMPLATE = Path(__file__).with_name("page.html")
_SCRIPT = Path(__file__).with_name("page.js")


def page(run: Run, results: dict[str, Any], curves: list[Plot], replay: str | None) -> str:
    """The whole document.

    Args:
        run: what the page is about.
        results: as ``Run.results`` gives them.
        curves: plots in the order of the page.
        replay: a self-contained HTML document with the 3-D replay; None leaves it out and says so.
    """
    figures = [{"figure": json.loads(plotly.io.to_json(p.figure)), "timed": p.timed} for p in curves]
    sections = "\n".join(
        f"<section{' class=wide' if p.wide else ''}><h2>{html.escape(p.title)}</h2>"
        f'<div class="plot" id="plot{i}"></div>'
        f"<p>{html.escape(p.caption)}</p></section>"
        for i, p in enumerate(curves)
    )
    # "</" would end the script element that the text stands in
    data = json.dumps({"figures": figures, "duration": run.log.duration}).replace("</", "<\\/")
    return Template(_TEMPLATE.read_text()).substitute(
        title=html.escape(run.log.path.stem),
        made=_made(run),
        notes=_notes(run, replay),
        cards=_cards(results),
        replay="" if replay is None else _frame(replay),
        sections=sections,
        plotly=plotly.offline.get_plotlyjs(),
        data=data,
        script=_SCRIPT.read_text(),
    )


def _frame(document: str) -> str:
    return (
        '<section class="wide"><h2>Replay</h2>'
        f'<iframe id="replay" title="3-D replay" srcdoc="{html.escape(document, quote=True)}"></iframe>'
        "<p>Front: the robot on the rig, its rope, belt and platform. Behind: the robot where MATRIX places it on the "
        "Moon, its ground sliding by. Drag to turn, scroll to zoom; a click in a plot goes to that moment.</p>"
        "</section>"
    )


def _made(run: Run) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.log.start_wall_time))
    revision = run.log.attachments.get("revision.txt", b"").decode(errors="replace").strip()[:60]
    parts = [when, f"{run.log.messages:,} messages".replace(",", " "), f"revision {revision}" if revision else ""]
    return html.escape(" · ".join(p for p in parts if p))


def _notes(run: Run, replay: str | None) -> str:
    notes = [run.log.lost.text] if run.log.lost else []
    notes += [f"{topic} is left out: {reason}" for topic, reason in run.log.skipped.items()]
    notes += [f"At {at:.2f} s the supervisor tripped: {reason}" for at, reason in trips(run)]
    if replay is None:
        notes.append("There is no 3-D replay: the log holds no joint states or no pose of the base")
    if run.hops is None:
        notes.append("Hops are not counted: the log holds no base height or no foot forces at 100 Hz or more")
    return "".join(f'<p class="note">{html.escape(note)}.</p>' for note in notes)


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
    return "".join(
        f'<div class="card"><b>{value}<i>{unit}</i></b><span>{name}</span></div>' for name, value, unit in rows
    )


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
