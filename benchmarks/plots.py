"""Pictures of benchmarks: learning curves over seeds, what variants cost, and the doubt of one robot."""

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
    for k, (name, files) in enumerate(runs.items()):
        curves = [_columns(file, x, y) for file in files if file.is_file()]
        if not curves:
            continue
        length = min(len(c) for c in curves)
        values = np.array([_moving_mean(c[:length, 1], smooth) for c in curves])
        steps = curves[0][:length, 0] / unit
        style = ("-", "--", ":")[k // 10 % 3]  # after ten the colours begin anew
        (line,) = axis.plot(steps, values.mean(0), style, label=name)
        axis.fill_between(steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set(xlabel=labels[0], ylabel=labels[1])
    axis.grid(alpha=0.3)
    if axis.get_lines():
        axis.legend(frameon=False, fontsize=8)


def draw_costs(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Pronks of every variant with what it costs, best first: a line each, mean and deviation over the seeds."""
    variants: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        variants.setdefault((row["suite"], row["variant"]), []).append(row)

    def mean(key: tuple[str, str], name: str) -> float:
        return float(np.mean([row[name] for row in variants[key]]))

    order = sorted(variants, key=lambda key: mean(key, "pronks"))
    best, suites = mean(order[-1], "pronks"), list(dict.fromkeys(suite for suite, _ in variants))
    panels = (("pronks", "pronks per 20 s on mare", 1.0), ("steps", "environment steps, k", 1e3),
              ("cpu_s", "processor time, s", 1.0), ("peak_mb", "memory above start, MB", 1.0))  # fmt: skip
    figure, axes = plt.subplots(1, 4, figsize=(12, 1.6 + 0.27 * len(order)), layout="constrained", sharey=True)
    colors = [plt.get_cmap("tab10")(suites.index(suite)) for suite, _ in order]
    for axis, (name, words, unit) in zip(axes, panels, strict=True):
        values = [mean(key, name) / unit for key in order]
        spread = [float(np.std([row[name] for row in variants[key]], ddof=1)) / unit if len(variants[key]) > 1 else 0.0
                  for key in order]  # fmt: skip
        axis.barh(range(len(order)), values, xerr=spread, color=colors, error_kw={"lw": 1.0, "ecolor": "#30343b"})
        axis.set(xlabel=words, xlim=(0.0, None))
        axis.grid(alpha=0.3, axis="x")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(order)), [f"{variant}  ({suite})" for suite, variant in order])
    axes[0].set_ylim(-0.6, len(order) - 0.4)
    good = [key for key in order if mean(key, "pronks") >= best - 1.0]
    said = [f"{min(v):.0f} to {max(v):.0f}" for v in ([mean(k, name) for k in good] for name in ("cpu_s", "peak_mb"))]
    title = f"{len(good)} of {len(order)} ways to teach a student come within a pronk of the best"
    figure.suptitle(f"{title}, in {said[0]} s with {said[1]} MB", fontsize=12, x=0.01, ha="left")
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


def draw_doubt(doubt: np.ndarray, flying: np.ndarray, onset: int, advice: float, dt: float, what: str) -> Figure:
    """Doubt (T,) of one trial over s since the step ``onset``, at which ``what`` happened, with both limits and the
    hops: ``flying`` (T,) bool."""
    figure, axes = plt.subplots(figsize=(8.8, 3.0), layout="constrained")
    time = (np.arange(len(doubt)) - onset) * dt
    axes.fill_between(time, 0, 1, where=flying, step="post", transform=axes.get_xaxis_transform(),
                      color="#e9eef7", label="flight")  # fmt: skip
    axes.axhline(1.0, color="#c0392b", linestyle="--", linewidth=1.2, label="trip")
    axes.axhline(advice, color="#e08e2b", linestyle="--", linewidth=1.2, label="advice")
    axes.plot(time, doubt, color="#1f5fa8", linewidth=1.6, label="doubt")
    axes.axvline(0.0, color="black", linewidth=1.2)
    axes.set(xlabel=f"s since {what}", ylabel="of a trip", xlim=(time[0], time[-1]), ylim=(0.0, None))
    axes.legend(loc="upper left", ncols=4, fontsize=9)
    return figure
