"""HTML pages that set runs side by side: a table, and plots or the curves of two runs over the same time."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import numpy as np
import plotly.io
import plotly.offline

from matrix_hil.replay.look.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Plot,
    add_line,
    new_figure,
)

_TEMPLATE = Path(__file__).with_name("compare.html")
_COLORS = {"logged": BLUE, "again": ORANGE, "model": ORANGE, "fitted": GREEN}


@dataclass(frozen=True)
class Curve:
    """One plot."""

    title: str
    unit: str
    time: np.ndarray
    """(n,) s."""
    values: dict[str, np.ndarray] = field(default_factory=dict)
    """(n,) by name, drawn in this order."""


def comparison_page(
    title: str,
    intro: str,
    notes: Sequence[str],
    rows: Sequence[Sequence[str]],
    headings: Sequence[str],
    curves: Sequence[Curve],
) -> str:
    """The whole document; it needs no server and no network. All text is taken as text, never as markup."""
    plots = []
    for curve in curves:
        figure = new_figure(curve.unit)
        for name, values in curve.values.items():
            add_line(figure, curve.time, values, name, _COLORS.get(name, GREY))
        plots.append(Plot(curve.title, "", figure))
    return table_page(title, intro, notes, rows, headings, plots)


def table_page(
    title: str,
    intro: str,
    notes: Sequence[str],
    rows: Sequence[Sequence[str]],
    headings: Sequence[str],
    plots: Sequence[Plot],
) -> str:
    """A table and plots below it, as one document like ``comparison_page``."""
    sections = [
        f'<section><h2>{html.escape(plot.title)}</h2><div id="plot{i}"></div>'
        + (f"<p>{html.escape(plot.caption)}</p>" if plot.caption else "")
        + "</section>"
        for i, plot in enumerate(plots)
    ]
    head = "".join(f"<th>{html.escape(h)}</th>" for h in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return Template(_TEMPLATE.read_text()).substitute(
        title=html.escape(title),
        intro=html.escape(intro),
        notes="".join(f'<p class="note">{html.escape(note)}.</p>' for note in notes),
        table=f"<tr>{head}</tr>{body}",
        sections="\n".join(sections),
        plotly=plotly.offline.get_plotlyjs(),
        data=json.dumps([json.loads(plotly.io.to_json(plot.figure)) for plot in plots]).replace("</", "<\\/"),
    )
