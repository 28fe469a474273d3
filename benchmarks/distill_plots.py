"""Plots of ``lunar bench distill``: quality against steps, wall time and memory."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from benchmarks.distill_runs import BenchRun

MARKERS = "osD"


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
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_curves(runs: Sequence[BenchRun], path: Path) -> None:
    """Pronks of the students that act, against steps: mean over the seeds and their range."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
    for axis, suite in zip(axes, ("baselines", "tip", "paced"), strict=True):
        for name in dict.fromkeys(r.variant.name for r in runs if r.variant.suite == suite):
            own = [r for r in runs if (r.variant.suite, r.variant.name) == (suite, name)]
            curves = [_curve(r.folder / "progress.csv") for r in own]
            if name == "bc" or not curves:
                continue  # its teacher acts, not the student
            length = min(len(c) for c in curves)
            steps = curves[0][:length, 0] / 1e3
            values = np.array([_smooth(c[:length, 1]) for c in curves])
            (line,) = axis.plot(steps, values.mean(0), label=name)
            axis.fill_between(steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
        axis.set(xlabel="thousand environment steps", title=suite)
        axis.grid(alpha=0.3)
        if axis.get_lines():
            axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("pronks per 20 s while learning")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curve(file: Path) -> np.ndarray:
    with file.open() as opened:
        rows = [(float(r["steps"]), float(r["pronks_per_20s"] or "nan")) for r in csv.DictReader(opened)]
    return np.array(rows)


def _smooth(values: np.ndarray, width: int = 5) -> np.ndarray:
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
