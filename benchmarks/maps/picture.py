"""One picture of what filters do: measured, restored and true ground, rocks lost and invented, unsafe ground missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.ndimage import distance_transform_edt

from benchmarks.maps import find, ground, images, rows, tasks
from sim.output import writing
from sim.terrain.cards import load_card
from sim.terrain.danger import NOMINAL, danger, steepness
from sim.terrain.height_field import HeightField
from sim.terrain.preview import hillshade

EXAMPLES = (("white-2cm", "wiener"), ("stereo", "adaptive"), ("holes-30", "nlm"), ("coarse-2x", rows.INVENTS))
"""Noise and method of each row of the picture; the last invents on purpose, and is read with ``gauss2``'s card."""
PRESET, SEED, REACH = "blocky", ground.TEST + 1, 3.0
"""The patch, and m either side of its middle that are shown."""
COLOURS = ("#eeeeee", "#9fb8ad", "#f2a33c", "#c8102e")
LOST, INVENTED = "#c8102e", "#1f5fd0"


def draw(path: Path) -> None:
    """Write the picture."""
    truth = tasks.Truth(ground.patch(PRESET, SEED), SEED)
    figure = Figure(figsize=(12.0, 12.8), layout="constrained")
    grid = figure.subplots(len(EXAMPLES), 4)
    for axes, (noise, method) in zip(grid, EXAMPLES, strict=True):
        measured = rows.measured(truth, noise, SEED)
        restored = rows.restored_by(method, measured, truth.resolution, SEED)
        lost, invented = rows.lost_and_invented(truth, restored)
        for ax, z in zip(axes, (measured, restored, truth.heights), strict=False):
            _shade(ax, z, truth)
        _mark(axes[1], invented, "s", INVENTED)
        _mark(axes[2], lost, "o", LOST)
        _missed(axes[3], truth, restored, noise, method)
        axes[0].set_ylabel(f"{noise}, {method}", fontsize=11)
    for ax, title in zip(grid[0], ("measured", "restored", "true ground", "unsafe ground"), strict=True):
        ax.set_title(title)
    key = [
        *_key("12 cm"),
        *(Patch(color=c, label=text) for c, text in zip(COLOURS[1:], (
            "unsafe, called so at the nominal limits", "called so only at the card's limits", "called safe at both"),
            strict=True)),
    ]  # fmt: skip
    figure.legend(handles=key, loc="outside lower center", ncols=3, frameon=False)
    with writing(path):
        figure.savefig(path, dpi=75)


def draw_pictures(path: Path) -> None:
    """Write the picture of ``images``: a scene without noise and in little light, and what some methods make of it."""
    seen = images.picture(PRESET, SEED)
    methods = ("gamma", "columns-nlm", images.INVENTS)
    lights = ("photons-20", "photons-4", "columns-4")
    truth = seen.terrain.rocks
    asked = (truth.diameter >= images.SMALLEST) & ~find.hidden(truth)
    score = images.threshold([images.scored(seen, images.METHODS["gamma"](images.measured(seen, images.CLEAN, SEED)))])
    figure = Figure(figsize=(12.0, 9.6), layout="constrained")
    for axes, light in zip(figure.subplots(len(lights), 4), lights, strict=True):
        noisy = images.measured(seen, light, SEED)
        for ax, name in zip(axes, ("clean", *methods), strict=True):
            image = seen.light**0.5 if name == "clean" else images.METHODS[name](noisy)
            low, high = np.percentile(image, (1.0, 99.0))
            ax.imshow(image, cmap="gray", vmin=low, vmax=high)
            ax.set(xticks=[], yticks=[], title=f"{light}: {name}" if name != "clean" else "without noise")
            found = images.rocks_in(image, seen.sun)
            found = found[found[:, 2] >= score].astype(int)
            places = seen.places[found[:, 0], found[:, 1]]
            apart = np.hypot(places[:, :1] - truth.x, places[:, 1:] - truth.y)
            near = apart < np.maximum(find.NEAR, 0.7 * truth.diameter)
            made, lost = found[~near.any(1)], asked & ~near.any(0)
            ax.plot(made[:, 1], made[:, 0], "s", ms=7, mfc="none", mec=INVENTED, mew=1.4)
            missing = np.column_stack([truth.x, truth.y])[lost & (np.hypot(truth.x, truth.y) < images.HALF)]
            away = (np.hypot(*(seen.places - place).transpose(2, 0, 1)) for place in missing)
            at = [np.unravel_index(d.argmin(), d.shape) for d in away]
            ax.plot([c for _, c in at], [r for r, _ in at], "o", ms=9, mfc="none", mec=LOST, mew=1.4)
    figure.legend(handles=_key("15 cm"), loc="outside lower center", ncols=2, frameon=False)
    with writing(path):
        figure.savefig(path, dpi=75)


def shown(z: np.ndarray) -> np.ndarray:
    """A measured map as people look at it: a coarse one with its pixels as large as they are, others with holes."""
    known = np.isfinite(z)
    if known.mean() > 0.5:
        return z
    nearest: np.ndarray = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return z[tuple(nearest)]


def _shade(ax: Axes, z: np.ndarray, truth: tasks.Truth) -> None:
    z = shown(z)
    field = HeightField(np.where(np.isfinite(z), z, np.nanmedian(z)), truth.resolution, truth.terrain.field.origin)
    light = np.where(np.isfinite(z), hillshade(field) ** 0.7, np.nan)
    x0, x1, y0, y1 = field.extent
    ax.imshow(light, cmap="gray", origin="lower", extent=(x0, x1, y0, y1), vmin=0, vmax=1, interpolation="nearest")
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[], facecolor="#5a4a6a")


def _key(smallest: str) -> list[Line2D]:
    return [
        Line2D([], [], marker="s", ls="", mfc="none", color=INVENTED, label="rock invented"),
        Line2D([], [], marker="o", ls="", mfc="none", color=LOST, label=f"rock lost ({smallest} and more)"),
    ]


def _mark(ax: Axes, places: np.ndarray, marker: str, colour: str) -> None:
    ax.plot(places[:, 0], places[:, 1], marker, ms=9, mfc="none", mec=colour, mew=1.6)


def _missed(ax: Axes, truth: tasks.Truth, restored: np.ndarray, noise: str, method: str) -> None:
    """Unsafe ground, by whether it is called so at the nominal limits, only at the card's, or at neither."""
    limits = load_card("gauss2" if method == rows.INVENTS else method).limit(noise).limits
    steep = steepness(restored, truth.resolution)
    nominal, own = (danger(*steep, at) > 1.0 for at in (NOMINAL, limits))
    kind = np.where(truth.unsafe, np.where(nominal, 1, np.where(own, 2, 3)), 0)
    x0, x1, y0, y1 = truth.terrain.field.extent
    ax.imshow(kind, cmap=ListedColormap(COLOURS), origin="lower", extent=(x0, x1, y0, y1), vmin=0, vmax=3,
              interpolation="nearest")  # fmt: skip
    shares = [float((~called)[truth.unsafe].mean()) for called in (nominal, own)]
    alarms = float(own[~truth.unsafe].mean())
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])
    ax.set_xlabel(f"missed {shares[0]:.2f} nominal, {shares[1]:.2f} by the card\nfalse alarms {alarms:.2f}", fontsize=9)
