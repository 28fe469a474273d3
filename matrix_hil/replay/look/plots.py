"""The curves of a report: one plotly figure per question, all over the same time axis, hops shaded."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go

from matrix_hil.replay.look.measure import Run
from sim.spec.joints import LEGS

MAX_POINTS = 8000  # per curve; a longer run shows the lowest and highest value of each interval
BLUE, ORANGE, GREEN, RED, GREY = "#2563a8", "#d97a1e", "#3a8f5c", "#c0392b", "#8a8f98"
_COLORS = {"logged": BLUE, "again": ORANGE, "model": ORANGE, "fitted": GREEN}
_STATES = ("idle", "armed", "run", "hold", "safe", "estop")
_PAIRS: tuple[dict[str, Any], ...] = (
    {
        "machine": "/counterweight", "name": "tension", "unit": "N", "title": "Rope tension",
        "caption": "Upward force at the harness: as commanded to the counterweight and as its load cell "
        "measured, in N.",
    },
    {
        "machine": "/treadmill", "name": "speed", "unit": "m/s", "title": "Treadmill speed",
        "caption": "Belt speed commanded and measured, in m/s; in flight it should hardly change.",
    },
    {
        "machine": "/platform", "name": "pose", "unit": "mm", "title": "Platform heave", "column": 2, "scale": 1000.0,
        "caption": "Height of the platform against its home, commanded and measured, in mm; it moves only while the "
        "robot is in the air.",
    },
)  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """A figure with the words around it."""

    title: str
    caption: str
    figure: go.Figure
    timed: bool = True
    """Whether the x axis is the run's time, linked with the others."""
    wide: bool = False
    """Whether it takes the page's whole width."""


def plots(run: Run) -> list[Plot]:
    """Every plot that the log has data for."""
    makers: tuple[Callable[[Run], Plot | None], ...] = (
        _height,
        _contacts,
        _supervisor,
        _doubt,
        *(partial(_pair, **pair) for pair in _PAIRS),
        _attitude,
        _timing,
        _timing_counts,
    )
    made = [plot for maker in makers if (plot := maker(run)) is not None]
    for plot in made:
        if plot.timed:
            _mark(plot.figure, run)
    return made


def thin(time: np.ndarray, values: np.ndarray, limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most ``limit`` points that keep the lowest and the highest value of every interval; as float32."""
    if len(time) > limit:
        bounds = np.linspace(0, len(time), limit // 2 + 1).astype(int)
        filled = np.nan_to_num(values, nan=0.0)
        picks = [
            sorted((a + int(filled[a:b].argmin()), a + int(filled[a:b].argmax())))
            for a, b in itertools.pairwise(bounds)
        ]
        index = np.array(picks).ravel()
        time, values = time[index], values[index]
    return time.astype(np.float32), values.astype(np.float32)


def new_figure(unit: str, height: int = 230) -> go.Figure:
    """An empty figure over the run's time."""
    figure = go.Figure()
    axis = {"showgrid": True, "gridcolor": "#e7e8ea", "zeroline": False, "linecolor": "#b9bcc2", "ticks": "outside"}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 56, "r": 14, "t": 26, "b": 38},
        font={"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 12, "color": "#30343b"},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        hovermode="x unified",
        xaxis={**axis, "title": {"text": "time, s", "standoff": 4}, "ticklen": 3},
        yaxis={**axis, "title": {"text": unit, "standoff": 6}, "ticklen": 3},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="#ffffff",
    )
    return figure


def add_line(
    figure: go.Figure,
    time: np.ndarray,
    values: np.ndarray,
    name: str,
    color: str,
    dash: str = "solid",
    steps: bool = False,
) -> None:
    """Add a curve."""
    x, y = (array.astype(np.float32) for array in thin(time, values))  # half the page's bytes; 7 digits
    shape = "hv" if steps else "linear"
    line = {"color": color, "width": 1.4, "dash": dash, "shape": shape}
    figure.add_scatter(x=x, y=y, name=name, mode="lines", line=line, showlegend=dash == "solid")


def curves(title: str, unit: str, time: np.ndarray, values: dict[str, np.ndarray]) -> Plot:
    """A plot of ``values`` (n,) by name over ``time`` (n,) s, drawn in their order."""
    figure = new_figure(unit)
    for name, line in values.items():
        add_line(figure, time, line, name, _COLORS.get(name, GREY))
    return Plot(title, "", figure)


def _mark(figure: go.Figure, run: Run) -> None:
    """Shade the flights and draw a line where the supervisor tripped."""
    if run.hops is not None:
        for lift, flight in zip(run.hops.liftoff_time, run.hops.flight_time, strict=True):
            figure.add_shape(
                type="rect", x0=float(lift), x1=float(lift + flight), y0=0, y1=1, yref="paper",
                fillcolor=BLUE, opacity=0.07, line_width=0, layer="below",
            )  # fmt: skip
    for time, reason in trips(run):
        figure.add_shape(type="line", x0=time, x1=time, y0=0, y1=1, yref="paper", line={"color": RED, "width": 1.5})
        rule = html.escape(reason.split(":")[0][:40])
        figure.add_annotation(
            x=time, y=1, yref="paper", text=rule, showarrow=False, yanchor="top",
            xanchor="left" if time < 0.6 * run.log.duration else "right",
            font={"color": RED, "size": 11},
        )  # fmt: skip
    figure.update_xaxes(range=[0.0, run.log.duration])


def trips(run: Run) -> list[tuple[float, str]]:
    """When the supervisor tripped (s), and why."""
    if "/supervisor/state" not in run.log:
        return []
    state = run.log["/supervisor/state"]
    rises = np.flatnonzero(np.diff(state.trips.astype(int), prepend=0) > 0)
    return [(float(run.time("/supervisor/state")[k]), str(state.reason[k])) for k in rises[:20]]


def _height(run: Run) -> Plot | None:
    figure = new_figure("m", 260)
    if "/world/base_pose" in run.log:
        time, height = run.time("/world/base_pose"), run.log["/world/base_pose"].position[:, 2]
        where = "virtual world"
    elif run.base is not None:
        time, height = run.base.time - run.start, run.base.position[:, 2]
        where = "rig"
    else:
        return None
    add_line(figure, time, height, "base", BLUE)
    if len(run.ground):
        add_line(figure, run.ground_time, run.ground, "ground below", GREY)
    hops = run.hops
    if hops is not None and len(hops):
        apex_time = hops.liftoff_time + 0.5 * hops.flight_time
        figure.add_scatter(
            x=apex_time, y=np.interp(apex_time, time, height), name="hop", mode="markers+text",
            text=[f"{100 * g:.0f}" for g in hops.apex_gain], textposition="top center",
            textfont={"size": 10, "color": GREEN},
            marker={"color": [GREEN if p else ORANGE for p in hops.pronk], "size": 7},
            customdata=np.stack([hops.apex_gain, hops.flight_time, hops.peak_force], axis=1),
            hovertemplate="gain %{customdata[0]:.3f} m, flight %{customdata[1]:.2f} s, "
            "landing %{customdata[2]:.1f} lunar body weights<extra></extra>",
        )  # fmt: skip
        top, bottom = float(np.nanmax(height)), float(np.nanmin(height))
        floor = min(bottom, float(np.nanmin(run.ground)) if np.isfinite(run.ground).any() else bottom)
        figure.update_yaxes(range=[floor - 0.05 * (top - floor), top + 0.18 * (top - floor)])
    caption = (
        f"Height of the base in the {where} and of the ground below it; a dot marks each hop with its apex gain in cm, "
        "green for a pronk, orange for any other hop; flights are shaded in every plot."
    )
    return Plot("Base height and ground", caption, figure, wide=True)


def _contacts(run: Run) -> Plot | None:
    if "/robot/foot_contacts" not in run.log:
        return None
    time, loaded = run.time("/robot/foot_contacts"), run.log["/robot/foot_contacts"].loaded
    figure = new_figure("", 200)
    figure.update_layout(showlegend=False, hovermode="closest")
    for foot, leg in enumerate(LEGS):
        x, y = _bands(time, loaded[:, foot], leg)
        color = BLUE if leg[0] == "F" else ORANGE
        figure.add_scatter(x=x, y=y, mode="lines", line={"width": 15, "color": color}, hoverinfo="x+name", name=leg)
    figure.update_yaxes(categoryorder="array", categoryarray=LEGS[::-1], range=[-0.6, 3.6])
    return Plot(
        "Foot contacts",
        "A band while a foot bears over 5% of the lunar body weight; in a pronk all four start and end together.",
        figure,
    )


def _bands(time: np.ndarray, on: np.ndarray, label: str) -> tuple[list[float | None], list[str | None]]:
    edges = np.diff(np.concatenate([[False], on.astype(bool), [False]]).astype(int))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    x: list[float | None] = []
    y: list[str | None] = []
    for a, b in zip(starts[: MAX_POINTS // 3], ends[: MAX_POINTS // 3], strict=True):
        x += [round(float(time[a]), 4), round(float(time[b]), 4), None]
        y += [label, label, None]
    return x, y


def _attitude(run: Run) -> Plot | None:
    figure = new_figure("degrees")
    for topic, dash in (("/platform/command", "dot"), ("/platform/state", "solid")):
        if topic in run.log:
            pose = np.degrees(run.log[topic].pose[:, 3:5])
            add_line(figure, run.time(topic), pose[:, 0], "roll", BLUE, dash)
            add_line(figure, run.time(topic), pose[:, 1], "pitch", ORANGE, dash)
    if not figure.data:
        return None
    caption = "Slope of the platform in degrees: dotted as commanded, solid as measured."
    return Plot("Platform roll and pitch", caption, figure)


def _pair(
    run: Run,
    machine: str,
    name: str,
    unit: str,
    title: str,
    caption: str,
    column: int | None = None,
    scale: float = 1.0,
) -> Plot | None:
    """What a machine was commanded and what it measured."""
    figure = new_figure(unit)
    for topic, word, color in ((f"{machine}/state", "measured", BLUE), (f"{machine}/command", "commanded", ORANGE)):
        if topic in run.log:
            values = getattr(run.log[topic], name)
            values = values if column is None else values[:, column]
            add_line(figure, run.time(topic), scale * values, word, color, steps=word == "commanded")
    return Plot(title, caption, figure) if figure.data else None


def _timing(run: Run) -> Plot | None:
    late, kind = run.lateness()
    if not len(late):
        return None
    figure, time = new_figure("µs"), run.time("/sync/stamp")
    add_line(figure, time, 1e6 * run.log["/sync/stamp"].duration, "computing time", BLUE)
    add_line(figure, time, late, "lateness", ORANGE)
    caption = f"Computing time of each cycle of the sync loop and its lateness ({kind}), in µs."
    return Plot("Deadline lateness", caption, figure)


def _timing_counts(run: Run) -> Plot | None:
    late, _ = run.lateness()
    if not len(late):
        return None
    title, what, values = "Lateness distribution", "late", late
    if np.percentile(late, 99.0) == 0.0:  # bars of zeros tell nothing
        title, what, values = "Computing time distribution", "of computing", 1e6 * run.log["/sync/stamp"].duration
    values = np.maximum(values[np.isfinite(values)], 0.0)
    edges = np.linspace(0.0, max(1.3 * float(np.percentile(values, 99.9)), 10.0), 61)
    counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
    figure = new_figure("cycles")
    figure.update_layout(showlegend=False, bargap=0.05, hovermode="closest")
    hover = "%{y} cycles at %{x:.0f} µs<extra></extra>"
    figure.add_bar(x=0.5 * (edges[1:] + edges[:-1]), y=counts, marker_color=BLUE, hovertemplate=hover)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_xaxes(title={"text": f"µs {what}", "standoff": 4})
    for share, color in ((50, GREEN), (99, ORANGE), (99.9, RED)):
        line = {"color": color, "width": 1.5}
        figure.add_vline(
            float(np.percentile(values, share)), line=line, annotation_text=f"p{share:g}", annotation_font_color=color
        )
    caption = (
        f"How many cycles took how many µs {what}; the last bar holds all beyond it, lines are p50, p99 and p99.9."
    )
    return Plot(title, caption, figure, timed=False)


def _doubt(run: Run) -> Plot | None:
    if "/policy/doubt" not in run.log:
        return None
    time, said = run.time("/policy/doubt"), run.log["/policy/doubt"]
    figure = new_figure("of a trip")
    doubt = np.where(np.isfinite(said.doubt), said.doubt, np.nan)
    add_line(figure, time, doubt, "doubt", BLUE)
    figure.add_hline(y=1.0, line={"color": RED, "width": 1, "dash": "dash"})
    caption = "How far the robot is from what the policy's own state leads to, over the limit of a trip."
    if (said.advice | said.trip).any():
        k = int(np.argmax(said.advice | said.trip))
        caption += f" First advice at {time[k]:.2f} s: {said.channel[k]} is {said.deviations[k]:.1f} deviations off."
    return Plot("Doubt of the policy's monitor", caption, figure)


def _supervisor(run: Run) -> Plot | None:
    if "/supervisor/state" not in run.log:
        return None
    time, state = run.time("/supervisor/state"), run.log["/supervisor/state"].state
    changes = np.flatnonzero(np.concatenate([[True], state[1:] != state[:-1]]))
    x = np.append(time[changes], time[-1])
    y = [*state[changes], state[-1]]
    figure = new_figure("", 200)
    figure.update_layout(showlegend=False, hovermode="closest")
    figure.add_scatter(x=x, y=y, mode="lines", line={"shape": "hv", "color": BLUE, "width": 2}, name="state")
    figure.update_yaxes(categoryorder="array", categoryarray=_STATES, range=[-0.5, len(_STATES) - 0.5])
    caption = "State of the safety supervisor; a red line in any plot is a trip with the rule that caused it."
    return Plot("Supervisor", caption, figure)
