"""One picture of a terrain: hillshade under a low sun, slopes, size counts against their laws, and a cross-section."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.terrain.craters import crater_density, smallest_drawn
from sim.terrain.fractal import BASELINE
from sim.terrain.generators import Terrain, TerrainConfig, level_factor
from sim.terrain.height_field import HeightField
from sim.terrain.measure import cumulative, slopes_at
from sim.terrain.rocks import rock_density

SUN = 20.0
"""deg above the horizon, in the west (-x)."""
ROBOT_SCALE = 0.35
"""m. Distance between a Go2's feet."""
BINS = [0.5 * i for i in range(81)]
CRATER_COLOUR, ROCK_COLOUR = "tab:blue", "tab:red"


def preview(terrain: Terrain, cfg: TerrainConfig, title: str) -> Figure:
    """The figure; save it by ``figure.savefig``.

    Args:
        terrain: what ``build_terrain`` returned.
        cfg: its configuration with all layers, as ``load_terrain`` gives it.
        title: a line at the top.
    """
    figure = Figure(figsize=(11.0, 9.2), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(3, 2, width_ratios=(2.0, 1.0), height_ratios=(1, 1, 0.62))
    _draw_map(figure.add_subplot(grid[:2, 0]), terrain.field, None)
    _draw_map(figure.add_subplot(grid[0, 1]), terrain.field, 4.0)
    _draw_slopes(figure.add_subplot(grid[1, 1]), terrain.field)
    section = figure.add_subplot(grid[2, 0])
    _draw_section(section, terrain.field)
    _draw_counts(figure.add_subplot(grid[2, 1]), terrain, cfg)
    figure.draw_without_rendering()  # settles the layout, from which the exaggeration follows
    box, view = section.get_window_extent(), section.viewLim
    times = box.height / view.height * view.width / box.width
    section.set_title(f"cross-section along y = 0, heights {times:.2g} times exaggerated")
    return figure


def hillshade(field: HeightField) -> np.ndarray:
    """Brightness in 0 to 1 of a matte surface under the sun, with cast shadows. Shape of the heights."""
    z = np.asarray(field.heights, float)
    slope_y, slope_x = np.gradient(z, field.resolution)
    sun = np.radians(SUN)
    light = (np.sin(sun) - slope_x * -np.cos(sun)) / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    along = z + np.arange(z.shape[1]) * field.resolution * np.tan(sun)
    shadow = np.maximum.accumulate(along, axis=1) > along + 1e-9
    return np.where(shadow, 0.0, np.clip(light, 0.0, 1.0))


def _draw_map(axes: Axes, field: HeightField, reach: float | None) -> None:
    """The whole map, or ``reach`` metres either side of the origin."""
    if field.is_flat:
        field = HeightField(np.zeros((2, 2)), field.resolution, field.origin)
    x0, x1, y0, y1 = field.extent
    half = field.resolution / 2
    extent = (x0 - half, x1 + half, y0 - half, y1 + half)
    axes.imshow(hillshade(field) ** 0.7, cmap="gray", origin="lower", extent=extent, vmin=0.0, vmax=1.0)
    bar = 10.0
    if reach:
        x0, x1, y0, y1, bar = -reach, reach, -reach, reach, 1.0
        axes.set_title(f"{2 * reach:g} m around the origin")
    else:
        axes.set_title(f"hillshade, sun {SUN:g}° above the horizon on the left")
    axes.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="x (m)", ylabel="y (m)")
    left, low = x0 + 0.05 * (x1 - x0), y0 + 0.05 * (y1 - y0)
    axes.plot([left, left + bar], [low, low], color="gold", lw=4, solid_capstyle="butt")
    axes.text(
        left + bar / 2, low + 0.015 * (y1 - y0), f"{bar:g} m", color="gold", ha="center", va="bottom", weight="bold"
    )


def _draw_slopes(axes: Axes, field: HeightField) -> None:
    x0, x1, _, _ = field.extent
    for baseline, colour in ((BASELINE, "tab:purple"), (ROBOT_SCALE, "tab:orange")):
        if x1 - x0 < 2 * baseline or field.is_flat:
            continue
        angles = slopes_at(field.heights, field.resolution, baseline)
        median = np.median(angles)
        axes.hist(
            angles, bins=BINS, density=True, histtype="stepfilled", alpha=0.45, color=colour,
            label=f"{baseline:g} m baseline, median {median:.1f}°",
        )  # fmt: skip
        axes.axvline(median, color=colour, lw=1.5)
    axes.set(xlabel="slope (°)", ylabel="share per degree", title="slopes", xlim=(0, 40))
    if axes.has_data():
        axes.legend(fontsize=8)


def _draw_section(axes: Axes, field: HeightField) -> None:
    x0, x1, _, _ = field.extent
    x = np.linspace(x0, x1, 2001)
    z = field.height(x, np.zeros_like(x))
    axes.plot(x, z, color="black", lw=0.8)
    axes.fill_between(x, z, z.min() - 0.05 - 0.1 * np.ptp(z), color="0.75")
    low, high = z.min() - 0.05 - 0.1 * np.ptp(z), z.max() + 0.05 + 0.1 * np.ptp(z)
    axes.set(xlabel="x (m)", ylabel="height (m)", xlim=(x0, x1), ylim=(low, high), title=" ")


def _draw_counts(axes: Axes, terrain: Terrain, cfg: TerrainConfig) -> None:
    """Cumulative counts with one standard deviation of the count, and the laws they were drawn from."""
    x0, x1, y0, y1 = terrain.field.extent
    area = (x1 - x0) * (y1 - y0)
    craters, rocks = terrain.craters, terrain.rocks
    if cfg.craters and len(craters.x):
        smallest = smallest_drawn(cfg.craters, terrain.field.resolution)
        grid = np.geomspace(smallest, cfg.craters.largest, 60)
        law = crater_density(cfg.craters, grid)
        law = law - crater_density(cfg.craters, np.array(cfg.craters.largest))
        counts = np.maximum(np.abs(craters.x), np.abs(craters.y)) < (x1 - x0) / 2
        counts &= craters.diameter <= cfg.craters.largest
        _draw_count(axes, grid, craters.diameter[counts], law, area, CRATER_COLOUR, "craters")
    if cfg.rocks and len(rocks.x):
        grid = np.geomspace(cfg.rocks.smallest, cfg.rocks.largest, 60)
        law = rock_density(cfg.rocks, grid) - rock_density(cfg.rocks, np.array(cfg.rocks.largest))
        _draw_count(axes, grid, rocks.diameter, level_factor(cfg.level) * law, area, ROCK_COLOUR, "rocks")
    axes.set(xscale="log", yscale="log", xlabel="diameter D (m)", ylabel="larger than D per m²", title="sizes")
    axes.set_ylim(bottom=0.4 / area)
    if axes.has_data():
        axes.legend(fontsize=7, loc="upper right")


def _draw_count(
    axes: Axes, grid: np.ndarray, diameters: np.ndarray, law: np.ndarray, area: float, colour: str, name: str
) -> None:
    counted = cumulative(diameters, area, grid)
    spread = np.sqrt(counted / area)
    seen = counted > 0
    axes.fill_between(grid[seen], (counted - spread)[seen], (counted + spread)[seen], color=colour, alpha=0.25, lw=0)
    axes.step(grid[seen], counted[seen], where="post", color=colour, label=f"{name}, counted")
    axes.plot(grid[law > 0], law[law > 0], "--", color="black", lw=1.0, label=f"{name}, law")
