"""Draws a comparison: one page with the table, the throws, the hops and the errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from matrix_hil.control.counterweight import wanted_tension
from matrix_hil.fidelity.measures import PHASES, Outcome, figure_rows, torque_profile
from matrix_hil.replay.look.page import table_page
from matrix_hil.replay.look.plots import Plot, add_line, new_figure
from sim.spec.gravity import MOON

_COLORS = {
    "moon": "#30343b", "active": "#2563a8", "ideal": "#3a8f5c", "passive_1": "#c0392b", "passive_0.5": "#d97a1e",
    "passive_0.25": "#e0b12b", "passive_0.717": "#8e5ea2",
}  # fmt: skip
_ERRORS = (
    ("apex gain", "apex_gain"), ("flight time", "flight_time"), ("touch-down speed", "touchdown_speed"),
    ("peak force", "peak_force_lunar_bw"), ("hop rate", "hop_rate"), ("power", "power_w"),
)  # fmt: skip
_BEFORE, _AFTER = 0.4, 3.2  # s around a lift-off that are drawn
_BAR = 0.05  # the errors that count as small


def fidelity_page(intro: str, outcomes: Sequence[Outcome]) -> str:
    """The whole document; the Moon's outcome comes first."""
    results = {o.scheme.name: o.figures for o in outcomes}
    notes = [f"{o.scheme.name} ended early: {o.figures['reason']}" for o in outcomes if o.figures["reason"]]
    makers = (_accelerations, _throws, _heights, _errors, _tensions, _torques)
    plots = [plot for maker in makers if (plot := maker(outcomes)) is not None]
    return table_page("Fidelity of lunar gravity", intro, notes, ["figure", *results], figure_rows(results), plots)


def _bars(unit: str, names: Sequence[str], groups: dict[str, tuple[Sequence[float], str]]) -> go.Figure:
    figure = new_figure(unit)
    figure.update_layout(barmode="group", bargap=0.25, hovermode="closest", showlegend=True)
    for group, (values, color) in groups.items():
        figure.add_bar(x=list(names), y=list(values), name=group, marker_color=color)
    figure.update_xaxes(title={"text": ""})
    return figure


def _accelerations(outcomes: Sequence[Outcome]) -> Plot:
    figure = _bars("m/s²", [o.scheme.name for o in outcomes], {
        "rising": ([o.flight.rising for o in outcomes], "#2563a8"),
        "theory, rising": ([o.figures["theory_accel_up"] for o in outcomes], "#a9c4e4"),
        "falling": ([o.flight.falling for o in outcomes], "#d97a1e"),
        "theory, falling": ([o.figures["theory_accel_down"] for o in outcomes], "#f0c79b"),
    })  # fmt: skip
    figure.add_hline(MOON, line={"color": "#30343b", "width": 1, "dash": "dot"})
    caption = (
        "Mean downward acceleration of a robot thrown up with its legs held, from launch to apex and from apex to "
        "launch height, beside theory with friction and pulley inertia; the dotted line is 1.62."
    )
    return Plot("Thrown up: acceleration", caption, figure)


def _throws(outcomes: Sequence[Outcome]) -> Plot:
    figure = new_figure("m")
    for o in outcomes:
        add_line(figure, o.flight.time, o.flight.height, o.scheme.name, _COLORS[o.scheme.name])
    return Plot("Thrown up: height", "Height of the centre of mass above its launch, from the same launch.", figure)


def _heights(outcomes: Sequence[Outcome]) -> Plot:
    figure = new_figure("m")
    for o in outcomes:
        if (part := _window(o)) is not None:
            low = o.recording.base_height[o.hops.spans[0, 0]]
            lift = o.recording.time[o.hops.spans[0, 0]]
            values = o.recording.base_height[part] - low
            add_line(figure, o.recording.time[part] - lift, values, o.scheme.name, _COLORS[o.scheme.name])
    return Plot("Hopping: height", "Height of the base above its lift-off, from the first hop that counts.", figure)


def _errors(outcomes: Sequence[Outcome]) -> Plot | None:
    others = [o for o in outcomes if o.scheme.name != "moon"]
    if not others:
        return None
    figure = _bars("%", [title for title, _ in _ERRORS], {
        o.scheme.name: ([100 * o.figures[f"{key}_rel_error"] for _, key in _ERRORS], _COLORS[o.scheme.name])
        for o in others
    })  # fmt: skip
    figure.add_hrect(-100 * _BAR, 100 * _BAR, line_width=0, fillcolor="#3a8f5c", opacity=0.12, layer="below")
    return Plot("Hopping: errors against the Moon", "The band is ±5%.", figure)


def _tensions(outcomes: Sequence[Outcome]) -> Plot | None:
    figure = new_figure("N")
    drawn = [o for o in outcomes if o.scheme.name != "moon" and _window(o) is not None]
    for o in drawn:
        part, lift = _window(o), o.recording.time[o.hops.spans[0, 0]]
        add_line(
            figure, o.recording.time[part] - lift, o.recording.tension[part], o.scheme.name, _COLORS[o.scheme.name]
        )
    if not drawn:
        return None
    figure.add_hline(wanted_tension(drawn[0].recording.mass), line={"color": "#30343b", "width": 1, "dash": "dot"})
    return Plot("Hopping: rope force", "Tension at the harness; dotted: what leaves lunar weight.", figure)


def _torques(outcomes: Sequence[Outcome]) -> Plot | None:
    figure = new_figure("N·m")
    phase = np.arange(2 * PHASES) / PHASES
    for o in outcomes:
        if o.scheme.name in ("moon", "active", "ideal") and len(o.hops.spans) > 1:
            knees = torque_profile(o.recording, o.hops)[:, 2::3].mean(axis=1)
            add_line(figure, phase, knees, o.scheme.name, _COLORS[o.scheme.name])
    if not figure.data:
        return None
    figure.update_xaxes(title={"text": "phase: 0 to 1 flight, 1 to 2 stance", "standoff": 4})
    return Plot("Hopping: knee torque", "Mean over knees and hops.", figure)


def _window(o: Outcome) -> slice | None:
    """Samples around the first lift-off that counts; None without one."""
    if not len(o.hops.spans):
        return None
    dt = float(o.recording.time[1] - o.recording.time[0])
    lift = int(o.hops.spans[0, 0])
    return slice(max(0, lift - round(_BEFORE / dt)), lift + round(_AFTER / dt))
