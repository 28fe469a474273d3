"""The picture of a plan: the way on its map by option, and battery, time and falls along it, expected and seen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from policy.traverse.plan import Plan
from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.height_field import HeightField
from sim.terrain.preview import hillshade

if TYPE_CHECKING:
    from policy.traverse.run import Seen

COLOURS = [colormaps["tab10"](k) for k in (1, 0, 2, 6, 4, 8, 9, 3, 5, 7)]
"""Of options, in their order."""
_MARGIN = 4.0  # m of ground around the way
_STEEP, _OVER = 15.0, 0.7  # degrees, and m over which they are measured
_MARK = 5.0  # m between marks along the way
_SEEN = "black"


def draw_plan(plan: Plan, path: Path, seen: Seen | None = None) -> None:
    """Write the picture of ``plan``, and of what was ``seen``, as PNG.

    Raises:
        LunarError: another kind of file is asked for.
    """
    if path.suffix.lower() != ".png":
        raise LunarError(f"'{path}' is no PNG: give the picture a name that ends in .png")
    figure = Figure(figsize=(13.0, 7.4), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1.25, 1.0))
    expected, low = plan.arrival
    limit = "" if plan.battery is None else f" of {plan.battery:,.0f} J"
    figure.suptitle(
        f"{plan.sum('length'):.0f} m over {Path(plan.terrain).stem}, level {plan.level}, seed {plan.seed}: "
        f"{plan.sum('joules'):,.0f} J{limit}, {plan.sum('seconds'):.0f} s, arrives with {expected:.0%} "
        f"(at least {low:.0%})"
        + ("" if seen is None else f"; seen {seen.driven.arrived.mean():.0%} of {len(seen.spent)}")
    )
    _draw_map(figure.add_subplot(grid[:, 0]), plan, plan.ground(), seen)
    way = np.concatenate([[0.0], np.cumsum([s.length for s in plan.segments])])
    energy, seconds, falls = (figure.add_subplot(grid[k, 1]) for k in range(3))
    _draw_energy(energy, plan, way, seen)
    _draw_time(seconds, plan, way, seen)
    _draw_falls(falls, plan, way, seen)
    for axes in (energy, seconds, falls):
        for k, segment in enumerate(plan.segments):
            axes.axvspan(way[k], way[k + 1], ymin=0.0, ymax=0.04, color=_colour(segment.option), lw=0)
        axes.set_xlim(0.0, way[-1])
        axes.grid(alpha=0.3)
    falls.set_xlabel("way (m)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_whole({path: buffer.getvalue()})


def _draw_map(axes: Axes, plan: Plan, field: HeightField, seen: Seen | None) -> None:
    points = plan.points
    if field.is_flat:
        field = HeightField(np.zeros((2, 2)), field.resolution, field.origin)
    x0, x1, y0, y1 = field.extent
    axes.imshow(hillshade(field) ** 0.5, cmap="gray", origin="lower", extent=(x0, x1, y0, y1), vmin=0.0, vmax=1.05)
    _draw_steep(axes, field)
    if seen is not None:
        for track in seen.driven.track.transpose(1, 0, 2):
            axes.plot(*track.T, color="white", lw=0.5, alpha=0.35)
    lines = np.stack([points[:-1], points[1:]], axis=1)
    axes.add_collection(LineCollection(list(lines), colors=[_colour(k) for k in plan.choice], linewidths=3.5))
    for k, option in enumerate(plan.options):
        metres = sum(s.length for s in plan.segments if s.option == k)
        axes.plot([], [], color=_colour(k), lw=3.5, label=f"{option.title}: {metres:.0f} m")
    way = np.concatenate([[0.0], np.cumsum([s.length for s in plan.segments])])
    for metres in np.arange(_MARK, way[-1] - 0.5 * _MARK, _MARK):
        x, y = (float(np.interp(metres, way, values)) for values in points.T)
        axes.plot(x, y, "o", color="white", mec="black", ms=4.5)
        axes.annotate(f"{metres:g} m", (x, y), (6, -10), textcoords="offset points", fontsize=8, color="white",
                      path_effects=[withStroke(linewidth=2.0, foreground="black")])  # fmt: skip
    axes.plot(*points[0], "o", color="white", mec="black", ms=9, label="start")
    axes.plot(*points[-1], "*", color="gold", mec="black", ms=15, label="goal")
    if seen is not None and (down := seen.driven.fell >= 0).any():
        ends = [track[np.isfinite(track[:, 0])][-1] for track in seen.driven.track[:, down].transpose(1, 0, 2)]
        axes.plot(*np.array(ends).T, "x", color="red", ms=9, mew=2.5, label=f"fell ({down.sum()})")
    low, high = points.min(0) - _MARGIN, points.max(0) + _MARGIN
    middle, half = 0.5 * (low + high), 0.5 * (high - low).max()
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    axes.set(xlabel="x (m)", ylabel="y (m)", facecolor="0.15")
    axes.legend(loc="best", fontsize=8, framealpha=0.85)


def _draw_steep(axes: Axes, field: HeightField) -> None:
    """Tint ground that rises by more than a robot should be led over."""
    step = max(1, round(_OVER / field.resolution))
    heights = np.asarray(field.heights, dtype=float)[::step, ::step]
    if min(heights.shape) < 3:
        return
    slope = np.degrees(np.arctan(np.hypot(*np.gradient(heights, step * field.resolution))))
    x, y = (field.origin[k] + step * field.resolution * np.arange(heights.shape[1 - k]) for k in (0, 1))
    axes.contourf(x, y, slope, levels=(_STEEP, 90.0), colors=["tab:red"], alpha=0.28)
    axes.fill([np.nan], [np.nan], color="tab:red", alpha=0.28, lw=0, label=f"over {_STEEP:g}°")


def _draw_energy(axes: Axes, plan: Plan, way: np.ndarray, seen: Seen | None) -> None:
    """What is left of the battery; without a limit, what was taken."""
    begin = plan.battery or 0.0
    sign = -1.0 if plan.battery else 1.0
    _draw_sums(
        axes, way, begin + sign * _sums(plan, "joules"), None if seen is None else begin + sign * _seen(seen, "joules")
    )
    axes.set_ylabel("battery left (J)" if plan.battery else "energy (J)")
    if plan.battery:
        axes.axhline(0.0, color="red", lw=1.0)
    axes.legend(fontsize=8)


def _draw_time(axes: Axes, plan: Plan, way: np.ndarray, seen: Seen | None) -> None:
    _draw_sums(axes, way, _sums(plan, "seconds"), None if seen is None else _seen(seen, "seconds"))
    axes.set_ylabel("time (s)")
    if plan.time is not None:
        axes.axhline(plan.time, color="red", lw=1.0)


def _draw_sums(axes: Axes, way: np.ndarray, expected: np.ndarray, seen: np.ndarray | None) -> None:
    axes.plot(way, expected, color="tab:blue", lw=2.0, label="expected")
    if seen is not None and len(seen):
        low, middle, high = np.percentile(seen, (5, 50, 95), axis=0)
        axes.plot(way, middle, color=_SEEN, lw=1.2, label="seen, those that arrived")
        axes.fill_between(way, low, high, color=_SEEN, alpha=0.2, lw=0, label="5 to 95% of them")


def _draw_falls(axes: Axes, plan: Plan, way: np.ndarray, seen: Seen | None) -> None:
    axes.plot(way, _sums(plan, "falls"), color="tab:blue", lw=2.0, label="expected")
    axes.plot(way, _sums(plan, "falls_high"), "--", color="tab:blue", lw=1.0, label="90th percentile of the estimate")
    if seen is not None:
        falls = np.concatenate([[0.0], np.cumsum(seen.driven.falls.mean(0))])
        axes.step(way, falls, where="post", color=_SEEN, lw=1.2, label=f"seen, {len(seen.spent)} robots")
    axes.set_ylabel("falls per robot")
    axes.legend(fontsize=8)


def _sums(plan: Plan, what: str) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum([getattr(s, what) for s in plan.segments])])


def _seen(seen: Seen, what: str) -> np.ndarray:
    """(A, S + 1) sums along the way of those that arrived."""
    values = (seen.joules if what == "joules" else seen.driven.seconds)[seen.driven.arrived]
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _colour(option: int) -> tuple[float, ...]:
    return COLOURS[option % len(COLOURS)]
