"""The summary of an evaluation: one HTML page beside the pictures and videos that it shows."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

NOTHING = "–"
_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(
    out: Path,
    policy: str,
    results: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, str],
    notes: Sequence[str],
    revision: str,
) -> Path:
    """Write ``out / "index.html"``; return its path.

    Args:
        out: folder that holds ``SUITE.png`` and ``SUITE.mp4``; what is missing there is left out.
        policy: what was measured.
        results: by suite.
        about: one line on each suite.
        notes: what was left out and why.
        revision: of the code.
    """
    page = Template(_TEMPLATE.read_text()).substitute(
        title=html.escape(f"{policy}: {', '.join(results)}"),
        policy=html.escape(policy),
        revision=html.escape(revision),
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in notes),
        table=_table(results),
        suites="".join(_suite(out, name, about[name]) for name in results),
    )
    path = out / "index.html"
    path.write_text(page)
    return path


def numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """The entries of one suite's results that are plain numbers."""
    return {name: value for name, value in results.items() if isinstance(value, int | float)}


def text(value: float | None) -> str:
    """A number for people: four digits, a dash for what did not happen."""
    if value is None or value != value:
        return NOTHING
    return f"{value:.0f}" if isinstance(value, int) else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3f}"


def metric_names(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the metrics that any suite has a number for, in the order of the first that has them."""
    names = dict.fromkeys(name for metrics in results.values() for name in numbers(metrics))
    return [name for name in names if any(text(metrics.get(name)) != NOTHING for metrics in results.values())]


def _table(results: Mapping[str, Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in results)
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td>{text(metrics.get(name))}</td>" for metrics in results.values())
        + "</tr>"
        for name in metric_names(results)
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _suite(out: Path, name: str, about: str) -> str:
    parts = [f'<section id="{html.escape(name)}"><h2>{html.escape(name)}</h2><p>{html.escape(about)}</p>']
    if (out / f"{name}.png").is_file():
        parts.append(f'<img src="{name}.png" alt="{html.escape(name)}: quantities over a hop">')
    if (out / f"{name}.mp4").is_file():
        parts.append(f'<video src="{name}.mp4" controls loop muted preload="metadata"></video>')
    return "".join(parts) + "</section>"
