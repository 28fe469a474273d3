"""What language-model papers claim of their methods, against what was measured here. Pure functions of rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.distill_runs import EASY, ROUGH
from benchmarks.harness import spread

Row = Mapping[str, Any]
FORCE = "peak_force_lunar_bw"
RULES = {"paced": "paced", "sampler": "paced sampler", "uniform": "uniform", "hard_filter": "hard filter"}
"""Names of figures and of variants."""


class Figure(NamedTuple):
    """A mean over seeds and its standard deviation, 0 of one seed."""

    mean: float
    spread: float = 0.0


def figure(rows: Iterable[Row], suite: str, variant: str, metric: str) -> Figure | None:
    """Of the seeds of a variant; None when nothing was run."""
    values = [_metric(r, metric) for r in rows if r["suite"] == suite and r["variant"] == variant]
    if not values:
        return None
    return Figure(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


def beyond(larger: Figure, smaller: Figure) -> bool:
    """Whether one mean is above another by more than the spread of their difference."""
    return larger.mean - smaller.mean > math.hypot(larger.spread, smaller.spread)


def claims(
    rows: Sequence[Row], before: Mapping[str, Mapping[str, Row]], update: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """``{name: {claim, measured, spread, holds}}``; ``holds`` is None where runs are missing. "As good" is not worse by
    more than the spread over the seeds, "more" is more by more than that.

    Args:
        rows: of the runs.
        before: policy and suite to the ``METRICS`` of those that trainings start from.
        update: of ``update_cost``.
    """

    def of(suite: str, variant: str, metric: str = "pronks") -> Figure | None:
        return figure(rows, suite, variant, metric)

    everything = of("tip", "all")
    found: dict[str, dict[str, Any]] = {}

    def claim(name: str, text: str, measured: dict[str, Figure | None], holds: Callable[[Any], bool]) -> None:
        missing = any(value is None for value in measured.values())
        found[name] = {
            "claim": text, "holds": None if missing else holds(measured),
            "measured": {k: v and v.mean for k, v in measured.items()},
            "spread": {k: v and v.spread for k, v in measured.items()},
        }  # fmt: skip

    for name, words, variant, control in (
        ("tip_entropy", "the student's entropy at half of the positions", "entropy 0.5", "random 0.5"),
        ("tip_soft_or", "Soft-OR at half of the positions", "soft_or 0.5", "random 0.5"),
        ("tip_union", "entropy or divergence at a fifth of the positions", "soft_or 0.2", "random 0.2"),
    ):
        measured = {"chosen": of("tip", variant), "all": everything, "random": of("tip", control)}
        claim(name, f"{words} is as good as all", measured, lambda m: not beyond(m["all"], m["chosen"]))
    claim(
        "tip_q3", "a tenth of the positions, sure and wrong (Q3), is within 3% of all",
        {"all": everything, **{n: of("tip", f"{n} 0.1") for n in ("q3", "divergence", "random")}},
        lambda m: m["q3"].mean >= 0.97 * m["all"].mean,
    )  # fmt: skip
    claim(
        "tip_cost", "half of the positions: at least 40% fewer bytes above inputs and at most 0.65 of the time",
        {"bytes_saved": Figure(1.0 - update["memory_ratio"]), "time_ratio": Figure(update["time_ratio"])},
        lambda m: m["bytes_saved"].mean >= 0.4 and m["time_ratio"].mean <= 0.65,
    )  # fmt: skip
    claim(
        "tokens", "tokens learn more from targets that share a bin with its neighbours",
        {"neighbours": of("tip", "tokens, neighbours"), "bins": of("tip", "tokens, all")},
        lambda m: beyond(m["neighbours"], m["bins"]),
    )  # fmt: skip
    claim(
        "paced", "PACED survives mixed ground as often as uniform and as a hard filter",
        {name: of("paced", words, "survival_mixed") for name, words in RULES.items()},
        lambda m: not (beyond(m["uniform"], m["paced"]) or beyond(m["hard_filter"], m["paced"])),
    )  # fmt: skip
    soda = {m: (of("soda", "soda, noise", m), of("soda", "adversarial", m)) for m in ("pronks", "cpu_s", "peak_mb")}
    claim(
        "soda", "SODA is as good as adversarial on-policy distillation, in less time and memory",
        {f"{who}_{m}": v for m, pair in soda.items() for who, v in zip(("soda", "adversarial"), pair, strict=True)},
        lambda m: not beyond(m["adversarial_pronks"], m["soda_pronks"])
        and beyond(m["adversarial_cpu_s"], m["soda_cpu_s"]) and beyond(m["adversarial_peak_mb"], m["soda_peak_mb"]),
    )  # fmt: skip
    for name, words, noise, none in (
        ("dart", "eight minutes", "bc, noise", "bc, as few steps"),
        ("dart_hour", "an hour", "bc, long and noise", "bc, long"),
    ):
        claim(
            name, f"cloning hops more after a log of {words} whose teacher was disturbed",
            {"noise": of("soda", noise), "none": of("soda", none)}, lambda m: beyond(m["noise"], m["none"]),
        )  # fmt: skip
    teacher, begun = before["dual"], before["student_small"]
    claim(
        "opsdc", "OPSDC: mean power and peak force at least 30% lower for at most 2 points of survival",
        {
            "power_cut": _cut(of("opsdc", "opsdc", "power_w"), teacher["mare"]["power_w"]),
            "peak_force_cut": _cut(of("opsdc", "opsdc", FORCE), teacher["mare"][FORCE]),
            "survival_loss": _cut(of("opsdc", "opsdc", "survival"), teacher["mare"]["survival"], 1.0),
        },
        lambda m: m["power_cut"].mean >= 0.3 and m["peak_force_cut"].mean >= 0.3 and m["survival_loss"].mean <= 0.02,
    )  # fmt: skip
    claim(
        "opsdc_easy", "OPSDC cuts peak force by more on easy ground than on hard",
        {suite: _cut(of("opsdc", "opsdc", f"{suite}.{FORCE}"), teacher[suite][FORCE]) for suite in ("mare", "blocky")},
        lambda m: beyond(m["mare"], m["blocky"]),
    )  # fmt: skip
    claim(
        "opsdc_kl", "of a policy whose spread depends on the state, OPSDC by forward KL hops less than by reverse KL",
        {"reverse": of("opsdc", "student"), "forward": of("opsdc", "student, forward KL")},
        lambda m: beyond(m["reverse"], m["forward"]),
    )  # fmt: skip
    claim(
        "forgetting", "a student good on easy ground loses no more there by PACED than by uniform or a hard filter",
        {
            name: _cut(of("forgetting", words, "survival_easy"), _mean(begun, EASY, "survival"), 1.0)
            for name, words in RULES.items()
        },
        lambda m: not (beyond(m["paced"], m["uniform"]) or beyond(m["paced"], m["hard_filter"])),
    )  # fmt: skip
    kl = {name: of("baselines", name, "survival") for name in ("reverse_kl", "forward_kl")}
    claim(
        "kl_over_mse", "the best KL survives more often than mean squared error at equal steps",
        {"mse": of("baselines", "mse", "survival"), **kl},
        lambda m: beyond(m["reverse_kl"], m["mse"]) or beyond(m["forward_kl"], m["mse"]),
    )  # fmt: skip
    return found


COLUMNS = (
    "variant", "steps", "CPU, s", "memory, MB", "pronks", "survival", "easy ground", "mixed ground", "power, W",
    "peak force",
)  # fmt: skip


def variant_rows(rows: Sequence[Row], suite: str) -> list[list[str]]:
    """Cells of ``COLUMNS``: mean and standard deviation over the seeds of every variant."""
    found = []
    for variant in dict.fromkeys(r["variant"] for r in rows if r["suite"] == suite):
        own = [r for r in rows if r["suite"] == suite and r["variant"] == variant]
        cells = [spread([r[name] for r in own]) for name in ("cpu_s", "peak_mb", "pronks", "survival")]
        for suites in (EASY, ROUGH):
            there = [r["by_suite"] for r in own if set(suites) <= r["by_suite"].keys()]
            cells.append(spread([_mean(by_suite, suites, "survival") for by_suite in there]))
        cells += [spread([r[name] for r in own]) for name in ("power_w", FORCE)]
        found.append([variant, f"{own[0]['steps'] // 1000} k", *cells])
    return found


def claim_rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Cells of claim, figures and verdict, of what ``claims`` returns."""
    verdicts = {True: "yes", False: "no", None: "not measured"}
    return [
        [
            claim["claim"],
            ", ".join(
                f"{name.replace('_', ' ')} " + ("not run" if v is None else f"{v:.3g} ± {claim['spread'][name]:.2g}")
                for name, v in claim["measured"].items()
            ),
            verdicts[claim["holds"]],
        ]
        for claim in found.values()
    ]


def _metric(row: Row, metric: str) -> float:
    """Of a row; ``survival_mixed`` and ``survival_easy`` are means over suites, ``SUITE.METRIC`` is that of one."""
    if metric == "survival_mixed":
        return _mean(row["by_suite"], ROUGH, "survival")
    if metric == "survival_easy":
        return _mean(row["by_suite"], EASY, "survival")
    suite, _, name = metric.rpartition(".")
    return float(row["by_suite"][suite][name] if suite else row[name])


def _mean(by_suite: Mapping[str, Row], suites: Iterable[str], metric: str) -> float:
    return statistics.fmean(by_suite[suite][metric] for suite in suites)


def _cut(value: Figure | None, before: float, unit: float | None = None) -> Figure | None:
    """How far a value lies below what it was before, in units of ``unit``, of that by default."""
    unit = before if unit is None else unit
    return value and Figure((before - value.mean) / unit, value.spread / unit)
