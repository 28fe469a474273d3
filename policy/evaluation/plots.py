"""One picture of a suite: what height, speeds, pitch, feet and motors do over a hop, over all hops of all robots."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from policy.evaluation.cycle import BINS, Cycles, cycles
from policy.evaluation.trials import Trials
from sim.spec.gravity import lunar_weight
from sim.spec.joints import LEGS

TRUE, BELIEVED = "#2b6cb0", "#c05621"
FEET = ("#c05621", "#dd9b3f", "#2c7a7b", "#4fb0a5")
PHASES = (np.arange(BINS) + 0.5) / BINS


def draw_cycle(trials: Trials, title: str, out: Path) -> str:
    """Write the picture; returns why there is none, empty when there is."""
    hop = cycles(trials)
    if not hop.count:
        return "no hop was followed by another"
    figure, axes = plt.subplots(2, 3, figsize=(13, 6.4), layout="constrained", sharex=True)
    panels = {
        "height": ("height of the centre of mass, m", trials.com_height),
        "vz": ("vertical speed, m/s", trials.velocity[:, :, 2]),
        "vx": ("forward speed, m/s", trials.velocity[:, :, 0]),
    }
    for axis, (name, (label, truth)) in zip(axes[0], panels.items(), strict=True):
        _band(axis, hop, truth, TRUE, "truth")
        if name in trials.estimates:
            _band(axis, hop, trials.estimate[:, :, trials.estimates.index(name)], BELIEVED, "estimate")
            axis.legend(fontsize=8, frameon=False)
        axis.set_ylabel(label)
    _band(axes[1, 0], hop, np.degrees(trials.pitch), TRUE, "")
    axes[1, 0].set_ylabel("pitch, degrees, nose down")
    for leg, color, force in zip(LEGS, FEET, np.moveaxis(trials.foot_force, 2, 0), strict=True):
        _band(axes[1, 1], hop, force / lunar_weight(trials.mass), color, leg)
    axes[1, 1].set_ylabel("foot force, lunar body weights")
    axes[1, 1].legend(fontsize=8, frameon=False, ncols=4)
    _band(axes[1, 2], hop, trials.power, TRUE, "")
    axes[1, 2].set_ylabel("positive joint power, W")
    for axis in axes.flat:
        axis.axvspan(hop.touchdown, 1.0, color="#000000", alpha=0.06, linewidth=0)
        axis.set_xlim(0.0, 1.0)
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("phase, lift-off to lift-off; stance shaded")
    figure.suptitle(f"{title}: {hop.count} hops, median and 10th to 90th percentile", fontsize=11)
    figure.savefig(out, dpi=100)
    plt.close(figure)
    return ""


def _band(axis: Axes, hop: Cycles, values: np.ndarray, color: str, label: str) -> None:
    band = hop.band(values)
    axis.plot(PHASES, band.median, color=color, linewidth=1.5, label=label)
    axis.fill_between(PHASES, band.low, band.high, color=color, alpha=0.18, linewidth=0)
