"""Pictures of training benchmarks: learning curves over seeds, and what variants cost."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

MARKERS = "osD"


def draw_curves(
    axis: Axes, runs: Mapping[str, Sequence[Path]], x: str, y: str, labels: tuple[str, str], unit: float, smooth: int
) -> None:
    """Draw a column of runs' ``progress.csv`` against another: mean over the seeds, and their range.

    Args:
        axis: to draw on.
        runs: files of all seeds, by name; missing ones are left out.
        x, y: columns.
        labels: of the axes.
        unit: steps that are 1 on the x axis.
        smooth: rows of the moving mean.
    """
    for name, files in runs.items():
        curves = [_columns(file, x, y) for file in files if file.is_file()]
        if not curves:
            continue
        length = min(len(c) for c in curves)
        values = np.array([_moving_mean(c[:length, 1], smooth) for c in curves])
        steps = curves[0][:length, 0] / unit
        (line,) = axis.plot(steps, values.mean(0), label=name)
        axis.fill_between(steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set(xlabel=labels[0], ylabel=labels[1])
    axis.grid(alpha=0.3)
    if axis.get_lines():
        axis.legend(frameon=False, fontsize=8)


def draw_costs(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Pronks of every variant against environment steps, wall time and memory, mean and range over the seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 5), layout="constrained", sharey=True)
    variants = list(dict.fromkeys((r["suite"], r["variant"]) for r in rows))
    panels = (("steps", "environment steps"), ("wall_s", "wall time, s"), ("peak_mb", "memory above start, MB"))
    for axis, (name, words) in zip(axes, panels, strict=True):
        for k, key in enumerate(variants):
            own = [r for r in rows if (r["suite"], r["variant"]) == key]
            x, y = np.mean([r[name] for r in own]), np.array([r["pronks"] for r in own])
            error = [[y.mean() - y.min()], [y.max() - y.mean()]]
            style = {"color": plt.get_cmap("tab10")(k % 10), "marker": MARKERS[k // 10], "ls": ""}
            axis.errorbar(x, y.mean(), error, ms=7, alpha=0.8, label=f"{key[0]}: {key[1]}", **style)
        axis.set(xlabel=words, xscale="log")
        axis.grid(alpha=0.3, which="both")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("pronks per 20 s on mare")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write the picture and let go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _columns(file: Path, x: str, y: str) -> np.ndarray:
    with file.open(encoding="utf-8") as opened:
        return np.array([(float(row[x]), float(row[y] or "nan")) for row in csv.DictReader(opened) if row[x]])


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
