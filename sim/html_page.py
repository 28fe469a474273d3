"""HTML reports that all look alike: a title, notes, and sections with tables, pictures or plots."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

_TEMPLATE = Path(__file__).with_name("page.html")


def page(title: str, intro: str, notes: Sequence[str], sections: Sequence[str]) -> str:
    """A whole document.

    Args:
        title: text, also the heading.
        intro: text below it.
        notes: texts of what a reader must know first, e.g. what was left out and why.
        sections: HTML, one after the other; see ``section`` and ``table``.
    """
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        intro=escape(intro),
        notes="\n".join(f'<p class="note">{escape(note)}</p>' for note in notes),
        sections="\n".join(sections),
    )


def section(heading: str, body: str, caption: str = "") -> str:
    """HTML of a framed part: heading and caption are text, the body is HTML."""
    head = f"<h2>{escape(heading)}</h2>" if heading else ""
    return f"<section>{head}{body}" + (f"<p>{escape(caption)}</p>" if caption else "") + "</section>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """HTML of a table of texts; the first column is left-aligned."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
