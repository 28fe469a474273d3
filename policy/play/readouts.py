"""What the page says about the robot: state, hops, and the policy's estimates against the truth."""

from __future__ import annotations

from collections import deque

import numpy as np
import viser
from viser import uplot

from policy.play.live_robot import Moment, Tally
from policy.runtime.card import ESTIMATES, MOVING
from policy.runtime.monitor import Verdict

_WINDOW = 6.0  # s of the plots
_PERIOD = 0.2  # s between drawings
_TRUTH, _ESTIMATE = "#9aa5b1", "#ffb03b"


class Status:
    """One line on how it goes; the first thing on the page."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._text = server.gui.add_markdown("starting …")
        self._shown = ""

    def show(self, text: str) -> None:
        """Say ``text``."""
        if text != self._shown:
            self._shown = self._text.content = text


class Readouts:
    """Hop counter and estimator.

    Args:
        server: the page's.
        estimates: names of what the policy estimates.
        dt: s between the moments that are shown.
    """

    def __init__(self, server: viser.ViserServer, estimates: tuple[str, ...], dt: float) -> None:
        self._estimates = estimates
        self._rows: deque[list[float]] = deque(maxlen=round(_WINDOW / dt))
        self._drawn = -np.inf
        with server.gui.add_folder("Hops"):
            self._hops = server.gui.add_markdown("")
        with server.gui.add_folder("Estimate and truth" if estimates else "Truth (this policy estimates nothing)"):
            self._numbers = server.gui.add_markdown("")
            self._plots = {name: self._plot(server, name) for name in MOVING}
            server.gui.add_markdown(f"The last {_WINDOW:g} s.")

    def show(self, moment: Moment) -> None:
        """Take note of a moment, and draw now and then."""
        nothing = float("nan")
        believed = [moment.estimate.get(name, nothing) for name in self._estimates]
        self._rows.append([moment.time, *(moment.truth[name] for name in MOVING), *believed])
        if moment.time - self._drawn < _PERIOD:
            return
        self._drawn = moment.time
        self._hops.content = hop_table(moment.tally, moment.falls)
        self._numbers.content = estimate_table(moment, self._estimates)
        columns = np.array(self._rows).T
        for i, (name, plot) in enumerate(self._plots.items()):
            data = [columns[0], columns[1 + i]]
            if name in self._estimates:
                data.append(columns[1 + len(MOVING) + self._estimates.index(name)])
            plot.data = tuple(data)

    def _plot(self, server: viser.ViserServer, name: str) -> viser.GuiUplotHandle:
        series = [
            uplot.Series(label="s"),
            uplot.Series(label="true", stroke=_TRUTH, width=1.5),
        ]
        if name in self._estimates:
            series.append(uplot.Series(label="estimated", stroke=_ESTIMATE, width=1.5))
        grid = uplot.Axis_Grid(stroke="#3b4048", width=1)
        x = uplot.Axis(show=False)
        y = uplot.Axis(stroke="#c1c8d0", grid=grid, size=46, space=18)
        return server.gui.add_uplot(
            tuple(np.zeros(2) for _ in series), tuple(series), title=f"{name}, {ESTIMATES[name]}", height=90,
            scales={"x": uplot.Scale(time=False), "y": uplot.Scale(auto=True)}, axes=(x, y),
            legend=uplot.Legend(show=False),
        )  # fmt: skip


def doubt_text(verdict: Verdict) -> str:
    """Markdown: what the policy's monitor says."""
    if not verdict.advice:
        return f"\n\ndoubt {verdict.doubt:.1f} of a trip"
    what = "**does not know this state**" if verdict.trip else "wonders"
    return f"\n\nthe policy {what}: {verdict.sentence}"


def hop_table(tally: Tally, falls: int) -> str:
    """Markdown."""
    t = tally
    last = (
        f"| apex | {t.apex_gain:.2f} m of {t.apex_command:.2f} m |\n"
        f"| flight | {t.flight_time:.2f} s |\n"
        f"| peak force | {t.peak_force:.1f} lunar weights |\n"
        if t.hops
        else "| apex | – |\n| flight | – |\n| peak force | – |\n"
    )
    return (
        "| | |\n|---|---|\n"
        f"| hops | {t.hops} |\n"
        f"| pronks | {t.pronks} |\n"
        f"| pronks in a row | {t.run}, longest {t.longest_run} |\n"
        f"{last}| falls | {falls} |\n"
    )


def estimate_table(moment: Moment, estimates: tuple[str, ...]) -> str:
    """Markdown."""
    lines = ["| | true | estimated |", "|---|---|---|"] if estimates else ["| | true |", "|---|---|"]
    for name, unit in ESTIMATES.items():
        if name not in {*MOVING, *estimates}:
            continue
        line = f"| {name.replace('_', ' ')} {unit} | {moment.truth[name]:+.2f} |"
        if estimates:
            line += f" {moment.estimate[name]:+.2f} |" if name in moment.estimate else " – |"
        lines.append(line)
    return "\n".join(lines)
