"""Degradations, limits, summaries and expert sheets."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from benchmarks.maps import calibrate, ground, rows, sheet, summary, tasks
from benchmarks.maps.degrade import HELD_OUT, NOISE
from sim.errors import LunarError
from sim.terrain.danger import NOMINAL, danger, steepness
from sim.terrain.filters import filter_names


@pytest.fixture(scope="module")
def truth() -> tasks.Truth:
    return tasks.Truth(ground.patch("crater-field", 41), 41)


@pytest.fixture(scope="module")
def limits() -> list[rows.Row]:
    job = ("blocky", 42, ("white-2cm", "coarse-4x"), ("fill", "gauss1", "gauss2"), {})
    return rows.calibrated(job)


@pytest.mark.parametrize("noise", [*NOISE, *HELD_OUT])
def test_a_degradation_is_repeatable_and_of_the_size_it_says(truth, noise):
    a, b, other = (rows.measured(truth, noise, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    known = np.isfinite(a)
    assert known.any()
    error = np.sqrt(np.mean((a - truth.heights)[known] ** 2))
    assert 1e-4 < error < 0.15
    if not noise.startswith("coarse"):
        assert not np.array_equal(a, other, equal_nan=True)
    if sigma := re.match(r"white-(\d)cm", noise):
        assert error == pytest.approx(0.01 * int(sigma[1]), rel=0.05)
    if share := re.match(r"holes-(\d+)", noise):
        assert 1.0 - known.mean() == pytest.approx(0.01 * int(share[1]), abs=0.01)


def test_classes_of_noise_are_those_that_cards_have():
    from sim.terrain.cards import load_card

    assert list(load_card("fill").noise) == list(NOISE)


def test_limits_call_a_tenth_of_the_safe_ground_unsafe_and_miss_less_than_nominal_ones(limits):
    cards = calibrate.cards(limits, "one patch", {})
    terrain = tasks.Truth(ground.patch("blocky", 42), 42)
    for noise in ("white-2cm", "coarse-4x"):
        map_ = rows.measured(terrain, noise, 42)
        for name in ("gauss1", "gauss2"):
            entry = cards[name].noise[noise]
            restored = rows.restored_by(name, map_, 0.05, 42)
            called = danger(*steepness(restored, 0.05), entry.limits) > 1.0
            assert called[~terrain.unsafe].mean() == pytest.approx(entry.false_alarms, abs=2e-3)
            assert 0.08 < entry.false_alarms <= 0.10
            assert (~called)[terrain.unsafe].mean() == pytest.approx(entry.missed, abs=2e-3)
            assert entry.missed < entry.missed_nominal
            assert entry.limits.slope < NOMINAL.slope
    recommended = calibrate.recommended(cards)
    assert recommended["white-2cm"] == "gauss1"
    assert recommended.keys() == {"white-2cm", "coarse-4x"}


def test_thresholds_of_counts():
    assert calibrate.threshold(np.array([80, 5, 5, 10]), 0.10) == 3
    assert calibrate.threshold(np.array([0, 0, 0, 10]), 0.05) == 4
    histogram = np.array([[80, 10, 5, 5], [2, 3, 5, 0]])
    assert calibrate.missed_at(histogram, 0.10) == pytest.approx(0.5)
    rocks = np.zeros((7, 4), int)
    rocks[0], rocks[3] = [9, 9, 5, 1], [4, 0, 3, 3]
    assert calibrate.rock_threshold(rocks, 100.0) == 3
    assert calibrate.rocks_found(rocks, 100.0) == pytest.approx(0.3)
    assert calibrate.rocks_found(rocks, 120.0) == pytest.approx(0.6)


def test_a_summary_has_what_the_benchmark_promises_and_finds_out_what_invents(limits):
    cards = calibrate.cards(limits, "one patch", {})
    noises, methods = ("white-2cm", "coarse-4x"), (*cards, rows.INVENTS)
    kept = [r for seed in (43, 44) for r in rows.judged(("blocky", seed, noises, methods, cards))]
    found = summary.summarise(json.loads(json.dumps(kept)), cards, 0)
    assert found["noise"].keys() == set(noises)
    for entry in found["noise"].values():
        assert entry["unsafe_called_safe_calibrated"] < entry["unsafe_called_safe_nominal"]
        assert entry["false_alarms"] < 0.15
        assert {entry["recommended"], entry["psnr_best"]} <= set(cards)
    assert found["clean"]["rock_recall_20cm"] > 0.95
    invented = found["invented_per_100m2"]
    assert invented[rows.INVENTS] > max(invented[m] for m in cards) + 2.0
    assert next(c for c in found["claims"] if "on purpose" in c["claim"])["holds"]
    assert {"claim", "measured", "holds"} == set(found["claims"][0])


@pytest.mark.parametrize(("file", "method"), [("net.onnx", "net.onnx"), ("mine.py", "mine.py:restore")])
def test_what_another_version_of_a_file_gave_is_not_taken_for_this_ones(tmp_path, file, method):
    def kept() -> str:
        return rows._folder("calibrated", str(tmp_path / method), ["white-2cm"], None)

    (tmp_path / file).write_text("first")
    first = kept()
    assert kept() == first
    (tmp_path / file).write_text("second")
    assert kept() != first


def test_kappa_is_one_for_equal_grades_and_nothing_for_chance():
    assert summary.grades_agree(np.diag([5, 4, 3, 2, 1])) == pytest.approx(1.0)
    assert summary.grades_agree(np.outer([5, 4, 3, 2, 1], [1, 2, 3, 4, 5])) == pytest.approx(0.0)
    assert sheet.kappa([(True, True), (False, False)]) == 1.0
    assert sheet.kappa([(True, True), (True, False), (False, True), (False, False)]) == 0.0


def test_a_sheet_hides_the_methods_and_its_answers_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "ITEMS", 4)
    monkeypatch.setattr(sheet, "REPEATS", 1)
    page = sheet.write(tmp_path, 0).read_text()
    key = json.loads((tmp_path / "key.json").read_text())
    assert len(key) == 5
    assert sum("repeats" in e for e in key.values()) == 1
    text = re.sub(r"base64,[^\"]*", "", page)
    assert not [name for name in (*filter_names(), *NOISE, rows.INVENTS) if len(name) > 4 and name in text]
    assert "no expert has answered" in sheet.tally([])["experts"]
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"expert": "", "answers": {}}))
    assert "rates" not in sheet.tally([empty])
    for name, vote in (("a", True), ("b", True), ("c", False)):
        answers = {item: {"invented": vote, "land": True} for item in key}
        (tmp_path / f"{name}.json").write_text(json.dumps({"expert": name, "answers": answers}))
    found = sheet.tally([tmp_path / f"{name}.json" for name in "abc"])
    assert found["experts"] == 3
    assert found["same_when_repeated"] == 1.0
    method = key["1"]["method"]
    votes = found["rates"][method]["invented"]
    assert votes["yes"] * 3 == votes["of"] * 2
    assert votes["low"] < 2 / 3 < votes["high"]
    (tmp_path / "broken.json").write_text("[1, 2")
    with pytest.raises(LunarError, match=r"broken\.json is no file of answers"):
        sheet.tally([tmp_path / "broken.json"])


def test_real_ground_is_judged_as_a_scale_model(tmp_path):
    import rasterio
    from rasterio.transform import Affine

    from benchmarks.maps.real import slopes_and_footholds
    from sim.terrain.cards import load_card

    z = 100.0 * ground.patch("crater-field", 41).field.heights[:120, :120]
    place = Affine(5.0, 0.0, 0.0, 0.0, -5.0, 0.0)
    options = {"driver": "GTiff", "height": 120, "width": 120, "count": 1, "dtype": "float32", "transform": place}
    with rasterio.open(tmp_path / "site.tif", "w", **options) as file:
        file.write(z, 1)
    cards = {name: load_card(name) for name in filter_names()}
    found = slopes_and_footholds(str(tmp_path / "site.tif"), 0, cards, 0)
    scaled = z * 0.01
    assert found["file"] == "site.tif"
    assert found["metres_per_pixel"] == 5.0
    assert found["unsafe"] == int((danger(*steepness(scaled, 0.05)) > 1.0).sum())
    for entry in found["noise"].values():
        assert entry["unsafe_called_safe_calibrated"] < entry["unsafe_called_safe_nominal"]
        assert entry["kappa_40_pixels"] > 0.8
    with rasterio.open(tmp_path / "small.tif", "w", **(options | {"height": 40})) as file:
        file.write(z[:40], 1)
    with pytest.raises(LunarError, match="64 by 64"):
        slopes_and_footholds(str(tmp_path / "small.tif"), 0, cards, 0)


def test_learned_filters_are_compared_where_there_are_any():
    def scores(**missed):
        return {noise: {m: {"unsafe_missed": v} for m, v in missed.items()} for noise in NOISE}

    assert summary.learned_claims(scores(fill=0.5, wiener=0.2), ["paired"]) == []
    pairs, unseen = summary.learned_claims(scores(fill=0.5, paired=0.1, unpaired=0.3), ["paired", "unpaired"])
    assert pairs["holds"]
    assert unseen["holds"]
    pairs, unseen = summary.learned_claims(scores(fill=0.1, paired=0.3, unpaired=0.2), ["paired", "unpaired"])
    assert not pairs["holds"]
    assert not unseen["holds"]


def test_too_few_patches_and_a_filter_that_does_not_exist_are_refused(tmp_path):
    from benchmarks.maps.protocol import Config, run

    with pytest.raises(LunarError, match="at least 4"):
        run(Config(patches=2, out=str(tmp_path)))
    with pytest.raises(LunarError, match="'best' is unknown"):
        run(Config(method="best", out=str(tmp_path)))
    assert not list(tmp_path.iterdir())
