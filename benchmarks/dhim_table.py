"""Table and learning curves of ``lunar bench dhim``."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

METRICS = {
    "survival": "survival",
    "pronks": "pronks per 20 s",
    "apex_error": "apex error, m",
    "velocity_error": "velocity error, m/s",
    "yaw_rate_error": "yaw-rate error, rad/s",
    "touchdown_tilt_deg": "tilt at touch-down, degrees",
    "peak_force_lunar_bw": "peak force, lunar body weights",
    "vz_rmse": "vz RMSE, m/s",
    "vz_rmse_touchdown": "… before touch-down",
    "height_rmse": "height RMSE, m",
    "height_rmse_touchdown": "… before touch-down",
    "vxy_rmse": "vxy RMSE, m/s",
    "vxy_rmse_touchdown": "… before touch-down",
}
"""Metrics of the table and how they are written there."""


def markdown(rows: Sequence[Mapping[str, Any]], suites: Sequence[str], variants: Sequence[str]) -> str:
    """One table per suite: metrics down, variants across, mean and standard deviation over seeds."""
    parts = []
    for suite in suites:
        columns = {v: [r for r in rows if r["variant"] == v and r["suite"] == suite] for v in variants}
        columns = {v: found for v, found in columns.items() if found}
        parts.append(f"### {suite}\n")
        parts.append("| | " + " | ".join(f"{v} ({_seeds(found)})" for v, found in columns.items()) + " |")
        parts.append("|---|" + "---|" * len(columns))
        for metric, words in METRICS.items():
            cells = [_cell([r.get(metric) for r in found]) for found in columns.values()]
            parts.append(f"| {words} | " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def plot_curves(runs: Mapping[str, Sequence[Path]], path: Path) -> None:
    """Pronks and ended trials against steps: mean over the seeds, and their range."""
    panels = (("hops/pronks_per_20s", "pronks per 20 s, exploring"), ("hops/ends_per_20s", "ended trials per 20 s"))
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for variant, files in runs.items():
        curves = [_curve(file, [name for name, _ in panels]) for file in files if file.is_file()]
        if not curves:
            continue
        length = min(len(c["steps"]) for c in curves)
        steps = curves[0]["steps"][:length] / 1e6
        for axis, (name, words) in zip(axes, panels, strict=True):
            values = np.array([_smooth(c[name][:length]) for c in curves])
            (line,) = axis.plot(steps, values.mean(0), label=variant)
            axis.fill_between(steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
            axis.set(xlabel="million environment steps", ylabel=words)
            axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    return "1 seed" if len(rows) == 1 else f"{len(rows)} seeds"


def _cell(values: Sequence[Any]) -> str:
    known = [float(v) for v in values if v is not None and not math.isnan(v)]
    if not known:
        return "–"
    spread = f" ± {statistics.stdev(known):.2g}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.3g}{spread}"


def _curve(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    with file.open() as opened:
        rows = [row for row in csv.DictReader(opened) if row["time/steps"]]
    columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    return {"steps": np.array([float(row["time/steps"]) for row in rows]), **columns}


def _smooth(values: np.ndarray, width: int = 15) -> np.ndarray:
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
