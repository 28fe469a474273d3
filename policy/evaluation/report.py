"""The results of an evaluation for people: a printed table, and a page with a picture and a video of every suite."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from policy.runtime.card import STEADY
from sim.errors import LunarError
from sim.html_page import page, section, table
from sim.output import write_whole
from sim.results import revision

if TYPE_CHECKING:
    from policy.evaluation.trials import Trials

NOTHING = "–"
NAME_WIDTH, COLUMN_WIDTH = 30, 11  # letters of the printed table

CHIEF = (
    "survival", "survival_worst_map", "hopping_at_end", "hops", "pronks", "apex_gain", "apex_error", "velocity_error",
    "yaw_rate_error", "touchdown_tilt_deg", "peak_force_lunar_bw", "knee_strikes", "power_w", "cost_of_transport",
    "push_flight_survival", "push_stance_survival",
)  # fmt: skip
"""The metrics of a short table."""
_UNITS = {
    "seconds": "s", "survival": "share", "recovered": "share", "hopping_at_end": "share", "knee_strikes": "per 20 s",
    "hops": "per 20 s", "pronks": "per 20 s", "longest_run": "pronks", "flight_fraction": "share", "apex_": "m",
    "velocity_error": "m/s", "yaw_rate_error": "rad/s", "torque_share": "of limit", "speed_share": "of limit",
    "power_share": "of limit", "vz_rmse": "m/s", "vxy_rmse": "m/s", "height_rmse": "m", "push_": "share",
    **{f"{name}_rmse": unit for name, unit in STEADY.items()},
}  # fmt: skip
"""By the beginning of a metric's name; those that are not here are numbers, or end in their unit."""

Results = Mapping[str, Mapping[str, Any]]
"""Metrics by suite."""


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one suite that are plain numbers."""
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def text(value: float | None) -> str:
    """A number for people: four digits, a dash for what did not happen: no hop, or work per way without any way."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.0f}" if isinstance(value, int) else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3f}"


def unit(name: str) -> str:
    """Of a metric; empty where its name says it or there is none."""
    return next((u for start, u in _UNITS.items() if name.startswith(start)), "")


def metric_rows(results: Results, chosen: Collection[str] = ()) -> list[list[str]]:
    """Name with unit, and one text per suite, of each metric that any suite has a number for; of the ``chosen`` in
    their order, or of all when there are none."""
    known = dict.fromkeys(name for metrics in results.values() for name in numbers(metrics))
    names = [name for name in chosen or known if name in known]
    rows = [
        [", ".join(filter(None, (name, unit(name)))), *(text(metrics.get(name)) for metrics in results.values())]
        for name in names
    ]
    return [row for row in rows if any(cell != NOTHING for cell in row[1:])]


def print_table(results: Results, console: Console, every: bool) -> None:
    """One column per suite, in as many tables as the console's width needs; the chief metrics or ``every`` one."""
    suites = list(results)
    chosen = () if every else CHIEF
    fit = max(1, (console.width - NAME_WIDTH) // COLUMN_WIDTH)
    for start in range(0, len(suites), fit):
        shown = {name: results[name] for name in suites[start : start + fit]}
        title = None if start else "Hop metrics (definitions: docs/evaluation.md)"
        printed = Table("metric", title=title, title_justify="left")
        for name in shown:
            printed.add_column(name, justify="right")
        for column in printed.columns:
            column.no_wrap = True
        for row in metric_rows(shown, chosen):
            printed.add_row(*row)
        console.print(printed)
    if hidden := len(metric_rows(results)) - len(metric_rows(results, chosen)):
        trials = next(iter(results.values()))
        console.print(f"{trials['robots']} robots, {trials['seconds']:g} s each; {hidden} more metrics with --all")


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
        write_whole({path: page(self._policy, intro, self._notes, [overview, *map(self._suite, results)])})
        return path

    def _suite(self, name: str) -> str:
        parts = [f"<p>{escape(self._about[name])}</p>"]
        if (self._folder / f"{name}.png").is_file():
            parts.append(f'<img src="{name}.png" alt="{escape(name)}: quantities over a hop">')
        if (self._folder / f"{name}.mp4").is_file():
            parts.append(f'<video src="{name}.mp4" controls loop muted preload="metadata"></video>')
        return section(name, "".join(parts))
