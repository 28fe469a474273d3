"""Claims are judged by means over seeds, and say nothing where runs are missing."""

from __future__ import annotations

import pytest

from benchmarks.distill_claims import Figure, beyond, claims, figure, variant_rows
from benchmarks.distill_runs import FORGETTING, VARIANTS

TEACHER = {"pronks": 13.0, "survival": 0.95, "power_w": 10.0, "peak_force_lunar_bw": 9.0}
BEFORE = {name: dict.fromkeys(FORGETTING, TEACHER) for name in ("dual", "student_small")}
UPDATE = {"memory_ratio": 0.5, "time_ratio": 0.6}


def row(suite: str, variant: str, seed: int = 1, **values: float) -> dict:
    numbers = {"pronks": 12.0, "survival": 0.9, "power_w": 10.0, "peak_force_lunar_bw": 9.0, "cpu_s": 100.0}
    numbers |= {"peak_mb": 300.0, "steps": 240_000} | values
    by_suite = {suite: dict(numbers) for suite in FORGETTING}
    by_suite["blocky"] |= {"survival": numbers["survival"] - 0.3, "peak_force_lunar_bw": 9.0}
    return {"suite": suite, "variant": variant, "seed": seed, "by_suite": by_suite, **numbers}


def everything(**better: dict[str, float]) -> list[dict]:
    return [row(v.suite, v.name, seed, **better.get(v.name, {})) for v in VARIANTS for seed in (1, 2)]


def test_names_are_unique_and_every_claim_finds_its_runs():
    names = [(v.suite, v.name) for v in VARIANTS]
    assert len(set(names)) == len(names)
    assert all(c["holds"] is not None for c in claims(everything(), BEFORE, UPDATE).values())


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("tip_soft_or", {"soft_or 0.5": {"pronks": 12.0}}, {"soft_or 0.5": {"pronks": 11.9}}),
        ("tip_q3", {"q3 0.1": {"pronks": 11.65}}, {"q3 0.1": {"pronks": 11.6}}),
        ("paced", {"paced": {"survival": 0.9}}, {"uniform": {"survival": 0.91}}),
        ("opsdc", {"opsdc": {"power_w": 6.9, "peak_force_lunar_bw": 6.2, "survival": 0.931}},
         {"opsdc": {"power_w": 6.9, "peak_force_lunar_bw": 6.2, "survival": 0.929}}),
        ("tip_union", {"soft_or 0.2": {"pronks": 12.0}}, {"soft_or 0.2": {"pronks": 11.9}}),
        ("tokens", {"tokens, neighbours": {"pronks": 12.1}}, {"tokens, neighbours": {"pronks": 12.0}}),
        ("soda", {"soda, noise": {"cpu_s": 99.0, "peak_mb": 299.0}}, {"soda, noise": {"cpu_s": 100.0}}),
        ("dart", {"bc, noise": {"pronks": 12.1}}, {"bc, noise": {"pronks": 12.0}}),
        ("dart_hour", {"bc, long and noise": {"pronks": 12.1}}, {"bc, long and noise": {"pronks": 12.0}}),
        ("opsdc_easy", {"opsdc": {"peak_force_lunar_bw": 8.9}}, {"opsdc": {"peak_force_lunar_bw": 9.0}}),
        ("opsdc_kl", {"student, forward KL": {"pronks": 11.9}}, {"student, forward KL": {"pronks": 12.0}}),
        ("forgetting", {"paced": {"survival": 0.9}}, {"hard filter": {"survival": 0.91}}),
        ("kl_over_mse", {"forward_kl": {"survival": 0.91}}, {"mse": {"survival": 0.91}}),
    ],
)  # fmt: skip
def test_a_claim_holds_at_its_bound_and_not_beyond(name, better, worse):
    assert claims(everything(**better), BEFORE, UPDATE)[name]["holds"]
    assert not claims(everything(**worse), BEFORE, UPDATE)[name]["holds"]


def test_the_cost_of_an_update_needs_both_bounds():
    for memory, time, holds in ((0.6, 0.65, True), (0.61, 0.65, False), (0.6, 0.66, False)):
        update = {"memory_ratio": memory, "time_ratio": time}
        assert claims(everything(), BEFORE, update)["tip_cost"]["holds"] is holds


def test_a_missing_run_leaves_its_claim_open():
    rows = [r for r in everything() if r["variant"] != "q3 0.1"]
    found = claims(rows, BEFORE, UPDATE)
    assert found["tip_q3"]["holds"] is None and found["tip_q3"]["measured"]["q3"] is None
    assert found["tip_soft_or"]["holds"] is not None


def test_means_are_over_seeds_and_over_mixed_ground():
    rows = [row("paced", "paced", 1, survival=0.8), row("paced", "paced", 2, survival=1.0)]
    assert figure(rows, "paced", "paced", "survival") == pytest.approx(Figure(0.9, 0.02**0.5))
    assert figure(rows, "paced", "paced", "survival_mixed").mean == pytest.approx(0.8)
    assert figure(rows[:1], "paced", "paced", "survival").spread == 0 and figure(rows, "tip", "all", "pronks") is None
    nobody_hopped = [row("soda", "soda", seed, peak_force_lunar_bw=float("nan")) for seed in (1, 2)]
    assert variant_rows(nobody_hopped, "soda")[0][-1] == "–"
    paced = variant_rows(rows, "paced")[0]
    assert paced[:2] == ["paced", "240 k"] and "0.9 ± 0.14" in paced


def test_a_difference_within_the_spread_of_the_seeds_decides_nothing():
    assert beyond(Figure(12.0, 0.3), Figure(11.4, 0.4)) and not beyond(Figure(12.0, 0.3), Figure(11.6, 0.4))
    rows = [r for r in everything() if r["variant"] not in ("entropy 0.5", "tokens, neighbours")]
    for name, low, high in (("entropy 0.5", 10.0, 13.0), ("tokens, neighbours", 11.5, 14.5)):
        rows += [row("tip", name, 1, pronks=low), row("tip", name, 2, pronks=high)]
    found = claims(rows, BEFORE, UPDATE)
    assert found["tip_entropy"]["holds"] and not found["tokens"]["holds"]
    assert found["tokens"]["spread"]["neighbours"] == pytest.approx(4.5**0.5)
