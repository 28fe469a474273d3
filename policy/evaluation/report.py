"""The results of an evaluation for people: a printed table, and a page with a picture and a video of every suite."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from policy.evaluation.trials import Trials
from sim.errors import LunarError
from sim.html_page import page, section, table
from sim.results import revision

NOTHING = "–"
NAME_WIDTH, COLUMN_WIDTH = 30, 11  # letters of the printed table

Results = Mapping[str, Mapping[str, Any]]
"""Metrics by suite."""


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one suite that are plain numbers."""
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def text(value: float | None) -> str:
    """A number for people: four digits, a dash for what did not happen."""
    if value is None or value != value:
        return NOTHING
    return f"{value:.0f}" if isinstance(value, int) else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3f}"


def metric_rows(results: Results) -> list[list[str]]:
    """Name and one text per suite of each metric that any suite has a number for."""
    names = dict.fromkeys(name for metrics in results.values() for name in numbers(metrics))
    rows = [[name, *(text(metrics.get(name)) for metrics in results.values())] for name in names]
    return [row for row in rows if any(cell != NOTHING for cell in row[1:])]


def print_table(results: Results, console: Console) -> None:
    """One column per suite, in as many tables as the console's width needs."""
    suites = list(results)
    fit = max(1, (console.width - NAME_WIDTH) // COLUMN_WIDTH)
    for start in range(0, len(suites), fit):
        shown = {name: results[name] for name in suites[start : start + fit]}
        title = None if start else "Hop metrics (definitions: docs/evaluation.md)"
        printed = Table("metric", title=title, title_justify="left")
        for name in shown:
            printed.add_column(name, justify="right")
        for column in printed.columns:
            column.no_wrap = True
        for row in metric_rows(shown):
            printed.add_row(*row)
        console.print(printed)


class Report:
    """A page in a folder; pictures and videos are made there while suites are measured.

    Args:
        folder: to write to.
        policy: name of what is measured.
        video: s of video per suite, 0 for none.
        about: a line on each suite, by its name in the results.
    """

    def __init__(self, folder: Path, policy: str, video: float, about: dict[str, str]) -> None:
        self._folder, self._policy, self._video, self._about = folder, policy, video, about
        self._notes: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def draw(self, name: str, trials: Trials) -> None:
        """Picture and video of one suite."""
        from policy.evaluation.pictures import draw_cycle, write_video

        if missing := draw_cycle(trials, f"{self._policy} on {name}", self._folder / f"{name}.png"):
            self._notes.append(f"{name}: no picture, {missing}")
        if self._video:
            try:
                write_video(trials.recording, self._folder / f"{name}.mp4", self._video)
            except LunarError as error:
                self._notes.append(f"{name}: no video, {error}")

    def finish(self, results: Results) -> Path:
        """Write ``index.html``; return its path."""
        intro = (
            f"lunar eval, revision {revision()}. docs/evaluation.md defines the metrics; a dash means that it did not "
            "happen."
        )
        overview = section("", table(["", *results], metric_rows(results)))
        path = self._folder / "index.html"
        path.write_text(
            page(self._policy, intro, self._notes, [overview, *map(self._suite, results)]), encoding="utf-8"
        )
        return path

    def _suite(self, name: str) -> str:
        parts = [f"<p>{escape(self._about[name])}</p>"]
        if (self._folder / f"{name}.png").is_file():
            parts.append(f'<img src="{name}.png" alt="{escape(name)}: quantities over a hop">')
        if (self._folder / f"{name}.mp4").is_file():
            parts.append(f'<video src="{name}.mp4" controls loop muted preload="metadata"></video>')
        return section(name, "".join(parts))
