"""What language-model papers claim of their methods, against what was measured here. Pure functions of rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.harness import spread

Row = Mapping[str, Any]


def mean(rows: Iterable[Row], suite: str, variant: str, metric: str) -> float | None:
    """Mean over the seeds; None when nothing was run."""
    values = [_metric(r, metric) for r in rows if r["suite"] == suite and r["variant"] == variant]
    return statistics.fmean(values) if values else None


def claims(rows: Sequence[Row], teacher: Row, update: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """``{name: {claim, measured, holds}}``; ``holds`` is None where runs are missing. Means over the seeds decide.

    Args:
        rows: of the runs.
        teacher: its own ``pronks``, ``survival``, ``power_w`` and ``peak_force_lunar_bw`` with economy 0.
        update: of ``update_cost``.
    """

    def of(suite: str, variant: str, metric: str = "pronks") -> float | None:
        return mean(rows, suite, variant, metric)

    everything, soft = of("tip", "all"), of("tip", "soft_or 0.5")
    found: dict[str, dict[str, Any]] = {}

    def claim(name: str, text: str, measured: dict[str, float | None], holds: Callable[[Any], bool]) -> None:
        missing = any(value is None for value in measured.values())
        found[name] = {"claim": text, "measured": measured, "holds": None if missing else holds(measured)}

    claim(
        "tip_soft_or", "Soft-OR at half of the positions is as good as all",
        {"soft_or": soft, "all": everything, **{n: of("tip", f"{n} 0.5") for n in ("divergence", "random")}},
        lambda m: m["soft_or"] >= m["all"],
    )  # fmt: skip
    claim(
        "tip_q3", "a tenth of the positions, sure and wrong (Q3), is within 3% of all",
        {"all": everything, **{n: of("tip", f"{n} 0.1") for n in ("q3", "divergence", "random")}},
        lambda m: m["q3"] >= 0.97 * m["all"],
    )  # fmt: skip
    claim(
        "tip_cost", "half of the positions: at least 40% fewer bytes above inputs and at most 0.65 of the time",
        {"bytes_saved": 1.0 - update["memory_ratio"], "time_ratio": update["time_ratio"]},
        lambda m: m["bytes_saved"] >= 0.4 and m["time_ratio"] <= 0.65,
    )  # fmt: skip
    claim(
        "paced", "PACED survives mixed ground as often as uniform and as a hard filter",
        {name: of("paced", words, "survival_mixed") for name, words in
         (("paced", "paced"), ("sampler", "paced sampler"), ("uniform", "uniform"), ("hard_filter", "hard filter"))},
        lambda m: m["paced"] >= max(m["uniform"], m["hard_filter"]),
    )  # fmt: skip
    claim(
        "soda", "SODA: 95% of the on-policy student's pronks in a tenth of its wall time, with less memory",
        {
            "pronks_ratio": _ratio(of("soda", "soda"), of("baselines", "reverse_kl")),
            "wall_ratio": _ratio(of("soda", "soda", "wall_s"), of("baselines", "reverse_kl", "wall_s")),
            "memory_ratio": _ratio(of("soda", "soda", "peak_mb"), of("baselines", "reverse_kl", "peak_mb")),
        },
        lambda m: m["pronks_ratio"] >= 0.95 and m["wall_ratio"] <= 0.1 and m["memory_ratio"] < 1.0,
    )  # fmt: skip
    claim(
        "opsdc", "OPSDC: mean power and peak force at least 30% lower for at most 2 points of survival",
        {
            "power_cut": _cut(of("opsdc", "opsdc", "power_w"), teacher["power_w"]),
            "peak_force_cut": _cut(of("opsdc", "opsdc", "peak_force_lunar_bw"), teacher["peak_force_lunar_bw"]),
            "survival_loss": _loss(of("opsdc", "opsdc", "survival"), teacher["survival"]),
        },
        lambda m: m["power_cut"] >= 0.3 and m["peak_force_cut"] >= 0.3 and m["survival_loss"] <= 0.02,
    )  # fmt: skip
    kl = {name: of("baselines", name, "survival") for name in ("reverse_kl", "forward_kl")}
    claim(
        "kl_over_mse", "the best KL survives more often than mean squared error at equal steps",
        {"mse": of("baselines", "mse", "survival"), **kl},
        lambda m: max(m["reverse_kl"], m["forward_kl"]) > m["mse"],
    )  # fmt: skip
    return found


def markdown(rows: Sequence[Row], suites: Sequence[str]) -> str:
    """One table: mean and standard deviation over the seeds of every variant."""
    columns = ("suite", "variant", "steps", "wall, s", "memory, MB", "pronks", "survival", "mixed ground", "power, W",
               "peak force")  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for suite in suites:
        for variant in dict.fromkeys(r["variant"] for r in rows if r["suite"] == suite):
            own = [r for r in rows if r["suite"] == suite and r["variant"] == variant]
            mixed = [_metric(r, "survival_mixed") for r in own] if len(own[0]["by_suite"]) > 1 else []
            cells = [spread([r[name] for r in own]) for name in ("wall_s", "peak_mb", "pronks", "survival")]
            more = [spread(mixed), *(spread([r[n] for r in own]) for n in ("power_w", "peak_force_lunar_bw"))]
            lines.append(f"| {suite} | {variant} | {own[0]['steps'] // 1000} k | " + " | ".join(cells + more) + " |")
    return "\n".join(lines) + "\n"


def _metric(row: Row, metric: str) -> float:
    if metric == "survival_mixed":
        return statistics.fmean(found["survival"] for found in row["by_suite"].values())
    return float(row[metric])


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _cut(a: float | None, b: float) -> float | None:
    return None if a is None else 1.0 - a / b


def _loss(a: float | None, b: float) -> float | None:
    return None if a is None else b - a
