"""Plot of a training run."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = (
    ("hops/hops_per_20s", "hops per 20 s"),
    ("hops/pronks_per_20s", "pronks per 20 s"),
    ("hops/ends_per_20s", "ended trials per 20 s"),
    ("hops/apex_gain", "apex gain, m"),
    ("hops/peak_force", "peak force, lunar body weights"),
    ("train/reward", "reward per second"),
)


def plot_curve(progress: Path, out: Path) -> None:
    """Six panels over environment steps from SB3's ``progress.csv``."""
    with progress.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(2, 3, figsize=(11, 5.5), layout="constrained")
    for axis, (column, title) in zip(axes.flat, PANELS, strict=True):
        points = [(float(r["time/steps"]) / 1e6, float(r[column])) for r in rows if r.get(column)]
        axis.plot([p[0] for p in points], [p[1] for p in points], color="#2b6cb0", linewidth=1.2)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("environment steps, millions", fontsize=8)
        axis.set_ylim(bottom=0 if column.startswith("hops") else None)
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    plt.close(figure)
